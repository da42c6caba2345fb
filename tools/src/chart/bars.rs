//! Bars from left to right, in sections.

use super::axis::{Axis, Scale};
use super::canvas::{Canvas, Ink, SMALL, TEXT, WIDTH};
use super::figure::{Figure, Grid};
use super::slot::Slot;
use super::text;

/// A chart of bars.
#[derive(Clone, Debug)]
pub struct Bars {
    /// As in [`Figure`].
    pub id: String,
    /// As in [`Figure`].
    pub title: String,
    /// As in [`Figure`].
    pub sentence: String,
    /// What the axis counts, with its unit.
    pub axis: String,
    /// How it counts.
    pub scale: Scale,
    /// Bars that are compared with each other.
    pub sections: Vec<Section>,
    /// A value that is marked.
    pub marker: Option<Marker>,
    /// The figures behind it.
    pub grid: Grid,
}

/// Bars that belong together.
#[derive(Clone, Debug)]
pub struct Section {
    /// What they have in common; empty if there is but one section.
    pub title: String,
    /// The bars, from top to bottom.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Its colour.
    pub slot: Slot,
    /// Its length.
    pub value: f64,
    /// Whether it was calculated or stood in for, which is drawn as hatching.
    pub modelled: bool,
    /// What stands behind it, the value first.
    pub words: String,
}

/// A value that is marked by a line across all bars.
#[derive(Clone, Debug)]
pub struct Marker {
    /// Where.
    pub value: f64,
    /// What it is.
    pub words: String,
}

const BAR: f64 = 20.0;
const STEP: f64 = 27.0;
const SECTION: f64 = 30.0;
const GAP: f64 = 14.0;
const TOP: f64 = 10.0;
const BELOW: f64 = 50.0;
const MARGIN: f64 = 16.0;
/// The widest that names may get.
const NAMES: f64 = 300.0;

impl Bars {
    /// Draws it.
    #[must_use]
    pub fn draw(self) -> Figure {
        let hatched: Vec<Slot> = self.bars().filter(|bar| bar.modelled).map(|bar| bar.slot).collect();
        let mut canvas = Canvas::new(&self.id, &hatched);
        let left = MARGIN
            + self.bars().map(|bar| text::width(&bar.label, TEXT)).fold(40.0, f64::max).min(NAMES)
            + 10.5;
        let axis = self.axis(left);
        let top = if self.marker.is_some() { TOP + 22.0 } else { TOP };
        let bottom = top
            + self.sections.iter().map(Section::height).sum::<f64>()
            + GAP * (self.sections.len() as f64 - 1.0).max(0.0);
        self.draw_axis(&mut canvas, &axis, top, bottom, left);
        let placed = self.placed(top);
        placed.iter().for_each(|&(y, bar)| bar.draw(&mut canvas, &axis, left, y));
        // Over the bars, and under what they say.
        self.draw_marker(&mut canvas, &axis, top, bottom);
        placed.iter().for_each(|&(y, bar)| bar.draw_words(&mut canvas, &axis, left, y));
        self.draw_titles(&mut canvas, top);
        if hatched.is_empty() {
            let height = bottom + BELOW;
            return self.figure(canvas, height);
        }
        legend(&mut canvas, left, bottom + BELOW + 8.0, hatched[0]);
        self.figure(canvas, bottom + BELOW + 24.0)
    }

    fn figure(self, canvas: Canvas, height: f64) -> Figure {
        let Self { id, title, sentence, grid, .. } = self;
        Figure { id, title, sentence, grid, height, body: canvas.finish() }
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.sections.iter().flat_map(|section| &section.bars)
    }

    /// All bars, and where their rows begin.
    fn placed(&self, top: f64) -> Vec<(f64, &Bar)> {
        let mut begin = top;
        let mut placed = Vec::new();
        for section in &self.sections {
            let first = begin + section.title_height();
            placed.extend(section.bars.iter().enumerate().map(|(row, bar)| (first + STEP * row as f64, bar)));
            begin += section.height() + GAP;
        }
        placed
    }

    fn draw_titles(&self, canvas: &mut Canvas, top: f64) {
        let mut y = top;
        for section in &self.sections {
            if !section.title.is_empty() {
                let title = text::fitted(&section.title, TEXT, WIDTH - 2.0 * MARGIN);
                canvas.text("strong halo", MARGIN, y + 18.0, &title);
            }
            y += section.height() + GAP;
        }
    }

    /// An axis that leaves room for the words behind every bar.
    fn axis(&self, left: f64) -> Axis {
        let values = || self.bars().map(|bar| bar.value).chain(self.marker.iter().map(|marker| marker.value));
        let room = WIDTH - MARGIN - left;
        let mut to = room;
        // Shorter bars make room: the words of the longest bar decide, or longer words of a shorter one.
        for _ in 0..4 {
            let axis = Axis::new(self.scale, values(), 0.0, to);
            let over = self
                .bars()
                .map(|bar| axis.at(bar.value) + 8.0 + text::width(&bar.words, TEXT) - room)
                .fold(0.0, f64::max);
            to = (to - over).max(room * 0.25);
        }
        Axis::new(self.scale, values(), left, left + to)
    }

