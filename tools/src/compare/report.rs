//! What came of a comparison: a table for every workload.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::figures::{Figure, Figures, Origin};
use super::published::{self, Claim};
use super::trace::Trace;
use crate::export::grid::{Cell, Grid};
use crate::export::{Printed, csv};
use crate::format::Format;
use crate::host::Host;

/// Everything that a comparison has to say. Field names never change within a schema.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) schema: u32,
    pub(crate) kind: &'static str,
    pub(crate) host: Host,
    /// All settings, defaults included.
    pub(crate) config: Value,
    pub(crate) workloads: Vec<WorkloadReport>,
    /// What was published of such a comparison, and what the simulation says about it.
    pub(crate) published: Vec<Claim>,
    /// What makes the figures doubtful, and what to do about it.
    pub(crate) warnings: Vec<String>,
    /// What was measured and modelled, in a few lines, for people.
    #[serde(skip)]
    pub(crate) summary: Vec<String>,
}

/// One guest, by every row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WorkloadReport {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) rows: Vec<RowReport>,
}

/// One way to move it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RowReport {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) figures: Figures,
    /// How the simulated migration went.
    #[serde(flatten)]
    pub(crate) trace: Trace,
}

/// The mark of what is modelled.
const MODELLED: &str = "~";

/// A figure's column: its head, and its digits behind the point.
type Column = ([&'static str; 2], fn(&Figures) -> Figure, usize);

const COLUMNS: [Column; 7] = [
    (["", "pages/s"], |all| all.pages_per_s, 0),
    (["of no", "compr."], |all| all.relative, 2),
    (["largest dirty", "rate, pages/s"], |all| all.max_dirty_pages_per_s, 0),
    (["extra CPU,", "% of a core"], |all| all.extra_cpu_percent, 0),
    (["", "ratio"], |all| all.ratio, 2),
    (["migration,", "s"], |all| all.migration_s, 2),
    (["downtime,", "ms"], |all| all.downtime_ms, 1),
];

impl Printed for Comparison {
    fn print(&self, format: Format, styled: bool, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, self)?;
                writeln!(out)
            }
            Format::Csv => self.csv(out),
            Format::Table => self.table(styled, out),
            Format::Markdown => self.markdown(out),
        }
    }
}

impl Comparison {
    fn table(&self, styled: bool, out: &mut dyn Write) -> io::Result<()> {
        for WorkloadReport { name, description, rows } in &self.workloads {
            writeln!(out, "{name}: {description}\n")?;
            grid(rows).table(styled, out)?;
            writeln!(out)?;
        }
        self.summary.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        if !self.published.is_empty() {
            writeln!(out, "\n{}\n", published::TITLE)?;
            published::grid(&self.published).table(styled, out)?;
            self.reasons().try_for_each(|reason| writeln!(out, "  {reason}"))?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "\n  Warning: {warning}"))
    }

    fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        for WorkloadReport { name, description, rows } in &self.workloads {
            writeln!(out, "**{name}**: {description}\n")?;
            grid(rows).markdown(out)?;
            writeln!(out)?;
        }
        self.summary.iter().try_for_each(|line| writeln!(out, "{line}  "))?;
        if !self.published.is_empty() {
            writeln!(out, "\n{}\n", published::TITLE)?;
            published::grid(&self.published).markdown(out)?;
            writeln!(out)?;
            self.reasons().try_for_each(|reason| writeln!(out, "{reason}  "))?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(out, "\n> Warning: {warning}"))
    }

    /// Why the simulation and what was published differ, each reason once.
    fn reasons(&self) -> impl Iterator<Item = &str> {
        let mut seen: Vec<&str> = Vec::new();
        for reason in self.published.iter().filter_map(|claim| claim.why.as_deref()) {
            if !seen.contains(&reason) {
                seen.push(reason);
            }
        }
        seen.into_iter()
    }

    /// A line a row; every figure has a field that says how it was come by.
    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows = || self.workloads.iter().flat_map(|one| one.rows.iter().map(move |row| (one, row)));
        let Some((_, first)) = rows().next() else { return Ok(()) };
        let names = first.figures.all().map(|(name, _)| [name.to_owned(), format!("{name}_provenance")]);
        let head = ["workload", "row", "description"].map(str::to_owned);
        csv::line(head.into_iter().chain(names.into_iter().flatten()), out)?;
        for (workload, row) in rows() {
            let texts = [workload.name.clone(), row.name.clone(), row.description.clone()];
            let figures = row.figures.all().map(|(_, Figure { value, provenance })| {
                [value.map(|value| value.to_string()).unwrap_or_default(), provenance.name().to_owned()]
            });
            csv::line(texts.into_iter().chain(figures.into_iter().flatten()), out)?;
        }
        Ok(())
    }
}

impl Origin {
    fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Modelled => "modelled",
        }
    }
}

fn grid(rows: &[RowReport]) -> Grid {
    let heads = [["", "way"]].into_iter().chain(COLUMNS.iter().map(|(head, ..)| *head));
    let mut grid = Grid::new(heads.map(|head| head.map(str::to_owned)).collect());
    for row in rows {
        let figures = COLUMNS.iter().map(|(_, of, digits)| cell(of(&row.figures), *digits));
        grid.row([Cell::text(&row.name)].into_iter().chain(figures).collect());
    }
    grid
}

fn cell(figure: Figure, digits: usize) -> Cell {
    let cell = Cell::figure(figure.value, digits);
    if figure.provenance == Origin::Modelled { cell.marked(MODELLED) } else { cell }
}
