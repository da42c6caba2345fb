//! `accelbench compare`: every figure says how it was come by, and none says more than is true.

use serde_json::Value;

use super::{image, run};

/// A comparison that takes seconds, of guests as small as can be.
fn compare(arguments: &[&str]) -> Value {
    let base =
        ["compare", "--quick", "--size", "1M", "--memory", "16M", "--downtime", "1ms", "--format", "json"];
    run(&[&base, arguments].concat()).json()
}

fn list<'a>(of: &'a Value, field: &str) -> &'a Vec<Value> {
    of[field].as_array().unwrap_or_else(|| panic!("no list {field}: {of}"))
}

const FIGURES: [&str; 7] = [
    "pages_per_s",
    "relative",
    "max_dirty_pages_per_s",
    "extra_cpu_percent",
    "ratio",
    "migration_s",
    "downtime_ms",
];

/// Asserts that every figure of every row has a value, or none, and an origin, and returns (row, figure, origin) of all.
fn origins(comparison: &Value) -> Vec<(String, &'static str, String)> {
    let rows = list(comparison, "workloads").iter().flat_map(|workload| list(workload, "rows"));
    let mut origins = Vec::new();
    for row in rows {
        let name = row["name"].as_str().unwrap();
        assert!(!row["description"].as_str().unwrap().is_empty(), "{row}");
        assert_eq!(row["figures"].as_object().unwrap().len(), FIGURES.len(), "{row}");
        for figure in FIGURES {
            let Value::Object(found) = &row["figures"][figure] else { panic!("{figure}: {row}") };
            assert!(found["value"].is_null() || found["value"].is_number(), "{figure}: {row}");
            let origin = found["provenance"].as_str().unwrap_or_else(|| panic!("{figure}: {row}"));
            assert!(["measured", "modelled"].contains(&origin), "{figure}: {row}");
            origins.push((name.to_owned(), figure, origin.to_owned()));
        }
    }
    origins
}

const DEVICES: [&str; 4] = ["QAT", "qat-4xxx", "IAA", "DSA"];

const ALL_DEVICES: &str = "selector, all devices";

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[test]
fn the_json_has_a_row_a_way_for_every_guest_and_only_what_ran_is_measured() {
    let comparison = compare(&["--workload", "ones,kv"]);
    assert_eq!((&comparison["schema"], &comparison["kind"]), (&1.into(), &"compare".into()));
    assert!(comparison["host"]["cores"].is_u64() && comparison["config"]["cpus"].is_u64(), "{comparison}");
    let names: Vec<&str> =
        list(&comparison, "workloads").iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ones", "kv"]);
    let zlib = format!("zlib level 1 on {} CPUs", cores().min(16));
    for workload in list(&comparison, "workloads") {
        let rows: Vec<&str> =
            list(workload, "rows").iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(rows[..4], ["no compression", &*zlib, "zstd", "xbzrle"]);
        assert_eq!(rows[4..8], DEVICES);
        assert_eq!(rows[8..], ["selector", ALL_DEVICES]);
    }
    assert_eq!(comparison["config"]["cpus"], cores().min(16));
    let said = comparison["warnings"].to_string();
    assert_eq!(said.contains("CPUs, not 16"), cores() < 16, "{said}");
    let list = run(&["list", "--format", "json"]).json();
    let has = |device: &str| {
        list["accelerators"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == device && one["provenance"] == "hardware")
    };
    for (row, figure, origin) in origins(&comparison) {
        let modelled = DEVICES.contains(&&*row) && !has(&row[..3].to_lowercase());
        let ran = !modelled && row != ALL_DEVICES;
        let of_a_run = ["pages_per_s", "relative", "extra_cpu_percent", "ratio"].contains(&figure);
        let expected = if ran && of_a_run { "measured" } else { "modelled" };
        assert_eq!(origin, expected, "{figure} of {row}");
    }
}

fn is_all_modelled(comparison: &Value) {
    for (row, figure, origin) in origins(comparison) {
        assert_eq!(origin, "modelled", "{figure} of {row}: {}", comparison["config"]);
    }
}

#[test]
fn more_cpus_than_the_machine_has_are_modelled_and_said_to_be() {
    let more = (cores() + 3).to_string();
    let many = compare(&["--workload", "ones", "--cpus", &more]);
    is_all_modelled(&many);
    let said = many["warnings"].to_string();
    assert!(said.contains(&format!("what {more} would do is modelled")), "{many}");
    assert!(many.to_string().contains(&format!("zlib level 1 on {more} CPUs")), "{many}");
}

#[test]
fn what_was_published_stands_beside_with_a_reason_wherever_the_model_differs() {
    let comparison = compare(&["--modelled-only"]);
    is_all_modelled(&comparison);
    let claims = list(&comparison, "published");
    assert_eq!(claims.len(), 5, "{comparison}");
    for claim in claims {
        assert!(claim["modelled"].is_number() && claim["published"].is_string(), "{claim}");
        assert_eq!(claim["agrees"].as_bool().unwrap(), claim["why"].is_null(), "{claim}");
    }
}

