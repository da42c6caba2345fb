//! The page: one HTML file that needs nothing else.

use crate::chart::{Figure, Grid, Slot, escaped, font_faces, grouped, page_style};
use crate::host::Host;
use crate::quantity::ByteSize;
use crate::results::{Quantity, Row};

use super::drawing::{self, Drawing};
use super::style::PAGE;
use super::subject::{Entry, Subject};

/// Nothing may be loaded, and no script runs; a browser holds the page to it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; font-src data:; img-src data:";

/// The whole page.
pub(super) fn html(subject: &Subject, drawings: &[Drawing]) -> String {
    let title = "What moving a guest costs";
    let sections: String =
        drawings.iter().filter(|drawing| !drawing.figures.is_empty()).map(section).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{}{}{PAGE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{}{}{}{sections}{}{}{}</main>\n</body>\n</html>\n",
        font_faces(),
        page_style(),
        lede(subject),
        tiles(subject),
        warnings(subject),
        left_out(drawings),
        everything(subject),
        footer(subject),
    )
}

/// What it is about, in a sentence.
fn lede(subject: &Subject) -> String {
    let mut sets: Vec<String> = subject.entries.iter().map(Entry::group).collect();
    let mut seen = std::collections::BTreeSet::new();
    sets.retain(|set| seen.insert(set.clone()));
    let memory = match &sets[..] {
        [one] => one.clone(),
        all if all.len() <= 3 => all.join("; "),
        all => format!("{} guests and links", all.len()),
    };
    let modelled = subject.entries.iter().filter(|entry| entry.row.provenance.is_modelled()).count();
    let how = match (modelled, subject.entries.len()) {
        (0, _) => "All figures were measured.".to_owned(),
        (some, all) if some == all => {
            "No figure is of hardware: all are modelled, or of a model in its place.".to_owned()
        }
        (some, all) => format!(
            "Of {all} rows, {some} are modelled, or of a model in place of hardware: those are hatched."
        ),
    };
    let rows = subject.entries.len();
    let ways = if rows == 1 { "one way".to_owned() } else { format!("{rows} ways") };
    format!("<p class=\"lede\">A guest's memory, moved in {ways}: {}. {how}</p>\n", escaped(&memory))
}

/// Whether a figure says all of what its name does: the CPU time of a comparison is only what it is more than that of no
/// compression, beside which what all takes is not less.
fn is_all(row: &Row, quantity: Quantity) -> bool {
    quantity != Quantity::CpuPerPage || row.figure(Quantity::ExtraCpuPercent).is_none()
}

/// The best of each kind.
fn tiles(subject: &Subject) -> String {
    let kinds = [
        ("Most pages a second", Quantity::PagesPerSecond, true, "pages/s"),
        ("Least CPU", Quantity::CpuPerPage, false, "µs a page"),
        ("Best ratio", Quantity::Ratio, true, ": 1"),
        ("Shortest downtime", Quantity::DowntimeMs, false, "ms"),
    ];
    let tile = |(what, quantity, most, unit): (&str, Quantity, bool, &str)| {
        let values = subject.entries.iter().filter(|entry| is_all(&entry.row, quantity));
        let values = values.filter_map(|entry| Some((entry, entry.row.figure(quantity)?)));
        let all: Vec<_> = values.collect();
        let order = |one: &&(&Entry, crate::results::Known), other: &&(&Entry, crate::results::Known)| {
            one.1.value.total_cmp(&other.1.value)
        };
        // Alone, nothing is best.
        let best = if all.len() < 2 {
            None
        } else if most {
            all.iter().max_by(order)
        } else {
            all.iter().min_by(order)
        };
        let (entry, known) = best?;
        let how = if known.modelled { " (modelled)" } else { "" };
        Some(format!(
            "<div class=\"tile\"><div class=\"what\">{what}</div><div class=\"value\">{} <small>{unit}</small></div>\
             <div class=\"who\">{}{how}</div></div>\n",
            grouped(known.value),
            escaped(&entry.full)
        ))
    };
    let tiles: String = kinds.into_iter().filter_map(tile).collect();
    if tiles.is_empty() { tiles } else { format!("<div class=\"tiles\">\n{tiles}</div>\n") }
}

/// What makes the figures doubtful, each once, whichever files have it.
fn warnings(subject: &Subject) -> String {
    let mut all: Vec<String> = Vec::new();
    for file in &subject.files {
        for warning in &file.warnings {
            let words =
                if subject.files.len() > 1 { format!("{}: {warning}", file.name) } else { warning.clone() };
            if !all.contains(&words) {
                all.push(words);
            }
        }
    }
    if all.is_empty() {
        return String::new();
    }
    let items: String = all.iter().map(|warning| format!("<li>{}</li>\n", escaped(warning))).collect();
    format!(
        "<section class=\"warnings\">\n<h2>What makes these figures doubtful</h2>\n<ul>\n{items}</ul>\n</section>\n"
    )
}

fn section(drawing: &Drawing) -> String {
    let several =
        drawing.figures.len() > 1 || drawing.figures.iter().any(|figure| figure.title != drawing.title);
    let figures: String = drawing.figures.iter().map(|one| figure(one, several)).collect();
    format!("<section>\n<h2>{}</h2>\n{figures}</section>\n", escaped(drawing.title))
}

