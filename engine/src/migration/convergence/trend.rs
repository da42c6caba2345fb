//! Whether the rounds get anywhere.
//!
//! A *level* is the logarithm of the time that what is left would take. It falls by the same amount a round while the
//! guest writes a constant share of what is sent, so a straight line is what steady progress looks like.

use std::collections::VecDeque;
use std::time::Duration;

/// The levels of the last rounds, and how long ago there was a new low.
#[derive(Clone, Debug)]
pub(super) struct Trend {
    levels: VecDeque<f64>,
    seen_over: Duration,
    lowest: f64,
    since_lowest: u32,
    /// What counts as a new low: the lowest level, or a lower bar after the one jump that is forgiven.
    bar: f64,
    since_bar: u32,
    jumps: u32,
}

/// The most levels looked at. The more, the less noise is taken for a stall, and the later a stall is seen.
const WINDOW: usize = 9;

/// The fewest levels that make a trend: of three rounds, and the one that they began from.
const FEWEST: usize = 4;

/// The shortest time that makes a trend: a throttle takes its effect in steps of some 10 ms.
const SHORTEST: Duration = Duration::from_millis(500);

/// A round that lowers the level by less than 1% is no progress.
const PROGRESS: f64 = 0.01;

/// A level that rises by more than half of what was left has jumped.
const JUMP: f64 = 0.4;

/// The most rounds without a new low. Guests that go up and down in cycles longer than the window are seen by this.
const CYCLE: u32 = 16;

/// The most rounds without a new lowest level, whatever jumped.
pub(super) const PATIENCE: u32 = 64;

impl Trend {
    /// From here on.
    pub(super) fn new(left: Duration) -> Self {
        let level = level(left);
        Self {
            levels: VecDeque::from([level]),
            seen_over: Duration::ZERO,
            lowest: level,
            since_lowest: 0,
            bar: level,
            since_bar: 0,
            jumps: 0,
        }
    }

    /// What is left after another round.
    pub(super) fn see(&mut self, left: Duration, took: Duration) {
        let level = level(left);
        let jumped = self.levels.back().is_some_and(|last| level - last > JUMP);
        if self.levels.len() == WINDOW {
            self.levels.pop_front();
        }
        self.levels.push_back(level);
        self.seen_over = self.seen_over.saturating_add(took);
        self.since_lowest += 1;
        self.since_bar += 1;
        if level <= self.lowest - PROGRESS {
            (self.lowest, self.since_lowest, self.jumps) = (level, 0, 0);
            (self.bar, self.since_bar) = (level, 0);
        } else if jumped {
            self.jump(level);
        } else if level <= self.bar - PROGRESS {
            (self.bar, self.since_bar) = (level, 0);
        }
    }

    /// Whether this leads nowhere.
    pub(super) fn is_stalled(&self) -> bool {
        if self.since_lowest >= PATIENCE {
            return true;
        }
        if self.levels.len() < FEWEST || self.seen_over < SHORTEST {
            return false;
        }
        // Each of the two is deceived by something: the slope by a jump, until the window is past it, the steps by noise.
        let flat = self.slope() > -PROGRESS && self.median_step() > -PROGRESS;
        flat || self.since_bar >= CYCLE
    }

    /// One jump is bad luck: what counts is whether it goes down from there. After a second one the old level is to be
    /// reached again.
    fn jump(&mut self, level: f64) {
        self.jumps = self.jumps.saturating_add(1);
        if self.jumps == 1 {
            (self.bar, self.since_bar) = (level, 0);
        } else {
            self.bar = self.lowest;
        }
    }

    /// The median of the slopes between any two levels (Theil and Sen).
    fn slope(&self) -> f64 {
        let levels = || self.levels.iter().zip(0u32..);
        let pairs = levels().flat_map(|later| levels().map(move |earlier| (earlier, later)));
        let pairs = pairs.filter(|((_, earlier), (_, later))| earlier < later);
        median(pairs.map(|((from, at), (to, later))| (to - from) / f64::from(later - at)))
    }

    /// The median of the steps from level to level.
    fn median_step(&self) -> f64 {
        let next = self.levels.iter().skip(1);
        median(self.levels.iter().zip(next).map(|(from, to)| to - from))
    }
}

fn level(left: Duration) -> f64 {
    left.max(Duration::from_micros(1)).as_secs_f64().ln()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.len() / 2;
    let lower = values.len().saturating_sub(1) / 2;
    (values[lower] + values[upper]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many rounds of a second a stall is seen, if it is.
    fn stalled_after(left_ms: impl IntoIterator<Item = f64>) -> Option<usize> {
        let mut left = left_ms.into_iter().map(|ms| Duration::from_secs_f64(ms / 1000.0));
        let mut trend = Trend::new(left.next().unwrap());
        left.position(|left| {
            trend.see(left, Duration::from_secs(1));
            trend.is_stalled()
        })
        .map(|index| index + 1)
    }

    fn falling(from: f64, ratio: f64) -> impl Iterator<Item = f64> {
        std::iter::successors(Some(from), move |ms| Some(ms * ratio))
    }

    #[test]
    fn what_stays_or_grows_is_seen_after_three_rounds() {
        assert_eq!(stalled_after([5000.0; 100]), Some(3));
        assert_eq!(stalled_after(falling(5000.0, 1.3).take(100)), Some(3));
    }

    #[test]
    fn what_falls_however_slowly_is_no_stall() {
        for ratio in [0.1, 0.5, 0.9, 0.98] {
            assert_eq!(
                stalled_after(falling(1e9, ratio).take(500).filter(|&ms| ms > 1.0)),
                None,
                "by {ratio}"
            );
        }
    }

    /// By up to a tenth more or less, without order.
    fn noisy(left_ms: impl Iterator<Item = f64>, seed: u32) -> impl Iterator<Item = f64> {
        let mut state = seed;
        left_ms.map(move |ms| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ms * (0.9 + 0.2 * f64::from(state >> 8) / f64::from(1 << 24))
        })
    }

    #[test]
    fn noise_hides_neither_a_stall_nor_progress() {
        for seed in 0..200 {
            let found = stalled_after(noisy([5000.0; 100].into_iter(), seed));
            assert!(found.is_some_and(|rounds| rounds <= 20), "seed {seed}: {found:?}");
            let found = stalled_after(noisy(falling(5e6, 0.9).take(60), seed));
            assert_eq!(found, None, "seed {seed}");
        }
    }

    #[test]
    fn a_jump_out_of_a_fall_is_forgiven_once_wherever_it_comes() {
        for at in 1..20 {
            let jumping = falling(1e9, 0.9).take(at).chain(falling(1e10, 0.9).take(100));
            assert_eq!(stalled_after(jumping), None, "a jump at round {at}");
        }
    }

    #[test]
    fn going_up_and_down_is_a_stall_at_any_length_of_the_cycle() {
        for length in 2..40 {
            let cycle = falling(8000.0, 0.8).take(length);
            let found = stalled_after(cycle.collect::<Vec<_>>().into_iter().cycle().take(400));
            assert!(found.is_some_and(|rounds| rounds < 3 * length + 20), "cycles of {length}: {found:?}");
        }
    }

    #[test]
    fn rounds_too_short_to_tell_are_waited_for_only_so_long() {
        let mut trend = Trend::new(Duration::from_secs(5));
        let rounds = (1..).find(|_| {
            trend.see(Duration::from_secs(5), Duration::from_millis(1));
            trend.is_stalled()
        });
        assert_eq!(rounds, Some(PATIENCE));
    }
}
