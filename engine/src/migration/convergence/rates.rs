//! How fast pages are written and sent, from rounds of any length.

use std::time::Duration;

/// One round as it was: what was sent, and what was dirty when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundSeen {
    /// Pages that it sent, zero ones too.
    pub pages: u64,
    /// Zero pages among them.
    pub zero_pages: u64,
    /// Bytes that it took on the wire.
    pub wire_bytes: u64,
    /// From its beginning to the destination's report.
    pub took: Duration,
    /// Pages that were dirty when it ended.
    pub left_pages: u64,
    /// How long these had to become dirty: the time between the last two collections.
    pub dirtied_over: Duration,
}

/// What does not depend on the number of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedCosts {
    /// Of a round: from its end at the source to the report.
    pub round: Duration,
    /// Of the switchover, beside its round: to stop the guest, to move its state, to start it.
    pub switchover: Duration,
}

/// How fast everything goes at present, and what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Pages that the guest makes dirty.
    pub dirty_pages_per_s: f64,
    /// Pages that arrive, by the methods in use.
    pub sent_pages_per_s: f64,
    /// What that takes of the network.
    pub wire_bytes_per_s: f64,
    /// How long the guest would stand still if it were stopped now. None before the first round.
    pub expected_downtime: Option<Duration>,
}

/// Moving averages, in which a round counts by its length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    fixed: FixedCosts,
    begun: bool,
    s_per_page: Average,
    wire_bytes_per_s: Average,
    dirty_pages_per_s: Average,
    left_pages: u64,
}

/// A moving average; nothing before its first value.
#[derive(Clone, Copy, Debug, Default)]
struct Average(Option<f64>);

/// A round of this length leaves a third of what was known before: long rounds replace it, short ones add to it.
const MEMORY: Duration = Duration::from_millis(200);

/// A page's time before any was seen: so slow that only a guest without work is stopped on this ground.
const UNSEEN_S_PER_PAGE: f64 = 1e-3;

impl Rates {
    pub(super) fn set_fixed_costs(&mut self, costs: FixedCosts) {
        self.fixed = costs;
    }

    pub(super) const fn fixed_costs(&self) -> FixedCosts {
        self.fixed
    }

    pub(super) fn see(&mut self, seen: &RoundSeen) {
        // Zero pages cost nothing. In the first round they are the memory that the guest does not use, and say nothing about the
        // pages that it writes; later ones are a part of those, as of the ones that are left.
        let free = if self.begun { 0 } else { seen.zero_pages };
        let pages = seen.pages.saturating_sub(free);
        let took = seen.took.as_secs_f64();
        if pages > 0 {
            // Where a round took little more than its fixed part, that part was measured on a worse day.
            let on_pages = (took - self.fixed.round.as_secs_f64()).max(took / 4.0);
            self.s_per_page.see(on_pages / pages as f64, seen.took);
            if took > 0.0 {
                self.wire_bytes_per_s.see(seen.wire_bytes as f64 / took, seen.took);
            }
        }
        if !seen.dirtied_over.is_zero() {
            let rate = seen.left_pages as f64 / seen.dirtied_over.as_secs_f64();
            self.dirty_pages_per_s.see(rate, seen.dirtied_over);
        }
        self.left_pages = seen.left_pages;
        self.begun = true;
    }

