//! KVM's dirty log: a bitmap a slot.

use std::os::fd::AsRawFd;

use pageferry_bindings::linux::kvm::{
    self, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_INITIALLY_SET,
    KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, kvm_clear_dirty_log, kvm_dirty_log,
};

use super::super::tracking::TrackingError;
use super::{Slot, Slots};
use crate::units::Gpa;

/// When KVM protects a page again whose bit was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// When it is told to, for the pages that it is told, a part of a slot at a time: vCPUs that fault meanwhile wait for one part.
    /// It came with Linux 5.1, and is set for the VM as a whole: who reads the log of other slots then has to clear it too.
    Manual,
    /// All at once as the bitmap is read, while the vCPUs that fault wait.
    OnRead,
}

/// The dirty log of some slots of a VM.
#[derive(Debug)]
pub struct DirtyLog {
    slots: Slots,
    protection: Protection,
    /// What was read of one slot, as long as the largest needs.
    words: Vec<u64>,
}

/// How many pages are protected in one call: a GiB where they have 4 KiB. A multiple of 64, as KVM asks.
const STEP_PAGES: u64 = 1 << 18;
const WORD_BITS: u64 = u64::BITS as u64;

impl DirtyLog {
    /// The log of `slots`, with [`Protection::Manual`] where the kernel has it. Nothing is logged yet.
    #[must_use]
    pub fn new(slots: Slots) -> Self {
        let manual = u64::from(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE);
        let has = slots.capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & manual != 0;
        Self::with(slots, if has { Protection::Manual } else { Protection::OnRead })
    }

    /// The log of `slots`, whose pages are protected again as they are read, whatever the kernel has: for VMs that have other
    /// slots whose log somebody reads and does not clear.
    #[must_use]
    pub fn protected_on_read(slots: Slots) -> Self {
        Self::with(slots, Protection::OnRead)
    }

    fn with(slots: Slots, protection: Protection) -> Self {
        let words = slots.as_slice().iter().map(|slot| slots.pages(slot).div_ceil(WORD_BITS)).max();
        let words = usize::try_from(words.unwrap_or_default()).unwrap_or_default();
        Self { slots, protection, words: vec![0; words] }
    }

    /// When pages are protected again.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Begins to log, with no page dirty.
    ///
    /// # Errors
    /// [`TrackingError::Io`] most often because the slots are not as they were described.
    pub fn start(&mut self) -> Result<(), TrackingError> {
        // Without its log, whatever an earlier one held is gone.
        self.slots.do_not_log()?;
        let all_dirty = self.enable_manual()?;
        self.slots.log()?;
        if all_dirty {
            let cleared = self.clear_all();
            if cleared.is_err() {
                // As in `Slots::log`.
                let _ = self.slots.do_not_log();
            }
            return cleared;
        }
        Ok(())
    }

    /// Has KVM protect when it is told to, and answers whether a log begins with every page dirty and none protected. Where KVM
    /// can, it does, so that the guest is not held up while all of it is protected at once.
    fn enable_manual(&self) -> Result<bool, TrackingError> {
        let has = self.slots.capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
        let initially_set = u64::from(KVM_DIRTY_LOG_INITIALLY_SET);
        match self.protection {
            Protection::Manual => {
                let wanted = has & (u64::from(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) | initially_set);
                let attempt = "enable KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, which KVM says it has";
                self.slots.enable(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, wanted, attempt)?;
                Ok(wanted & initially_set != 0)
            }
            Protection::OnRead if has != 0 => {
                let attempt = "disable KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2";
                self.slots.enable(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0, attempt)?;
                Ok(false)
            }
            Protection::OnRead => Ok(false),
        }
    }

    fn clear_all(&mut self) -> Result<(), TrackingError> {
        self.words.fill(u64::MAX);
        self.slots.as_slice().iter().try_for_each(|slot| self.clear(slot))
    }

