//! How long requests took.

use crate::chart::{Bucket, Distribution, Grid, Histogram, grouped};
use crate::trace::LatencyBucket;

use super::drawing::{self, Drawing, Name};
use super::subject::{Entry, Group, Subject};

/// The distribution of request times of every row.
pub(super) fn latency(subject: &Subject) -> Drawing {
    let title = "How long requests take";
    let groups = subject.groups_with(|row| row.latency.iter().any(|bucket| bucket.count > 0));
    Drawing {
        title,
        figures: drawing::by_group("latency", title, groups, |name, group| hills(name, group).draw()),
        missing: "no row has its requests' times; results of older versions have none: measure again with accelbench \
                  run --export r.json",
    }
}

fn hills(Name { id, title, note }: Name, group: &Group<'_>) -> Histogram {
    let slowest = group.entries.iter().map(|entry| (entry, percentiles(entry).1));
    let slowest = slowest.max_by(|one, other| one.1.total_cmp(&other.1));
    let words = slowest.map(|(entry, micros)| {
        format!(" Of {}, one request in a hundred takes longer than {} µs.", entry.label, grouped(micros))
    });
    Histogram {
        id,
        title,
        sentence: format!(
            "Each hill shows how many requests took how long, from submission to completion; narrow and to the left is \
             best.{}{note}",
            words.unwrap_or_default()
        ),
        axis: "microseconds (logarithmic)".to_owned(),
        distributions: group.entries.iter().map(|entry| distribution(entry)).collect(),
        grid: grid(&group.entries),
    }
}

fn distribution(entry: &Entry) -> Distribution {
    let (p50, p99) = percentiles(entry);
    let bucket = |bucket: &LatencyBucket| Bucket { upper: bucket.upper_us, count: bucket.count };
    Distribution {
        label: entry.label.clone(),
        slot: entry.row.slot,
        modelled: entry.row.course.is_modelled(),
        buckets: entry.row.latency.iter().map(bucket).collect(),
        marks: vec![(p50, format!("p50 {}", grouped(p50))), (p99, format!("p99 {}", grouped(p99)))],
    }
}

/// The median and the 99th percentile: exact if the result has them, else the bounds of their buckets.
fn percentiles(entry: &Entry) -> (f64, f64) {
    let row = &entry.row;
    row.request_us
        .map_or_else(|| (bound(&row.latency, 0.5), bound(&row.latency, 0.99)), |exact| (exact.p50, exact.p99))
}

fn bound(buckets: &[LatencyBucket], quantile: f64) -> f64 {
    let all: u64 = buckets.iter().map(|bucket| bucket.count).fold(0, u64::saturating_add);
    let mut sum = 0_u64;
    let reached = |bucket: &&LatencyBucket| {
        sum = sum.saturating_add(bucket.count);
        sum as f64 >= all as f64 * quantile
    };
    buckets.iter().find(reached).map_or(0.0, |bucket| bucket.upper_us)
}

fn grid(entries: &[&Entry]) -> Grid {
    let head = ["", "requests", "p50, µs", "p99, µs", "max, µs"];
    let row = |entry: &&Entry| {
        let requests = entry.row.latency.iter().map(|bucket| bucket.count).fold(0, u64::saturating_add);
        let (p50, p99) = percentiles(entry);
        let max = entry.row.request_us.map_or_else(|| bound(&entry.row.latency, 1.0), |exact| exact.max);
        vec![entry.label.clone(), crate::grouped::count(requests), grouped(p50), grouped(p99), grouped(max)]
    };
    Grid { head: head.map(str::to_owned).to_vec(), rows: entries.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::subject;
    use super::*;

    #[test]
    fn percentiles_are_exact_where_they_are_known_and_bounds_where_not() {
        let mut subject = subject(&["raw"]);
        let bucket = |upper_us, count| LatencyBucket { upper_us, count };
        let row = &mut subject.entries[0].row;
        row.latency = vec![bucket(100.0, 60), bucket(125.0, 38), bucket(2000.0, 2)];
        assert_eq!(percentiles(&subject.entries[0]), (100.0, 250.5));
        subject.entries[0].row.request_us = None;
        assert_eq!(percentiles(&subject.entries[0]), (100.0, 2000.0));
        let figure = latency(&subject).figures.remove(0);
        assert!(figure.sentence.contains("longer than 2,000 µs"), "{}", figure.sentence);
        assert_eq!(figure.grid.rows[0][1], "100");
    }
}
