//! How a migration went over time: by which methods pages travelled, and how much that saved.

use std::collections::BTreeMap;

use crate::chart::{Grid, Line, Lines, Moment, Scale, Share, Slot, Stack, Stacks, grouped};
use crate::results::Row;
use crate::trace::Sample;

use super::drawing::{self, Drawing, Name};
use super::subject::{Entry, Group, Subject};

/// So many moments can be told apart.
const MOMENTS: usize = 60;
/// Fewer for a curve: a moment has to have enough pages for a ratio.
const BENDS: usize = 30;

const MISSING: &str = "no row has samples from while it ran; results of older versions have none: measure again with \
                       accelbench run --export r.json";

/// What was sent between two looks at a sender.
struct Span {
    from: f64,
    to: f64,
    pages: BTreeMap<Slot, u64>,
    source_bytes: u64,
    wire_bytes: u64,
}

/// By which methods pages travelled.
pub(super) fn mix(subject: &Subject) -> Drawing {
    let title = "Method mix over time";
    let figures = drawing::by_group("mix", title, subject.groups_with(has_course), |name, group| {
        bands(name, group).draw()
    });
    Drawing { title, figures, missing: MISSING }
}

fn bands(Name { id, title, note }: Name, group: &Group<'_>) -> Stacks {
    let stack = |entry: &&Entry| {
        let moments = spans(&entry.row.timeline, MOMENTS).into_iter().map(|span| {
            let shares = span.pages.into_iter().map(|(slot, pages)| Share { slot, value: pages as f64 });
            Moment { from: span.from, to: span.to, shares: shares.collect() }
        });
        let how = if entry.row.course.is_modelled() { " (modelled)" } else { "" };
        Stack { label: format!("{}{how}", entry.label), moments: moments.collect() }
    };
    Stacks {
        id,
        title,
        sentence: format!(
            "Each band is one migration from its begin to its end, its colours the shares of its pages by method; a gap is a \
             time in which none was sent.{note}"
        ),
        across: ACROSS.to_owned(),
        stacks: group.entries.iter().map(stack).collect(),
        grid: pages_grid(&group.entries),
    }
}

/// How much smaller pages were on the wire.
pub(super) fn ratio(subject: &Subject) -> Drawing {
    let title = "Ratio over time";
    let groups = subject.groups_with(|row| ratios(&row.timeline).len() > 1);
    let figures = drawing::by_group("ratio", title, groups, |name, group| curves(name, group).draw());
    Drawing { title, figures, missing: MISSING }
}

fn curves(Name { id, title, note }: Name, group: &Group<'_>) -> Lines {
    let lines: Vec<Line> = group.entries.iter().map(|entry| line(entry)).collect();
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|&(_, ratio)| ratio));
    let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    // Deltas shrink pages by hundreds, compression by two or three.
    let up_scale = if most > 8.0 * least { Scale::Log(least.min(1.0)) } else { Scale::Linear };
    let logarithmic = if up_scale == Scale::Linear { "" } else { " (logarithmic)" };
    let best = lines.iter().filter_map(|line| Some((line, line.points.last()?.1)));
    let best = best.max_by(|one, other| one.1.total_cmp(&other.1));
    let words =
        best.map(|(line, ratio)| format!(" At the end {} is ahead with {}.", line.label, grouped(ratio)));
    let dashed = if lines.iter().any(|line| line.modelled) { " Dashed lines are modelled." } else { "" };
    Lines {
        id,
        title,
        sentence: format!(
            "The higher the line, the less of each page crossed the wire.{}{dashed}{note}",
            words.unwrap_or_default()
        ),
        across: ACROSS.to_owned(),
        up: format!("bytes of pages over bytes on the wire{logarithmic}"),
        up_scale,
        grid: ratio_grid(&lines),
        lines,
    }
}

const ACROSS: &str = "seconds since the migration began, without what the guest did between two rounds";

fn has_course(row: &Row) -> bool {
    row.timeline.len() > 1
}

fn line(entry: &Entry) -> Line {
    let modelled = entry.row.course.is_modelled();
    Line { label: entry.label.clone(), slot: entry.row.slot, modelled, points: ratios(&entry.row.timeline) }
}

/// The ratio of what was sent in each of some times, at its middle.
fn ratios(samples: &[Sample]) -> Vec<(f64, f64)> {
    let ratio = |span: Span| {
        let ratio = span.source_bytes as f64 / span.wire_bytes as f64;
        (ratio.is_finite() && ratio > 0.0).then(|| (f64::midpoint(span.from, span.to), ratio))
    };
    spans(samples, BENDS).into_iter().filter_map(ratio).collect()
}

