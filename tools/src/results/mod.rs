//! Result files, read back: what `run`, `send`, `recv`, `compare` and `sweep` wrote, as rows that can be drawn and compared.

mod compare;
pub(crate) mod error;
mod row;
mod run;
mod sweep;

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::host::Host;
use crate::outcome::SCHEMA;

use error::ResultError;
pub(crate) use row::{Known, Provenance, Quantity, Row};

/// What a file holds.
#[derive(Clone, Debug)]
pub(crate) struct Results {
    /// The file's name, without its folder and its ending.
    pub(crate) name: String,
    pub(crate) host: Host,
    /// All settings.
    pub(crate) config: Value,
    pub(crate) rows: Vec<Row>,
    pub(crate) warnings: Vec<String>,
}

/// Reads a file.
///
/// # Errors
/// [`ResultError`] names the file, the field, and what to do.
pub(crate) fn read(path: &Path) -> Result<Results, ResultError> {
    let file = path.display().to_string();
    let text = fs::read(path).map_err(|source| ResultError::Read { file: file.clone(), source })?;
    let name = path.file_stem().map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into_owned());
    parse(&file, &name, &text)
}

fn parse(file: &str, name: &str, text: &[u8]) -> Result<Results, ResultError> {
    let value: Value =
        serde_json::from_slice(text).map_err(|source| ResultError::Json { file: file.to_owned(), source })?;
    match value.get("schema") {
        Some(schema) if *schema == SCHEMA => {}
        Some(schema) => {
            return Err(ResultError::Schema { file: file.to_owned(), found: schema.to_string() });
        }
        None => return Err(ResultError::Foreign { file: file.to_owned() }),
    }
    let kind = value.get("kind").map_or(Some("run"), Value::as_str).unwrap_or_default().to_owned();
    let mut results = match kind.as_str() {
        "run" | "send" | "recv" => run::results(typed(file, value)?, name),
        "compare" => compare::results(typed(file, value)?, name),
        "sweep" => sweep::results(typed(file, value)?, name),
        _ => {
            let found = kind.escape_debug().to_string();
            return Err(ResultError::Kind { file: file.to_owned(), found });
        }
    };
    if results.rows.is_empty() {
        return Err(ResultError::Empty { file: file.to_owned() });
    }
    for row in &results.rows {
        if let Some(Err(source)) = row.choices.as_ref().map(|choices| choices.check()) {
            return Err(ResultError::Choices { file: file.to_owned(), row: row.id.clone(), source });
        }
    }
    results.rows.iter_mut().flat_map(Row::words_mut).chain(&mut results.warnings).for_each(without_orders);
    number_repeated(&mut results.rows);
    Ok(results)
}

/// The value as a `T`, or the field that is wrong.
fn typed<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, ResultError> {
    serde_path_to_error::deserialize(value).map_err(|error| ResultError::Field {
        file: file.to_owned(),
        field: error.path().to_string(),
        source: error.into_inner(),
    })
}

/// Words from a file may be printed on a terminal, which takes orders from control characters.
fn without_orders(words: &mut String) {
    if words.contains(char::is_control) {
        *words = words.replace(char::is_control, "\u{fffd}");
    }
}

