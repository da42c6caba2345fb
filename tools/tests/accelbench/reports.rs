//! Results that are drawn, and results that are held against each other.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::run;

/// The result of a small guest by two methods, in a file.
fn measured(folder: &Path, name: &str) -> String {
    let path = folder.join(name).to_str().unwrap().to_owned();
    let ended =
        run(&["run", "--size", "4M", "--rounds", "3", "--method", "raw,zstd+delta", "--export", &path]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    path
}

/// The same result, changed, in another file.
fn changed(file: &str, name: &str, change: impl Fn(&mut Value)) -> String {
    let mut value: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    change(&mut value);
    let path = Path::new(file).with_file_name(name);
    fs::write(&path, value.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_result_becomes_a_page_and_every_chart_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let result = measured(folder.path(), "r.json");
    let (page, charts) = (folder.path().join("r.html"), folder.path().join("charts"));
    let ended =
        run(&["report", &result, "--output", page.to_str().unwrap(), "--charts", charts.to_str().unwrap()]);
    assert!(ended.code == Some(0) && ended.stdout.contains("charts of 2 rows"), "{ended:?}");
    let text = fs::read_to_string(page).unwrap();
    for words in [
        "Throughput by method and link",
        "zstd+delta",
        "prefers-color-scheme: dark",
        "@media print",
        "Left out",
    ] {
        assert!(text.contains(words), "{words}");
    }
    for chart in ["throughput", "cpu-1", "latency"] {
        assert!(fs::read(charts.join(format!("{chart}.png"))).unwrap().starts_with(b"\x89PNG"), "{chart}");
        assert!(
            fs::read_to_string(charts.join(format!("{chart}.svg"))).unwrap().starts_with("<svg "),
            "{chart}"
        );
    }
}

/// Files that `compare`, `sweep` and `run` wrote, with a selector in each.
fn of_every_kind(folder: &Path) -> [String; 3] {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let files = ["compare.json", "sweep.json", "run.json"].map(file);
    let compare = ["compare", "--quick", "--modelled-only", "--workload", "ones", "--size", "1M"];
    let compare = [&compare[..], &["--memory", "64M", "--downtime", "10ms", "--dirty-rate", "1000"]].concat();
    let sweep = ["sweep", "--size", "4M", "--method", "raw,auto", "--cpu-budget", "0.25,1"].to_vec();
    let of_run = ["run", "--size", "16M", "--rounds", "3", "--method", "raw,zstd,auto"].to_vec();
    for (command, file) in [compare, sweep, of_run].iter().zip(&files) {
        let ended = run(&[&command[..], &["--export", file]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    files
}

#[test]
fn what_compare_sweep_and_run_write_becomes_one_page_with_every_chart() {
    let folder = tempfile::tempdir().unwrap();
    let files = of_every_kind(folder.path());
    let (page, charts) = (folder.path().join("all.html"), folder.path().join("charts"));
    let output = ["--output", page.to_str().unwrap(), "--charts", charts.to_str().unwrap()];
    let ended = run(&[&["report"], &files.each_ref().map(String::as_str)[..], &output].concat());
    // 10 rows, two methods under two budgets, and three methods.
    assert!(ended.code == Some(0) && ended.stdout.contains("charts of 17 rows"), "{ended:?}");
    let text = fs::read_to_string(page).unwrap();
    let missing = text.find("Left out").map(|at| text[at..].chars().take(200).collect::<String>());
    assert_eq!(missing, None, "a kind of chart is missing");
    for words in ["selector, all devices", "auto, CPU budget 0.25", "zstd"] {
        assert!(text.contains(words), "{words}");
    }
    let drawn = svgs(&charts);
    let of = |kind: &str| drawn.iter().filter(|(name, _)| name.starts_with(kind)).collect::<Vec<_>>();
    for kind in ["throughput", "cpu", "mix", "ratio", "dirty-rate", "downtime", "latency"] {
        let (name, svg) = of(kind).first().unwrap_or_else(|| panic!("no {kind}"));
        assert!(svg.contains("class=\"mark"), "{name}");
    }
    let maps = of("choices");
    assert_eq!(
        maps.len(),
        3,
        "a map for each stream of the sweep by the selector, and one for that of the run"
    );
    assert!(maps.iter().all(|(_, svg)| svg.contains("class=\"mark")), "{maps:?}");
    let mix = &of("mix")[0].1;
    assert!(mix.contains("selector (modelled)"), "the course of a comparison was not measured: {mix}");
}

/// The charts of a folder, by their names.
fn svgs(folder: &Path) -> Vec<(String, String)> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut svgs: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "svg"))
        .map(|file| {
            (file.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(file).unwrap())
        })
        .collect();
    svgs.sort();
    svgs
}

#[test]
fn results_of_every_kind_are_the_same_as_themselves() {
    let folder = tempfile::tempdir().unwrap();
    for (file, rows) in of_every_kind(folder.path()).iter().zip([10, 4, 3]) {
        let ended = run(&["compare-results", file, file, "--fail-below", "0%", "--format", "json"]).json();
        assert_eq!(ended["rows"].as_array().unwrap().len(), rows, "{ended}");
        let same = |row: &Value| row["pages_per_s"]["percent"] == json!(0.0);
        assert!(ended["rows"].as_array().unwrap().iter().all(same), "{ended}");
    }
}

#[test]
fn a_result_that_is_worse_exits_5_and_one_that_is_not_exits_0() {
    let folder = tempfile::tempdir().unwrap();
    let before = measured(folder.path(), "before.json");
    let slower = |times: f64| {
        move |value: &mut Value| {
            let pages = &mut value["results"][1]["pages_per_s"];
            *pages = json!(pages.as_f64().unwrap() * times);
        }
    };
    let (bad, fine) =
        (changed(&before, "bad.json", slower(0.9)), changed(&before, "fine.json", slower(0.96)));
    let ended = run(&["compare-results", &before, &bad, "--fail-below", "5%"]);
    assert!(ended.code == Some(5) && ended.stdout.contains("-10.0%"), "{ended:?}");
    assert!(ended.stderr.contains("worse by more than 5%: zstd+delta by cpu (-10.0% pages/s)"), "{ended:?}");
    for arguments in
        [&["compare-results", &*before, &fine, "--fail-below", "5%"][..], &["compare-results", &before, &bad]]
    {
        let ended = run(arguments);
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
    }
    let json = run(&["compare-results", &before, &bad, "--format", "json"]).json();
    assert_eq!(
        (&json["rows"][0]["pages_per_s"]["percent"], &json["kind"]),
        (&json!(0.0), &json!("compare-results"))
    );
}

#[test]
fn a_file_that_is_no_result_exits_1_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let result = measured(folder.path(), "r.json");
    let broken = changed(&result, "broken.json", |value| value["results"][1]["wire_bytes"] = json!("lots"));
    let other = changed(&result, "other.json", |value| value["results"][1]["method"] = json!("lz4"));
    let page = folder.path().join("never.html");
    for (file, words) in [(&*broken, "results[1].wire_bytes"), ("/no/such.json", "check the path")] {
        run(&["report", file, "--output", page.to_str().unwrap()]).fails(1, &[file, words]);
        run(&["compare-results", &result, file]).fails(1, &[file, words]);
    }
    assert!(!page.exists(), "a page of nothing");
    let ended = run(&["compare-results", &result, &other]);
    assert!(ended.stdout.contains("Only in ") && ended.stdout.contains("lz4 by cpu"), "{ended:?}");
    run(&["compare-results", &result, &other, "--fail-below", "much"]).fails(2, &["no percentage"]);
    run(&["report"]).fails(2, &["RESULT.json"]);
    run(&["report", &result, "--output", "/no/such/folder/r.html"]).fails(1, &["cannot write"]);
}
