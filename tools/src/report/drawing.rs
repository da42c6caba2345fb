//! A section of the page: charts of one kind, or why there are none.

use crate::chart::{Figure, Grid};
use crate::results::{Known, Quantity};

use super::subject::Entry;

/// Charts of one kind.
#[derive(Debug)]
pub(super) struct Drawing {
    /// What they show.
    pub(super) title: &'static str,
    pub(super) figures: Vec<Figure>,
    /// What is missing for it, and how to get it; said if there are no figures.
    pub(super) missing: &'static str,
}

/// Charts with a row for every result have no more rows than this: more nobody looks at.
pub(super) const ROWS: usize = 24;

/// The entries that a chart with a row each has, and what to say if there are more.
pub(super) fn first_rows(mut entries: Vec<&Entry>) -> (Vec<&Entry>, String) {
    let all = entries.len();
    entries.truncate(ROWS);
    let words =
        if all > ROWS { format!(" These are the first {ROWS} of {all} rows.") } else { String::new() };
    (entries, words)
}

/// The table behind a chart: names, and these quantities.
pub(super) fn grid(entries: &[&Entry], quantities: &[Quantity]) -> Grid {
    let head = ["", "memory and link", "how it was come by"].into_iter().map(str::to_owned);
    let head = head.chain(quantities.iter().map(|quantity| quantity.name().to_owned())).collect();
    let row = |entry: &&Entry| {
        let figures = quantities.iter().map(|&quantity| cell(entry.row.figure(quantity)));
        let names = [entry.label.clone(), entry.group(), entry.row.provenance.word().to_owned()];
        names.into_iter().chain(figures).collect()
    };
    Grid { head, rows: entries.iter().map(row).collect() }
}

fn cell(known: Option<Known>) -> String {
    known.map_or_else(|| "-".to_owned(), |known| crate::chart::grouped(known.value))
}
