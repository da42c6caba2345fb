//! Why a migration is given up.

use std::time::Duration;

/// Why a migration is given up, in words that an operator can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A stall, and nothing was to be done about one.
    #[error(
        "the guest writes as fast as its memory is sent: it would stand still for {expected:.0?}, the limit is {limit:.0?}; let it be throttled, raise the limit, or migrate when it writes less"
    )]
    Stalled {
        /// How long it would stand still.
        expected: Duration,
        /// How long it may.
        limit: Duration,
    },
    /// A stall at the last throttle.
    #[error(
        "the guest is throttled to the most, by {percent}%, and would still stand still for {expected:.0?}, the limit is {limit:.0?}; raise the limit, or look for what writes to its memory beside its CPUs"
    )]
    ThrottledInVain {
        /// How much it is throttled.
        percent: u8,
        /// How long it would stand still.
        expected: Duration,
        /// How long it may.
        limit: Duration,
    },
    /// A stall, and the downtime to be forced then is too short as well.
    #[error(
        "the guest writes as fast as its memory is sent: it would stand still for {expected:.0?}, more than the {downtime:.0?} to be forced; force a longer downtime, let the guest be throttled, or migrate when it writes less"
    )]
    ForcedTooShort {
        /// How long it would stand still.
        expected: Duration,
        /// How long it may when forced.
        downtime: Duration,
    },
    /// No throttle could help.
    #[error(
        "the switchover alone, without a single page, takes {fixed:.0?}, the limit is {limit:.0?}: no throttle helps against that; raise the limit"
    )]
    FixedCosts {
        /// What it costs beside its pages.
        fixed: Duration,
        /// How long the guest may stand still.
        limit: Duration,
    },
    /// As many rounds as there may be.
    #[error(
        "after {rounds} rounds, the most there may be, the guest would stand still for {expected:.0?}, the limit is {limit:.0?}; allow more rounds, or raise the limit"
    )]
    Rounds {
        /// How many there may be.
        rounds: u32,
        /// How long it would stand still.
        expected: Duration,
        /// How long it may.
        limit: Duration,
    },
}
