//! When to stop the guest, and what to do if that time does not come: another round, a slower guest, or none of it.
//!
//! As in QEMU, the guest is stopped when what is left fits the downtime limit. Other than there:
//! - What counts is *pages* a second to the other side, as they are sent now, so that pages that shrink are worth what they
//!   save; and what the switchover costs beside its pages is part of the downtime.
//! - A stall is a trend of several rounds. A migration that gains on its guest is left alone, however slowly.
//! - A throttled guest gets the time to show the effect, and steps that by the figures cannot be enough are left out.
//! - It ends. Rounds go on only while there is progress; see [`Convergence::after_round`].

mod rates;
mod reason;
mod trend;

use std::time::Duration;

pub use rates::{Estimate, FixedCosts, RoundSeen};
pub use reason::Reason;

use rates::Rates;
use trend::Trend;

/// When a guest may be stopped, and what is done if it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvergenceConfig {
    /// How long the guest may stand still.
    pub downtime_limit: Duration,
    /// What is done when the rounds no longer get it nearer to that.
    pub on_stall: OnStall,
    /// The most rounds before the guest is stopped; more are as a stall that a throttle does not cure.
    pub max_rounds: Option<u32>,
}

/// What is done when a migration stalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStall {
    /// The guest is slowed down, and more at the next stall. Given up after a stall at the most.
    Throttle(Throttle),
    /// The guest stands still for longer than the limit, if that is enough; given up otherwise.
    Force {
        /// How long it may stand still then.
        downtime: Duration,
    },
    /// The guest stays where it is.
    GiveUp,
}

/// How much of their time is taken from the guest's CPUs, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The first step.
    pub initial: u8,
    /// Every further one.
    pub step: u8,
    /// The last one, at most 99.
    pub max: u8,
}

/// What to do after a round.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Another round.
    Round,
    /// Throttle the guest to this percentage, then another round.
    Throttle(u8),
    /// Stop the guest and send what is left.
    SwitchOver {
        /// How long it is going to stand still.
        expected: Duration,
        /// Whether that is longer than the limit.
        forced: bool,
    },
    /// Let the guest run on at the source.
    GiveUp(Reason),
}

/// Decides after every round. Knows no clock: the same rounds make the same decisions.
#[derive(Clone, Debug)]
pub struct Convergence {
    config: ConvergenceConfig,
    rates: Rates,
    /// Since the guest's speed was last changed.
    trend: Option<Trend>,
    throttle: u8,
    rounds: u32,
    /// After a stall under [`OnStall::Force`]: the rounds that may still come.
    last_chances: Option<u32>,
}

/// A throttle is chosen such that the guest writes no more than this share of what is sent in the same time. Each round is then
/// so much shorter than the one before.
const WANTED_RATIO: f64 = 0.75;

/// The first round sends the memory that the guest has, not what it writes, which may shrink so many times less. Unless even
/// then little is left, a round of what it writes is waited for.
const FIRST_ROUND_DOUBT: u32 = 8;

/// How many more rounds a guest that goes up and down gets to come within a forced downtime, after the stall was seen.
const LAST_CHANCES: u32 = 8;

impl Default for ConvergenceConfig {
    fn default() -> Self {
        Self { downtime_limit: Duration::from_millis(300), on_stall: OnStall::default(), max_rounds: None }
    }
}

impl Default for OnStall {
    fn default() -> Self {
        Self::Throttle(Throttle::default())
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self { initial: 20, step: 10, max: 99 }
    }
}

impl Convergence {
    /// Before the first round.
    #[must_use]
    pub fn new(config: ConvergenceConfig) -> Self {
        Self { config, rates: Rates::default(), trend: None, throttle: 0, rounds: 0, last_chances: None }
    }

    /// What rounds and the switchover cost beside their pages, as last measured. Nothing, until it is said.
    pub fn set_fixed_costs(&mut self, costs: FixedCosts) {
        self.rates.set_fixed_costs(costs);
    }

