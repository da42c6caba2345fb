//! Looks at a page as a reader does, and lists what is wrong with it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use resvg::tiny_skia::{Pixmap, PremultipliedColorU8};
use serde_json::{Value, json};

use super::chromium::{Tab, url};

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Light,
    Dark,
    Print,
}

/// Whatever is wrong with the page; nothing, if nothing is.
pub fn problems(tab: &mut Tab<'_>, page: &Path, mode: Mode) -> Vec<String> {
    let (media, scheme) = match mode {
        Mode::Light => ("screen", "light"),
        Mode::Dark => ("screen", "dark"),
        // A dark desktop prints on white paper too.
        Mode::Print => ("print", "dark"),
    };
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    tab.call("Emulation.setEmulatedMedia", &json!({ "media": media, "features": features }));
    let size = json!({ "width": 1100, "height": 1400, "deviceScaleFactor": 1, "mobile": false });
    tab.call("Emulation.setDeviceMetricsOverride", &size);
    tab.events();
    tab.open(page);
    let seen = tab.evaluate(include_str!("inspect.js"));
    let mut problems = of_page(&seen, mode);
    let charts = seen["charts"].as_array().unwrap();
    charts.iter().for_each(|chart| problems.extend(of_chart(chart)));
    // What is left when words and guides are gone are the marks themselves.
    tab.evaluate(HIDE_ALL_BUT_MARKS);
    // What has no size has been found already, and cannot be photographed.
    let sized = |chart: &&Value| {
        chart["box"]["width"].as_f64() > Some(0.0) && chart["box"]["height"].as_f64() > Some(0.0)
    };
    for chart in charts.iter().filter(sized) {
        let share = inked(&screenshot(tab, &chart["box"]));
        if share < LEAST_INK {
            problems
                .push(format!("{}: nothing is drawn: {share:.5} of its pixels are not paper", chart["id"]));
        }
    }
    problems.extend(tab.events().iter().filter_map(|event| of_event(event, page)));
    problems.iter().map(|problem| format!("{mode:?}: {problem}")).collect()
}

/// Less than this share of a chart in any other colour than its paper is nothing: a dot of 7 units is 0.0004.
const LEAST_INK: f64 = 0.0002;

const HIDE_ALL_BUT_MARKS: &str = "document.head.insertAdjacentHTML('beforeend', \
    '<style>svg text, svg line, svg rect:not(.mark) { visibility: hidden !important; } pattern rect { visibility: visible !important; }</style>')";

fn of_page(seen: &Value, mode: Mode) -> Vec<String> {
    let mut problems = Vec::new();
    let brightness = |colour: &Value| {
        colour.as_array().unwrap().iter().take(3).map(|part| part.as_f64().unwrap()).sum::<f64>() / 765.0
    };
    let (paper, ink) = (brightness(&seen["paper"]), brightness(&seen["ink"]));
    let is_dark = mode == Mode::Dark;
    if (paper < 0.5) != is_dark || (ink < 0.5) == is_dark {
        problems.push(format!("paper of {paper:.2} and ink of {ink:.2}"));
    }
    if seen["charts"].as_array().unwrap().is_empty() {
        problems.push("no chart".to_owned());
    }
    if seen["fonts"] != 2 {
        problems.push(format!("{} of 2 fonts are loaded", seen["fonts"]));
    }
    if seen["wider"].as_f64().unwrap() > 0.0 {
        problems.push(format!("the page is wider than the window by {}", seen["wider"]));
    }
    problems
}

fn of_chart(chart: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let (width, height) = (chart["box"]["width"].as_f64().unwrap(), chart["box"]["height"].as_f64().unwrap());
    if width < 400.0 || height < 60.0 {
        problems.push(format!("is {width} by {height}"));
    }
    if chart["marks"] == 0 || chart["visible"] != chart["marks"] {
        problems.push(format!("shows {} of {} marks", chart["visible"], chart["marks"]));
    }
    if chart["named"] != true {
        problems.push("has no title or no description".to_owned());
    }
    if chart["texts"].as_u64() < Some(3) {
        problems.push(format!("has {} texts", chart["texts"]));
    }
    for (what, field) in [("outside of it", "outside"), ("covered", "covered")] {
        if chart[field] != json!([]) {
            problems.push(format!("has texts {what}: {}", chart[field]));
        }
    }
    problems.into_iter().map(|problem| format!("{}: {problem}", chart["id"])).collect()
}

/// Whether a page did what it must not do: fail, complain, or ask for anything.
fn of_event(event: &Value, page: &Path) -> Option<String> {
    let parameters = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(format!("a script failed: {parameters}")),
        "Runtime.consoleAPICalled" => Some(format!("the console says {parameters}")),
        "Log.entryAdded" => Some(format!("the log says {}", parameters["entry"])),
        "Network.loadingFailed" => Some(format!("something could not be loaded: {parameters}")),
        "Network.requestWillBeSent" => {
            let asked = parameters["request"]["url"].as_str().unwrap_or_default();
            (asked != url(page) && !asked.starts_with("data:")).then(|| format!("it asks for {asked}"))
        }
        _ => None,
    }
}

fn screenshot(tab: &mut Tab<'_>, area: &Value) -> Pixmap {
    let clip = json!({ "x": area["x"], "y": area["y"], "width": area["width"], "height": area["height"], "scale": 0.5 });
    let taken = tab.call(
        "Page.captureScreenshot",
        &json!({ "format": "png", "clip": clip, "captureBeyondViewport": true }),
    );
    Pixmap::decode_png(&STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()).unwrap()
}

/// Which share of an image is of another colour than its corner.
pub fn inked(image: &Pixmap) -> f64 {
    let paper = image.pixels()[0];
    let differs = |pixel: &&PremultipliedColorU8| {
        let far = |one: u8, other: u8| one.abs_diff(other) > 12;
        far(pixel.red(), paper.red()) || far(pixel.green(), paper.green()) || far(pixel.blue(), paper.blue())
    };
    image.pixels().iter().filter(differs).count() as f64 / image.pixels().len() as f64
}
