//! What a model does wrong on purpose, when, and how often it did.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What goes wrong, and when.
///
/// Descriptors are numbered from 0 as they arrive; the members of a batch follow the batch, which has a number of its
/// own. Submissions to portals are numbered apart, for [`Fault::Refuse`]. The same plan and the same descriptors in the
/// same order give the same faults.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// What chance is drawn from.
    pub seed: u64,
    /// All that apply do.
    pub rules: Vec<Rule>,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// To which descriptors.
    pub when: When,
    /// What.
    pub fault: Fault,
}

/// Which descriptors something happens to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// The one with this number.
    At(u64),
    /// This one and all behind it.
    From(u64),
    /// So many of a million, as the seed has it.
    PerMillion(u32),
}

/// Something that goes wrong with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The portal does not take it: ENQCMD is told to retry, MOVDIR64B of a dedicated queue is told nothing.
    Refuse,
    /// A page is absent. A descriptor that blocks on faults has it fetched and goes on; any other ends with status 3.
    PageFault {
        /// Which address: 0 for byte 16 of the descriptor, 1 for byte 24, 2 for byte 40. Without it, one of those that
        /// the operation has.
        operand: Option<u8>,
        /// At which byte of the operand the absent part of a page begins. Without it, any.
        byte: Option<u64>,
    },
    /// Status 0x20, and nothing is done.
    HardwareError,
    /// The record states one byte too many (delta record, output, or bytes completed), or one too few.
    WrongCount,
    /// The record of a comparison states the opposite.
    WrongResult,
    /// The checksum in the record has a bit flipped.
    WrongChecksum,
    /// It is done so much later.
    Late(Duration),
    /// It is never done, and holds its place in the queue, until it is aborted or the device is reset.
    Never,
    /// When it arrives, the device drops all it has and is as after a reset.
    Reset,
    /// When it arrives, the device goes: registers read as ones, portals swallow, nothing completes any more.
    Gone,
}

/// How often something went wrong on purpose, and what the model had to put up with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misdeeds {
    /// Submissions refused or dropped by plan.
    pub refused: u64,
    /// Page faults that ended a descriptor.
    pub page_faults: u64,
    /// Page faults that a descriptor waited for.
    pub page_faults_awaited: u64,
    /// Hardware errors.
    pub hardware_errors: u64,
    /// Records with a wrong count.
    pub wrong_counts: u64,
    /// Records with a wrong result.
    pub wrong_results: u64,
    /// Records with a wrong checksum.
    pub wrong_checksums: u64,
    /// Descriptors that were late.
    pub late: u64,
    /// Descriptors that never completed.
    pub never: u64,
    /// Resets under load.
    pub resets: u64,
    /// Whether the device went.
    pub gone: u64,
}

impl Misdeeds {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.refused
            + self.page_faults
            + self.page_faults_awaited
            + self.hardware_errors
            + self.wrong_counts
            + self.wrong_results
            + self.wrong_checksums
            + self.late
            + self.never
            + self.resets
            + self.gone
    }
}

/// The counters behind [`Misdeeds`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub refused: AtomicU64,
    pub page_faults: AtomicU64,
    pub page_faults_awaited: AtomicU64,
    pub hardware_errors: AtomicU64,
    pub wrong_counts: AtomicU64,
    pub wrong_results: AtomicU64,
    pub wrong_checksums: AtomicU64,
    pub late: AtomicU64,
    pub never: AtomicU64,
    pub resets: AtomicU64,
    pub gone: AtomicU64,
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(super) fn read(&self) -> Misdeeds {
        Misdeeds {
            refused: self.refused.load(Relaxed),
            page_faults: self.page_faults.load(Relaxed),
            page_faults_awaited: self.page_faults_awaited.load(Relaxed),
            hardware_errors: self.hardware_errors.load(Relaxed),
            wrong_counts: self.wrong_counts.load(Relaxed),
            wrong_results: self.wrong_results.load(Relaxed),
            wrong_checksums: self.wrong_checksums.load(Relaxed),
            late: self.late.load(Relaxed),
            never: self.never.load(Relaxed),
            resets: self.resets.load(Relaxed),
            gone: self.gone.load(Relaxed),
        }
    }
}

impl FaultPlan {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One thing goes wrong.
    #[must_use]
    pub fn one(when: When, fault: Fault) -> Self {
        Self { seed: 0, rules: vec![Rule { when, fault }] }
    }

    /// And another.
    #[must_use]
    pub fn and(mut self, when: When, fault: Fault) -> Self {
        self.rules.push(Rule { when, fault });
        self
    }

    /// What happens to descriptor, or submission, `number`.
    pub(super) fn of(&self, number: u64) -> impl Iterator<Item = Fault> {
        let applies = move |(index, rule): (usize, &Rule)| {
            let hit = match rule.when {
                When::At(at) => at == number,
                When::From(from) => from <= number,
                When::PerMillion(share) => self.draw(number, index as u64) % 1_000_000 < u64::from(share),
            };
            hit.then_some(rule.fault)
        };
        self.rules.iter().enumerate().filter_map(applies)
    }

    /// Some number that the seed, the descriptor and the purpose decide (the finalizer of SplitMix64).
    pub(super) fn draw(&self, number: u64, purpose: u64) -> u64 {
        let mut mixed = self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose.rotate_left(32);
        for multiplier in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(multiplier);
            mixed ^= mixed >> 27;
        }
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_keeps_to_its_share_and_to_its_seed() {
        let plan = |seed| FaultPlan { seed, ..FaultPlan::one(When::PerMillion(100_000), Fault::Never) };
        let hits =
            |seed| (0..10_000).filter(|&number| plan(seed).of(number).next().is_some()).collect::<Vec<_>>();
        assert!((800..1200).contains(&hits(1).len()), "{} of 10000, not about 1000", hits(1).len());
        assert_eq!(hits(1), hits(1));
        assert_ne!(hits(1), hits(2));
    }

    #[test]
    fn all_rules_that_apply_do() {
        let plan = FaultPlan::one(When::At(3), Fault::Never).and(When::From(2), Fault::HardwareError);
        let of = |number| plan.of(number).collect::<Vec<_>>();
        assert_eq!(of(1), []);
        assert_eq!(of(2), [Fault::HardwareError]);
        assert_eq!(of(3), [Fault::Never, Fault::HardwareError]);
    }
}
