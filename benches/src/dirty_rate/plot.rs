//! The limits as a plot: bars on a logarithmic axis, as an SVG file that follows the reader's light or dark mode.

use pageferry_accel::units::PageSize;
use pageferry_tools::chart::{Bar, Bars, Grid, Marker, Scale, Section, Slot};

use super::report::{Report, thousands};
use super::row::Row;

/// Where the axis begins; it ends behind the largest bar.
const LEAST: f64 = 10_000.0;

/// The plot of a report.
#[must_use]
pub fn svg(report: &Report) -> String {
    let link_pages_per_s = report.link_bytes_per_s as f64 / PageSize::Kib4.bytes() as f64;
    let words = format!("{} pages/s: the link full of whole pages", thousands(link_pages_per_s));
    let bars = Bars {
        id: "dirty-rate".to_owned(),
        title: title(report),
        sentence:
            "A guest that writes faster than its bar is long does not move in time; in brackets what limits."
                .to_owned(),
        axis: "pages written by the guest, a second (logarithmic)".to_owned(),
        scale: Scale::Log(LEAST),
        sections: sections(report),
        marker: Some(Marker { value: link_pages_per_s, words }),
        grid: Grid::default(),
    };
    bars.draw().svg()
}

/// A section a pattern, a bar a method.
fn sections(report: &Report) -> Vec<Section> {
    let alike = report.rows.chunk_by(|one, other| one.pattern == other.pattern);
    let section = |rows: &[Row]| {
        let title = rows.first().map_or_else(String::new, |row| row.pattern.to_string());
        Section { title, bars: rows.iter().map(|row| bar(report, row)).collect() }
    };
    alike.map(section).collect()
}

fn bar(report: &Report, row: &Row) -> Bar {
    let at_least = row.limit.at_least();
    let times = report.times_raw(row);
    let times = times.map_or_else(String::new, |times| format!(", {at_least}{times:.1} × raw"));
    Bar {
        label: row.method.to_string(),
        slot: Slot::Method(row.method),
        value: row.pages_per_s,
        modelled: false,
        words: format!("{at_least}{}{times} ({})", thousands(row.pages_per_s), row.limit),
    }
}

fn title(report: &Report) -> String {
    let Report { downtime_limit_ms, link_bytes_per_s, .. } = report;
    let gbit_per_s = *link_bytes_per_s as f64 * 8.0 / 1e9;
    format!(
        "Largest dirty rate that migrates within {downtime_limit_ms:.0} ms of downtime over {gbit_per_s:.2} Gbit/s"
    )
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
            .filter(|line| line.starts_with("<rect class=\"mark"))
            .map(|line| line.split(" width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths.len(), report.rows.len(), "{svg}");
        assert!(widths[1] > widths[0] && widths[0] > widths[2] && widths[2] > 0.0, "{widths:?}");
    }

    #[test]
    fn it_has_colours_for_the_dark_and_says_its_units() {
        let svg = svg(&report());
        for words in
            ["screen and (prefers-color-scheme: dark)", "pages written by the guest, a second", "1.00 Gbit/s"]
        {
            assert!(svg.contains(words), "{words} is missing from {svg}");
        }
    }
}
