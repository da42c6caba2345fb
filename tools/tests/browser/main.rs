//! The report's page and charts in a real browser: nothing fails, nothing is loaded, nothing is empty, and no words cover
//! each other; in light, in the dark and on paper.

mod chromium;
mod inspection;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chromium::Chromium;
use inspection::{Mode, inked, problems};
use resvg::tiny_skia::Pixmap;
use serde_json::{Value, json};
use tempfile::TempDir;

const MODES: [Mode; 3] = [Mode::Light, Mode::Dark, Mode::Print];

/// A comparison of which every figure is made up, with all there is to draw.
const MADE_UP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/made-up-comparison.json");

/// The browser; says why a test is skipped if there is none.
fn browser() -> Option<Chromium> {
    let program = chromium::find();
    if program.is_none() {
        eprintln!(
            "SKIPPED: there is no Chromium: install Debian's package chromium, or name one in PAGEFERRY_CHROMIUM"
        );
    }
    program.map(|program| Chromium::start(&program))
}

fn accelbench(arguments: &[&str]) {
    let ended =
        Command::new(env!("CARGO_BIN_EXE_accelbench")).args(arguments).output().expect("accelbench starts");
    assert!(ended.status.success(), "{arguments:?}: {ended:?}");
}

/// A page of these results.
fn report(results: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    accelbench(&[&["report"], results, &["--output", page.to_str().unwrap()]].concat());
    (folder, page)
}

/// Results of a guest that is moved now, over two links, by CPUs, by a selector and by models; of a sweep, and of a comparison.
fn measured(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (fast, slow, model) = (file("fast.json"), file("slow.json"), file("model.json"));
    let run = ["run", "--size", "24M", "--rounds", "4", "--export"];
    accelbench(
        &[&run[..], &[&fast, "--method", "raw,deflate,zstd,lz4,xbzrle,delta,zstd+xbzrle,auto"]].concat(),
    );
    accelbench(&[&run[..], &[&slow, "--method", "raw,zstd", "--max-bandwidth", "1Gbit"]].concat());
    let devices = ["--accelerator", "iaa-model,dsa-full-model", "--method", "deflate+delta"];
    accelbench(&[&run[..], &[&model], &devices].concat());
    let (swept, compared) = (file("swept.json"), file("compared.json"));
    let sweep = ["sweep", "--size", "4M", "--method", "raw,auto", "--cpu-budget", "0.25,1"];
    accelbench(&[&sweep[..], &["--export", &swept]].concat());
    let compare = [
        "compare",
        "--quick",
        "--modelled-only",
        "--workload",
        "ones,kv",
        "--size",
        "1M",
        "--dirty-rate",
        "1000",
    ];
    accelbench(&[&compare[..], &["--memory", "64M", "--downtime", "10ms", "--export", &compared]].concat());
    vec![fast, slow, model, swept, compared]
}

fn all_is_well(browser: &mut Chromium, page: &Path) {
    let found: Vec<String> =
        MODES.iter().flat_map(|&mode| problems(&mut browser.tab(), page, mode)).collect();
    assert!(found.is_empty(), "{}:\n{}", page.display(), found.join("\n"));
}

#[test]
fn a_page_of_what_was_measured_now_shows_every_chart() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let results = measured(folder.path());
    let (_folder, page) = report(&results.iter().map(String::as_str).collect::<Vec<_>>());
    all_is_well(&mut browser, &page);
}

#[test]
fn a_page_of_a_comparison_shows_every_chart() {
    let Some(mut browser) = browser() else { return };
    let (_folder, page) = report(&[MADE_UP]);
    all_is_well(&mut browser, &page);
}

/// The made-up comparison, changed.
fn changed(change: impl Fn(&mut Value)) -> (TempDir, PathBuf) {
    let mut comparison: Value = serde_json::from_slice(&fs::read(MADE_UP).unwrap()).unwrap();
    change(&mut comparison);
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (folder.path().join("changed.json"), folder.path().join("report.html"));
    fs::write(&file, comparison.to_string()).unwrap();
    accelbench(&["report", file.to_str().unwrap(), "--output", page.to_str().unwrap()]);
    (folder, page)
}

