//! What the dispatcher counts, from all threads that submit and the one that polls.

use pageferry_accel::queue::{Failure, RefusalReason};

use super::health::Change;
use crate::fallbacks::Fallbacks;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// How often requests did not go the straight way, by reason.
#[derive(Debug)]
pub(super) struct Tally {
    full: AtomicU64,
    gone: AtomicU64,
    failed: AtomicU64,
    late: AtomicU64,
    misdecoded: AtomicU64,
    quarantined: AtomicU64,
    probes: AtomicU64,
    readmitted: AtomicU64,
}

impl Tally {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            full: zero(),
            gone: zero(),
            failed: zero(),
            late: zero(),
            misdecoded: zero(),
            quarantined: zero(),
            probes: zero(),
            readmitted: zero(),
        }
    }

    pub(super) fn refused(&self, reason: RefusalReason) {
        let counter = match reason {
            RefusalReason::Full => &self.full,
            RefusalReason::Gone => &self.gone,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let counter = match failure {
            Failure::Corrupt { .. } | Failure::ChecksumMismatch { .. } => &self.misdecoded,
            Failure::Deadline { .. } => &self.late,
            _ => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn probed(&self) {
        self.probes.fetch_add(1, Relaxed);
    }

    pub(super) fn changed(&self, change: Change) {
        let counter = match change {
            Change::None => return,
            Change::Quarantined => &self.quarantined,
            Change::Readmitted => &self.readmitted,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Writes the counts into their fields of `fallbacks`.
    pub(super) fn report(&self, fallbacks: &mut Fallbacks) {
        let Self { full, gone, failed, late, misdecoded, quarantined, probes, readmitted } = self;
        for (counter, field) in [
            (full, &mut fallbacks.queue_full_requests),
            (gone, &mut fallbacks.queue_gone_requests),
            (failed, &mut fallbacks.device_failed_requests),
            (late, &mut fallbacks.deadline_requests),
            (misdecoded, &mut fallbacks.misdecoded_requests),
            (quarantined, &mut fallbacks.quarantined_queues),
            (probes, &mut fallbacks.probes),
            (readmitted, &mut fallbacks.readmitted_queues),
        ] {
            *field = counter.load(Relaxed);
        }
    }
}
