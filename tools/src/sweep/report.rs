//! What came of a sweep: a row for every point and method.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::plan::Settings;
use crate::export::Printed;
use crate::export::csv::outcome_csv;
use crate::export::grid::{Cell, Grid};
use crate::format::Format;
use crate::host::Host;
use crate::outcome::Outcome;

/// Everything that a sweep has to say. Field names never change within a schema.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SweepReport {
    pub(super) schema: u32,
    pub(super) kind: &'static str,
    pub(super) host: Host,
    /// All settings, defaults included.
    pub(super) config: Value,
    pub(super) points: Vec<Measured>,
    /// What makes the figures doubtful, and what to do about it.
    pub(super) warnings: Vec<String>,
}

/// What one method came to at one point.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) settings: Settings,
    pub(super) result: Outcome,
}

/// A setting's column, if any point has a value for it.
type Setting = (&'static str, fn(&Settings) -> Option<String>);

const SETTINGS: [Setting; 6] = [
    ("workers", |settings| Some(settings.workers.to_string())),
    ("max_pages", |settings| Some(settings.max_pages.to_string())),
    ("queues", |settings| settings.queues.map(|queues| queues.to_string())),
    ("connections", |settings| Some(settings.connections.to_string())),
    ("max_bandwidth", |settings| settings.max_bandwidth.map(|rate| rate.0.to_string())),
    ("cpu_budget", |settings| settings.cpu_budget.map(|budget| budget.cores().to_string())),
];

/// A figure's column: its head, and its digits behind the point.
type Figure = ([&'static str; 2], fn(&Outcome) -> Option<f64>, usize);

const FIGURES: [Figure; 7] = [
    (["", "pages/s"], |one| Some(one.pages_per_s), 0),
    (["wire", "MiB/s"], |one| Some(one.wire_bytes_per_s / 1_048_576.0), 0),
    (["", "ratio"], |one| one.ratio, 2),
    (["source", "µs/page"], |one| one.source_cpu_us_per_page, 2),
    (["dest.", "µs/page"], |one| one.destination_cpu_us_per_page, 2),
    (["request", "p50 µs"], |one| Some(one.request_us.p50), 0),
    (["request", "p99 µs"], |one| Some(one.request_us.p99), 0),
];

impl Printed for SweepReport {
    fn print(&self, format: Format, styled: bool, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Json => {
                serde_json::to_writer_pretty(&mut *out, self)?;
                writeln!(out)
            }
            Format::Csv => self.csv(out),
            Format::Table => {
                self.grid().table(styled, out)?;
                self.warnings.iter().try_for_each(|warning| writeln!(out, "\n  Warning: {warning}"))
            }
            Format::Markdown => {
                self.grid().markdown(out)?;
                self.warnings.iter().try_for_each(|warning| writeln!(out, "\n> Warning: {warning}"))
            }
        }
    }
}

impl SweepReport {
    fn grid(&self) -> Grid {
        let shown = |&&(_, value): &&Setting| self.points.iter().any(|one| value(&one.settings).is_some());
        let settings: Vec<&Setting> = SETTINGS.iter().filter(shown).collect();
        let heads = settings.iter().map(|(name, _)| ["", *name]).chain([["", "method"]]);
        let heads = heads.chain(FIGURES.iter().map(|(head, ..)| *head)).chain([["", "memory"]]);
        let mut grid = Grid::new(heads.map(|head| head.map(|line| line.replace('_', " "))).collect());
        for Measured { settings: at, result } in &self.points {
            let places = settings.iter().map(|(name, value)| setting_cell(name, at, *value));
            let figures = FIGURES.iter().map(|&(_, value, digits)| Cell::figure(value(result), digits));
            let memory = match result.verified {
                Some(true) => "same",
                Some(false) => "DIFFERS",
                None => "not compared",
            };
            let method = Cell::text(&result.method);
            grid.row(places.chain([method]).chain(figures).chain([Cell::text(memory)]).collect());
        }
        grid
    }

    /// The fields of `run`, with the settings before them.
    fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<&str> = SETTINGS.iter().map(|&(name, _)| name).collect();
        let rows = self.points.iter().map(|Measured { settings, result }| {
            let values = SETTINGS.iter().map(|(_, value)| value(settings).unwrap_or_default());
            (values.collect(), result)
        });
        outcome_csv(&names, rows, out)
    }
}

/// A rate reads better with its unit; a number is a number.
fn setting_cell(name: &str, at: &Settings, value: fn(&Settings) -> Option<String>) -> Cell {
    match at.max_bandwidth {
        Some(rate) if name == "max_bandwidth" => Cell::text(&rate.to_string()),
        _ => Cell::number(value(at)),
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} workers, {} pages", self.workers, self.max_pages)?;
        if let Some(queues) = self.queues {
            write!(f, ", {queues} queues")?;
        }
        write!(f, ", {} connections", self.connections)?;
        if let Some(rate) = self.max_bandwidth {
            write!(f, ", {rate}")?;
        }
        self.cpu_budget.map_or(Ok(()), |budget| write!(f, ", {budget}"))
    }
}
