//! How often values occur: a row for each of several distributions, over one logarithmic axis.

use super::axis::{Axis, Scale};
use super::bars;
use super::canvas::{Canvas, Ink, SMALL, TEXT, WIDTH, path};
use super::figure::{Figure, Grid};
use super::label;
use super::slot::Slot;
use super::text;

/// A chart of distributions.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// As in [`Figure`].
    pub id: String,
    /// As in [`Figure`].
    pub title: String,
    /// As in [`Figure`].
    pub sentence: String,
    /// What the axis counts, with its unit.
    pub axis: String,
    /// The distributions, from top to bottom.
    pub distributions: Vec<Distribution>,
    /// The figures behind it.
    pub grid: Grid,
}

/// A distribution.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// Its name.
    pub label: String,
    /// Its colour.
    pub slot: Slot,
    /// Whether it was calculated or stood in for, which is drawn as hatching.
    pub modelled: bool,
    /// Its buckets, in the order of their bounds.
    pub buckets: Vec<Bucket>,
    /// Values that are marked, with their names.
    pub marks: Vec<(f64, String)>,
}

/// How often values occur up to a bound and above the bound before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The bound.
    pub upper: f64,
    /// How often.
    pub count: u64,
}

const HILL: f64 = 42.0;
const STEP: f64 = 66.0;
const TOP: f64 = 12.0;
const BELOW: f64 = 50.0;
const MARGIN: f64 = 16.0;
const RIGHT: f64 = WIDTH - 36.0;
/// The widest that names may get.
const NAMES: f64 = 300.0;
/// How far below its own bound the first bucket begins, which has none before it: that of the others.
const STEPS: f64 = 1.25;

impl Histogram {
    /// Draws it.
    #[must_use]
    pub fn draw(self) -> Figure {
        let hatched: Vec<Slot> =
            self.distributions.iter().filter(|one| one.modelled).map(|one| one.slot).collect();
        let mut canvas = Canvas::new(&self.id, &hatched);
        let names = self.distributions.iter().map(|one| text::width(&one.label, TEXT)).fold(40.0, f64::max);
        let left = MARGIN + names.min(NAMES) + 10.5;
        let axis = self.axis(left);
        let mut bottom = TOP + STEP * self.distributions.len() as f64;
        for tick in axis.ticks() {
            let x = axis.at(tick);
            canvas.grid((x, TOP), (x, bottom + 2.0));
            canvas.text("small soft middle", x, bottom + 20.0, &text::compact(tick));
        }
        canvas.text("small soft", left, bottom + 40.0, &self.axis);
        for (number, one) in self.distributions.iter().enumerate() {
            one.draw(&mut canvas, &axis, left, TOP + STEP * number as f64);
        }
        bottom += BELOW;
        if let Some(&slot) = hatched.first() {
            bars::legend(&mut canvas, left, bottom + 8.0, slot);
            bottom += 24.0;
        }
        let Self { id, title, sentence, grid, .. } = self;
        Figure { id, title, sentence, grid, height: bottom, body: canvas.finish() }
    }

    /// From the power of ten below the least value that occurs to the largest one.
    fn axis(&self, left: f64) -> Axis {
        let occurs =
            || self.distributions.iter().flat_map(|one| one.buckets.iter().filter(|bucket| bucket.count > 0));
        let least =
            occurs().map(|bucket| bucket.upper / STEPS).filter(|&least| least > 0.0).fold(f64::MAX, f64::min);
        let least = if least < f64::MAX { least } else { 1.0 };
        // A whole decade of nothing would only take room.
        let decade = 10_f64.powf(least.log10().floor());
        let begin = [5.0, 2.0, 1.0].into_iter().map(|times| times * decade).find(|&begin| begin <= least);
        let marks = self.distributions.iter().flat_map(|one| one.marks.iter().map(|&(value, _)| value));
        let values = occurs().map(|bucket| bucket.upper).chain(marks);
        Axis::new(Scale::Log(begin.unwrap_or(decade)), values, left, RIGHT)
    }
}

impl Distribution {
    fn draw(&self, canvas: &mut Canvas, axis: &Axis, left: f64, top: f64) {
        let bottom = top + STEP - 6.0;
        let label = text::fitted(&self.label, TEXT, left - MARGIN - 10.0);
        canvas.text("end", left - 10.0, bottom - 4.0, &label);
        canvas.line("axis", (left, bottom), (RIGHT, bottom));
        let most = self.buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1) as f64;
        let mut before = self.buckets.first().map_or(0.0, |bucket| bucket.upper / STEPS);
        let mut edge = vec![(axis.at(before), bottom)];
        for bucket in &self.buckets {
            let y = bottom - HILL * bucket.count as f64 / most;
            edge.extend([(axis.at(before), y), (axis.at(bucket.upper), y)]);
            before = bucket.upper;
        }
        edge.push((axis.at(before), bottom));
        let requests = self.buckets.iter().map(|bucket| bucket.count).fold(0, u64::saturating_add);
        let told = format!("{}: {} requests", self.label, crate::grouped::count(requests));
        canvas.area(Ink { slot: self.slot, modelled: self.modelled }, &format!("{}Z", path(edge)), &told);
        self.draw_marks(canvas, axis, bottom);
    }

    /// Lines at marked values, their names above them, next to each other where they are close.
    fn draw_marks(&self, canvas: &mut Canvas, axis: &Axis, bottom: f64) {
        let places: Vec<f64> = self.marks.iter().map(|&(value, _)| axis.at(value)).collect();
        let widest = self.marks.iter().map(|(_, words)| text::width(words, SMALL)).fold(0.0, f64::max);
        let half = widest / 2.0;
        let centres = label::apart(&places, widest + 10.0, axis.at(0.0) + half, RIGHT - half + 20.0);
        for ((x, centre), (_, words)) in places.into_iter().zip(centres).zip(&self.marks) {
            canvas.line("pin", (x, bottom - HILL - 2.0), (x, bottom));
            canvas.text("small halo middle", centre, bottom - HILL - 6.0, words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hill_is_highest_where_most_values_are() {
        let bucket = |upper, count| Bucket { upper, count };
        let svg = Histogram {
            id: "latency".to_owned(),
            title: "Latency".to_owned(),
            sentence: "Look.".to_owned(),
            axis: "µs".to_owned(),
            distributions: vec![Distribution {
                label: "zstd".to_owned(),
                slot: Slot::of("zstd"),
                modelled: false,
                buckets: vec![bucket(100.0, 1), bucket(125.0, 10), bucket(156.0, 5)],
                marks: vec![(125.0, "p50 125 µs".to_owned()), (156.0, "p99 156 µs".to_owned())],
            }],
            grid: Grid::default(),
        }
        .draw()
        .svg();
        let bottom = TOP + STEP - 6.0;
        let hill = svg.lines().find(|line| line.starts_with("<path class=\"mark")).unwrap();
        for height in [bottom - HILL, bottom - HILL / 10.0, bottom - HILL / 2.0] {
            let mut text = String::new();
            text::number(&mut text, height);
            assert!(hill.contains(&format!(" {text}L")), "{height}: {hill}");
        }
        let place = |words: &str| -> f64 {
            let line = svg.lines().find(|line| line.contains(words)).unwrap();
            line.split(" x=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!(place("p99") - place("p50") > text::width("p50 125 µs", SMALL), "{svg}");
    }
}
