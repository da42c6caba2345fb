//! The table on a terminal.

use std::collections::BTreeSet;
use std::io::{self, Write};

use super::{Exporter, figure};
use crate::grouped::count;
use crate::outcome::{Outcome, Report};

/// A row a method; the best value of a column has a star, and stands out where the terminal can do that.
pub(super) struct Table {
    pub(super) styled: bool,
}

/// A column: its two lines of head, its cells, and which of its values is best.
struct Column {
    head: [&'static str; 2],
    value: fn(&Outcome) -> Option<f64>,
    digits: usize,
    best: Best,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Best {
    Highest,
    Lowest,
    None,
}

const COLUMNS: [Column; 11] = [
    column(["", "pages/s"], |one| Some(one.pages_per_s), 0, Best::Highest),
    column(["before", "MiB/s"], |one| Some(one.source_bytes_per_s / MIB), 0, Best::None),
    column(["wire", "MiB/s"], |one| Some(one.wire_bytes_per_s / MIB), 0, Best::None),
    column(["", "ratio"], |one| one.ratio, 2, Best::Highest),
    column(["encoding", "rate"], |one| one.encoding_rate, 1, Best::Highest),
    column(["source", "µs/page"], |one| one.source_cpu_us_per_page, 2, Best::Lowest),
    column(["dest.", "µs/page"], |one| one.destination_cpu_us_per_page, 2, Best::Lowest),
    column([BOTH, "µs/page"], |one| one.cpu_us_per_page, 2, Best::Lowest),
    column(["request", "p50 µs"], |one| Some(one.request_us.p50), 0, Best::None),
    column(["request", "p99 µs"], |one| Some(one.request_us.p99), 0, Best::None),
    column(["request", "max µs"], |one| Some(one.request_us.max), 0, Best::None),
];

const fn column(
    head: [&'static str; 2],
    value: fn(&Outcome) -> Option<f64>,
    digits: usize,
    best: Best,
) -> Column {
    Column { head, value, digits, best }
}

const BOTH: &str = "both ends";
const MIB: f64 = 1_048_576.0;

/// What can be said of a cell beyond its text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
}

impl Exporter for Table {
    fn export(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        self.rows(&report.results, out)?;
        self.details(&report.results, out)?;
        if !report.summary.is_empty() {
            writeln!(out)?;
        }
        for line in &report.summary {
            writeln!(out, "  {}", self.paint(line, Tone::Faint))?;
        }
        for warning in &report.warnings {
            writeln!(out, "\n  {} {warning}", self.paint("Warning:", Tone::Bad))?;
        }
        Ok(())
    }
}

impl Table {
    fn rows(&self, outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<&str> = outcomes.iter().map(|one| &*one.method).collect();
        let name_width = names.iter().map(|name| width(name)).chain([6]).max().unwrap_or(0);
        // Both ends together are worth a column only where neither is known by itself.
        let apart = outcomes.iter().any(|one| one.source_cpu_us_per_page.is_some());
        let shown: Vec<(Vec<String>, &Column)> = COLUMNS
            .iter()
            .filter(|column| !(apart && column.head[0] == BOTH))
            .map(|column| (cells(column, outcomes), column))
            // A column of dashes tells nothing.
            .filter(|(cells, _)| cells.iter().any(|cell| cell.trim() != "-"))
            .collect();
        let widths: Vec<usize> = shown
            .iter()
            .map(|(cells, column)| {
                let head = column.head.iter().map(|line| width(line) + 1);
                cells.iter().map(|cell| width(cell)).chain(head).max().unwrap_or(0)
            })
            .collect();
        for line in 0..2 {
            let name = if line == 1 { "method" } else { "" };
            let heads = shown
                .iter()
                .zip(&widths)
                .map(|((_, column), &wide)| format!("  {}", right(&format!("{} ", column.head[line]), wide)));
            let head = format!("  {}{}", left(name, name_width), heads.collect::<String>());
            writeln!(out, "{}", self.paint(head.trim_end(), Tone::Strong))?;
        }
        let rule = name_width + widths.iter().map(|wide| wide + 2).sum::<usize>();
        writeln!(out, "  {}", self.paint(&"─".repeat(rule), Tone::Faint))?;
        for (row, outcome) in outcomes.iter().enumerate() {
            write!(out, "  {}", left(&outcome.method, name_width))?;
            for ((cells, _), &wide) in shown.iter().zip(&widths) {
                let tone = if cells[row].ends_with('*') { Tone::Good } else { Tone::Plain };
                write!(out, "  {}", self.paint(&right(&cells[row], wide), tone))?;
            }
            match outcome.verified {
                Some(false) => writeln!(out, "  {}", self.paint("MEMORY DIFFERS", Tone::Bad))?,
                _ => writeln!(out)?,
            }
        }
        Ok(())
    }

    /// What does not fit a column: how the pages travelled where that was not by one method alone, and the runs.
    fn details(&self, outcomes: &[Outcome], out: &mut dyn Write) -> io::Result<()> {
        let wide = outcomes.iter().map(|one| width(&one.method)).max().unwrap_or(0);
        let lines: Vec<(&str, String)> =
            outcomes.iter().flat_map(|one| details(one).map(|line| (&*one.method, line))).collect();
        if !lines.is_empty() {
            writeln!(out)?;
        }
        lines.iter().try_for_each(|(method, line)| writeln!(out, "  {}  {line}", left(method, wide)))
    }

    fn paint(&self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if !self.styled => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "1;32",
            Tone::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The texts of a column. All but the best have a blank where that has its star, so that digits stay aligned.
fn cells(column: &Column, outcomes: &[Outcome]) -> Vec<String> {
    let values: Vec<Option<f64>> = outcomes.iter().map(column.value).collect();
    let known = || values.iter().flatten().copied();
    let best = match column.best {
        // Alone, or among equals, nothing is best.
        _ if known().map(f64::to_bits).collect::<BTreeSet<_>>().len() < 2 => None,
        Best::Highest => known().max_by(f64::total_cmp),
        Best::Lowest => known().min_by(f64::total_cmp),
        Best::None => None,
    };
    let cell = |value: &Option<f64>| {
        let star = if best.is_some() && *value == best { '*' } else { ' ' };
        format!("{}{star}", figure(*value, column.digits))
    };
    values.iter().map(cell).collect()
}

fn details(outcome: &Outcome) -> impl Iterator<Item = String> {
    let mut lines = Vec::new();
    let carried: Vec<String> =
        outcome.pages_by_method.iter().map(|(name, pages)| format!("{} {name}", count(pages))).collect();
    if outcome.pages_by_method.iter().any(|(name, _)| name != outcome.method) {
        let reasons: Vec<String> = outcome
            .fallbacks
            .of_pages()
            .map(|(reason, pages)| format!("{} {reason}", count(pages)))
            .collect();
        let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        lines.push(format!("pages: {}{why}", carried.join(", ")));
    }
    for (end, fallbacks) in
        [("devices", &outcome.fallbacks), ("devices at the destination", &outcome.destination_fallbacks)]
    {
        let lost: Vec<String> =
            fallbacks.of_devices().map(|(reason, number)| format!("{} {reason}", count(number))).collect();
        if !lost.is_empty() {
            lines.push(format!("{end}: {}", lost.join(", ")));
        }
    }
    if let [_, _, ..] = &outcome.runs[..] {
        let all = || outcome.runs.iter().map(|run| run.pages_per_s);
        let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        let runs = outcome.runs.len();
        lines.push(format!(
            "{} … {} pages/s in {runs} runs, the median is shown",
            figure(Some(least), 0),
            figure(Some(most), 0)
        ));
    }
    lines.into_iter()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn left(text: &str, wide: usize) -> String {
    format!("{text}{}", " ".repeat(wide.saturating_sub(width(text))))
}

fn right(text: &str, wide: usize) -> String {
    format!("{}{text}", " ".repeat(wide.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::{migrated, report};

    fn table(outcomes: Vec<Outcome>, styled: bool) -> String {
        let mut out = Vec::new();
        Table { styled }.export(&report(outcomes), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn outcome(method: &str, seconds: f64) -> Outcome {
        Outcome::of(&[migrated(method, seconds)], false).unwrap()
    }

    #[test]
    fn digits_stand_below_each_other_and_the_best_has_the_star() {
        let text = table(vec![outcome("deflate+delta", 0.5), outcome("raw", 0.001)], false);
        let lines: Vec<&str> = text.lines().collect();
        let end = |line: &str, cell: &str| line[..line.find(cell).unwrap()].chars().count() + cell.len();
        assert_eq!(end(lines[3], "2,000"), end(lines[4], "1,000,000"), "{text}");
        assert!(lines[4].contains("1,000,000*") && !lines[3].contains("2,000*"), "{text}");
        assert!(text.contains("pages: 990 raw, 10 delta (990 without a baseline)"), "{text}");
        let late = "devices at the destination: 3 requests that met their deadline and went to another\n";
        assert!(text.contains(late), "{text}");
        assert!(text.contains("Warning: too short") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn one_row_alone_has_no_best_and_columns_without_figures_are_left_out() {
        let mut only = outcome("raw", 1.0);
        only.encoding_rate = None;
        let text = table(vec![only], false);
        assert!(!text.contains('*') && !text.contains("encoding"), "{text}");
    }

    #[test]
    fn memory_that_differs_is_not_overlooked() {
        let mut bad = outcome("raw", 1.0);
        bad.verified = Some(false);
        assert!(table(vec![bad], true).contains("\x1b[1;31mMEMORY DIFFERS"));
    }

    #[test]
    fn several_runs_show_their_spread() {
        let runs = [1.0, 2.0, 4.0].map(|seconds| migrated("raw", seconds));
        let text = table(vec![Outcome::of(&runs, false).unwrap()], false);
        assert!(text.contains("250 … 1,000 pages/s in 3 runs"), "{text}");
    }
}