    /// How long so many pages take.
    pub(super) fn time_of(&self, pages: u64) -> Duration {
        let seconds = self.s_per_page.0.unwrap_or(UNSEEN_S_PER_PAGE) * pages as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    pub(super) fn expected_downtime(&self) -> Duration {
        self.time_of(self.left_pages).saturating_add(self.fixed.of_switchover())
    }

    pub(super) fn estimate(&self) -> Estimate {
        let per_page = self.s_per_page.0.filter(|&seconds| seconds > 0.0);
        Estimate {
            dirty_pages_per_s: self.dirty_pages_per_s.0.unwrap_or(0.0),
            sent_pages_per_s: per_page.map_or(0.0, f64::recip),
            wire_bytes_per_s: self.wire_bytes_per_s.0.unwrap_or(0.0),
            expected_downtime: self.begun.then(|| self.expected_downtime()),
        }
    }
}

impl FixedCosts {
    /// The downtime of a guest that has written nothing.
    pub(super) const fn of_switchover(self) -> Duration {
        self.round.saturating_add(self.switchover)
    }
}

impl Average {
    fn see(&mut self, value: f64, over: Duration) {
        let weight = 1.0 - (-over.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.0 = Some(self.0.map_or(value, |known| known + weight * (value - known)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(pages: u64, pages_per_s: u64) -> RoundSeen {
        let took = Duration::from_secs_f64(pages as f64 / pages_per_s as f64);
        RoundSeen {
            pages,
            wire_bytes: pages * 1000,
            took,
            left_pages: 10,
            dirtied_over: took,
            ..RoundSeen::default()
        }
    }

    fn sent_per_s(rounds: impl IntoIterator<Item = RoundSeen>) -> f64 {
        let mut rates = Rates::default();
        rounds.into_iter().for_each(|seen| rates.see(&seen));
        rates.estimate().sent_pages_per_s
    }

    #[test]
    fn one_long_round_at_another_pace_is_believed() {
        let found = sent_per_s([round(1_000_000, 100_000), round(400_000, 400_000)]);
        assert!((found / 400_000.0 - 1.0).abs() < 0.03, "{found} pages a second");
    }

    #[test]
    fn one_short_round_at_another_pace_is_hardly_noticed_and_many_are_believed() {
        let found = sent_per_s([round(1_000_000, 100_000), round(100, 20_000)]);
        assert!((found / 100_000.0 - 1.0).abs() < 0.11, "{found} pages a second");
        let many = std::iter::repeat_n(round(100, 20_000), 200);
        let found = sent_per_s(std::iter::once(round(1_000_000, 100_000)).chain(many));
        assert!((found / 20_000.0 - 1.0).abs() < 0.03, "{found} pages a second");
    }

    #[test]
    fn memory_that_the_guest_never_used_makes_no_link_fast() {
        let found =
            sent_per_s([RoundSeen { pages: 1_900_000, zero_pages: 1_800_000, ..round(100_000, 50_000) }]);
        assert!((found / 50_000.0 - 1.0).abs() < 1e-9, "{found} pages a second");
    }

    #[test]
    fn fixed_costs_are_no_part_of_the_pace_and_a_part_of_the_downtime() {
        let mut rates = Rates::default();
        let fixed = FixedCosts { round: Duration::from_millis(20), switchover: Duration::from_millis(30) };
        rates.set_fixed_costs(fixed);
        let seen = round(1000, 100_000);
        rates.see(&RoundSeen { took: seen.took + fixed.round, left_pages: 2000, ..seen });
        let expected = rates.estimate().expected_downtime.unwrap();
        assert!(expected.abs_diff(Duration::from_millis(70)) < Duration::from_micros(1), "{expected:?}");
    }

    #[test]
    fn rounds_without_pages_or_time_leave_everything_finite() {
        let mut rates = Rates::default();
        assert_eq!(rates.estimate(), Estimate::default());
        for seen in [
            RoundSeen { left_pages: u64::MAX, ..RoundSeen::default() },
            RoundSeen { pages: u64::MAX, zero_pages: u64::MAX, took: Duration::MAX, ..RoundSeen::default() },
            RoundSeen { pages: 1, took: Duration::MAX, left_pages: u64::MAX, ..RoundSeen::default() },
        ] {
            rates.see(&seen);
            let Estimate { dirty_pages_per_s, sent_pages_per_s, wire_bytes_per_s, .. } = rates.estimate();
            let all = [dirty_pages_per_s, sent_pages_per_s, wire_bytes_per_s];
            assert!(all.iter().all(|rate| rate.is_finite()), "{all:?} after {seen:?}");
        }
    }
}
