//! How many pages a vCPU may write, and when.
//!
//! The guest asks, and the VMM answers when it is time: the guest's own clock is not in it. It need not spin until
//! something is due, which would take the host's CPUs from the migration, and its rate survives any move.

use std::time::{Duration, Instant};

use crate::gate::Gate;

/// How often a guest asks that has time to, and so how often its heart beats.
const TICK: Duration = Duration::from_millis(2);
/// A throttled vCPU runs and sleeps once in such a time.
const THROTTLE_PERIOD: Duration = Duration::from_millis(10);
/// The shortest time that a throttled vCPU runs, and the longest that it sleeps.
const SHORTEST_RUN: Duration = Duration::from_micros(100);
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// The most pages between two heartbeats.
const MOST_PAGES: u64 = 256;
const NANOS_PER_S: u128 = 1_000_000_000;

/// What the guest is told of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Pages a second of this vCPU; none: no limit.
    pub(crate) pages_per_s: Option<u64>,
    /// How much of its time is taken from it, 0 to 99.
    pub(crate) throttle_percent: u8,
}

/// The account of one vCPU.
pub(crate) struct Pacer {
    /// When the guest ran on after the last answer.
    since: Instant,
    /// What it has earned and not written, in pages and nanoseconds of a second's share of one.
    credit: u128,
}

impl Pacer {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), credit: 0 }
    }

    /// The guest stood still until now, which earns it nothing.
    pub(crate) fn restart(&mut self) {
        self.since = Instant::now();
    }

    /// Waits until something is due, or the guest is to stop, and says how many pages it may write.
    pub(crate) fn next(&mut self, pace: Pace, gate: &Gate) -> u64 {
        let pages = match pace.pages_per_s {
            None => MOST_PAGES,
            Some(rate) => {
                gate.sleep(slice(pace, rate).saturating_sub(self.since.elapsed()));
                self.earn(rate, self.since.elapsed())
            }
        };
        if pace.throttle_percent > 0 {
            gate.sleep(rest(self.since.elapsed(), pace.throttle_percent));
        }
        self.restart();
        pages
    }

    fn earn(&mut self, rate: u64, ran: Duration) -> u64 {
        let earned = self.credit + ran.as_nanos().saturating_mul(u128::from(rate));
        // Who is late does not catch up: a guest that could not write more has no claim to it afterwards.
        let earned = earned.min(u128::from(MOST_PAGES) * NANOS_PER_S);
        self.credit = earned % NANOS_PER_S;
        u64::try_from(earned / NANOS_PER_S).unwrap_or(MOST_PAGES)
    }
}

/// How long the guest runs between two answers.
fn slice(pace: Pace, rate: u64) -> Duration {
    let full = Duration::from_nanos(MOST_PAGES / 2 * 1_000_000_000 / rate.max(1));
    let left = THROTTLE_PERIOD * u32::from(100_u8.saturating_sub(pace.throttle_percent)) / 100;
    let longest = if pace.throttle_percent == 0 { TICK } else { left.clamp(SHORTEST_RUN, TICK) };
    full.min(longest)
}

/// How long a vCPU sleeps that ran so long.
fn rest(ran: Duration, throttle_percent: u8) -> Duration {
    let percent = u32::from(throttle_percent.min(99));
    (ran * percent / (100 - percent)).min(LONGEST_SLEEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_page_are_not_lost() {
        let mut pacer = Pacer::new();
        let pages: u64 = (0..1000).map(|_| pacer.earn(333, Duration::from_millis(1))).sum();
        assert_eq!(pages, 333);
    }

    #[test]
    fn a_late_guest_does_not_catch_up() {
        assert_eq!(Pacer::new().earn(1_000_000, Duration::from_secs(60)), MOST_PAGES);
    }

    #[test]
    fn a_throttled_vcpu_sleeps_its_share_of_the_time() {
        for (percent, slept_us) in [(0, 0), (20, 250), (50, 1000), (75, 3000), (99, 99_000), (200, 99_000)] {
            let rest = rest(Duration::from_millis(1), percent);
            assert_eq!(rest, Duration::from_micros(slept_us), "{percent}%");
        }
        assert_eq!(rest(Duration::from_secs(60), 99), LONGEST_SLEEP);
    }

    #[test]
    fn a_throttled_heart_beats_in_every_period() {
        for throttle_percent in 0..100 {
            let pace = Pace { pages_per_s: Some(1000), throttle_percent };
            let runs = slice(pace, 1000);
            let period = runs + rest(runs, throttle_percent);
            assert!(period <= THROTTLE_PERIOD, "{throttle_percent}%: {period:?}");
        }
    }

    #[test]
    fn a_closed_gate_wakes_who_waits_for_pages() {
        let gate = Gate::new(1);
        assert_eq!(Pacer::new().next(Pace { pages_per_s: Some(0), throttle_percent: 99 }, &gate), 0);
    }
}
