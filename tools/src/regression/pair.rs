//! Which row became which, and how it changed.

use serde::Serialize;
use serde_json::Value;

use super::error::RegressionError;
use crate::host::Host;
use crate::outcome::SCHEMA;
use crate::quantity::Percent;
use crate::results::{Known, Quantity, Results, Row};

/// Two results, row by row.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    schema: u32,
    kind: &'static str,
    /// The files.
    pub(super) before: String,
    pub(super) after: String,
    pub(super) rows: Vec<Pair>,
    /// Rows that the other file does not have.
    pub(super) only_before: Vec<String>,
    pub(super) only_after: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// A row that both have.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    pub(super) row: String,
    pub(super) pages_per_s: Change,
    pub(super) cpu_us_per_page: Change,
    pub(super) ratio: Change,
}

/// A figure before and after; null where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Change {
    pub(super) before: Option<f64>,
    pub(super) after: Option<f64>,
    /// By how much it rose, in percent of what it was.
    pub(super) percent: Option<f64>,
}

impl Comparison {
    /// Pairs the rows of two results, which were in these files.
    pub(super) fn new(
        files: [String; 2],
        before: &Results,
        after: &Results,
    ) -> Result<Self, RegressionError> {
        let find = |rows: &'_ [Row], id: &str| rows.iter().position(|row| row.id == id);
        let missing = |here: &Results, there: &Results| -> Vec<String> {
            let rows = here.rows.iter().filter(|row| find(&there.rows, &row.id).is_none());
            rows.map(|row| row.id.clone()).collect()
        };
        let both =
            || before.rows.iter().filter_map(|row| Some((row, &after.rows[find(&after.rows, &row.id)?])));
        let [before_file, after_file] = files;
        if both().next().is_none() {
            let names =
                |results: &Results| results.rows.iter().map(|row| &*row.id).collect::<Vec<_>>().join(", ");
            return Err(RegressionError::NothingInCommon {
                before: before_file,
                after: after_file,
                rows_before: names(before),
                rows_after: names(after),
            });
        }
        let warnings = [
            hosts(&before.host, &after.host),
            settings(&before.config, &after.config),
            provenances(&both().collect::<Vec<_>>()),
        ];
        Ok(Self {
            schema: SCHEMA,
            kind: "compare-results",
            rows: both().map(|(before, after)| Pair::new(before, after)).collect(),
            only_before: missing(before, after),
            only_after: missing(after, before),
            before: before_file,
            after: after_file,
            warnings: warnings.into_iter().flatten().collect(),
        })
    }

    /// The rows that are worse by more than `limit`, with what is.
    pub(super) fn worse(&self, limit: Percent) -> Vec<String> {
        let mut worse = Vec::new();
        for Pair { row, pages_per_s, cpu_us_per_page, .. } in &self.rows {
            if let Some(percent) = pages_per_s.percent.filter(|&percent| percent < -limit.0) {
                worse.push(format!("{row} ({percent:+.1}% pages/s)"));
            }
            if let Some(percent) = cpu_us_per_page.percent.filter(|&percent| percent > limit.0) {
                worse.push(format!("{row} ({percent:+.1}% CPU a page)"));
            }
        }
        worse
    }
}

impl Pair {
    fn new(before: &Row, after: &Row) -> Self {
        let change = |quantity| Change::new(before.figure(quantity), after.figure(quantity));
        Self {
            row: before.id.clone(),
            pages_per_s: change(Quantity::PagesPerSecond),
            cpu_us_per_page: change(Quantity::CpuPerPage),
            ratio: change(Quantity::Ratio),
        }
    }
}

impl Change {
    fn new(before: Option<Known>, after: Option<Known>) -> Self {
        let (before, after) = (before.map(|known| known.value), after.map(|known| known.value));
        let percent = before.zip(after).map(|(before, after)| (after / before - 1.0) * 100.0);
        Self { before, after, percent: percent.filter(|percent| percent.is_finite()) }
    }
}

