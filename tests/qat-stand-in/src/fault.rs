//! What a stand-in does wrong on purpose, when, and how often it did.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What goes wrong, and when.
///
/// Submissions are numbered from 0 in the order in which they arrive, over all instances; one that the library refuses by
/// itself, for a wrong parameter or because the ring is full, has no number. The same plan and the same submissions in the
/// same order give the same faults.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FaultPlan {
    /// What chance is drawn from.
    pub seed: u64,
    /// All that apply do.
    pub rules: Vec<Rule>,
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// With which submissions.
    pub when: When,
    /// What.
    pub fault: Fault,
}

/// Which submissions something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// The one with this number.
    At(u64),
    /// This one and all behind it.
    From(u64),
    /// So many of a million, as the seed has it.
    PerMillion(u32),
}

/// Something that goes wrong with a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It and those behind it, so many in all, are told to retry, as if the ring were full.
    Retry(u32),
    /// Its output does not fit: status -11.
    Overflow,
    /// What was compressed does not decompress to the same: status -18, or the input is stored where the caller asked for
    /// that. Decompression goes well.
    Verify,
    /// It fails with this status.
    Status(i32),
    /// The firmware does not know it.
    Unsupported,
    /// It is done so much later.
    Late(Duration),
    /// It is never done, until the device restarts.
    Never,
    /// When it arrives the device stops, to restart.
    Restart {
        /// From when this is noticed to when it is up again.
        down: Duration,
    },
    /// When it arrives the device stops, with a fatal error.
    Fatal {
        /// From when this is noticed to when it restarts; without it, it never does.
        down: Option<Duration>,
    },
    /// The checksum in the results has a bit flipped.
    WrongChecksum,
    /// The results state one byte too many, or, where there is no room for it, one too few.
    WrongProduced,
    /// A bit of the output is flipped.
    CorruptOutput,
}

/// How often something went wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misdeeds {
    /// Submissions that were told to retry.
    pub retries: u64,
    /// Outputs that did not fit.
    pub overflows: u64,
    /// Verifications that failed, the input stored or not.
    pub verifications: u64,
    /// Operations that failed with a status of the plan's.
    pub statuses: u64,
    /// Operations that the firmware did not know.
    pub unsupported: u64,
    /// Operations that were late.
    pub late: u64,
    /// Operations that were never done.
    pub never: u64,
    /// Restarts.
    pub restarts: u64,
    /// Fatal errors.
    pub fatal_errors: u64,
    /// Writes of a device after it had a fatal error.
    pub late_writes: u64,
    /// Results with a wrong checksum.
    pub wrong_checksums: u64,
    /// Results with a wrong count.
    pub wrong_counts: u64,
    /// Outputs with a bit flipped.
    pub corrupt_outputs: u64,
}

impl Misdeeds {
    /// All that the plan called for; late writes are what a fatal error brings with it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.retries
            + self.overflows
            + self.verifications
            + self.statuses
            + self.unsupported
            + self.late
            + self.never
            + self.restarts
            + self.fatal_errors
            + self.wrong_checksums
            + self.wrong_counts
            + self.corrupt_outputs
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

    /// What happens to submission `number`.
    pub(crate) fn of(&self, number: u64) -> impl Iterator<Item = Fault> {
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

    /// Some number that the seed, the submission and the purpose decide (the finalizer of SplitMix64).
    fn draw(&self, number: u64, purpose: u64) -> u64 {
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
        let plan = FaultPlan::one(When::At(3), Fault::Never).and(When::From(2), Fault::Overflow);
        let of = |number| plan.of(number).collect::<Vec<_>>();
        assert_eq!(of(1), []);
        assert_eq!(of(2), [Fault::Overflow]);
        assert_eq!(of(3), [Fault::Never, Fault::Overflow]);
    }
}
