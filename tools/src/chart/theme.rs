//! The colours, and the style that gives them to charts.
//!
//! The methods' colours are those of Okabe and Ito's palette, which people tell apart whatever colours they see
//! (<https://jfly.uni-koeln.de/color/>), lightened for dark paper; raw and zero pages, of which nothing was made, are
//! grey. No chart tells anything by colour alone.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pageferry_accel::method::Method;

use super::png::{MEDIUM, REGULAR};
use super::slot::Slot;

/// A colour by its name, on light and on dark paper.
struct Colour {
    name: &'static str,
    light: &'static str,
    dark: &'static str,
}

const PAPERS: [Colour; 6] = [
    Colour { name: "paper", light: "#ffffff", dark: "#12181f" },
    Colour { name: "ink", light: "#1b2430", dark: "#e8edf3" },
    Colour { name: "soft", light: "#566273", dark: "#9ba8b8" },
    Colour { name: "grid", light: "#e2e7ed", dark: "#2a333e" },
    Colour { name: "axis", light: "#aab4c0", dark: "#4c5967" },
    Colour { name: "alert", light: "#a8480a", dark: "#f2a15f" },
];

fn of(slot: Slot) -> Colour {
    let (light, dark) = match slot {
        Slot::Method(Method::Zero) => ("#c6cdd6", "#3f4a57"),
        Slot::Method(Method::Raw) => ("#7c8898", "#8996a6"),
        Slot::Method(Method::Deflate) => ("#0072b2", "#4aa5e0"),
        Slot::Method(Method::Zstd) => ("#d55e00", "#f07f35"),
        Slot::Method(Method::Lz4) => ("#009e73", "#2cc095"),
        Slot::Method(Method::Xbzrle) => ("#cc79a7", "#e29bc4"),
        Slot::Method(Method::Delta) => ("#e69f00", "#f0bb45"),
        Slot::Mix => ("#56b4e9", "#8fd0f7"),
    };
    Colour { name: slot.name(), light, dark }
}

fn colours() -> impl Iterator<Item = Colour> {
    PAPERS.into_iter().chain(Slot::ALL.map(of))
}

/// What classes look like, with `of` for a colour's value.
fn rules(of: &dyn Fn(&Colour) -> String) -> String {
    let mut css = String::new();
    let colour =
        |name: &str| colours().find(|colour| colour.name == name).map_or_else(String::new, |one| of(&one));
    // Writing to a string does not fail.
    for one in colours() {
        let (name, value) = (one.name, of(&one));
        let _ = writeln!(css, ".f-{name} {{ fill: {value}; }}\n.s-{name} {{ stroke: {value}; }}");
    }
    let (ink, soft, grid, axis, alert, paper) =
        (colour("ink"), colour("soft"), colour("grid"), colour("axis"), colour("alert"), colour("paper"));
    let _ = write!(
        css,
        "text {{ font-family: {FAMILY}; font-size: 13px; fill: {ink}; }}\n\
         text.small {{ font-size: 12px; }}\n\
         text.soft {{ fill: {soft}; }}\n\
         text.strong {{ font-weight: 500; }}\n\
         text.title {{ font-size: 18px; font-weight: 500; }}\n\
         text.end {{ text-anchor: end; }}\n\
         text.middle {{ text-anchor: middle; }}\n\
         text.alert {{ fill: {alert}; }}\n\
         text.halo {{ paint-order: stroke; stroke: {paper}; stroke-width: 4px; stroke-linejoin: round; }}\n\
         .paper {{ fill: {paper}; }}\n\
         .grid {{ stroke: {grid}; stroke-width: 1; }}\n\
         .axis {{ stroke: {axis}; stroke-width: 1; }}\n\
         .limit {{ stroke: {alert}; stroke-width: 1.5; stroke-dasharray: 5 3; }}\n\
         .curve {{ fill: none; stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }}\n\
         .dashed {{ stroke-dasharray: 6 4; }}\n\
         .pin {{ stroke: {ink}; stroke-width: 1.2; stroke-dasharray: 3 2; }}\n\
         .lead {{ stroke: {axis}; stroke-width: 1; }}\n"
    );
    css
}

const FAMILY: &str = "Roboto, system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif";

/// The style of a chart in a file of its own: colours as they are, since not every reader of SVG knows variables.
pub(super) fn file_style(with_dark: bool) -> String {
    let light = rules(&|colour| colour.light.to_owned());
    let dark = if with_dark {
        let rules = rules(&|colour| colour.dark.to_owned());
        format!("@media screen and (prefers-color-scheme: dark) {{\n{rules}}}\n")
    } else {
        String::new()
    };
    format!("<style>\n{light}{dark}</style>\n")
}

/// The style of charts in a page: variables for light, for dark screens and for paper, and classes that use them.
#[must_use]
pub fn page_style() -> String {
    let variables = |of: &dyn Fn(&Colour) -> &'static str| {
        colours().map(|colour| format!("--{}: {};", colour.name, of(&colour))).collect::<Vec<_>>().join(" ")
    };
    let (light, dark) = (variables(&|colour| colour.light), variables(&|colour| colour.dark));
    let rules = rules(&|colour| format!("var(--{})", colour.name));
    format!(
        ":root {{ color-scheme: light dark; {light} }}\n\
         @media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n{rules}"
    )
}

/// The fonts of charts for a page, which brings them along.
#[must_use]
pub fn font_faces() -> String {
    let face = |weight: u32, font: &[u8]| {
        let font = STANDARD.encode(font);
        format!(
            "@font-face {{ font-family: Roboto; font-weight: {weight}; src: url(data:font/ttf;base64,{font}) format('truetype'); }}\n"
        )
    };
    face(400, REGULAR) + &face(500, MEDIUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of a colour (WCAG 2.1).
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn text_can_be_read_on_both_papers() {
        let paper = &PAPERS[0];
        for colour in PAPERS.iter().filter(|colour| ["ink", "soft", "alert"].contains(&colour.name)) {
            for (on, text) in [(paper.light, colour.light), (paper.dark, colour.dark)] {
                assert!(contrast(on, text) >= 4.5, "{}: {}", colour.name, contrast(on, text));
            }
        }
    }

    #[test]
    fn marks_stand_out_from_both_papers() {
        for slot in Slot::ALL {
            let colour = of(slot);
            for (on, mark) in [(PAPERS[0].light, colour.light), (PAPERS[0].dark, colour.dark)] {
                assert!(contrast(on, mark) >= 1.5, "{slot:?}: {}", contrast(on, mark));
            }
        }
    }

    #[test]
    fn a_page_has_no_colour_but_by_a_variable() {
        let style = page_style();
        let rules = style.split_once("} }\n").unwrap().1;
        assert!(!rules.contains('#'), "{rules}");
        assert!(file_style(true).contains("prefers-color-scheme: dark"));
        assert!(!file_style(false).contains("@media") && !file_style(false).contains("var("));
    }
}
