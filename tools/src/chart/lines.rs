//! Values over time.

use super::axis::{Axis, Scale};
use super::canvas::{Canvas, Ink, TEXT, WIDTH, path};
use super::figure::{Figure, Grid};
use super::label;
use super::slot::Slot;
use super::text;

/// A chart of lines.
#[derive(Clone, Debug)]
pub struct Lines {
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
    /// How that axis counts.
    pub up_scale: Scale,
    /// The lines.
    pub lines: Vec<Line>,
    /// The figures behind it.
    pub grid: Grid,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub label: String,
    /// Its colour.
    pub slot: Slot,
    /// Whether it was calculated or stood in for, which is drawn dashed.
    pub modelled: bool,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

const LEFT: f64 = 76.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = TOP + 300.0;
/// The widest that names may get.
const NAMES: f64 = 250.0;
const STEP: f64 = 17.0;
/// Between a line's end and its name.
const LEAD: f64 = 22.0;

impl Lines {
    /// Draws it.
    #[must_use]
    pub fn draw(self) -> Figure {
        let mut canvas = Canvas::new(&self.id, &[]);
        let names =
            self.lines.iter().map(|line| text::width(&line.label, TEXT)).fold(40.0, f64::max).min(NAMES);
        let right = WIDTH - 16.0 - names - LEAD;
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let longest = points().map(|&(x, _)| x).filter(|x| x.is_finite()).fold(0.0, f64::max);
        let across = Axis::until(Scale::Linear, longest, LEFT, right);
        // Room for so many names, where there are more than usual.
        let bottom = BOTTOM.max(TOP + STEP * self.lines.len() as f64);
        let up = Axis::new(self.up_scale, points().map(|&(_, y)| y), bottom, TOP);
        self.draw_axes(&mut canvas, &across, &up, (right, bottom));
        for line in &self.lines {
            let ink = Ink { slot: line.slot, modelled: line.modelled };
            let places = line.points.iter().map(|&(x, y)| (across.at(x), up.at(y)));
            canvas.curve(ink, &path(places), &line.label);
        }
        self.draw_names(&mut canvas, &across, &up, (right, bottom));
        let Self { id, title, sentence, grid, .. } = self;
        Figure { id, title, sentence, grid, height: bottom + 50.0, body: canvas.finish() }
    }

    fn draw_axes(&self, canvas: &mut Canvas, across: &Axis, up: &Axis, (right, bottom): (f64, f64)) {
        for tick in up.ticks() {
            let y = up.at(tick);
            canvas.grid((LEFT, y), (right, y));
            canvas.text("small soft end", LEFT - 10.0, y + 4.0, &text::compact(tick));
        }
        for tick in across.ticks() {
            let x = across.at(tick);
            canvas.grid((x, TOP), (x, bottom + 4.0));
            canvas.text("small soft middle", x, bottom + 20.0, &text::compact(tick));
        }
        canvas.line("axis", (LEFT, bottom), (right, bottom));
        canvas.text("small soft", 16.0, TOP - 22.0, &self.up);
        canvas.text("small soft", LEFT, bottom + 40.0, &self.across);
    }

    /// Each line's name, behind its end.
    fn draw_names(&self, canvas: &mut Canvas, across: &Axis, up: &Axis, (right, bottom): (f64, f64)) {
        let ends: Vec<(f64, f64)> = self
            .lines
            .iter()
            .map(|line| line.points.last().map_or((LEFT, bottom), |&(x, y)| (across.at(x), up.at(y))))
            .collect();
        let wanted: Vec<f64> = ends.iter().map(|&(_, y)| y).collect();
        let heights = label::apart(&wanted, STEP, TOP, bottom);
        for ((line, end), y) in self.lines.iter().zip(ends).zip(heights) {
            canvas.line("lead", (end.0 + 3.0, end.1), (right + LEAD - 5.0, y));
            let name = text::fitted(&line.label, TEXT, NAMES);
            canvas.text("halo", right + LEAD, y + 4.5, &name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_drawn_and_named_apart_from_the_others() {
        let line = |label: &str, y: f64| Line {
            label: label.to_owned(),
            slot: Slot::of(label),
            modelled: false,
            points: vec![(0.0, 1.0), (0.5, y)],
        };
        let svg = Lines {
            id: "ratio".to_owned(),
            title: "Ratio".to_owned(),
            sentence: "Look.".to_owned(),
            across: "seconds".to_owned(),
            up: "ratio".to_owned(),
            up_scale: Scale::Linear,
            lines: vec![line("deflate", 2.0), line("zstd", 2.001), line("raw", 1.0)],
            grid: Grid::default(),
        }
        .draw()
        .svg();
        assert_eq!(svg.matches("<path class=\"mark curve").count(), 3, "{svg}");
        let height = |name: &str| -> f64 {
            let line = svg.lines().find(|line| line.ends_with(&format!(">{name}</text>"))).unwrap();
            line.split(" y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!((height("deflate") - height("zstd")).abs() >= STEP - 0.2, "{svg}");
    }
}
