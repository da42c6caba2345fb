//! What a guest says of its own memory, and what was felt of its heart.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::block::{Failure, Verdict};
use crate::doorbell::Common;

/// What a guest found when it walked its memory, vCPU by vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Whether nothing was lost.
    pub held: bool,
    /// How many pages it has written since its start, wherever that was.
    pub pages_written: u64,
    /// What is wrong, in words; nothing if the proof held.
    pub failures: Vec<String>,
}

/// What was felt of a guest here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// How many heartbeats there were, of all vCPUs.
    pub beats: u64,
    /// How many pages it had written as of the last ones, since its start, wherever that was.
    pub pages_written: u64,
    /// The longest time without one, of any vCPU; that over a move included.
    #[serde(serialize_with = "seconds")]
    pub longest_gap: Duration,
    /// The time from the last heartbeat at the source to the first one here, of the vCPU that waited longest: the
    /// downtime that the guest felt. None if it began here, or as long as a vCPU has not been felt here that was at the source.
    /// Only hosts with a common clock can compare their times.
    #[serde(serialize_with = "some_seconds")]
    pub gap_of_move: Option<Duration>,
    /// Whether no vCPU's counter was ever less than it had been, here or at the source.
    pub counter_went_on: bool,
}

impl Proof {
    pub(crate) fn of(verdicts: &[Verdict]) -> Self {
        let failures: Vec<String> =
            (0..).zip(verdicts).flat_map(|(vcpu, verdict)| failures(vcpu, verdict)).collect();
        let pages_written = verdicts.iter().fold(0_u64, |sum, one| sum.wrapping_add(one.generations));
        Self { held: failures.is_empty(), pages_written, failures }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.held {
            return write!(f, "held over {} pages written", self.pages_written);
        }
        write!(f, "failed: {}", self.failures.join("; "))
    }
}

impl Heartbeat {
    pub(crate) fn of(common: &Common) -> Self {
        let felt: Vec<_> = common.vcpus.iter().map(|vcpu| vcpu.pulse.felt()).collect();
        // Felt elsewhere and not here yet: its gap is not over.
        let is_awaited = felt.iter().any(|felt| felt.last.is_some() && felt.beats == 0);
        let gap_of_move = felt.iter().filter_map(|felt| felt.gap_of_move).max();
        Self {
            beats: felt.iter().map(|felt| felt.beats).sum(),
            pages_written: felt.iter().filter_map(|felt| felt.last).map(|last| last.counter).sum(),
            longest_gap: felt.iter().map(|felt| felt.longest_gap).max().unwrap_or_default(),
            gap_of_move: gap_of_move.filter(|_| !is_awaited),
            counter_went_on: felt.iter().all(|felt| !felt.went_back),
        }
    }
}

fn failures(vcpu: u32, verdict: &Verdict) -> Vec<String> {
    let Verdict { bad_pages, bad_page, bad_word, expected, found, generations, .. } = *verdict;
    let says = [
        (
            Failure::PAGES,
            format!(
                "{bad_pages} pages of vCPU {vcpu} do not hold what was written last, the first its page {bad_page}, where \
                 word {bad_word} is {found:#x} and not {expected:#x}"
            ),
        ),
        (
            Failure::SUM,
            format!("the running checksum of vCPU {vcpu} is not that of its table of generations"),
        ),
        (
            Failure::COUNTER,
            format!(
                "the counter of vCPU {vcpu} is not {generations}, the writes in its table of generations"
            ),
        ),
        (Failure::REGISTERS, format!("a register of vCPU {vcpu} was lost")),
    ];
    says.into_iter().filter(|&(bit, _)| verdict.failures & bit != 0).map(|(_, words)| words).collect()
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn some_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_only_if_every_vcpu_found_nothing() {
        let good = Verdict { generations: 5, ..Verdict::default() };
        assert_eq!(Proof::of(&[good, good]).to_string(), "held over 10 pages written");
        let bad =
            Verdict { failures: Failure::PAGES | Failure::REGISTERS, bad_pages: 3, bad_page: 9, ..good };
        let proof = Proof::of(&[good, bad]);
        assert!(!proof.held);
        let words = proof.to_string();
        assert!(words.contains("3 pages of vCPU 1") && words.contains("page 9"), "{words}");
        assert!(words.contains("a register of vCPU 1 was lost"), "{words}");
    }
}
