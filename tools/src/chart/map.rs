//! What was chosen for every place, over time: time from left to right, places from top to bottom.

use std::collections::BTreeMap;

use super::axis::{Axis, Scale};
use super::canvas::{Canvas, Ink, WIDTH};
use super::figure::{Figure, Grid};
use super::slot::Slot;
use super::stack;
use super::text;

/// A map.
#[derive(Clone, Debug)]
pub struct Map {
    /// As in [`Figure`].
    pub id: String,
    /// As in [`Figure`].
    pub title: String,
    /// As in [`Figure`].
    pub sentence: String,
    /// What the axis from left to right counts, with its unit.
    pub across: String,
    /// What the axis from top to bottom counts, with its unit.
    pub down: String,
    /// Where the last place ends, in that unit.
    pub end: f64,
    /// What was chosen, in the order of time; each holds until the next one begins.
    pub steps: Vec<MapStep>,
    /// When the last one ends.
    pub until: f64,
    /// The figures behind it.
    pub grid: Grid,
}

/// What was chosen at one time.
#[derive(Clone, Debug)]
pub struct MapStep {
    /// When.
    pub at: f64,
    /// For every place, in order; nothing is drawn where nothing was chosen.
    pub slots: Vec<Option<Slot>>,
}

const LEFT: f64 = 92.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 42.0;
const HEIGHT: f64 = 360.0;
const BOTTOM: f64 = TOP + HEIGHT;
/// More than this can nobody tell apart.
const COLUMNS: usize = 200;
const ROWS: usize = 120;

impl Map {
    /// Draws it. Where there are more times or places than can be told apart, what most of several neighbours have
    /// stands for them.
    #[must_use]
    pub fn draw(self) -> Figure {
        let mut canvas = Canvas::new(&self.id, &[]);
        let across = Axis::until(Scale::Linear, self.until, LEFT, RIGHT);
        let down = Axis::until(Scale::Linear, self.end, TOP, BOTTOM);
        for tick in across.ticks() {
            let x = across.at(tick);
            canvas.line("axis", (x, BOTTOM), (x, BOTTOM + 5.0));
            canvas.text("small soft middle", x, BOTTOM + 20.0, &text::compact(tick));
        }
        for tick in down.ticks() {
            let y = down.at(tick);
            canvas.line("axis", (LEFT - 5.0, y), (LEFT, y));
            canvas.text("small soft end", LEFT - 10.0, y + 4.0, &text::compact(tick));
        }
        canvas.text("small soft", 16.0, TOP - 22.0, &self.down);
        canvas.text("small soft", LEFT, BOTTOM + 40.0, &self.across);
        let used: Vec<Slot> = Slot::ALL
            .into_iter()
            .filter(|&slot| self.steps.iter().any(|step| step.slots.contains(&Some(slot))))
            .collect();
        let wide = text::width(&self.down, 12.0) + 40.0;
        stack::legend(&mut canvas, LEFT.max(wide), &used);
        for (slot, cells) in self.cells(&across) {
            canvas.area(Ink { slot, modelled: false }, &cells, slot.name());
        }
        let Self { id, title, sentence, grid, .. } = self;
        Figure { id, title, sentence, grid, height: BOTTOM + 50.0, body: canvas.finish() }
    }

    /// For every colour a path of all its cells; cells of one row next to each other are one.
    fn cells(&self, across: &Axis) -> BTreeMap<Slot, String> {
        let mut paths: BTreeMap<Slot, String> = BTreeMap::new();
        let columns = self.columns();
        let places = columns.iter().map(|column| column.slots.len()).max().unwrap_or(0);
        let rows = places.min(ROWS);
        for row in 0..rows {
            let (first, last) =
                (row * places / rows, ((row + 1) * places / rows).max(row * places / rows + 1));
            let top = TOP + HEIGHT * row as f64 / rows as f64;
            let bottom = TOP + HEIGHT * (row + 1) as f64 / rows as f64;
            let mut begun: Option<(Slot, f64)> = None;
            let mut put = |(slot, from): (Slot, f64), to: f64| {
                let path = paths.entry(slot).or_default();
                for (command, value) in [("M", from), (" ", top), ("H", to), ("V", bottom), ("H", from)] {
                    path.push_str(command);
                    text::number(path, value);
                }
                path.push('Z');
            };
            for column in &columns {
                let slots = column.slots.get(first..last.min(column.slots.len())).unwrap_or_default();
                let slot = most(slots.iter().copied()).flatten();
                if begun.map(|(slot, _)| slot) != slot {
                    let x = across.at(column.at);
                    if let Some(before) = begun.take() {
                        put(before, x);
                    }
                    begun = slot.map(|slot| (slot, x));
                }
            }
            if let Some(before) = begun {
                put(before, across.at(self.until));
            }
        }
        paths
    }

