//! Writes that this process's page tables show: userfaultfd's asynchronous write protection.

use std::sync::Arc;

use pageferry_accel::guest::{GuestRam, WriteProtection};
use pageferry_accel::units::PageSize;

use super::{DirtyBitmap, DirtyError, DirtyRun, DirtySource};

/// Notices every write through this process's mapping of guest memory, whoever does it: threads, the kernel on their behalf,
/// vCPUs of KVM. It takes Linux 6.7, and no privilege.
///
/// What other processes write to the same file (vhost-user devices), and devices by DMA into pages that are pinned for them, it
/// does not see: their writes need a source of their own, merged with this one. It reports no page that was not written, but
/// pages of this host where those are larger than the guest's, and whole huge pages of hugetlbfs.
pub struct Userfaultfd {
    protection: WriteProtection,
    page_size: PageSize,
    started: bool,
}

impl Userfaultfd {
    /// For the memory of `ram`; nothing is protected before the start.
    ///
    /// # Errors
    /// [`TrackingError::Unsupported`](pageferry_accel::guest::TrackingError) where the kernel is too old, [`TrackingError::Io`](pageferry_accel::guest::TrackingError) where the process may not: a container's filter of
    /// system calls can forbid it.
    pub fn new(ram: Arc<GuestRam>) -> Result<Self, DirtyError> {
        let page_size = ram.page_size();
        Ok(Self { protection: WriteProtection::new(ram)?, page_size, started: false })
    }
}

impl DirtySource for Userfaultfd {
    fn start(&mut self) -> Result<(), DirtyError> {
        self.started = false;
        self.protection.protect()?;
        self.started = true;
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        if !self.started {
            return Err(DirtyError::NotStarted);
        }
        let page_size = self.page_size;
        let mark = |gpa, bytes| dirty.set_run(DirtyRun::covering(gpa, bytes, page_size));
        Ok(self.protection.take_written(mark)?)
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        if self.started {
            self.protection.release()?;
            self.started = false;
        }
        Ok(())
    }
}