    /// What to do after a round.
    ///
    /// Answers [`Next::Round`] without end only to rounds that make progress: between two throttles, the time that what is left
    /// takes falls by 1% below all that it was at least every [`Self::PATIENCE`] rounds, or that is a stall. Throttles only go
    /// up, 99 times at most, and a stall at the last one is the end; so is the ninth round in a stall that is to be forced.
    pub fn after_round(&mut self, seen: &RoundSeen) -> Next {
        self.rounds = self.rounds.saturating_add(1);
        self.rates.see(seen);
        let before = self.rates.time_of(seen.pages);
        let left = self.rates.time_of(seen.left_pages);
        let trend = self.trend.get_or_insert_with(|| Trend::new(before));
        trend.see(left, seen.took);
        let stalled = trend.is_stalled();
        let (expected, limit) = (self.rates.expected_downtime(), self.config.downtime_limit);
        let doubt =
            if self.rounds == 1 { left.saturating_mul(FIRST_ROUND_DOUBT - 1) } else { Duration::ZERO };
        if expected.saturating_add(doubt) <= limit {
            return Next::SwitchOver { expected, forced: false };
        }
        if let Some(rounds) = self.config.max_rounds.filter(|&max| self.rounds >= max) {
            return self.force().unwrap_or(Next::GiveUp(Reason::Rounds { rounds, expected, limit }));
        }
        if stalled { self.after_stall(left) } else { self.last_chance() }
    }

    /// How fast everything goes, and how long the guest would stand still now.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        self.rates.estimate()
    }

    /// How much the guest is throttled, in percent.
    #[must_use]
    pub const fn throttle(&self) -> u8 {
        self.throttle
    }

    /// The guest was stopped and runs again. What was measured stays; whether the rounds make progress is seen anew.
    pub fn after_switchover_aborted(&mut self) {
        self.trend = None;
        self.last_chances = None;
    }

    /// The most rounds without any progress, between two throttles.
    pub const PATIENCE: u32 = trend::PATIENCE;

    fn after_stall(&mut self, left: Duration) -> Next {
        let (expected, limit) = (self.rates.expected_downtime(), self.config.downtime_limit);
        let fixed = self.rates.fixed_costs().of_switchover();
        match self.config.on_stall {
            OnStall::GiveUp => Next::GiveUp(Reason::Stalled { expected, limit }),
            OnStall::Force { downtime } => {
                let chances = self.last_chances.unwrap_or(LAST_CHANCES);
                self.last_chances = chances.checked_sub(1);
                let given_up = Next::GiveUp(Reason::ForcedTooShort { expected, downtime });
                if self.last_chances.is_some() {
                    self.last_chance()
                } else {
                    self.force().unwrap_or(given_up)
                }
            }
            OnStall::Throttle(_) if fixed > limit => Next::GiveUp(Reason::FixedCosts { fixed, limit }),
            OnStall::Throttle(throttle) => match self.raised(throttle) {
                Some(percent) => {
                    self.throttle = percent;
                    self.trend = Some(Trend::new(left));
                    Next::Throttle(percent)
                }
                None => Next::GiveUp(Reason::ThrottledInVain { percent: self.throttle, expected, limit }),
            },
        }
    }

    /// Where a stall was seen, a guest that goes up and down is stopped as soon as the forced downtime is enough.
    fn last_chance(&self) -> Next {
        let stalled_once = self.last_chances.is_some();
        stalled_once.then(|| self.force()).flatten().unwrap_or(Next::Round)
    }

    /// Stops the guest for longer than the limit if that was asked for and is enough.
    fn force(&self) -> Option<Next> {
        let expected = self.rates.expected_downtime();
        match self.config.on_stall {
            OnStall::Force { downtime } if expected <= downtime => {
                Some(Next::SwitchOver { expected, forced: true })
            }
            _ => None,
        }
    }

    /// The next step up: the first one that the guest's pace says may be enough.
    fn raised(&self, throttle: Throttle) -> Option<u8> {
        let max = throttle.max.min(99);
        let first =
            if self.throttle == 0 { throttle.initial } else { self.throttle.saturating_add(throttle.step) };
        let first = first.max(self.throttle + 1).min(max);
        let Estimate { dirty_pages_per_s: dirty, sent_pages_per_s: sent, .. } = self.rates.estimate();
        let now = f64::from(100 - self.throttle);
        if sent == 0.0 {
            return (first > self.throttle).then_some(first);
        }
        let enough = |&percent: &u8| dirty * f64::from(100 - percent) <= WANTED_RATIO * sent * now;
        let percent = (first..=max).find(enough).unwrap_or(max);
        (percent > self.throttle).then_some(percent)
    }
}
