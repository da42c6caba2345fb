//! Dots by two values.

use super::axis::{Axis, Scale};
use super::bars;
use super::canvas::{Canvas, Ink, TEXT, WIDTH};
use super::figure::{Figure, Grid};
use super::label::{self, Area, Place};
use super::slot::Slot;
use super::text;

/// A chart of dots.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// As in [`Figure`].
    pub id: String,
    /// As in [`Figure`].
    pub title: String,
    /// As in [`Figure`].
    pub sentence: String,
    /// What the axis from left to right counts, with its unit.
    pub across: String,
    /// What the axis from bottom to top counts, with its unit.
    pub up: String,
    /// The dots.
    pub points: Vec<Point>,
    /// The figures behind it.
    pub grid: Grid,
}

/// A dot.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its name.
    pub label: String,
    /// Its colour.
    pub slot: Slot,
    /// From left to right.
    pub x: f64,
    /// From bottom to top.
    pub y: f64,
    /// Whether it was calculated or stood in for, which is drawn as hatching.
    pub modelled: bool,
}

const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = TOP + 330.0;
const RADIUS: f64 = 7.0;

impl Scatter {
    /// Draws it.
    #[must_use]
    pub fn draw(self) -> Figure {
        let hatched: Vec<Slot> =
            self.points.iter().filter(|point| point.modelled).map(|point| point.slot).collect();
        let mut canvas = Canvas::new(&self.id, &hatched);
        let across = Axis::new(Scale::Linear, self.points.iter().map(|point| point.x), LEFT, RIGHT);
        let up = Axis::both_ways(self.points.iter().map(|point| point.y), BOTTOM, TOP);
        self.draw_axes(&mut canvas, &across, &up);
        let places: Vec<((f64, f64), &str)> =
            self.points.iter().map(|point| ((across.at(point.x), up.at(point.y)), &*point.label)).collect();
        let bounds =
            Area { x: LEFT + 2.0, y: TOP - 18.0, width: WIDTH - LEFT - 6.0, height: BOTTOM - TOP + 16.0 };
        let labels = label::beside(&places, TEXT, RADIUS, bounds);
        for (place, &(at, _)) in labels.iter().zip(&places) {
            if let Some(end) = place.and_then(|place| place.lead) {
                canvas.line("lead", at, end);
            }
        }
        for (point, &(at, _)) in self.points.iter().zip(&places) {
            let ink = Ink { slot: point.slot, modelled: point.modelled };
            let told = format!(
                "{}: {} {}, {} {}",
                point.label,
                text::grouped(point.x),
                self.across,
                text::grouped(point.y),
                self.up
            );
            canvas.dot(ink, at, RADIUS, &told);
        }
        for (point, place) in self.points.iter().zip(&labels) {
            if let Some(Place { at: (x, y), .. }) = *place {
                canvas.text("halo", x, y, &point.label);
            }
        }
        let mut height = BOTTOM + 50.0;
        if let Some(&slot) = hatched.first() {
            bars::legend(&mut canvas, LEFT, height + 8.0, slot);
            height += 24.0;
        }
        let Self { id, title, sentence, grid, .. } = self;
        Figure { id, title, sentence, grid, height, body: canvas.finish() }
    }

    fn draw_axes(&self, canvas: &mut Canvas, across: &Axis, up: &Axis) {
        for tick in up.ticks() {
            let y = up.at(tick);
            canvas.grid((LEFT, y), (RIGHT, y));
            canvas.text("small soft end", LEFT - 10.0, y + 4.0, &text::compact(tick));
        }
        for tick in across.ticks() {
            let x = across.at(tick);
            canvas.grid((x, TOP), (x, BOTTOM + 4.0));
            canvas.text("small soft middle", x, BOTTOM + 20.0, &text::compact(tick));
        }
        let zero = up.at(0.0);
        canvas.line("axis", (LEFT, zero), (RIGHT, zero));
        canvas.line("axis", (LEFT, TOP), (LEFT, BOTTOM));
        canvas.text("small soft", 16.0, TOP - 22.0, &format!("{} (less is better)", self.up));
        canvas.text("small soft end", RIGHT, BOTTOM + 40.0, &format!("{} (more is better)", self.across));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_a_dot_with_its_label() {
        let point = |label: &str, x, y, modelled| Point {
            label: label.to_owned(),
            slot: Slot::of(label),
            x,
            y,
            modelled,
        };
        let svg = Scatter {
            id: "cpu".to_owned(),
            title: "CPU".to_owned(),
            sentence: "Look.".to_owned(),
            across: "pages/s".to_owned(),
            up: "µs a page".to_owned(),
            points: vec![point("raw", 1e6, 2.0, false), point("zstd", 2e5, 8.0, true)],
            grid: Grid::default(),
        }
        .draw()
        .svg();
        let xs: Vec<f64> = svg
            .lines()
            .filter(|line| line.starts_with("<circle class=\"mark"))
            .map(|line| line.split("cx=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(xs.len() == 2 && xs[0] > xs[1] && xs[1] > LEFT, "{svg}");
        assert!(
            svg.contains(">raw</text>") && svg.contains(">zstd</text>") && svg.contains("modelled"),
            "{svg}"
        );
    }
}
