//! Rows of `sweep`: one a point.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Results, Row, run};
use crate::host::Host;
use crate::outcome::Outcome;

/// The file.
#[derive(Debug, Deserialize)]
pub(super) struct Sweep {
    host: Host,
    #[serde(default)]
    config: Value,
    points: Vec<SweepPoint>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// What came of some settings.
#[derive(Debug, Deserialize)]
struct SweepPoint {
    settings: BTreeMap<String, Value>,
    result: Outcome,
}

pub(super) fn results(sweep: Sweep, name: &str) -> Results {
    let Sweep { host, config, points, warnings } = sweep;
    let set = run::set(&config);
    // A setting that is the same in all points would only make names longer.
    let varies = |setting: &str, value: &Value| {
        points.iter().any(|point| point.settings.get(setting).unwrap_or(&Value::Null) != value)
    };
    let differing: Vec<Vec<String>> = points
        .iter()
        .map(|point| {
            let settings = point.settings.iter();
            settings
                .filter(|&(setting, value)| setting != LINK && !value.is_null() && varies(setting, value))
                .map(|(setting, value)| words(setting, value))
                .collect()
        })
        .collect();
    let rows =
        points.into_iter().zip(differing).map(|(point, differing)| row(point, &differing, &set)).collect();
    Results { name: name.to_owned(), host, config, rows, warnings }
}

const LINK: &str = "max_bandwidth";

fn row(point: SweepPoint, differing: &[String], set: &str) -> Row {
    let SweepPoint { settings, result } = point;
    let link = settings.get(LINK).and_then(Value::as_u64);
    let mut row = run::row(result, set.to_owned(), link);
    row.settings = differing.join(", ");
    row.name = [std::slice::from_ref(&row.name), differing].concat().join(", ");
    let all =
        settings.iter().filter(|(_, value)| !value.is_null()).map(|(setting, value)| words(setting, value));
    row.base_id = [vec![row.base_id], all.collect()].concat().join(", ");
    row.id.clone_from(&row.base_id);
    row
}

/// A setting, as people say it.
fn words(setting: &str, value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let several = |one: &str| if text == "1" { format!("1 {one}") } else { format!("{text} {one}s") };
    match setting {
        "workers" => several("worker"),
        "queues" => several("queue"),
        "connections" => several("connection"),
        "max_pages" => format!("{text} pages a request"),
        LINK => format!("{text} bytes/s"),
        "cpu_budget" => format!("CPU budget {}", value.as_f64().unwrap_or_default()),
        other => format!("{other} {text}"),
    }
}