#[test]
fn one_row_twelve_rows_and_long_names_have_their_place() {
    let Some(mut browser) = browser() else { return };
    let (_one, page) = changed(|comparison| {
        comparison["workloads"].as_array_mut().unwrap().truncate(1);
        comparison["workloads"][0]["rows"].as_array_mut().unwrap().truncate(1);
    });
    all_is_well(&mut browser, &page);
    let (_twelve, page) = changed(|comparison| {
        let rows = comparison["workloads"][0]["rows"].as_array_mut().unwrap();
        let more: Vec<Value> = rows.iter().take(4).cloned().collect();
        rows.extend(more);
        for (number, row) in rows.iter_mut().enumerate().skip(6) {
            row["name"] = json!(format!(
                "row {number} of somebody who names things at length, <b>and</b> by every setting that they have"
            ));
        }
    });
    all_is_well(&mut browser, &page);
}

#[test]
fn every_chart_is_a_file_that_a_browser_draws_and_a_png_that_is_not_empty() {
    let Some(mut browser) = browser() else { return };
    let (folder, page) = changed(|comparison| comparison["workloads"].as_array_mut().unwrap().truncate(1));
    let (result, charts) = (folder.path().join("changed.json"), folder.path().join("charts"));
    let output = ["--output", page.to_str().unwrap(), "--charts", charts.to_str().unwrap()];
    accelbench(&[&["report", result.to_str().unwrap()][..], &output].concat());
    let mut files: Vec<PathBuf> = fs::read_dir(charts).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let (svgs, pngs): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.extension().is_some_and(|end| end == "svg"));
    assert!(svgs.len() == pngs.len() && svgs.len() == 8, "{} and {}", svgs.len(), pngs.len());
    let mut tab = browser.tab();
    for svg in svgs {
        tab.events();
        tab.open(&svg);
        let drawn = "[document.documentElement.nodeName, document.querySelectorAll('.mark').length, document.querySelectorAll('parsererror').length]";
        let drawn = tab.evaluate(drawn);
        assert!(
            drawn[0] == "svg" && drawn[1].as_u64() > Some(0) && drawn[2] == 0,
            "{}: {drawn}",
            svg.display()
        );
    }
    for png in pngs {
        let image = Pixmap::decode_png(&fs::read(&png).unwrap()).unwrap();
        let share = inked(&image);
        assert!(image.width() == 1840 && share > 0.01, "{}: {} wide, {share}", png.display(), image.width());
    }
}

/// A page that is broken is found to be, or the tests above find nothing.
#[test]
fn whatever_is_broken_is_found() {
    let Some(mut browser) = browser() else { return };
    let (folder, page) = changed(|comparison| comparison["workloads"].as_array_mut().unwrap().truncate(1));
    let whole = fs::read_to_string(&page).unwrap();
    let mut found = |what: &str, broken: &str, words: &str| {
        assert_ne!(broken, whole, "{what}: nothing is broken");
        let file = folder.path().join("broken.html");
        fs::write(&file, broken).unwrap();
        let problems = problems(&mut browser.tab(), &file, Mode::Dark);
        assert!(problems.iter().any(|problem| problem.contains(words)), "{what}: {problems:?}");
    };
    let before_the_end = |element: &str| whole.replace("</main>", &format!("{element}</main>"));
    found(
        "marks without colour",
        &whole.replace("</style>", ".mark { fill: none; stroke: none; }</style>"),
        "shows 0 of",
    );
    found(
        "marks of the paper's colour",
        &whole.replace(
            "</style>",
            ".mark { fill: var(--paper) !important; stroke: var(--paper) !important; }</style>",
        ),
        "nothing is drawn",
    );
    found("an element that is not closed", &whole.replacen("<g transform", "<defs><g transform", 1), "marks");
    found(
        "a chart of no size",
        &whole.replacen("class=\"chart\"", "class=\"chart\" style=\"width: 0\"", 1),
        "is 0 by",
    );
    found("an image from elsewhere", &before_the_end("<img src=\"http://192.0.2.1/a.png\">"), "192.0.2.1");
    found("a script", &before_the_end("<script>nothing.there()</script>"), "the log says");
    found("colours for light alone", &whole.replace("prefers-color-scheme", "prefers-nothing"), "paper of");
    found(
        "words over words",
        &whole.replacen("<text class=\"end\"", "<text class=\"end\" dy=\"27\"", 1),
        "covered",
    );
    found("fonts that are missing", &whole.replace("@font-face", "@font-farce"), "fonts are loaded");
}
