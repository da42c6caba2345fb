//! `accelbench sweep`: every combination, and nothing that was not measured.

use std::collections::BTreeSet;

use serde_json::Value;

use super::run;

/// A sweep over a guest of noise, of which every page is sent as it is, in one round.
fn sweep(arguments: &[&str]) -> Value {
    let base = ["sweep", "--format", "json", "--workload", "random", "--size", "1M", "--rounds", "1"];
    run(&[&base, arguments].concat()).json()
}

fn points(report: &Value) -> &Vec<Value> {
    report["points"].as_array().expect("points")
}

#[test]
fn every_combination_is_measured_once_with_its_settings() {
    let lists =
        ["--workers", "1,2", "--max-pages", "8,64", "--connections", "1,2", "--max-bandwidth", "20M,1G"];
    let report = sweep(&[&lists[..], &["--method", "raw,lz4"]].concat());
    assert_eq!((&report["schema"], &report["kind"]), (&1.into(), &"sweep".into()));
    assert!(report["host"]["cores"].is_u64() && report["warnings"].is_array(), "{report}");
    let key = |point: &Value| format!("{} {}", point["settings"], point["result"]["method"]);
    let seen: BTreeSet<String> = points(&report).iter().map(key).collect();
    assert_eq!((points(&report).len(), seen.len()), (32, 32));
    for point in points(&report) {
        let (settings, result) = (&point["settings"], &point["result"]);
        assert_eq!((&result["verified"], &result["pages"]), (&true.into(), &256.into()), "{point}");
        // 256 pages in a row make as many requests as their size says, and the limit is kept but for one burst.
        let requests = result["accelerators"][0]["requests"].as_u64().unwrap();
        assert_eq!(requests, 256 / settings["max_pages"].as_u64().unwrap(), "{point}");
        let limit = settings["max_bandwidth"].as_f64().unwrap();
        let rate = result["wire_bytes_per_s"].as_f64().unwrap();
        assert!(rate < limit * 1.5, "{rate} of {limit}: {point}");
        assert_eq!(settings["queues"], Value::Null);
    }
}

#[test]
fn the_selector_is_a_method_and_a_budget_a_setting() {
    let report = sweep(&["--method", "raw,auto", "--cpu-budget", "0.25,1"]);
    let keys: Vec<(&Value, &Value)> = points(&report)
        .iter()
        .map(|point| (&point["settings"]["cpu_budget"], &point["result"]["method"]))
        .collect();
    let [quarter, one] = [&Value::from(0.25), &Value::from(1.0)];
    let [raw, auto] = [&Value::from("raw"), &Value::from("auto")];
    assert_eq!(keys, [(quarter, raw), (quarter, auto), (one, raw), (one, auto)]);
    assert_eq!(report["config"]["cpu_budget"], serde_json::json!([0.25, 1.0]));
    assert!(points(&report).iter().all(|point| point["result"]["verified"] == true), "{report}");
}

#[test]
fn queues_are_those_of_the_device() {
    let report = sweep(&["--accelerator", "iaa-model", "--queues", "1,4", "--method", "deflate"]);
    let queues: Vec<&Value> = points(&report).iter().map(|point| &point["settings"]["queues"]).collect();
    assert_eq!(queues, [1, 4]);
    for point in points(&report) {
        assert_eq!(point["result"]["provenance"], "model", "{point}");
    }
}

#[test]
fn settings_that_mean_nothing_are_wrong_usage() {
    for (arguments, reason) in [
        (&["--queues", "2"][..], "--queues has no effect: cpu has workers"),
        (&["--queues", "2", "--accelerator", "qatzip,cpu"], "--queues has no effect"),
        (&["--queues", "2,5", "--accelerator", "iaa-model"], "has 4 queues; use 1 to 4"),
        (&["--workers", "1,0"], "0 is not in 1..=1024"),
        (&["--max-pages", "8,2000"], "2000 is not in 1..=1024"),
        (&["--connections", "1,65"], "65 is not in 1..=64"),
        (&["--max-bandwidth", "1Gbit,fast"], "`fast` is no rate"),
        (&["--cpu-budget", "1,0"], "a CPU budget of 0 cores cannot be held"),
        (&["--method", "gzip"], "`gzip` is no method"),
        (&["--method", "raw", "--level", "1"], "no effect"),
        (&["--export", "a.pdf"], "names no format"),
    ] {
        run(&[&["sweep", "--size", "1M"], arguments].concat()).fails(2, &[reason]);
    }
}

#[test]
fn every_format_has_a_row_a_point_and_method() {
    let formatted = |format: &str| {
        let arguments =
            ["sweep", "--size", "1M", "--workers", "1,2", "--method", "raw,lz4", "--format", format];
        let ended = run(&arguments);
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
        ended.stdout
    };
    let csv = formatted("csv");
    assert!(
        csv.starts_with("workers,max_pages,queues,connections,max_bandwidth,cpu_budget,method,accelerator,"),
        "{csv}"
    );
    let fields: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(fields.len() == 5 && fields.iter().all(|&count| count == fields[0]), "{csv}");
    let markdown = formatted("markdown");
    assert_eq!(markdown.lines().filter(|line| line.starts_with("| ")).count(), 5, "{markdown}");
    let table = formatted("table");
    assert_eq!(table.lines().filter(|line| line.ends_with(" same")).count(), 4, "{table}");
}
