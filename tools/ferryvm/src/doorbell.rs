//! What the guest's program reaches of its VMM: a few registers, one set a vCPU.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::block::Verdict;
use crate::gate::Gate;
use crate::memory::Memory;
use crate::pace::{Pace, Pacer};
use crate::pulse::{HostTime, Pulse};
use crate::workload::Rate;

/// The registers, each of eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Register {
    /// Written with the counter: the guest lives.
    Heartbeat,
    /// Read: how many pages may be written next, or [`PROVE`]. The answer takes as long as there are none to write.
    Allowance,
    /// Written when the proof has been given; the verdict is in the block.
    Verdict,
}

/// What the guest reads where it is to prove that its memory holds.
pub(crate) const PROVE: u64 = u64::MAX;

impl Register {
    const ALL: [Self; 3] = [Self::Heartbeat, Self::Allowance, Self::Verdict];

    /// Where it is in the doorbell's page.
    pub(crate) const fn offset(self) -> u64 {
        self as u64 * 8
    }

    /// The register there; none if there is none.
    pub(crate) fn at(offset: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|register| register.offset() == offset)
    }
}

/// What all vCPUs of a guest have in common.
pub(crate) struct Common {
    pub(crate) memory: Arc<Memory>,
    pub(crate) gate: Gate,
    /// Whether the guest writes nothing, whatever its rate.
    is_idle: bool,
    /// Pages a second of each vCPU; `NO_LIMIT`: as many as it can.
    pages_per_s: AtomicU64,
    throttle_percent: AtomicU8,
    pub(crate) vcpus: Vec<Vcpu>,
}

/// One vCPU as everyone sees it.
#[derive(Default)]
pub(crate) struct Vcpu {
    pub(crate) pulse: Pulse,
    is_asked: AtomicBool,
    answer: Mutex<Option<Verdict>>,
    answered: Condvar,
}

const NO_LIMIT: u64 = u64::MAX;

impl Common {
    /// Of so many vCPUs, all parked.
    pub(crate) fn new(memory: Arc<Memory>, vcpus: u32, is_idle: bool, rate: Rate) -> Self {
        let count = vcpus as usize;
        let common = Self {
            memory,
            gate: Gate::new(count),
            is_idle,
            pages_per_s: AtomicU64::new(0),
            throttle_percent: AtomicU8::new(0),
            vcpus: (0..count).map(|_| Vcpu::default()).collect(),
        };
        common.set_rate(rate);
        common
    }

    pub(crate) fn set_rate(&self, rate: Rate) {
        let share = match rate {
            _ if self.is_idle => 0,
            Rate::PagesPerSecond(rate) => rate.div_ceil(self.vcpus.len().max(1) as u64).min(NO_LIMIT - 1),
            Rate::Unlimited => NO_LIMIT,
        };
        self.pages_per_s.store(share, Ordering::Relaxed);
    }

    pub(crate) fn set_throttle(&self, percent: u8) {
        self.throttle_percent.store(percent.min(99), Ordering::Relaxed);
    }

    fn pace(&self) -> Pace {
        let rate = self.pages_per_s.load(Ordering::Relaxed);
        Pace {
            pages_per_s: (rate != NO_LIMIT).then_some(rate),
            throttle_percent: self.throttle_percent.load(Ordering::Relaxed),
        }
    }
}

impl Vcpu {
    /// Asks for the proof; an older answer is forgotten.
    pub(crate) fn ask(&self) {
        *self.answer() = None;
        self.is_asked.store(true, Ordering::Release);
    }

    /// Waits for the answer; none if it does not come in time, or `has_crashed` says that it never will.
    pub(crate) fn wait_for_answer(&self, until: Instant, has_crashed: impl Fn() -> bool) -> Option<Verdict> {
        let mut answer = self.answer();
        while answer.is_none() && !has_crashed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Whoever crashes does not say so here.
            let left = left.min(std::time::Duration::from_millis(100));
            answer = self.answered.wait_timeout(answer, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        answer.take()
    }

    fn answer(&self) -> MutexGuard<'_, Option<Verdict>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The registers of one vCPU, in the hands of its thread.
pub(crate) struct Doorbell {
    common: Arc<Common>,
    vcpu: u32,
    pacer: Pacer,
}

impl Doorbell {
    pub(crate) fn new(common: Arc<Common>, vcpu: u32) -> Self {
        Self { common, vcpu, pacer: Pacer::new() }
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    pub(crate) const fn vcpu(&self) -> u32 {
        self.vcpu
    }

    /// The guest stood still until now.
    pub(crate) fn restart(&mut self) {
        self.pacer.restart();
    }

    /// The guest says that it lives.
    pub(crate) fn heartbeat(&self, counter: u64) {
        self.shared().pulse.beat(counter, HostTime::now());
    }

    /// How many pages the guest may write now, or [`PROVE`].
    pub(crate) fn allowance(&mut self) -> u64 {
        let pages = self.pacer.next(self.common.pace(), &self.common.gate);
        if self.common.gate.is_stopping() {
            return 0;
        }
        if self.shared().is_asked.swap(false, Ordering::AcqRel) { PROVE } else { pages }
    }

    /// The guest has proved what it was asked to.
    pub(crate) fn verdict(&self) {
        let shared = self.shared();
        *shared.answer() = self.common.memory.block(self.vcpu).map(|block| block.verdict);
        shared.answered.notify_all();
    }

    fn shared(&self) -> &Vcpu {
        &self.common.vcpus[self.vcpu as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_found_at_its_offset_and_nowhere_else() {
        for register in Register::ALL {
            assert_eq!(Register::at(register.offset()), Some(register));
            assert_eq!(Register::at(register.offset() + 1), None);
        }
        assert_eq!(Register::at(24), None);
    }
}
