//! What the guest writes, by KVM's dirty log.

use pageferry_engine::dirty::{DirtyBitmap, DirtyError, DirtySource};
use vmm_sys_util::errno::Error;

use super::slots::Slots;

/// The dirty log of all memory slots.
pub(super) struct DirtyLog {
    slots: Slots,
    has_started: bool,
}

impl DirtyLog {
    pub(super) fn new(slots: Slots) -> Self {
        Self { slots, has_started: false }
    }
}

impl DirtySource for DirtyLog {
    fn start(&mut self) -> Result<(), DirtyError> {
        self.slots.log_dirty_pages(true).map_err(cannot("have KVM log dirty pages"))?;
        self.has_started = true;
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        if !self.has_started {
            return Err(DirtyError::NotStarted);
        }
        let log = self.slots.take_log().map_err(cannot("take KVM's dirty log"))?;
        // Slots are numbered in the order of the regions.
        for (region, words) in dirty.regions_mut().zip(log) {
            region.words_mut().iter_mut().zip(words).for_each(|(word, more)| *word |= more);
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        self.has_started = false;
        self.slots.log_dirty_pages(false).map_err(cannot("have KVM log dirty pages no longer"))
    }
}

fn cannot(attempt: &str) -> impl FnOnce(Error) -> DirtyError {
    move |error| DirtyError::Io { attempt: attempt.to_owned(), source: error.into() }
}