#[test]
fn snapshots_of_the_user_are_guests_and_a_single_image_has_no_deltas() {
    let folder = tempfile::tempdir().unwrap();
    let images: Vec<String> = (1..=2)
        .map(|number| {
            let path = image(folder.path(), &format!("{number}.ram"), &[number; 256]);
            path.display().to_string()
        })
        .collect();
    let both = images.join(",");
    let comparison = compare(&["--input", &both, "--input", &images[1]]);
    let workloads = list(&comparison, "workloads");
    assert_eq!(workloads.len(), 2, "{comparison}");
    assert_eq!((&workloads[0]["name"], &workloads[1]["name"]), (&"1".into(), &"2".into()));
    origins(&comparison);
    assert!(
        comparison["warnings"].to_string().contains("2: DSA needs two snapshots at least"),
        "{comparison}"
    );
}

#[test]
fn profiles_and_their_number_are_rows() {
    let arguments = ["--workload", "ones", "--modelled-only", "--devices", "3"];
    let comparison = compare(&[&arguments[..], &["--profile", "qat-4xxx", "--profile", "dsa-full"]].concat());
    is_all_modelled(&comparison);
    let rows = list(&comparison["workloads"][0], "rows");
    assert_eq!((rows.len(), &rows[4]["name"], &rows[5]["name"]), (8, &"QAT".into(), &"DSA".into()));
    assert!(rows[7]["description"].as_str().unwrap().contains("on QAT, DSA, side by side"), "{comparison}");
    assert!(rows[4]["description"].as_str().unwrap().starts_with("3 × "), "{comparison}");
    assert_eq!(comparison["config"]["profiles"], serde_json::json!(["qat-4xxx", "dsa-full"]));
}

#[test]
fn a_budget_holds_what_is_measured_and_what_is_modelled() {
    // Over a link that is faster than any CPU here, the budget is what limits no compression.
    let held = ["--workload", "ones", "--cpus", "1", "--link", "200Gbit", "--cpu-budget"];
    let pages_per_s = |budget, only: &[&str]| {
        let comparison = compare(&[&held[..], &[budget], only].concat());
        assert!(comparison["config"]["workloads"][0]["run"]["cpu_budget"].is_number(), "{comparison}");
        let figure = &comparison["workloads"][0]["rows"][0]["figures"]["pages_per_s"];
        assert_eq!(figure["provenance"] == "measured", only.is_empty(), "{comparison}");
        figure["value"].as_f64().unwrap()
    };
    pages_per_s("0.25", &[]);
    let [little, much] = ["0.02", "1"].map(|budget| pages_per_s(budget, &["--modelled-only"]));
    assert!(little < much / 2.0, "{little} pages/s by 0.02 cores, {much} by 1");
}

#[test]
fn comparisons_that_mean_nothing_are_wrong_usage() {
    for (arguments, reason) in [
        (&["--link", "100M"][..], "links have 1Gbit to 200Gbit"),
        (&["--link", "201Gbit"], "links have 1Gbit to 200Gbit"),
        (&["--link", "fast"], "`fast` is no rate"),
        (&["--cpus", "0"], "0 is not in 1..=1024"),
        (&["--devices", "0"], "0 is not in 1..=64"),
        (&["--cpu-budget", "0"], "a CPU budget of 0 cores cannot be held"),
        (&["--cpu-budget", "half"], "`half` is no CPU budget"),
        (&["--memory", "1K"], "1M to 256G"),
        (&["--dirty-rate", "0"], "0 is not in"),
        (&["--downtime", "0"], "is no time"),
        (&["--workload", "busy"], "possible values: zeros, ones"),
        (&["--profile", "/no/such.toml"], "cannot read the profile /no/such.toml"),
        (&["--input", "/no/such.ram"], "cannot read the image /no/such.ram"),
        (&["--size", "5000"], "whole pages of 4 KiB"),
        (&["--format", "xml"], "possible values: table, json"),
        (&["--export", "a.pdf"], "names no format"),
    ] {
        run(&[&["compare"], arguments].concat()).fails(2, &[reason]);
    }
}

#[test]
fn every_format_marks_what_is_modelled() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let formatted = |format: &str, export: &str| {
        let base = [
            "compare",
            "--quick",
            "--modelled-only",
            "--size",
            "1M",
            "--memory",
            "16M",
            "--workload",
            "ones",
        ];
        let ended = run(&[&base[..], &["--format", format, "--export", &file(export)]].concat());
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
        let exported = std::fs::read_to_string(file(export)).unwrap();
        [ended.stdout, exported]
    };
    let [table, csv] = formatted("table", "a.csv");
    assert!(csv.starts_with("workload,row,description,pages_per_s,pages_per_s_provenance,"), "{csv}");
    assert_eq!(csv.lines().count(), 11, "{csv}");
    assert!(csv.lines().skip(1).all(|line| line.matches("modelled").count() == 7), "{csv}");
    let [markdown, _] = formatted("markdown", "a.json");
    for text in [table, markdown] {
        let row = text.lines().find(|line| line.trim_start_matches(['|', ' ']).starts_with("no compression"));
        assert!(row.is_some_and(|row| row.matches('~').count() >= 4), "{text}");
        assert!(text.contains("~ is modelled") && text.contains("KVM Forum 2020"), "{text}");
    }
}