    fn draw_axis(&self, canvas: &mut Canvas, axis: &Axis, top: f64, bottom: f64, left: f64) {
        let mut end = f64::MIN;
        for tick in axis.ticks() {
            let (x, words) = (axis.at(tick), text::compact(tick));
            canvas.grid((x, top), (x, bottom + 4.0));
            let half = text::width(&words, SMALL) / 2.0;
            if x - half > end + 6.0 {
                canvas.text("small soft middle", x, bottom + 20.0, &words);
                end = x + half;
            }
        }
        canvas.text("small soft", left, bottom + 40.0, &self.axis);
    }

    fn draw_marker(&self, canvas: &mut Canvas, axis: &Axis, top: f64, bottom: f64) {
        if let Some(Marker { value, words }) = &self.marker {
            let x = axis.at(*value);
            canvas.line("limit", (x, top - 6.0), (x, bottom));
            let before = x + text::width(words, SMALL) > WIDTH - MARGIN;
            let (class, x) = if before { ("small alert end", x + 4.0) } else { ("small alert", x - 4.0) };
            canvas.text(class, x, top - 12.0, words);
        }
    }
}

impl Section {
    fn height(&self) -> f64 {
        self.title_height() + STEP * self.bars.len() as f64
    }

    fn title_height(&self) -> f64 {
        if self.title.is_empty() { 0.0 } else { SECTION }
    }
}

impl Bar {
    /// Draws it and its name, its row beginning at `y`.
    fn draw(&self, canvas: &mut Canvas, axis: &Axis, left: f64, y: f64) {
        let middle = y + STEP / 2.0;
        let label = text::fitted(&self.label, TEXT, left - MARGIN - 10.0);
        canvas.text("end", left - 10.0, middle + 4.5, &label);
        let ink = Ink { slot: self.slot, modelled: self.modelled };
        let size = (axis.at(self.value) - left, BAR);
        canvas.bar(ink, (left, middle - BAR / 2.0), size, &format!("{}: {}", self.label, self.words));
    }

    /// Writes what stands behind it.
    fn draw_words(&self, canvas: &mut Canvas, axis: &Axis, left: f64, y: f64) {
        let x = axis.at(self.value).max(left + 1.5) + 8.0;
        canvas.text("halo", x, y + STEP / 2.0 + 4.5, &self.words);
    }
}

/// What hatching means.
pub(super) fn legend(canvas: &mut Canvas, x: f64, y: f64, slot: Slot) {
    canvas.swatch(Ink { slot, modelled: false }, (x, y - 10.0), 12.0);
    canvas.text("small soft", x + 18.0, y, "measured");
    let next = x + 18.0 + text::width("measured", SMALL) + 14.0;
    canvas.swatch(Ink { slot, modelled: true }, (next, y - 10.0), 12.0);
    canvas.text("small soft", next + 18.0, y, "modelled, or by a model in place of hardware");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(values: &[f64]) -> Bars {
        let bar = |(index, &value): (usize, &f64)| Bar {
            label: format!("row {index}"),
            slot: Slot::Mix,
            value,
            modelled: index == 1,
            words: text::grouped(value),
        };
        let bars = values.iter().enumerate().map(bar).collect();
        Bars {
            id: "bars".to_owned(),
            title: "Bars".to_owned(),
            sentence: "Look.".to_owned(),
            axis: "pages/s".to_owned(),
            scale: Scale::Linear,
            sections: vec![Section { title: String::new(), bars }],
            marker: None,
            grid: Grid::default(),
        }
    }

    fn widths(svg: &str) -> Vec<f64> {
        let marks = svg.lines().filter(|line| line.contains("class=\"mark"));
        marks
            .map(|line| line.split(" width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect()
    }

    #[test]
    fn a_bar_is_as_long_as_its_value_and_a_modelled_one_is_hatched() {
        let svg = bars(&[100.0, 50.0, 0.0]).draw().svg();
        let widths = widths(&svg);
        assert_eq!(widths.len(), 3, "{svg}");
        assert!((widths[0] / (widths[1] + 1.5) - 2.0).abs() < 0.02 && widths[2] > 0.0, "{widths:?}");
        assert_eq!(svg.matches("url(#bars-mix)").count(), 2, "a bar and its legend: {svg}");
    }

    #[test]
    fn words_behind_the_longest_bar_stay_within_the_chart() {
        let mut bars = bars(&[1e6, 2.0]);
        bars.sections[0].bars[0].words = "1,000,000 pages a second, and a long remark about it".to_owned();
        let width = text::width(&bars.sections[0].bars[0].words, TEXT);
        let longest = widths(&bars.draw().svg())[0];
        assert!(longest + width < WIDTH, "{longest} and {width}");
    }

    #[test]
    fn a_marked_value_is_told() {
        let mut bars = bars(&[10.0]);
        bars.marker = Some(Marker { value: 5.0, words: "half".to_owned() });
        let svg = bars.draw().svg();
        assert!(svg.contains("class=\"limit\"") && svg.contains(">half<"), "{svg}");
    }
}
