//! The limits as a plot: bars on a logarithmic axis, as an SVG file that follows the reader's light or dark mode.

use std::fmt::Write;

use super::report::{Report, thousands};
use super::row::Row;

/// Where the axis begins; it ends behind the largest bar.
const LEAST: f64 = 10_000.0;
const WIDTH: f64 = 880.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 280.0;
const TOP: f64 = 78.0;
const BAR: f64 = 18.0;
/// Where text stands beside a bar.
const BASELINE: f64 = BAR / 2.0 + 4.5;
const STEP: f64 = 26.0;
/// Between two patterns.
const GAP: f64 = 18.0;
const BELOW: f64 = 62.0;

/// Without variables, which not every reader of SVG knows.
const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .end { text-anchor: end; }
  .middle { text-anchor: middle; }
  .value { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
  .paper { fill: #ffffff; }
  .bar { fill: #0969da; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .mark { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 5 3; }
  text.note { fill: #bc4c00; }
  @media screen and (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .value { stroke: #0d1117; }
    .paper { fill: #0d1117; }
    .bar { fill: #4493f8; }
    .grid { stroke: #3d444d; }
    .mark { stroke: #f0883e; }
    text.note { fill: #f0883e; }
  }
";

/// The plot of a report.
#[must_use]
pub fn svg(report: &Report) -> String {
    let axis = Axis::of(report);
    let bottom = rows(report).last().map_or(TOP, |(y, _)| y + STEP);
    let height = bottom + BELOW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-labelledby=\"title\">\n<title id=\"title\">{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n<text class=\"title\" x=\"16\" y=\"26\">{title}</text>\n",
        title = title(report)
    );
    axis.draw(&mut out, bottom);
    rows(report).for_each(|(y, row)| bar(&mut out, &axis, y, row));
    physical_limit(&mut out, &axis, report, bottom);
    rows(report).for_each(|(y, row)| value(&mut out, &axis, report, y, row));
    out.push_str("</svg>\n");
    out
}

/// Each row, and where it begins.
fn rows(report: &Report) -> impl Iterator<Item = (f64, &Row)> {
    let mut y = TOP;
    let mut before = None;
    report.rows.iter().map(move |row| {
        if before.is_some_and(|before| before != row.pattern) {
            y += GAP;
        }
        before = Some(row.pattern);
        let at = y;
        y += STEP;
        (at, row)
    })
}

fn title(report: &Report) -> String {
    let Report { downtime_limit_ms, link_bytes_per_s, .. } = report;
    let gbit_per_s = *link_bytes_per_s as f64 * 8.0 / 1e9;
    format!(
        "Largest dirty rate that migrates within {downtime_limit_ms:.0} ms of downtime over {gbit_per_s:.2} Gbit/s"
    )
}

/// Writing to a string does not fail.
fn put(out: &mut String, element: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(element);
    out.push('\n');
}

fn bar(out: &mut String, axis: &Axis, y: f64, row: &Row) {
    let (begin, middle) = (LEFT - 10.0, y + BASELINE);
    let (pattern, method) = (row.pattern, row.method);
    put(
        out,
        format_args!("<text class=\"end\" x=\"{begin:.1}\" y=\"{middle:.1}\">{pattern}, {method}</text>"),
    );
    let width = axis.x(row.pages_per_s) - LEFT;
    put(
        out,
        format_args!("<rect class=\"bar\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"/>"),
    );
}

/// What a bar says, behind its end, over the lines that it crosses.
fn value(out: &mut String, axis: &Axis, report: &Report, y: f64, row: &Row) {
    let (x, middle) = (axis.x(row.pages_per_s) + 8.0, y + BASELINE);
    let at_least = row.limit.at_least();
    let rate = thousands(row.pages_per_s);
    let times = report.times_raw(row);
    let times = times.map_or_else(String::new, |times| format!(", {at_least}{times:.1} × raw"));
    put(
        out,
        format_args!(
            "<text class=\"value\" x=\"{x:.1}\" y=\"{middle:.1}\">{at_least}{rate}{times} ({})</text>",
            row.limit
        ),
    );
}

/// What the link carries of whole pages.
fn physical_limit(out: &mut String, axis: &Axis, report: &Report, bottom: f64) {
    let pages_per_s = report.link_bytes_per_s as f64 / 4096.0;
    let x = axis.x(pages_per_s);
    put(
        out,
        format_args!(
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
            TOP - 12.0,
            bottom
        ),
    );
    put(
        out,
        format_args!(
            "<text class=\"note\" x=\"{:.1}\" y=\"{:.1}\">{} pages/s: the link full of whole pages</text>",
            x - 4.0,
            TOP - 18.0,
            thousands(pages_per_s)
        ),
    );
}

/// Pages a second, by their logarithm.
struct Axis {
    most: f64,
}

impl Axis {
    fn of(report: &Report) -> Self {
        let largest = report.rows.iter().map(|row| row.pages_per_s).fold(LEAST * 10.0, f64::max);
        Self { most: largest }
    }

    fn x(&self, pages_per_s: f64) -> f64 {
        let share = (pages_per_s.max(LEAST) / LEAST).ln() / (self.most / LEAST).ln();
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn draw(&self, out: &mut String, bottom: f64) {
        let decades = [1e4, 1e5, 1e6, 1e7];
        let ticks = decades.into_iter().flat_map(|decade| [decade, 2.0 * decade, 5.0 * decade]);
        for tick in ticks.filter(|&tick| tick <= self.most) {
            let x = self.x(tick);
            put(
                out,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>",
                    TOP - 6.0
                ),
            );
            put(
                out,
                format_args!(
                    "<text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                    bottom + 18.0,
                    thousands(tick)
                ),
            );
        }
        put(
            out,
            format_args!(
                "<text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">pages written by the guest a second (logarithmic); in brackets: what limits</text>",
                LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
                bottom + 42.0
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirty_rate::report::tests::report;

    #[test]
    fn every_row_has_a_bar_whose_length_follows_its_rate() {
        let report = report();
        let svg = svg(&report);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("class=\"bar\""))
            .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths.len(), report.rows.len(), "{svg}");
        assert!(widths[1] > widths[0] && widths[0] > widths[2] && widths[2] > 0.0, "{widths:?}");
    }

    #[test]
    fn it_has_colours_for_the_dark_and_says_its_units() {
        let svg = svg(&report());
        for words in
            ["screen and (prefers-color-scheme: dark)", "pages written by the guest a second", "1.00 Gbit/s"]
        {
            assert!(svg.contains(words), "{words} is missing from {svg}");
        }
    }
}