/// What was sent between samples, of several samples each if there are more than `most`.
fn spans(samples: &[Sample], most: usize) -> Vec<Span> {
    let mut before: Option<&Sample> = None;
    let mut spans = Vec::new();
    for chunk in samples.chunks(samples.len().div_ceil(most).max(1)) {
        let Some(last) = chunk.last() else { continue };
        let count = |of: &dyn Fn(&Sample) -> u64| of(last).saturating_sub(before.map_or(0, of));
        let mut pages: BTreeMap<Slot, u64> = BTreeMap::new();
        for (name, total) in last.pages_by_method.iter() {
            let then =
                before.and_then(|sample| sample.pages_by_method.iter().find(|(other, _)| *other == name));
            *pages.entry(Slot::of(name)).or_default() +=
                total.saturating_sub(then.map_or(0, |(_, pages)| pages));
        }
        let zeros = pages.entry(Slot::of("zero")).or_default();
        *zeros = zeros.saturating_add(count(&|sample| sample.zero_pages));
        let from = before.map_or(0.0, |sample| sample.seconds);
        spans.push(Span {
            from,
            to: last.seconds.max(from),
            pages,
            source_bytes: count(&|sample| sample.source_bytes),
            wire_bytes: count(&|sample| sample.wire_bytes),
        });
        before = Some(last);
    }
    spans
}

/// Pages by method in all.
fn pages_grid(entries: &[&Entry]) -> Grid {
    let pages = |entry: &Entry, slot: Slot| -> u64 {
        let zeros = entry.row.timeline.last().map_or(0, |sample| sample.zero_pages);
        let by_method = entry.row.pages_by_method.iter().filter(|(name, _)| Slot::of(name) == slot);
        let zeros = (slot == Slot::of("zero")).then_some(zeros);
        by_method.map(|(_, pages)| pages).chain(zeros).fold(0, u64::saturating_add)
    };
    let used: Vec<Slot> =
        Slot::ALL.into_iter().filter(|&slot| entries.iter().any(|entry| pages(entry, slot) > 0)).collect();
    let head = std::iter::once(String::new()).chain(used.iter().map(|slot| format!("{} pages", slot.name())));
    let row = |entry: &&Entry| {
        let cells = used.iter().map(|&slot| crate::grouped::count(pages(entry, slot)));
        std::iter::once(entry.label.clone()).chain(cells).collect()
    };
    Grid { head: head.collect(), rows: entries.iter().map(row).collect() }
}

/// The ratio of every line at the ends of its quarters.
fn ratio_grid(lines: &[Line]) -> Grid {
    let head = ["", "first", "after a quarter", "half-way", "after three quarters", "last"];
    let row = |line: &Line| {
        let last = line.points.len().saturating_sub(1);
        let at =
            (0..=4).map(|quarter| line.points.get(last * quarter / 4).map_or(f64::NAN, |&(_, ratio)| ratio));
        std::iter::once(line.label.clone()).chain(at.map(grouped)).collect()
    };
    Grid { head: head.map(str::to_owned).to_vec(), rows: lines.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::subject::tests::subject;
    use super::*;

    fn samples(pages: &[(u64, u64)]) -> Vec<Sample> {
        let sample = |(index, &(raw, delta)): (usize, &(u64, u64))| {
            serde_json::from_value(json!({
                "seconds": index as f64 * 0.02, "pages": raw + delta, "zero_pages": 5,
                "source_bytes": (raw + delta) * 4096, "wire_bytes": raw * 4096 + delta * 64,
                "pages_by_method": { "raw": raw, "delta": delta }
            }))
            .unwrap()
        };
        pages.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn what_is_shown_of_a_time_is_what_was_sent_in_it() {
        let spans = spans(&samples(&[(10, 0), (30, 0), (30, 100)]), 10);
        let count = |index: usize, name: &str| spans[index].pages[&Slot::of(name)];
        assert_eq!((count(0, "raw"), count(1, "raw"), count(2, "raw")), (10, 20, 0));
        assert_eq!((count(0, "zero"), count(1, "zero"), count(2, "delta")), (5, 0, 100));
        assert_eq!((spans[2].source_bytes, spans[2].wire_bytes), (409_600, 6400));
    }

    #[test]
    fn many_samples_become_few_spans_that_lose_nothing() {
        let all: Vec<(u64, u64)> = (1..=250).map(|number| (number * 3, number)).collect();
        let spans = spans(&samples(&all), 60);
        assert!(spans.len() <= 60, "{}", spans.len());
        assert_eq!(spans.iter().map(|span| span.pages[&Slot::of("raw")]).sum::<u64>(), 750);
        assert!(spans.windows(2).all(|two| two[0].to == two[1].from));
    }

    #[test]
    fn counts_that_fall_as_no_migration_s_do_are_taken_for_nothing() {
        let spans = spans(&samples(&[(100, 0), (10, 0)]), 10);
        assert_eq!(spans[1].pages[&Slot::of("raw")], 0);
    }

    #[test]
    fn a_migration_with_samples_has_a_band_and_a_line() {
        let mut subject = subject(&["raw"]);
        assert!(mix(&subject).figures.is_empty() && ratio(&subject).figures.is_empty());
        subject.entries[0].row.timeline = samples(&[(10, 0), (30, 0), (30, 100)]);
        let band = mix(&subject).figures.remove(0).inline();
        assert!(band.contains("f-raw") && band.contains("f-delta") && band.contains("f-zero"), "{band}");
        let line = ratio(&subject).figures.remove(0);
        assert!(line.inline().contains("mark curve") && line.sentence.contains("64.0"), "{}", line.sentence);
    }
}
