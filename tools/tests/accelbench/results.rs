//! What `accelbench run` measures, in every format.

use serde_json::Value;

use super::{Ended, image, run};

/// A run of a small guest, as JSON.
fn results(arguments: &[&str]) -> Value {
    run(&[&["run", "--format", "json"], arguments].concat()).json()
}

#[test]
fn the_json_is_one_object_with_all_fields_of_the_schema() {
    let report = results(&["--size", "4M", "--rounds", "3", "--seed", "42", "--runs", "3"]);
    assert_eq!(report["schema"], 1);
    for field in ["cpu", "cores", "memory_bytes", "kernel", "simd"] {
        assert!(!report["host"][field].is_null(), "{field}: {}", report["host"]);
    }
    assert!(
        report["host"]["isal"].is_string() != report["host"]["isal_missing"].is_string(),
        "{}",
        report["host"]
    );
    let config = &report["config"];
    for (field, value) in [("seed", 42), ("size", 4 << 20), ("rounds", 3), ("max_pages", 63), ("runs", 3)] {
        assert_eq!(config[field], value, "{field}: {config}");
    }
    assert_eq!((&config["workload"], &config["verify"]), (&"mixed".into(), &true.into()));
    let methods: Vec<_> = report["results"].as_array().unwrap().iter().map(|one| &one["method"]).collect();
    assert_eq!(methods, ["raw", "deflate", "zstd", "lz4", "xbzrle", "delta", "auto"]);
    for result in report["results"].as_array().unwrap() {
        assert_eq!((&result["accelerator"], &result["provenance"]), (&"cpu".into(), &"cpu".into()));
        assert_eq!((&result["verified"], &result["rounds"]), (&true.into(), &3.into()));
        for field in [
            "pages",
            "zero_pages",
            "pages_per_s",
            "source_bytes",
            "wire_bytes",
            "ratio",
            "seconds",
            "source_cpu_us_per_page",
            "destination_cpu_us_per_page",
        ] {
            assert!(result[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {result}");
        }
        for field in ["p50", "p99", "max"] {
            assert!(
                result["request_us"][field].as_f64().is_some_and(|value| value > 0.0),
                "{field}: {result}"
            );
        }
        let pages = result["pages"].as_u64().unwrap();
        assert_eq!(result["source_bytes"].as_u64().unwrap(), pages * 4096);
        let by_method = result["pages_by_method"].as_object().unwrap().values();
        assert_eq!(by_method.map(|pages| pages.as_u64().unwrap()).sum::<u64>(), pages, "{result}");
        let deltas = result["pages_by_method"].as_object().unwrap();
        let delta = ["xbzrle", "delta"].iter().any(|method| deltas.contains_key(*method));
        assert_eq!(result["encoding_rate"].is_number(), delta, "{result}");
        for end in ["fallbacks", "destination_fallbacks"] {
            let counts = result[end].as_object().unwrap();
            assert!(counts.len() == 14 && counts.values().all(Value::is_u64), "{end}: {result}");
        }
        assert_eq!(result["runs"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn snapshots_are_sent_whole_and_then_by_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let first: Vec<u8> = (0..100).map(|page| u8::from(page % 4 != 0)).collect();
    let mut second = first.clone();
    second[1..11].fill(9);
    let mut third = second.clone();
    third[1] = 0;
    let images = [("a.ram", first), ("b.ram", second), ("c.ram", third)];
    let images = images.map(|(name, pages)| image(folder.path(), name, &pages).to_str().unwrap().to_owned());
    let report = results(&["--input", &images.join(","), "--method", "raw,xbzrle,deflate+delta"]);
    assert_eq!(report["config"]["input"].as_array().unwrap().len(), 3);
    for result in report["results"].as_array().unwrap() {
        // 75 pages with data, then 10 that differ, then one that is zero.
        assert_eq!((&result["pages"], &result["zero_pages"]), (&85.into(), &26.into()), "{result}");
        assert_eq!((&result["rounds"], &result["verified"]), (&3.into(), &true.into()));
    }
    let pages = |method: usize| report["results"][method]["pages_by_method"].clone();
    // Of the 10, pages 4 and 8 were zero before and have no baseline; in the others every byte changed.
    assert_eq!(pages(0), serde_json::json!({ "raw": 85 }));
    assert_eq!(report["results"][2]["method"], "deflate+delta");
}

#[test]
fn every_way_between_the_ends_moves_the_same_pages() {
    let base = ["--size", "2M", "--rounds", "2", "--method", "zstd+xbzrle"];
    let pages = |arguments: &[&str]| {
        let report = results(&[&base, arguments].concat());
        let result = &report["results"][0];
        assert_eq!(result["verified"], true, "{arguments:?}: {result}");
        (result["pages"].clone(), result["zero_pages"].clone())
    };
    let expected = pages(&[]);
    for arguments in [
        &["--transport", "tcp"][..],
        &["--connections", "5"],
        &["--in-process"],
        &["--no-prealloc"],
        &["--workers", "1", "--queue-depth", "2", "--max-pages", "1024"],
        &["--window", "4K", "--level", "zstd=3", "--baseline-cache", "64K"],
        &["--max-bandwidth", "1Gbit", "--max-pages", "7"],
    ] {
        assert_eq!(pages(arguments), expected, "{arguments:?}");
    }
    for page_size in ["16K", "64K"] {
        assert!(pages(&["--page-size", page_size]).0.as_u64() < expected.0.as_u64(), "{page_size}");
    }
}

#[test]
fn a_cpu_budget_is_held_and_said() {
    let arguments = ["--size", "4M", "--method", "raw", "--workload", "random", "--cpu-budget", "4.5"];
    let report = results(&arguments);
    assert_eq!(report["config"]["cpu_budget"], 4.5, "{report}");
    let cores = report["results"][0]["sender_cores"].as_f64();
    assert!(cores.is_some_and(|cores| cores > 0.0 && cores <= 4.5), "{report}");
    assert!(results(&arguments[..6])["config"]["cpu_budget"].is_null());
    let table = run(&[&["run"], &arguments[..]].concat());
    assert!(table.stdout.contains(", at most 4.5 cores at the source;"), "{table:?}");
}

#[test]
fn the_window_is_what_the_accelerators_need() {
    for (accelerators, window) in
        [("cpu", 32_768), ("iaa-model,cpu", 4096), ("iaa-model,qat:/no/such/library.so,cpu", 32_768)]
    {
        let report = results(&["--size", "1M", "--method", "deflate", "--accelerator", accelerators]);
        assert_eq!(report["config"]["window"], window, "{accelerators}");
        assert_eq!(report["results"][0]["verified"], true, "{report}");
    }
}

#[test]
fn every_workload_arrives_and_zero_pages_are_counted_apart() {
    for name in ["zeros", "ones", "sequence", "kv", "random", "mixed"] {
        let report = results(&["--workload", name, "--size", "1M", "--rounds", "2", "--method", "lz4+delta"]);
        let result = &report["results"][0];
        assert_eq!(result["verified"], true, "{name}: {result}");
        if name == "zeros" {
            assert_eq!((&result["pages"], &result["ratio"]), (&0.into(), &Value::Null));
            assert_eq!(
                (&result["zero_pages"], &result["source_cpu_us_per_page"]),
                (&307.into(), &Value::Null)
            );
        }
    }
    let report = results(&["--workload", "zeros", "--size", "1M", "--rounds", "1", "--no-zero-detection"]);
    let result = &report["results"][0];
    assert_eq!((&result["pages"], &result["zero_pages"]), (&256.into(), &0.into()));
}

#[test]
fn a_runtime_repeats_rounds_and_a_single_image_is_then_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path(), "a.ram", &[1; 64]);
    let report = results(&["--input", image.to_str().unwrap(), "--runtime", "200ms", "--method", "raw"]);
    let result = &report["results"][0];
    let (rounds, pages) = (result["rounds"].as_u64().unwrap(), result["pages"].as_u64().unwrap());
    assert!(rounds > 1 && pages == 64 * rounds, "{result}");
    assert_eq!((&report["config"]["rounds"], &report["config"]["runtime_s"]), (&Value::Null, &0.2.into()));
}

#[test]
fn figures_that_do_not_exist_are_null() {
    let report = results(&["--size", "1M", "--in-process", "--no-verify", "--method", "raw"]);
    let result = &report["results"][0];
    assert_eq!((&result["verified"], &result["source_cpu_us_per_page"]), (&Value::Null, &Value::Null));
    assert!(result["cpu_us_per_page"].is_number() && result["encoding_rate"].is_null(), "{result}");
}

#[test]
fn a_result_has_samples_and_request_times_that_add_up_to_its_totals() {
    let report = results(&["--size", "64M", "--rounds", "3", "--method", "zstd+xbzrle"]);
    assert_eq!(report["kind"], "run");
    let result = &report["results"][0];
    let samples = result["timeline"].as_array().unwrap();
    let last = samples.last().unwrap();
    for field in ["pages", "zero_pages", "source_bytes", "wire_bytes", "pages_by_method", "seconds"] {
        assert_eq!(last[field], result[field], "{field}: {last}");
    }
    assert!(samples.len() > 1, "64 MiB take longer than one sample: {result}");
    for two in samples.windows(2) {
        for field in ["seconds", "pages", "wire_bytes"] {
            assert!(two[0][field].as_f64() <= two[1][field].as_f64(), "{field} falls: {two:?}");
        }
    }
    let buckets = result["latency"].as_array().unwrap();
    let requests: u64 = buckets.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    assert_eq!(requests, result["accelerators"][0]["requests"].as_u64().unwrap(), "{result}");
    assert!(result["downtime_ms"].is_null() && result.get("choices").is_none(), "{result}");
}

fn formatted(format: &str) -> Ended {
    let ended = run(&["run", "--size", "1M", "--method", "raw,delta", "--format", format]);
    assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
    ended
}

#[test]
fn table_csv_and_markdown_have_a_row_a_method() {
    let csv = formatted("csv").stdout;
    let fields: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(fields.len(), 3, "{csv}");
    assert!(fields.iter().all(|&count| count == fields[0]), "{csv}");
    assert!(csv.starts_with("method,accelerator,provenance,"), "{csv}");
    let markdown = formatted("markdown").stdout;
    assert_eq!(markdown.lines().filter(|line| line.starts_with("| `")).count(), 2, "{markdown}");
    let table = formatted("table").stdout;
    assert!(table.contains("pages/s") && table.contains("memory was the same at both ends"), "{table}");
    assert!(!table.contains('\x1b'), "no colours outside a terminal: {table}");
}

#[test]
fn the_result_goes_to_a_file_in_the_format_of_its_ending_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let export = |name: &str, more: &[&str]| {
        let path = file(name);
        let arguments = ["run", "--size", "1M", "--method", "raw", "--export", path.to_str().unwrap()];
        let ended = run(&[&arguments, more].concat());
        assert!(ended.code == Some(0) && ended.stdout.contains("pages/s"), "{ended:?}");
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(serde_json::from_str::<Value>(&export("a.json", &[])).unwrap()["schema"], 1);
    assert!(export("a.csv", &[]).starts_with("method,"));
    assert!(export("a.out", &["--export-format", "markdown"]).starts_with("| method |"));
    let nowhere = file("none/a.json");
    let ended = run(&["run", "--size", "1M", "--method", "raw", "--export", nowhere.to_str().unwrap()]);
    assert!(ended.code == Some(1) && ended.stderr.contains("cannot write"), "{ended:?}");
}