fn figure(figure: &Figure, with_title: bool) -> String {
    // What stands behind the section's title is the figure's own.
    let own = figure.title.split_once(": ").map_or(&*figure.title, |(_, own)| own);
    let title = if with_title { format!("<h3>{}</h3>\n", escaped(own)) } else { String::new() };
    format!(
        "<figure>\n{title}<figcaption>{}</figcaption>\n<div class=\"scroll-chart\">\n{}</div>\n<details>\n\
         <summary>The figures as a table</summary>\n{}</details>\n</figure>\n",
        escaped(&figure.sentence),
        figure.inline(),
        table(&figure.grid)
    )
}

/// A table; columns of words stand left, of figures right.
fn table(grid: &Grid) -> String {
    let is_figure = |cell: &String| cell == "-" || cell.starts_with(|letter: char| letter.is_ascii_digit());
    let words: Vec<bool> = (0..grid.head.len())
        .map(|column| !grid.rows.iter().filter_map(|row| row.get(column)).all(is_figure))
        .collect();
    let cells = |element: &str, row: &[String]| -> String {
        let cell = |(index, cell): (usize, &String)| {
            let class = if words.get(index) == Some(&true) { " class=\"word\"" } else { "" };
            format!("<{element}{class}>{}</{element}>", escaped(cell))
        };
        row.iter().enumerate().map(cell).collect()
    };
    let rows: String = grid.rows.iter().map(|row| format!("<tr>{}</tr>\n", cells("td", row))).collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        cells("th", &grid.head)
    )
}

fn left_out(drawings: &[Drawing]) -> String {
    let empty = drawings.iter().filter(|drawing| drawing.figures.is_empty());
    let items: String = empty
        .map(|drawing| {
            format!("<li><strong>{}</strong>: {}.</li>\n", escaped(drawing.title), escaped(drawing.missing))
        })
        .collect();
    if items.is_empty() {
        return items;
    }
    format!("<section>\n<h2>Left out</h2>\n<ul class=\"left-out\">\n{items}</ul>\n</section>\n")
}

fn everything(subject: &Subject) -> String {
    let entries: Vec<&Entry> = subject.entries.iter().collect();
    let known = Quantity::ALL
        .into_iter()
        .filter(|&quantity| entries.iter().any(|entry| entry.row.value(quantity).is_some()));
    let grid = drawing::grid(&entries, &known.collect::<Vec<_>>());
    format!("<section>\n<h2>All figures</h2>\n{}</section>\n", table(&grid))
}

/// Where it was measured, how, and what colours and words mean.
fn footer(subject: &Subject) -> String {
    let mut hosts: Vec<(&Host, Vec<&str>)> = Vec::new();
    for file in &subject.files {
        match hosts.iter_mut().find(|(host, _)| **host == file.host) {
            Some((_, names)) => names.push(&file.name),
            None => hosts.push((&file.host, vec![&file.name])),
        }
    }
    let host = |(host, names): &(&Host, Vec<&str>)| {
        let Host { cpu, cores, memory_bytes, kernel, deflate_library, accelbench, .. } = host;
        let memory = ByteSize(memory_bytes >> 20 << 20);
        let words = format!(
            "{}: {cpu}, {cores} CPUs, {memory}, Linux {kernel}, deflate by {deflate_library}, accelbench {accelbench}",
            names.join(", ")
        );
        format!("<p>{}</p>\n", escaped(&words))
    };
    let hosts: String = hosts.iter().map(host).collect();
    let config = |file: &crate::results::Results| {
        let text = serde_json::to_string_pretty(&file.config).unwrap_or_default();
        format!(
            "<details><summary>Settings of {}</summary>\n<pre>{}</pre></details>\n",
            escaped(&file.name),
            escaped(&text)
        )
    };
    let settings: String = subject.files.iter().map(config).collect();
    let colours: Vec<&str> = Slot::ALL.into_iter().map(Slot::name).collect();
    format!(
        "<footer>\n{hosts}{settings}<p>Colours stand for methods ({}), and are the same in all charts; mix is several in one stream, \
         or a device that does several. Pages that are all zero travel as a run and no data, and are in no figure a page.</p>\n</footer>\n",
        colours.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::draw;
    use super::super::subject::tests::subject;
    use super::*;

    fn page(subject: &Subject) -> String {
        html(subject, &draw(subject))
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let page = page(&subject(&["raw", "zstd"]));
        for way in ["http://", "https://", "src=\"", "@import", "<script", "<iframe"] {
            assert!(!page.contains(way), "{way}");
        }
        assert!(
            page.matches("url(").all(|_| true)
                && !page.replace("url(data:", "").replace("url(#", "").contains("url(")
        );
    }

    #[test]
    fn what_is_left_out_is_told_with_its_reason() {
        let page = page(&subject(&["raw", "zstd"]));
        for words in [
            "Left out",
            "Downtime</strong>: accelbench run moves",
            "too short: use more",
            "2,000 <small>pages/s",
        ] {
            assert!(page.contains(words), "{words}");
        }
    }

    #[test]
    fn names_from_files_are_text_and_nothing_else() {
        let mut subject = subject(&["raw", "zstd"]);
        let evil = "<script>alert(1)</script>\"'&";
        evil.clone_into(&mut subject.files[0].name);
        evil.clone_into(&mut subject.files[0].host.cpu);
        subject.files[0].warnings.push(evil.to_owned());
        subject.files[0].config = serde_json::json!({ evil: evil });
        for entry in &mut subject.entries {
            evil.clone_into(&mut entry.label);
            evil.clone_into(&mut entry.full);
            evil.clone_into(&mut entry.row.set);
        }
        assert!(!page(&subject).contains("<script"));
    }
}
