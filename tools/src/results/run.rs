//! Rows of `run`, `send` and `recv`.

use std::path::Path;

use serde_json::Value;

use super::{Known, Provenance, Quantity, Results, Row};
use crate::chart::Slot;
use crate::outcome::{Outcome, Report};
use crate::quantity::ByteSize;

pub(super) fn results(report: Report, name: &str) -> Results {
    let Report { host, config, results, warnings, .. } = report;
    let (set, link) = (set(&config), link(&config));
    let rows = results.into_iter().map(|outcome| row(outcome, set.clone(), link)).collect();
    Results { name: name.to_owned(), host, config, rows, warnings }
}

/// A row of one outcome.
pub(super) fn row(outcome: Outcome, set: String, link: Option<u64>) -> Row {
    let provenance = Provenance::of(&outcome.provenance);
    let known = |value| Known { value, modelled: provenance.is_modelled() };
    let figures = [
        (Quantity::PagesPerSecond, Some(outcome.pages_per_s)),
        (Quantity::CpuPerPage, outcome.cpu_us_per_page),
        (Quantity::Ratio, outcome.ratio),
        (Quantity::Seconds, Some(outcome.seconds)),
        (Quantity::DowntimeMs, outcome.downtime_ms),
    ];
    let figures =
        figures.into_iter().filter_map(|(quantity, value)| Some((quantity, known(value?)))).collect();
    let Outcome { method, accelerator, request_us, pages_by_method, timeline, latency, choices, .. } =
        outcome;
    let id = format!("{method} by {accelerator}");
    let by = if accelerator == "cpu" { String::new() } else { format!(" by {accelerator}") };
    Row {
        base_id: id.clone(),
        id,
        name: format!("{method}{by}"),
        set,
        link,
        settings: String::new(),
        slot: Slot::of(&method),
        provenance,
        figures,
        course: provenance,
        timeline,
        latency,
        request_us: Some(request_us),
        pages_by_method,
        choices,
    }
}

/// Which memory was moved.
pub(super) fn set(config: &Value) -> String {
    let size = config["size"].as_u64().map(|bytes| format!(", {}", ByteSize(bytes))).unwrap_or_default();
    if let Some(workload) = config["workload"].as_str() {
        return format!("{workload}{size}");
    }
    let images: Vec<&str> =
        config["input"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let file = |path: &str| {
        Path::new(path)
            .file_name()
            .map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
    };
    match images[..] {
        [] => "guest".to_owned(),
        [one] => format!("{}{size}", file(one)),
        [first, .., last] => format!("{} to {}{size}", file(first), file(last)),
    }
}

/// How fast the link was, in bytes a second.
pub(super) fn link(config: &Value) -> Option<u64> {
    config["max_bandwidth"].as_u64()
}
