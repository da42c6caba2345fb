//! How many pages a second reach the other side, and how many a guest may write meanwhile.

use crate::chart::{Bar, Bars, Scale, Section, grouped};
use crate::results::Quantity;

use super::drawing::{self, Drawing};
use super::subject::{Entry, Group, Subject};

/// Pages a second, by link and method: in one chart if they can be compared by eye, else in one for each group.
pub(super) fn throughput(subject: &Subject) -> Drawing {
    let title = "Throughput by method and link";
    let groups = subject.groups(Quantity::PagesPerSecond);
    let most = || {
        groups.iter().filter_map(|group| group.best(Quantity::PagesPerSecond, true)).map(|(_, value)| value)
    };
    let (slowest, fastest) = (most().fold(f64::MAX, f64::min), most().fold(0.0, f64::max));
    let figures = if groups.is_empty() {
        Vec::new()
    } else if fastest > FAR_APART * slowest {
        let name = |number: usize| format!("throughput-{}", number + 1);
        let draw = |(number, group): (usize, &Group<'_>)| {
            bars(name(number), format!("{title}: {}", group.title), std::slice::from_ref(group)).draw()
        };
        groups.iter().enumerate().map(draw).collect()
    } else {
        vec![bars("throughput".to_owned(), title.to_owned(), &groups).draw()]
    };
    Drawing {
        title,
        figures,
        missing: "no row says how many pages a second it moved: measure with accelbench run --export r.json",
    }
}

/// On an axis of the fastest group's, the bars of one that is slower by more are too short to be compared.
const FAR_APART: f64 = 4.0;

fn bars(id: String, title: String, groups: &[Group<'_>]) -> Bars {
    let fastest = |group: &Group<'_>| {
        let (best, value) = group.best(Quantity::PagesPerSecond, true)?;
        Some(format!("{} with {} pages/s on {}", best.label, grouped(value), group.title))
    };
    let winners: Vec<String> = groups.iter().filter_map(fastest).take(3).collect();
    let first = if groups.len() > winners.len() { " on the first of them" } else { "" };
    let mut sections = sections(groups, Quantity::PagesPerSecond, &words);
    if let [one] = &mut sections[..] {
        one.title.clear();
    }
    Bars {
        id,
        title,
        sentence: format!(
            "The longer the bar, the sooner the guest has moved. Ahead{first}: {}.",
            winners.join("; ")
        ),
        axis: "pages that were not zero, a second".to_owned(),
        scale: Scale::Linear,
        sections,
        marker: None,
        grid: grid(
            groups,
            &[Quantity::PagesPerSecond, Quantity::Relative, Quantity::Seconds, Quantity::Ratio],
        ),
    }
}

/// Pages a second, and how often those of no compression that is.
fn words(group: &Group<'_>, entry: &Entry, value: f64) -> String {
    let plain = group.plain(entry).filter(|plain| plain.row.id != entry.row.id);
    let held = || Some(value / plain?.row.value(Quantity::PagesPerSecond)?);
    let times = plain.and_then(|_| entry.row.value(Quantity::Relative).or_else(held));
    match times.filter(|times| times.is_finite()) {
        Some(times) => format!("{}, {times:.2} × uncompressed", grouped(value)),
        None => grouped(value),
    }
}

/// The largest dirty rate that still migrates.
pub(super) fn dirty_rate(subject: &Subject) -> Drawing {
    let groups = subject.groups(Quantity::MaxDirtyRate);
    let first = groups.first().and_then(|group| {
        let (best, value) = group.best(Quantity::MaxDirtyRate, true)?;
        Some(format!(" On {} that is {} pages/s with {}.", group.title, grouped(value), best.label))
    });
    let bars = Bars {
        id: "dirty-rate".to_owned(),
        title: "How fast a guest may write and still move".to_owned(),
        sentence: format!(
            "A guest that writes faster than its bar is long does not come to an end.{}",
            first.unwrap_or_default()
        ),
        axis: "pages written by the guest, a second".to_owned(),
        scale: Scale::Linear,
        sections: sections(&groups, Quantity::MaxDirtyRate, &|_, _, value| grouped(value)),
        marker: None,
        grid: grid(&groups, &[Quantity::MaxDirtyRate, Quantity::PagesPerSecond]),
    };
    Drawing {
        title: "How fast a guest may write and still move",
        figures: if groups.is_empty() { Vec::new() } else { vec![bars.draw()] },
        missing: "no row says how fast a guest may write: measure with accelbench compare",
    }
}

/// A section a group, a bar a row.
pub(super) fn sections(
    groups: &[Group<'_>],
    quantity: Quantity,
    words: &dyn Fn(&Group<'_>, &Entry, f64) -> String,
) -> Vec<Section> {
    let bar = |group: &Group<'_>, entry: &Entry| {
        let known = entry.row.figure(quantity)?;
        let (label, slot) = (entry.label.clone(), entry.row.slot);
        let words = words(group, entry, known.value);
        Some(Bar { label, slot, value: known.value, modelled: known.modelled, words })
    };
    let section = |group: &Group<'_>| Section {
        title: group.title.clone(),
        bars: group.entries.iter().filter_map(|entry| bar(group, entry)).collect(),
    };
    groups.iter().map(section).collect()
}

/// The table behind bars.
pub(super) fn grid(groups: &[Group<'_>], quantities: &[Quantity]) -> crate::chart::Grid {
    let entries: Vec<&Entry> = groups.iter().flat_map(|group| group.entries.iter().copied()).collect();
    drawing::grid(&entries, quantities)
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::subject;
    use super::*;

    #[test]
    fn the_sentence_names_the_fastest_and_the_bars_are_held_against_raw() {
        let drawing = throughput(&subject(&["raw", "deflate"]));
        let [figure] = &drawing.figures[..] else { panic!("{drawing:?}") };
        assert!(figure.sentence.contains("2,000 pages/s on mixed, 256 MiB, 1 Gbit/s"), "{}", figure.sentence);
        assert!(figure.inline().contains(">2,000, 1.00 × uncompressed</text>"), "{}", figure.inline());
        assert_eq!(figure.grid.rows.len(), 2);
    }

    #[test]
    fn a_chart_without_data_says_what_to_do() {
        let drawing = dirty_rate(&subject(&["raw"]));
        assert!(drawing.figures.is_empty() && drawing.missing.contains("accelbench compare"));
    }
}
