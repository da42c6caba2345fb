//! Elements of an SVG file.

use super::slot::Slot;
use super::text;

/// How wide every chart is, in units of its own; a page makes it as wide as it likes.
pub const WIDTH: f64 = 920.0;

/// The size of most text.
pub(super) const TEXT: f64 = 13.0;
/// The size of text at axes.
pub(super) const SMALL: f64 = 12.0;

/// What a mark stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ink {
    pub(super) slot: Slot,
    /// Whether it was calculated or stood in for, and is hatched.
    pub(super) modelled: bool,
}

/// An SVG file that is being written.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    out: String,
    id: String,
}

impl Canvas {
    /// An empty one, with the patterns that modelled marks are hatched with if there are some.
    pub(super) fn new(id: &str, modelled: &[Slot]) -> Self {
        let mut canvas = Self { out: String::new(), id: id.to_owned() };
        let mut slots = modelled.to_vec();
        slots.sort_unstable();
        slots.dedup();
        if slots.is_empty() {
            return canvas;
        }
        canvas.out.push_str("<defs>\n");
        for slot in slots {
            canvas.out.push_str(&format!(
                "<pattern id=\"{id}-{name}\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
                 <rect class=\"f-paper\" width=\"7\" height=\"7\"/><path class=\"s-{name}\" stroke-width=\"2.4\" d=\"M0 3.5H7\"/></pattern>\n",
                name = slot.name()
            ));
        }
        canvas.out.push_str("</defs>\n");
        canvas
    }

    /// All that was drawn.
    pub(super) fn finish(self) -> String {
        self.out
    }

    /// A thin line that guides the eye.
    pub(super) fn grid(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.line("grid", from, to);
    }

    /// A line.
    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.open("line", class);
        self.number("x1", x1);
        self.number("y1", y1);
        self.number("x2", x2);
        self.number("y2", y2);
        self.out.push_str("/>\n");
    }

    /// Text; `class` says where it is anchored and what it looks like.
    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, words: &str) {
        self.open("text", class);
        self.number("x", x);
        self.number("y", y);
        self.out.push('>');
        self.out.push_str(&text::escaped(words));
        self.out.push_str("</text>\n");
    }

    /// A bar from left to right, of a value that is told to whoever points at it.
    pub(super) fn bar(&mut self, ink: Ink, (x, y): (f64, f64), (width, height): (f64, f64), told: &str) {
        let inset = if ink.modelled { 0.75 } else { 0.0 };
        // Nothing at all would look like a bar that was forgotten.
        let width = width.max(1.5) - 2.0 * inset;
        self.open("rect", &self.mark(ink));
        self.fill(ink);
        self.number("x", x + inset);
        self.number("y", y + inset);
        self.number("width", width.max(0.5));
        self.number("height", (height - 2.0 * inset).max(0.5));
        self.number("rx", 2.0);
        self.told("rect", told);
    }

    /// A dot.
    pub(super) fn dot(&mut self, ink: Ink, (x, y): (f64, f64), radius: f64, told: &str) {
        self.open("circle", &self.mark(ink));
        self.fill(ink);
        self.number("cx", x);
        self.number("cy", y);
        self.number("r", radius);
        self.told("circle", told);
    }

    /// An area that is filled.
    pub(super) fn area(&mut self, ink: Ink, path: &str, told: &str) {
        self.open("path", &self.mark(ink));
        self.fill(ink);
        self.out.push_str(" d=\"");
        self.out.push_str(path);
        self.out.push('"');
        self.told("path", told);
    }

    /// A curve; dashed if it was modelled.
    pub(super) fn curve(&mut self, ink: Ink, path: &str, told: &str) {
        let dashed = if ink.modelled { " dashed" } else { "" };
        self.open("path", &format!("mark curve s-{}{dashed}", ink.slot.name()));
        self.out.push_str(" d=\"");
        self.out.push_str(path);
        self.out.push('"');
        self.told("path", told);
    }

    /// A square of colour, in a legend.
    pub(super) fn swatch(&mut self, ink: Ink, (x, y): (f64, f64), size: f64) {
        let class =
            if ink.modelled { format!("s-{}", ink.slot.name()) } else { format!("f-{}", ink.slot.name()) };
        self.open("rect", &class);
        self.fill(ink);
        self.number("x", x);
        self.number("y", y);
        self.number("width", size);
        self.number("height", size);
        self.number("rx", 2.0);
        self.out.push_str("/>\n");
    }

    fn mark(&self, ink: Ink) -> String {
        let way = if ink.modelled { "modelled s" } else { "f" };
        format!("mark {way}-{}", ink.slot.name())
    }

    fn fill(&mut self, ink: Ink) {
        if ink.modelled {
            let fill = format!(" fill=\"url(#{}-{})\" stroke-width=\"1.5\"", self.id, ink.slot.name());
            self.out.push_str(&fill);
        }
    }

    fn told(&mut self, element: &str, told: &str) {
        if told.is_empty() {
            self.out.push_str("/>\n");
            return;
        }
        self.out.push_str("><title>");
        self.out.push_str(&text::escaped(told));
        self.out.push_str(&format!("</title></{element}>\n"));
    }

    fn open(&mut self, element: &str, class: &str) {
        self.out.push('<');
        self.out.push_str(element);
        self.out.push_str(" class=\"");
        self.out.push_str(class);
        self.out.push('"');
    }

    fn number(&mut self, name: &str, value: f64) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        text::number(&mut self.out, value);
        self.out.push('"');
    }
}

/// A path through points, as SVG writes it.
pub(super) fn path(points: impl IntoIterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    for (x, y) in points {
        out.push(if out.is_empty() { 'M' } else { 'L' });
        text::number(&mut out, x);
        out.push(' ');
        text::number(&mut out, y);
    }
    out
}
