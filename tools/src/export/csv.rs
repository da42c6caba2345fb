//! A line a method, with a head (RFC 4180).

use std::io::{self, Write};

use super::Exporter;
use crate::figures::WorkCounts;
use crate::outcome::{Outcome, Report};

pub(super) struct Csv;

const HEAD: [&str; 27] = [
    "method",
    "accelerator",
    "provenance",
    "rounds",
    "pages",
    "zero_pages",
    "pages_per_s",
    "source_bytes",
    "wire_bytes",
    "source_bytes_per_s",
    "wire_bytes_per_s",
    "ratio",
    "encoding_rate",
    "seconds",
    "source_cpu_us_per_page",
    "destination_cpu_us_per_page",
    "cpu_us_per_page",
    "request_us_p50",
    "request_us_p99",
    "request_us_max",
    "pages_by_method",
    "fallbacks",
    "verified",
    "runs",
    "destination_fallbacks",
    "requests_by_accelerator",
    "destination_requests_by_accelerator",
];

impl Exporter for Csv {
    fn export(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        outcome_csv(&[], report.results.iter().map(|outcome| (Vec::new(), outcome)), out)
    }
}

/// A line an outcome, with fields of these names before its own.
pub(crate) fn outcome_csv<'a>(
    names: &[&str],
    rows: impl Iterator<Item = (Vec<String>, &'a Outcome)>,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "{}", [names, &HEAD].concat().join(","))?;
    for (before, outcome) in rows {
        line(before.into_iter().chain(fields(outcome)), out)?;
    }
    Ok(())
}

/// One line.
pub(crate) fn line(fields: impl Iterator<Item = String>, out: &mut dyn Write) -> io::Result<()> {
    let fields: Vec<String> = fields.map(|field| quoted(&field)).collect();
    writeln!(out, "{}", fields.join(","))
}

/// The fields in the order of the head; one that does not exist is empty.
fn fields(outcome: &Outcome) -> [String; HEAD.len()] {
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let list = |pairs: &mut dyn Iterator<Item = (&str, u64)>| {
        pairs.map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
    };
    [
        outcome.method.clone(),
        outcome.accelerator.clone(),
        outcome.provenance.clone(),
        outcome.rounds.to_string(),
        outcome.pages.to_string(),
        outcome.zero_pages.to_string(),
        outcome.pages_per_s.to_string(),
        outcome.source_bytes.to_string(),
        outcome.wire_bytes.to_string(),
        outcome.source_bytes_per_s.to_string(),
        outcome.wire_bytes_per_s.to_string(),
        number(outcome.ratio),
        number(outcome.encoding_rate),
        outcome.seconds.to_string(),
        number(outcome.source_cpu_us_per_page),
        number(outcome.destination_cpu_us_per_page),
        number(outcome.cpu_us_per_page),
        outcome.request_us.p50.to_string(),
        outcome.request_us.p99.to_string(),
        outcome.request_us.max.to_string(),
        list(&mut outcome.pages_by_method.iter()),
        list(&mut outcome.fallbacks.fields()),
        outcome.verified.map(|verified| verified.to_string()).unwrap_or_default(),
        outcome.runs.len().to_string(),
        list(&mut outcome.destination_fallbacks.fields()),
        list(&mut outcome.accelerators.iter().map(requests)),
        list(&mut outcome.destination_accelerators.iter().map(requests)),
    ]
}

fn requests(work: &WorkCounts) -> (&str, u64) {
    (&work.accelerator, work.requests)
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::{migrated, report};

    #[test]
    fn every_line_has_as_many_fields_as_the_head() {
        let outcomes = ["raw", "delta"].map(|method| Outcome::of(&[migrated(method, 1.0)], false).unwrap());
        let mut out = Vec::new();
        Csv.export(&report(outcomes.to_vec()), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [HEAD.len(); 3]);
        let column = |name: &str| HEAD.iter().position(|&field| field == name).unwrap();
        assert_eq!(lines[1][column("pages_by_method")], "raw=990 delta=10");
        assert_eq!(lines[2][column("wire_bytes")], "1024000");
        assert!(lines[2][column("fallbacks")].starts_with("no_baseline_pages=990 "));
        assert!(lines[2][column("destination_fallbacks")].contains(" deadline_requests=3 "));
    }

    #[test]
    fn separators_within_a_field_are_quoted() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("plain text"), "plain text");
    }
}
