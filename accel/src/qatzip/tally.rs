//! How many requests hardware did, and how many the library's software.

use std::sync::atomic::{AtomicU64, Ordering};

use super::sessions::By;

/// Counted by all workers of an accelerator.
#[derive(Debug, Default)]
pub(super) struct Tally {
    hardware: AtomicU64,
    software: AtomicU64,
}

impl Tally {
    pub(super) fn count(&self, by: By) {
        let counter = match by {
            By::Hardware => &self.hardware,
            By::Software => &self.software,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn by_hardware(&self) -> u64 {
        self.hardware.load(Ordering::Relaxed)
    }

    pub(super) fn by_software(&self) -> u64 {
        self.software.load(Ordering::Relaxed)
    }
}
