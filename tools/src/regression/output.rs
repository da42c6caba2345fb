//! A comparison, in the formats that people and programs read.

use std::io::{self, Write};

use super::args::ComparisonFormat;
use super::pair::{Change, Comparison, Pair};
use crate::export::figure;

/// Writes it.
pub(super) fn write(
    comparison: &Comparison,
    format: ComparisonFormat,
    out: &mut dyn Write,
) -> io::Result<()> {
    match format {
        ComparisonFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, comparison)?;
            writeln!(out)
        }
        ComparisonFormat::Table => {
            table(comparison, out)?;
            remarks(comparison, "  ", out)
        }
        ComparisonFormat::Markdown => {
            markdown(comparison, out)?;
            remarks(comparison, "> ", out)
        }
    }
}

/// Three columns: a figure before and after, and its change.
struct Columns {
    name: &'static str,
    /// Behind the point.
    digits: usize,
    change: fn(&Pair) -> Change,
}

const FIGURES: [Columns; 3] = [
    Columns { name: "pages/s", digits: 0, change: |pair| pair.pages_per_s },
    Columns { name: "CPU µs/page", digits: 2, change: |pair| pair.cpu_us_per_page },
    Columns { name: "ratio", digits: 2, change: |pair| pair.ratio },
];

fn cells(pair: &Pair) -> Vec<String> {
    let all = FIGURES.iter().flat_map(|&Columns { digits, change, .. }| {
        let Change { before, after, percent } = change(pair);
        let change = percent.map_or_else(|| "-".to_owned(), signed);
        [figure(before, digits), figure(after, digits), change]
    });
    std::iter::once(pair.row.clone()).chain(all).collect()
}

/// A change with its sign, unless none is left of it.
fn signed(percent: f64) -> String {
    if percent.abs() < 0.05 { "0.0%".to_owned() } else { format!("{percent:+.1}%") }
}

/// Names of the columns, in two lines.
fn head() -> [Vec<String>; 2] {
    let line = |first: &str, others: &[&str]| {
        std::iter::once(&first).chain(others).map(ToString::to_string).collect()
    };
    let names: Vec<&str> = FIGURES.iter().flat_map(|one| [one.name, "", ""]).collect();
    [line("", &names), line("row", &["before", "after", "change"].repeat(FIGURES.len()))]
}

fn table(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    let lines: Vec<Vec<String>> = head().into_iter().chain(comparison.rows.iter().map(cells)).collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    for (number, line) in lines.iter().enumerate() {
        let mut text = String::from(" ");
        for (column, cell) in line.iter().enumerate() {
            let blank = " ".repeat(width(column).saturating_sub(cell.chars().count()));
            let cell = if column == 0 { format!(" {cell}{blank}") } else { format!("  {blank}{cell}") };
            text.push_str(&cell);
        }
        writeln!(out, "{}", text.trim_end())?;
        if number == 1 {
            let all: usize = (0..line.len()).map(|column| width(column) + 2).sum();
            writeln!(out, "  {}", "─".repeat(all.saturating_sub(2)))?;
        }
    }
    Ok(())
}

fn markdown(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    let columns: Vec<String> = FIGURES
        .iter()
        .flat_map(|one| ["before", "after", "change"].map(|which| format!("{} {which}", one.name)))
        .collect();
    writeln!(out, "| row | {} |", columns.join(" | "))?;
    writeln!(out, "|:--|{}", "--:|".repeat(columns.len()))?;
    comparison.rows.iter().try_for_each(|pair| {
        let cells: Vec<String> = cells(pair).iter().map(|cell| cell.replace('|', "\\|")).collect();
        writeln!(out, "| {} |", cells.join(" | "))
    })
}

/// What is missing, and what makes the comparison doubtful.
fn remarks(comparison: &Comparison, before: &str, out: &mut dyn Write) -> io::Result<()> {
    for (file, rows) in
        [(&comparison.before, &comparison.only_before), (&comparison.after, &comparison.only_after)]
    {
        if !rows.is_empty() {
            writeln!(out, "\n{before}Only in {file}: {}", rows.join(", "))?;
        }
    }
    comparison.warnings.iter().try_for_each(|warning| writeln!(out, "\n{before}Warning: {warning}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pair::tests::comparison;
    use super::*;

    fn written(format: ComparisonFormat) -> String {
        let comparison = comparison(|after| {
            after["results"][0]["pages_per_s"] = json!(1500.0);
            after["results"][1]["method"] = json!("lz4");
        });
        let mut out = Vec::new();
        write(&comparison.unwrap(), format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_has_both_values_and_the_change() {
        let table = written(ComparisonFormat::Table);
        assert!(table.contains("2,000  1,500  -25.0%"), "{table}");
        assert!(
            table.contains("Only in a.json: zstd by cpu") && table.contains("Only in b.json: lz4 by cpu"),
            "{table}"
        );
        let markdown = written(ComparisonFormat::Markdown);
        assert!(markdown.contains("| raw by cpu | 2,000 | 1,500 | -25.0% |"), "{markdown}");
        let bars: Vec<usize> = markdown.lines().take(3).map(|line| line.matches('|').count()).collect();
        assert_eq!(bars, [11, 11, 11], "{markdown}");
        let json: Value = serde_json::from_str(&written(ComparisonFormat::Json)).unwrap();
        assert_eq!(
            json["rows"][0]["pages_per_s"],
            json!({ "before": 2000.0, "after": 1500.0, "percent": -25.0 })
        );
        assert_eq!(
            (&json["kind"], &json["only_after"][0]),
            (&json!("compare-results"), &json!("lz4 by cpu"))
        );
    }
}
