//! Virtual time, and what is going to happen in it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in virtual time or a stretch of it, in nanoseconds.
///
/// Not whole ones: threads that share a CPU progress by fractions. The same additions in the same order give the same sums, so
/// that nothing of this hurts repeatability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Nanos(
    /// How many.
    pub f64,
);

impl Nanos {
    /// The beginning, or no time at all.
    pub const ZERO: Self = Self(0.0);

    /// From seconds.
    #[must_use]
    pub fn from_s(seconds: f64) -> Self {
        Self(seconds * 1e9)
    }

    /// In seconds.
    #[must_use]
    pub fn s(self) -> f64 {
        self.0 / 1e9
    }

    /// As the engine takes times; nothing if it is negative or no number.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.s()).unwrap_or_default()
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        Self::from_s(duration.as_secs_f64())
    }
}

impl Add for Nanos {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Nanos {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Eq for Nanos {}

impl Ord for Nanos {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Nanos {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What happens when, the earliest first; of what happens at the same time, what was entered first.
#[derive(Clone, Debug)]
pub(super) struct Agenda<E> {
    entries: BinaryHeap<Entry<E>>,
    entered: u64,
}

#[derive(Clone, Debug)]
struct Entry<E> {
    at: Nanos,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self { entries: BinaryHeap::new(), entered: 0 }
    }

    pub(super) fn enter(&mut self, at: Nanos, event: E) {
        self.entered += 1;
        self.entries.push(Entry { at, number: self.entered, event });
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Nanos> {
        self.entries.peek().map(|entry| entry.at)
    }

    pub(super) fn take(&mut self) -> Option<E> {
        self.entries.pop().map(|entry| entry.event)
    }
}

impl<E> Ord for Entry<E> {
    /// The heap has the greatest on top, and the earliest is to be there.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at).then(other.number.cmp(&self.number))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_at_the_same_time_happens_in_the_order_of_entry() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5.0, 'c'), (1.0, 'a'), (5.0, 'd'), (1.0, 'b')] {
            agenda.enter(Nanos(at), event);
        }
        assert_eq!(agenda.next_at(), Some(Nanos(1.0)));
        let order: String = std::iter::from_fn(|| agenda.take()).collect();
        assert_eq!(order, "abcd");
    }
}
