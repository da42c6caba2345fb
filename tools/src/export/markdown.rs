//! A table for an issue or a README.

use std::io::{self, Write};

use super::{Exporter, figure};
use crate::grouped::count;
use crate::outcome::{Outcome, Report};

pub(super) struct Markdown;

const HEAD: [&str; 11] = [
    "method",
    "pages/s",
    "before, MiB/s",
    "wire, MiB/s",
    "ratio",
    "encoding rate",
    "source CPU, µs a page",
    "destination CPU, µs a page",
    "request p50 / p99 / max, µs",
    "zero pages",
    "verified",
];

impl Exporter for Markdown {
    fn export(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "| {} |", HEAD.join(" | "))?;
        writeln!(out, "|:--|{}:--|", "--:|".repeat(HEAD.len() - 2))?;
        for outcome in &report.results {
            writeln!(out, "| {} |", cells(outcome).join(" | "))?;
        }
        writeln!(out)?;
        report.summary.iter().try_for_each(|line| writeln!(out, "{line}  "))?;
        report.warnings.iter().try_for_each(|warning| writeln!(out, "\n> Warning: {warning}"))
    }
}

fn cells(outcome: &Outcome) -> [String; HEAD.len()] {
    let mib = |bytes: f64| figure(Some(bytes / 1_048_576.0), 0);
    let request = [outcome.request_us.p50, outcome.request_us.p99, outcome.request_us.max];
    let verified = match outcome.verified {
        Some(true) => "yes",
        Some(false) => "**NO**",
        None => "not compared",
    };
    [
        format!("`{}`", outcome.method),
        figure(Some(outcome.pages_per_s), 0),
        mib(outcome.source_bytes_per_s),
        mib(outcome.wire_bytes_per_s),
        figure(outcome.ratio, 2),
        figure(outcome.encoding_rate, 1),
        figure(outcome.source_cpu_us_per_page, 2),
        figure(outcome.destination_cpu_us_per_page, 2),
        request.map(|micros| figure(Some(micros), 0)).join(" / "),
        count(outcome.zero_pages),
        verified.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::{migrated, report};

    #[test]
    fn every_line_of_the_table_has_the_same_columns() {
        let outcome = Outcome::of(&[migrated("delta", 0.5)], false).unwrap();
        let mut out = Vec::new();
        Markdown.export(&report(vec![outcome]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let bars: Vec<usize> = text.lines().take(3).map(|line| line.matches('|').count()).collect();
        assert_eq!(bars, [HEAD.len() + 1; 3], "{text}");
        assert!(
            text.contains("| `delta` | 2,000 | 8 | 2 | 4.00 | 40.0 | 8.00 | 2.00 | 100 / 250 / 1,234 |"),
            "{text}"
        );
        assert!(text.contains("> Warning: too short"), "{text}");
    }
}