/// Rows that are called the same get numbers, so that each has an identity of its own.
fn number_repeated(rows: &mut [Row]) {
    for index in 0..rows.len() {
        let before = rows[..index].iter().filter(|row| row.base_id == rows[index].base_id).count();
        if before > 0 {
            rows[index].id = format!("{} ({})", rows[index].base_id, before + 1);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::outcome::Outcome;
    use crate::outcome::tests::{migrated, report};

    /// A result of `accelbench run` by these methods, as it is in a file.
    pub(crate) fn run_file(methods: &[&str]) -> Value {
        let outcomes = methods.iter().map(|method| Outcome::of(&[migrated(method, 0.5)], false).unwrap());
        let mut value = serde_json::to_value(report(outcomes.collect())).unwrap();
        value["config"] =
            json!({ "workload": "mixed", "size": 268_435_456, "max_bandwidth": 125_000_000, "workers": 2 });
        value
    }

    pub(crate) fn parsed(value: &Value) -> Result<Results, ResultError> {
        parse("a.json", "a", value.to_string().as_bytes())
    }

    fn compare_file() -> Value {
        json!({
            "schema": 1, "kind": "compare", "host": run_file(&["raw"])["host"], "config": {},
            "workloads": [{ "name": "ones", "description": "bytes of 1", "rows": [
                { "name": "none", "description": "", "figures": {
                    "pages_per_s": { "value": 1e5, "provenance": "measured" },
                    "extra_cpu_percent": { "value": 50.0, "provenance": "measured" } } },
                { "name": "QAT", "description": "one card", "figures": {
                    "pages_per_s": { "value": 5e5, "provenance": "modelled" },
                    "downtime_ms": { "value": 120.0, "provenance": "modelled" } } },
            ] }],
            "warnings": ["made up"]
        })
    }

    #[test]
    fn a_run_is_rows_by_method_under_its_link() {
        let results = parsed(&run_file(&["raw", "deflate"])).unwrap();
        let row = &results.rows[1];
        assert_eq!((&*row.name, &*row.id, &*row.set), ("deflate", "deflate by cpu", "mixed, 256 MiB"));
        assert_eq!(row.link, Some(125_000_000));
        assert_eq!(row.value(Quantity::PagesPerSecond), Some(2000.0));
        assert_eq!(row.value(Quantity::CpuPerPage), Some(10.0));
        assert_eq!(row.provenance, Provenance::Measured);
    }

    #[test]
    fn a_result_of_before_there_were_kinds_and_samples_is_still_read() {
        let mut old = run_file(&["raw"]);
        old.as_object_mut().unwrap().remove("kind");
        for field in ["timeline", "latency", "downtime_ms"] {
            old["results"][0].as_object_mut().unwrap().remove(field);
        }
        let results = parsed(&old).unwrap();
        assert!(results.rows[0].timeline.is_empty() && results.rows[0].latency.is_empty());
    }

    #[test]
    fn a_comparison_says_of_each_figure_how_it_was_come_by() {
        let results = parsed(&compare_file()).unwrap();
        let [none, qat] = &results.rows[..] else { panic!("{results:?}") };
        assert_eq!((&*qat.set, &*qat.id, qat.link), ("ones", "ones: QAT", None));
        assert_eq!(qat.figure(Quantity::DowntimeMs), Some(Known { value: 120.0, modelled: true }));
        assert_eq!((none.provenance, qat.provenance), (Provenance::Measured, Provenance::Modelled));
        // Half a core for 100,000 pages a second.
        assert_eq!(none.value(Quantity::CpuPerPage), Some(5.0));
        assert_eq!(results.warnings, ["made up"]);
    }

    #[test]
    fn a_sweep_has_its_settings_in_its_names() {
        let run = run_file(&["zstd"]);
        let point = |workers: u32, link: Value| {
            json!({ "settings": { "workers": workers, "max_pages": 63, "queues": null, "connections": 1, "max_bandwidth": link },
                    "result": run["results"][0] })
        };
        let sweep = json!({
            "schema": 1, "kind": "sweep", "host": run["host"], "config": run["config"],
            "points": [point(1, Value::Null), point(2, json!(1_250_000_000))]
        });
        let results = parsed(&sweep).unwrap();
        assert_eq!(results.rows[0].name, "zstd, 1 worker");
        assert_eq!(results.rows[1].name, "zstd, 2 workers");
        assert_eq!((results.rows[0].link, results.rows[1].link), (None, Some(1_250_000_000)));
        assert_ne!(results.rows[0].id, results.rows[1].id);
    }

    #[test]
    fn names_in_a_file_give_no_orders_to_a_terminal() {
        let mut file = compare_file();
        file["workloads"][0]["rows"][1]["name"] = json!("\u{1b}[31mQAT");
        let results = parsed(&file).unwrap();
        assert_eq!(results.rows[1].id, "ones: \u{fffd}[31mQAT");
    }

    #[test]
    fn rows_that_are_called_the_same_are_told_apart() {
        let results = parsed(&run_file(&["raw", "raw"])).unwrap();
        assert_eq!(results.rows[1].id, "raw by cpu (2)");
    }

    #[test]
    fn a_file_that_is_wrong_is_told_by_name_field_and_remedy() {
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut file = run_file(&["raw"]);
            change(&mut file);
            parsed(&file).unwrap_err().to_string()
        };
        for (error, words) in [
            (parse("a.json", "a", b"{").unwrap_err().to_string(), "--export a.json"),
            (parse("a.json", "a", b"{}").unwrap_err().to_string(), "accelbench run --export"),
            (refused(&|file| file["schema"] = json!(2)), "schema 2"),
            (refused(&|file| file["kind"] = json!("poem")), "`poem`"),
            (refused(&|file| file["results"][0]["pages_per_s"] = json!("many")), "results[0].pages_per_s"),
            (refused(&|file| file["results"] = json!([])), "no result"),
            (
                refused(&|file| {
                    file["results"][0]["choices"] = json!({ "region_bytes": 1, "regions": 2, "legend": {},
                        "steps": [{ "seconds": 0.0, "round": 0, "methods": "r" }] });
                }),
                "a letter for every region",
            ),
        ] {
            assert!(error.contains(words) && error.contains("a.json"), "{error}");
        }
    }
}
