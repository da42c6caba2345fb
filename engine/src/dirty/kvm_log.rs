//! KVM's dirty log as a source of dirty pages.

use pageferry_accel::guest::GuestRam;
use pageferry_accel::guest::kvm::{DirtyLog, Protection, Slots};
use pageferry_accel::units::PageSize;

use super::{DirtyBitmap, DirtyError, DirtyRun, DirtySource};

/// Notices what vCPUs write, and KVM on their behalf, by the log of the VM's memory slots.
///
/// What the VMM writes itself, or a device, is not in the log: those writes need a source of their own, merged with this one.
/// Slots are logged from the start to the stop: a VMM makes them without `KVM_MEM_LOG_DIRTY_PAGES`.
///
/// ```no_run
/// use std::os::fd::AsRawFd;
/// use pageferry_accel::guest::{GuestMemory, GuestRam, TrackingError, kvm::{Slot, Slots}};
/// use pageferry_accel::dma::HostAddress;
/// use pageferry_engine::dirty::KvmLog;
///
/// /// `vm` has a slot a region of `memory`, numbered from 0 on; it may be the `VmFd` of any version of `kvm-ioctls`.
/// fn track(vm: &impl AsRawFd, memory: &dyn GuestMemory, ram: &GuestRam) -> Result<KvmLog, TrackingError> {
///     let slots = (0..).zip(memory.regions()).map(|(number, region)| Slot {
///         number,
///         gpa: region.gpa,
///         bytes: region.bytes,
///         host: HostAddress::of(region.host),
///     });
///     // SAFETY: the slots were set exactly so, and nobody else sets them while the log lives.
///     Ok(KvmLog::new(unsafe { Slots::new(vm, slots.collect()) }?, ram))
/// }
/// ```
#[derive(Debug)]
pub struct KvmLog {
    log: DirtyLog,
    page_size: PageSize,
    started: bool,
}

impl KvmLog {
    /// By the slots that are the memory of `ram`. Pages are protected again when KVM is told to, where the kernel has that
    /// ([`Protection::Manual`]).
    #[must_use]
    pub fn new(slots: Slots, ram: &GuestRam) -> Self {
        Self::of(DirtyLog::new(slots), ram)
    }

    /// The same by a log that was made otherwise.
    #[must_use]
    pub fn of(log: DirtyLog, ram: &GuestRam) -> Self {
        Self { log, page_size: ram.page_size(), started: false }
    }

    /// When pages are protected again.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.log.protection()
    }
}

impl DirtySource for KvmLog {
    fn start(&mut self) -> Result<(), DirtyError> {
        self.started = false;
        self.log.start()?;
        self.started = true;
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        if !self.started {
            return Err(DirtyError::NotStarted);
        }
        let page_size = self.page_size;
        let mark = |gpa, bytes| dirty.set_run(DirtyRun::covering(gpa, bytes, page_size));
        Ok(self.log.take_written(mark)?)
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        if self.started {
            self.log.stop()?;
            self.started = false;
        }
        Ok(())
    }
}