    /// Hands on the guest addresses and lengths in bytes of what was written since the start or since it was last taken, in
    /// whole pages of this host, and has it protected again. A write that comes meanwhile is handed on now or the next time.
    ///
    /// # Errors
    /// [`TrackingError::Io`] if something was handed on that may not have been all.
    pub fn take_written(&mut self, mut written: impl FnMut(Gpa, u64)) -> Result<(), TrackingError> {
        let page_bytes = self.slots.page_bytes();
        for index in 0..self.slots.as_slice().len() {
            let slot = self.slots.as_slice()[index];
            self.read(&slot)?;
            if self.protection == Protection::Manual {
                // What is written until here is handed on below, what is written from here on is in the log again.
                self.clear(&slot)?;
            }
            let words = usize::try_from(self.slots.pages(&slot).div_ceil(WORD_BITS)).unwrap_or_default();
            for (number, &word) in self.words.iter().take(words).enumerate() {
                runs(word, |first, pages| {
                    let page = number as u64 * WORD_BITS + first;
                    written(Gpa(slot.gpa.0 + page * page_bytes), pages * page_bytes);
                });
            }
        }
        Ok(())
    }

    /// Reads the bitmap of a slot to the front of the words.
    fn read(&mut self, slot: &Slot) -> Result<(), TrackingError> {
        let mut log = kvm_dirty_log { slot: slot.number, ..kvm_dirty_log::default() };
        log.__bindgen_anon_1.dirty_bitmap = self.words.as_mut_ptr().cast();
        // SAFETY: the kernel writes a bit a page of the slot, in whole words. By the contract of `Slots::new` the slot is as long as it
        // says, and there are words for the longest.
        let answer = unsafe { libc::ioctl(self.slots.vm().as_raw_fd(), kvm::GET_DIRTY_LOG, &raw mut log) };
        if answer != 0 {
            return Err(TrackingError::last(format!(
                "read the dirty log of KVM's memory slot {:#x} (ENOENT: it is not logged; ENXIO: the VM has dirty rings instead)",
                slot.number
            )));
        }
        Ok(())
    }

    /// Clears and protects the pages whose bits are set in the words.
    fn clear(&self, slot: &Slot) -> Result<(), TrackingError> {
        let pages = self.slots.pages(slot);
        for first_page in (0..pages).step_by(1 << STEP_PAGES.trailing_zeros()) {
            let num_pages = STEP_PAGES.min(pages - first_page);
            let begin = usize::try_from(first_page / WORD_BITS).unwrap_or_default();
            let end = usize::try_from((first_page + num_pages).div_ceil(WORD_BITS)).unwrap_or_default();
            let words = &self.words[begin..end];
            if words.iter().all(|&word| word == 0) {
                continue;
            }
            let mut log = kvm_clear_dirty_log {
                slot: slot.number,
                num_pages: u32::try_from(num_pages).unwrap_or_default(),
                first_page,
                ..kvm_clear_dirty_log::default()
            };
            log.__bindgen_anon_1.dirty_bitmap = words.as_ptr().cast_mut().cast();
            // SAFETY: the kernel reads as many bits as there are pages, in whole words, which `words` has.
            let answer =
                unsafe { libc::ioctl(self.slots.vm().as_raw_fd(), kvm::CLEAR_DIRTY_LOG, &raw mut log) };
            if answer != 0 {
                return Err(TrackingError::last(format!(
                    "clear the dirty log of KVM's memory slot {:#x}",
                    slot.number
                )));
            }
        }
        Ok(())
    }

    /// No longer logs; the guest writes at full speed. Stopping twice is no error.
    ///
    /// # Errors
    /// [`TrackingError::Io`] most often because the slots are not as they were described.
    pub fn stop(&mut self) -> Result<(), TrackingError> {
        self.slots.do_not_log()
    }
}

/// The runs of set bits in one word: first bit and count.
fn runs(mut word: u64, mut run: impl FnMut(u64, u64)) {
    while word != 0 {
        let first = word.trailing_zeros();
        let count = (word >> first).trailing_ones();
        run(first.into(), count.into());
        word &= !((u64::MAX >> (u64::BITS - count)) << first);
    }
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn runs_of_a_word_are_its_set_bits() {
        for word in
            [0, 1, u64::MAX, 1 << 63, 0b1011_0111, u64::MAX << 1, u64::MAX >> 1, 0xaaaa_aaaa_aaaa_aaaa]
        {
            let mut bits = 0;
            runs(word, |first, count| (first..first + count).for_each(|bit| bits |= 1 << bit));
            assert_eq!(bits, word, "{word:#x}");
        }
    }
}