    /// The steps, merged where there are too many.
    fn columns(&self) -> Vec<MapStep> {
        let several = self.steps.len().div_ceil(COLUMNS).max(1);
        let merged = |steps: &[MapStep]| {
            let places = steps.iter().map(|step| step.slots.len()).max().unwrap_or(0);
            let slots = (0..places)
                .filter_map(|place| most(steps.iter().filter_map(|step| step.slots.get(place).copied())));
            MapStep { at: steps.first().map_or(0.0, |step| step.at), slots: slots.collect() }
        };
        self.steps.chunks(several).map(merged).collect()
    }
}

/// What occurs most often.
fn most(slots: impl Iterator<Item = Option<Slot>>) -> Option<Option<Slot>> {
    let mut counts: BTreeMap<Option<Slot>, usize> = BTreeMap::new();
    slots.for_each(|slot| *counts.entry(slot).or_default() += 1);
    counts.into_iter().max_by_key(|&(_, count)| count).map(|(slot, _)| slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(steps: Vec<MapStep>, until: f64) -> Map {
        Map {
            id: "map".to_owned(),
            title: "Map".to_owned(),
            sentence: "Look.".to_owned(),
            across: "seconds".to_owned(),
            down: "MiB".to_owned(),
            end: 4.0,
            steps,
            until,
            grid: Grid::default(),
        }
    }

    fn step(at: f64, names: &[&str]) -> MapStep {
        MapStep { at, slots: names.iter().map(|name| (*name != "-").then(|| Slot::of(name))).collect() }
    }

    #[test]
    fn neighbours_in_time_of_one_colour_are_one_cell() {
        let map = map(vec![step(0.0, &["raw", "zstd"]), step(0.5, &["raw", "delta"])], 1.0);
        let cells = map.cells(&Axis::until(Scale::Linear, 1.0, 0.0, 100.0));
        let count = |name: &str| cells[&Slot::of(name)].matches('Z').count();
        assert_eq!((count("raw"), count("zstd"), count("delta")), (1, 1, 1), "{cells:?}");
        assert!(cells[&Slot::of("raw")].starts_with("M0 42H100V"), "{cells:?}");
        assert!(cells[&Slot::of("delta")].starts_with("M50 "), "{cells:?}");
    }

    #[test]
    fn where_nothing_was_chosen_nothing_is_drawn() {
        let map = map(vec![step(0.0, &["-", "-"]), step(0.5, &["raw", "-"])], 1.0);
        let cells = map.cells(&Axis::until(Scale::Linear, 1.0, 0.0, 100.0));
        assert_eq!(cells.keys().collect::<Vec<_>>(), [&Slot::of("raw")]);
        assert!(cells[&Slot::of("raw")].starts_with("M50 "), "{cells:?}");
    }

    #[test]
    fn a_large_guest_and_a_long_time_stay_a_small_file() {
        let names = ["raw", "zstd", "delta", "deflate"];
        let steps = (0..3000_usize).map(|at| {
            let slots = (0..5000).map(|place| Some(Slot::of(names[(at / 700 + place / 900) % 4]))).collect();
            MapStep { at: at as f64, slots }
        });
        let svg = map(steps.collect(), 3000.0).draw().svg();
        assert!(svg.len() < 200_000, "{} bytes", svg.len());
        assert_eq!(svg.matches("<path class=\"mark").count(), 4);
    }
}
