//! A chart that is drawn, and the figures behind it.

use super::png::{self, PngError};
use super::theme;

/// A chart that is drawn, with everything that is said about it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name: of its file, and of its place in a page. Letters, digits and dashes.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// What to see in it, in a sentence.
    pub sentence: String,
    /// The figures behind it.
    pub grid: Grid,
    /// Its size.
    pub(super) height: f64,
    /// Its elements.
    pub(super) body: String,
}

/// Figures in rows and columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// The columns' names.
    pub head: Vec<String>,
    /// The rows; the first column is a name, the others are figures.
    pub rows: Vec<Vec<String>>,
}

impl Figure {
    /// As an element of an HTML page that has the style of [`page_style`](super::page_style).
    #[must_use]
    pub fn inline(&self) -> String {
        self.element("class=\"chart\"", "")
    }

    /// As an SVG file, which follows its reader's light or dark mode.
    #[must_use]
    pub fn svg(&self) -> String {
        self.element("xmlns=\"http://www.w3.org/2000/svg\"", &theme::file_style(true))
    }

    /// As a PNG file, two pixels a unit, on white.
    ///
    /// # Errors
    /// [`PngError`] if it cannot be drawn or encoded.
    pub fn png(&self) -> Result<Vec<u8>, PngError> {
        png::draw(&self.element("xmlns=\"http://www.w3.org/2000/svg\"", &theme::file_style(false)))
    }

    fn element(&self, attributes: &str, style: &str) -> String {
        let Self { id, height, body, .. } = self;
        let (title, sentence) = (super::text::escaped(&self.title), super::text::escaped(&self.sentence));
        let width = super::WIDTH;
        let file = !style.is_empty();
        let paper = if file { "<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n" } else { "" };
        // A page has the title and the sentence above the chart; a file has them in it.
        let head = if file { HEAD } else { 0.0 };
        let words = if file {
            let lines = super::text::wrapped(&self.sentence, width - 2.0 * MARGIN, 13.0, 2);
            let lines: String = lines
                .iter()
                .zip([50.0, 68.0])
                .map(|(line, y)| {
                    format!(
                        "<text class=\"soft\" x=\"{MARGIN}\" y=\"{y}\">{}</text>\n",
                        super::text::escaped(line)
                    )
                })
                .collect();
            format!("<text class=\"title\" x=\"{MARGIN}\" y=\"28\">{title}</text>\n{lines}")
        } else {
            String::new()
        };
        let total = height + head;
        // A page has margins of its own.
        let margin = if file { 0.0 } else { MARGIN };
        let across = width - margin;
        format!(
            "<svg {attributes} id=\"{id}\" viewBox=\"{margin} 0 {across} {total:.0}\" width=\"{across}\" height=\"{total:.0}\" \
             role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{title}</title>\n\
             <desc id=\"{id}-desc\">{sentence}</desc>\n{style}{paper}{words}<g transform=\"translate(0 {head})\">\n\
             {body}</g>\n</svg>\n"
        )
    }
}

/// What a file has above its chart.
const HEAD: f64 = 84.0;
const MARGIN: f64 = 16.0;
