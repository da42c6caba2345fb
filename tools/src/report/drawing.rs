//! A section of the page: charts of one kind, or why there are none.

use crate::chart::{Figure, Grid};
use crate::results::{Known, Quantity};

use super::subject::{Entry, Group};

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
const ROWS: usize = 24;

/// What a chart of one group is called.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) id: String,
    pub(super) title: String,
    /// What to say if there are more rows than the chart has.
    pub(super) note: String,
}

/// A chart for each group that has one; their names tell them apart if there are several.
pub(super) fn by_group(
    id: &str,
    title: &str,
    mut groups: Vec<Group<'_>>,
    draw: impl Fn(Name, &Group<'_>) -> Figure,
) -> Vec<Figure> {
    let several = groups.len() > 1;
    let figure = |(number, group): (usize, &mut Group<'_>)| {
        let all = group.entries.len();
        group.entries.truncate(ROWS);
        let note =
            if all > ROWS { format!(" These are the first {ROWS} of {all} rows.") } else { String::new() };
        let (id, title) = if several {
            (format!("{id}-{}", number + 1), format!("{title}: {}", group.title))
        } else {
            (id.to_owned(), title.to_owned())
        };
        draw(Name { id, title, note }, group)
    };
    groups.iter_mut().enumerate().map(figure).collect()
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
