//! How many pages a second reach the other side, and how many a guest may write meanwhile.

use crate::chart::{Bar, Bars, Scale, Section, grouped};
use crate::results::Quantity;

use super::drawing::{self, Drawing};
use super::subject::{Entry, Group, Subject};

/// Pages a second, by link and method.
pub(super) fn throughput(subject: &Subject) -> Drawing {
    let groups = subject.groups(Quantity::PagesPerSecond);
    let words = |group: &Group<'_>, entry: &Entry, value: f64| {
        let relative = entry.row.value(Quantity::Relative);
        let relative = relative.or_else(|| Some(value / group.plain()?.row.value(Quantity::PagesPerSecond)?));
        let is_plain = group.plain().is_some_and(|plain| plain.row.id == entry.row.id);
        let relative = relative.filter(|times| times.is_finite() && !is_plain);
        relative.map_or_else(
            || grouped(value),
            |times| format!("{}, {} × uncompressed", grouped(value), grouped(times)),
        )
    };
    let fastest = |group: &Group<'_>| {
        let (best, value) = group.best(Quantity::PagesPerSecond, true)?;
        Some(format!("{} with {} pages/s on {}", best.label, grouped(value), group.title))
    };
    let winners: Vec<String> = groups.iter().filter_map(fastest).collect();
    let sentence = match &winners[..] {
        [] => String::new(),
        winners if winners.len() <= 3 => {
            format!("The longer the bar, the sooner the guest has moved. Ahead: {}.", winners.join("; "))
        }
        winners => format!(
            "The longer the bar, the sooner the guest has moved. Ahead on the first of them: {}.",
            winners[0]
        ),
    };
    let bars = Bars {
        id: "throughput".to_owned(),
        title: "Throughput by method and link".to_owned(),
        sentence,
        axis: "pages that were not zero, a second".to_owned(),
        scale: Scale::Linear,
        sections: sections(&groups, Quantity::PagesPerSecond, &words),
        marker: None,
        grid: grid(
            &groups,
            &[Quantity::PagesPerSecond, Quantity::Relative, Quantity::Seconds, Quantity::Ratio],
        ),
    };
    Drawing {
        title: "Throughput by method and link",
        figures: if groups.is_empty() { Vec::new() } else { vec![bars.draw()] },
        missing: "no row says how many pages a second it moved: measure with accelbench run --export r.json",
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