/// What of two hosts differs.
fn hosts(before: &Host, after: &Host) -> Option<String> {
    let pairs = [
        ("CPU", before.cpu.clone(), after.cpu.clone()),
        ("CPUs", before.cores.to_string(), after.cores.to_string()),
        ("kernel", before.kernel.clone(), after.kernel.clone()),
        ("deflate by", before.deflate_library.clone(), after.deflate_library.clone()),
    ];
    let differing: Vec<String> = pairs
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .map(|(what, before, after)| format!("{what} {before} and {after}"))
        .collect();
    let words = differing.join("; ");
    (!words.is_empty())
        .then(|| format!("the hosts differ ({words}): a change may be theirs; measure both on one host"))
}

/// Which settings differ.
fn settings(before: &Value, after: &Value) -> Option<String> {
    let fields = |config: &Value| {
        config.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
    };
    let mut all: Vec<String> = fields(before);
    all.extend(fields(after));
    all.sort_unstable();
    all.dedup();
    // How many there were of each changes no figure's meaning.
    let differing =
        all.iter().filter(|&field| !["methods", "runs"].contains(&&**field) && before[field] != after[field]);
    let words: Vec<String> =
        differing.map(|field| format!("{field} {} and {}", before[field], after[field])).collect();
    (!words.is_empty()).then(|| {
        format!(
            "the settings differ ({}): a change may be theirs; measure both with the same",
            words.join("; ")
        )
    })
}

fn provenances(pairs: &[(&Row, &Row)]) -> Option<String> {
    let differing = pairs.iter().filter(|(before, after)| before.provenance != after.provenance);
    let rows: Vec<&str> = differing.map(|(before, _)| &*before.id).collect();
    (!rows.is_empty()).then(|| format!("of {} one side was measured and the other was not", rows.join(", ")))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::results::tests::{parsed, run_file};

    pub(in super::super) fn comparison(change: impl Fn(&mut Value)) -> Result<Comparison, RegressionError> {
        let before = run_file(&["raw", "zstd"]);
        let mut after = before.clone();
        change(&mut after);
        let files = ["a.json".to_owned(), "b.json".to_owned()];
        Comparison::new(files, &parsed(&before).unwrap(), &parsed(&after).unwrap())
    }

    #[test]
    fn a_row_is_worse_if_it_is_slower_or_costs_more_by_more_than_it_may() {
        let worse = |field: &str, value: f64| {
            let comparison = comparison(|after| after["results"][1][field] = json!(value)).unwrap();
            comparison.worse(Percent(5.0))
        };
        assert_eq!(worse("pages_per_s", 1899.0), ["zstd by cpu (-5.0% pages/s)"]);
        assert!(worse("pages_per_s", 1901.0).is_empty() && worse("pages_per_s", 4000.0).is_empty());
        assert_eq!(worse("cpu_us_per_page", 11.0), ["zstd by cpu (+10.0% CPU a page)"]);
        assert!(worse("cpu_us_per_page", 10.4).is_empty() && worse("cpu_us_per_page", 1.0).is_empty());
    }

    #[test]
    fn rows_that_only_one_side_has_are_told() {
        let comparison = comparison(|after| after["results"][1]["method"] = json!("lz4")).unwrap();
        assert_eq!(comparison.rows.len(), 1);
        assert_eq!(
            (comparison.only_before, comparison.only_after),
            (vec!["zstd by cpu".to_owned()], vec!["lz4 by cpu".to_owned()])
        );
    }

    #[test]
    fn nothing_in_common_is_an_error_that_names_both_sides() {
        let error = comparison(|after| {
            for index in 0..2 {
                after["results"][index]["accelerator"] = json!("iaa");
            }
        });
        let words = error.unwrap_err().to_string();
        assert!(words.contains("raw by cpu, zstd by cpu") && words.contains("raw by iaa"), "{words}");
    }

    #[test]
    fn other_hosts_settings_and_provenances_are_warned_of() {
        let comparison = comparison(|after| {
            after["host"]["cpu"] = json!("another");
            after["config"]["workers"] = json!(4);
            after["config"]["runs"] = json!(9);
            after["results"][0]["provenance"] = json!("model");
        })
        .unwrap();
        let [host, settings, provenance] = &comparison.warnings[..] else { panic!("{comparison:?}") };
        assert!(host.contains("and another"), "{host}");
        assert!(settings.contains("workers 2 and 4") && !settings.contains("runs"), "{settings}");
        assert!(provenance.contains("raw by cpu"), "{provenance}");
    }
}
