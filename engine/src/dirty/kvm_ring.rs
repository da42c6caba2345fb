//! KVM's dirty rings as a source of dirty pages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pageferry_accel::guest::GuestRam;
use pageferry_accel::guest::kvm::{DirtyRings, VcpuRing};
use pageferry_accel::units::PageSize;

use super::{DirtyBitmap, DirtyError, DirtyRun, DirtySource};

/// Notices what vCPUs write by the ring that each of them fills. Finding the dirty pages costs by their number, and not by the
/// size of the guest.
///
/// What the VMM writes itself, or a device, is in no ring: those writes need a source of their own, merged with this one.
///
/// ```no_run
/// use std::os::fd::AsRawFd;
/// use pageferry_accel::guest::{GuestRam, TrackingError, kvm::{DirtyRings, Slots, VcpuRing}};
/// use pageferry_engine::dirty::KvmRing;
///
/// /// `make_vcpus` makes the vCPUs, which the VM does not have yet.
/// fn track<V: AsRawFd>(slots: Slots, ram: &GuestRam, make_vcpus: impl Fn() -> Vec<V>) -> Result<KvmRing, TrackingError> {
///     let rings = DirtyRings::enable(slots, 1 << 14)?;
///     let entries = rings.entries();
///     let source = KvmRing::new(rings, ram);
///     for vcpu in make_vcpus() {
///         // SAFETY: a vCPU of this VM, whose ring nobody else looks at.
///         source.reaper().add(unsafe { VcpuRing::map(&vcpu, entries) }?);
///     }
///     // The thread of every vCPU gets a `source.reaper()`, and calls its `harvest` at `KVM_EXIT_DIRTY_RING_FULL`.
///     Ok(source)
/// }
/// ```
#[derive(Debug)]
pub struct KvmRing {
    reaper: RingReaper,
    started: bool,
}

/// A handle for the threads of vCPUs, each of which harvests when its `KVM_RUN` ends with `KVM_EXIT_DIRTY_RING_FULL`, and runs on.
#[derive(Clone, Debug)]
pub struct RingReaper(Arc<Mutex<Harvest>>);

#[derive(Debug)]
struct Harvest {
    rings: DirtyRings,
    /// What was found since the last collection.
    found: DirtyBitmap,
    page_size: PageSize,
}

impl KvmRing {
    /// By the rings of a VM whose slots are the memory of `ram`.
    #[must_use]
    pub fn new(rings: DirtyRings, ram: &GuestRam) -> Self {
        let harvest = Harvest { rings, found: DirtyBitmap::clean(ram), page_size: ram.page_size() };
        Self { reaper: RingReaper(Arc::new(Mutex::new(harvest))), started: false }
    }

    /// The handle for the threads of the vCPUs.
    #[must_use]
    pub fn reaper(&self) -> RingReaper {
        self.reaper.clone()
    }
}

impl RingReaper {
    /// Empties the rings, so that vCPUs whose ring was full can run on.
    ///
    /// # Errors
    /// [`TrackingError::Io`](pageferry_accel::guest::TrackingError) if KVM does not take the rings back. The vCPU then cannot run on.
    pub fn harvest(&self) -> Result<(), DirtyError> {
        self.lock().harvest()
    }

    /// Takes over the ring of a further vCPU, before that runs.
    pub fn add(&self, ring: VcpuRing) {
        self.lock().rings.add(ring);
    }

    fn lock(&self) -> MutexGuard<'_, Harvest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Harvest {
    /// Moves what is in the rings to `found`. Until KVM has protected those pages again, nobody may take them from there, or a
    /// write in between would be in no ring: whoever takes them holds the same lock.
    fn harvest(&mut self) -> Result<(), DirtyError> {
        let Self { rings, found, page_size } = self;
        Ok(rings.harvest(|gpa, bytes| found.set_run(DirtyRun::covering(gpa, bytes, *page_size)))?)
    }
}

impl DirtySource for KvmRing {
    fn start(&mut self) -> Result<(), DirtyError> {
        self.started = false;
        let mut harvest = self.reaper.lock();
        harvest.rings.start()?;
        harvest.found.clear();
        drop(harvest);
        self.started = true;
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        if !self.started {
            return Err(DirtyError::NotStarted);
        }
        let mut harvest = self.reaper.lock();
        harvest.harvest()?;
        harvest.found.runs().for_each(|run| dirty.set_run(run));
        harvest.found.clear();
        Ok(())
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        if self.started {
            self.reaper.lock().rings.stop()?;
            self.started = false;
        }
        Ok(())
    }
}
