//! KVM's dirty rings: a ring of written pages a vCPU.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use pageferry_bindings::linux::kvm::{
    self, DirtyGfnFlags, KVM_CAP_DIRTY_LOG_RING, KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
    KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP, KVM_DIRTY_LOG_PAGE_OFFSET, kvm_dirty_gfn,
};

use super::super::tracking::TrackingError;
use super::{Slot, Slots};
use crate::units::Gpa;

/// The dirty rings of a VM's vCPUs.
///
/// A vCPU whose ring is nearly full does not run on before it was harvested: it leaves with `KVM_EXIT_DIRTY_RING_FULL`. KVM
/// keeps some entries for what it may yet write until then. One that emulates long stretches of a guest's code (PVM does)
/// can need more, and overwrites entries that nobody has seen. That is noticed, and the rings are of no use from then on:
/// the vCPU may not run on either.
#[derive(Debug)]
pub struct DirtyRings {
    slots: Slots,
    entries: u32,
    rings: Vec<VcpuRing>,
    /// KVM filled all entries of a ring, and maybe more than there are.
    overfilled: bool,
}

const REMEDY: &str = "use the dirty log";
/// How often KVM may take nothing back, as it does when a signal is pending, before that is believed.
const RESETS_IN_VAIN: u32 = 16;

/// The dirty ring of one vCPU, as KVM shares it with this process.
#[derive(Debug)]
pub struct VcpuRing {
    entries: NonNull<kvm_dirty_gfn>,
    count: u32,
    /// The entry that KVM fills next, or has filled.
    next: u32,
}

// SAFETY: the mapping belongs to the process, and whoever owns the ring is the only one that reads it, as `map` asks.
unsafe impl Send for VcpuRing {}
// SAFETY: a shared reference reads no entry.
unsafe impl Sync for VcpuRing {}

impl DirtyRings {
    /// Gives every vCPU that the VM is going to have a ring of `entries` pages, a power of two; it has none yet. The dirty log
    /// is no longer to be had for this VM.
    ///
    /// # Errors
    /// [`TrackingError::Unsupported`] where the kernel has no rings (x86-64 has them since Linux 5.11), or where they do not
    /// show all writes, as on `AArch64`; [`TrackingError::Io`] where the VM has vCPUs already, or the count is none that KVM takes.
    pub fn enable(slots: Slots, entries: u32) -> Result<Self, TrackingError> {
        let with = [KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING]
            .map(|number| (number, slots.capability(number)));
        let Some((number, bytes)) = with.into_iter().find(|&(_, bytes)| bytes > 0) else {
            return Err(TrackingError::Unsupported {
                what: String::from("KVM's dirty ring"),
                remedy: REMEDY,
            });
        };
        if slots.capability(KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP) != 0 {
            let what = String::from("a dirty ring that shows what KVM itself writes besides the vCPUs");
            return Err(TrackingError::Unsupported { what, remedy: REMEDY });
        }
        let most = bytes / size_of::<kvm_dirty_gfn>() as u64;
        let attempt = format!(
            "enable dirty rings of {entries} entries (there can be a power of two up to {most}, more than KVM keeps for itself; and the \
             VM may have no vCPU yet)"
        );
        slots.enable(number, u64::from(entries) * size_of::<kvm_dirty_gfn>() as u64, &attempt)?;
        Ok(Self { slots, entries, rings: Vec::new(), overfilled: false })
    }

    /// How many entries the ring of every vCPU has.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Takes over the ring of a vCPU; each must be here before it runs.
    pub fn add(&mut self, ring: VcpuRing) {
        self.rings.push(ring);
    }

    /// Begins to log. What the rings hold of an earlier time is dropped.
    ///
    /// # Errors
    /// [`TrackingError::Io`] most often because the slots are not as they were described.
    pub fn start(&mut self) -> Result<(), TrackingError> {
        self.slots.do_not_log()?;
        self.harvest(|_, _| ())?;
        self.slots.log()
    }

    /// Hands on the guest addresses and lengths in bytes of what is in the rings, and has it protected again.
    ///
    /// A write that was handed on may be followed by another to the same page until this returns, so that the page is to be read
    /// afterwards. What a running vCPU of Intel's has just written may be in its ring only when it leaves the guest next.
    ///
    /// # Errors
    /// [`TrackingError::Io`] if KVM did not protect the pages again, [`TrackingError::Missed`] if it overwrote entries, now or earlier.
    pub fn harvest(&mut self, mut written: impl FnMut(Gpa, u64)) -> Result<(), TrackingError> {
        let page_bytes = self.slots.page_bytes();
        let slots = self.slots.as_slice();
        let mut write = |number: u32, offset: u64| {
            let found = slots.iter().find(|slot| slot.number == number);
            if let Some(gpa) = found.and_then(|slot| address(slot, offset, page_bytes)) {
                written(gpa, page_bytes);
            }
        };
        let mut harvested = 0;
        for ring in &mut self.rings {
            let count = ring.harvest(&mut write);
            self.overfilled |= count == u64::from(ring.count);
            harvested += count;
        }
        // Entries that KVM filled again before it got them back are not reset, and their pages not protected.
        self.overfilled |= self.reset(harvested)? != harvested;
        if self.overfilled {
            let how =
                format!("KVM filled all {} entries of a vCPU's dirty ring, and maybe more", self.entries);
            return Err(TrackingError::Missed { how, remedy: REMEDY });
        }
        Ok(())
    }

    /// Gives KVM back so many entries, which it protects the pages of; answers how many it took.
    fn reset(&self, harvested: u64) -> Result<u64, TrackingError> {
        let (mut reset, mut in_vain) = (0, 0);
        while reset < harvested && in_vain < RESETS_IN_VAIN {
            // SAFETY: KVM takes back entries of the rings, which nobody looks at before KVM fills them again.
            let answer = unsafe { libc::ioctl(self.slots.vm().as_raw_fd(), kvm::RESET_DIRTY_RINGS) };
            match u64::try_from(answer) {
                Ok(0) => in_vain += 1,
                Ok(more) => reset += more,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => in_vain += 1,
                Err(_) => return Err(TrackingError::last("reset KVM's dirty rings")),
            }
        }
        Ok(reset)
    }

    /// No longer logs; the guest writes at full speed. Stopping twice is no error.
    ///
    /// # Errors
    /// [`TrackingError::Io`] most often because the slots are not as they were described.
    pub fn stop(&mut self) -> Result<(), TrackingError> {
        self.slots.do_not_log()?;
        // So that a vCPU whose ring is full runs on.
        match self.harvest(|_, _| ()) {
            // Nobody asks any more what was written.
            Err(TrackingError::Missed { .. }) => Ok(()),
            harvested => harvested,
        }
    }
}

/// Where a page of a slot is, unless it is behind the slot's end.
fn address(slot: &Slot, offset: u64, page_bytes: u64) -> Option<Gpa> {
    let bytes = offset.checked_mul(page_bytes).filter(|&bytes| bytes < slot.bytes)?;
    Some(Gpa(slot.gpa.0 + bytes))
}

impl VcpuRing {
    /// The ring of the vCPU that the file descriptor stands for, of as many entries as [`DirtyRings::entries`] says.
    ///
    /// # Errors
    /// What `mmap` says: that the file is no vCPU, or that its VM has no rings.
    ///
    /// # Safety
    /// `vcpu` is a vCPU of KVM, whose VM was given rings of `entries` entries before the vCPU was made. Nobody else reads or
    /// writes its ring for as long as this lives.
    pub unsafe fn map(vcpu: &impl AsRawFd, entries: u32) -> Result<Self, TrackingError> {
        // SAFETY: it asks for a number.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let offset = i64::from(KVM_DIRTY_LOG_PAGE_OFFSET) * page_bytes;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping touches nothing that exists. The caller says that the file has a ring of this length there.
        let mapped = unsafe {
            libc::mmap(ptr::null_mut(), bytes(entries), protection, flags, vcpu.as_raw_fd(), offset)
        };
        let refused = || TrackingError::last(format!("map a vCPU's dirty ring of {entries} entries"));
        if mapped == libc::MAP_FAILED {
            return Err(refused());
        }
        let entries_at = NonNull::new(mapped.cast()).ok_or_else(refused)?;
        Ok(Self { entries: entries_at, count: entries, next: 0 })
    }

    /// Hands on slot and page of every entry that KVM filled, and gives it back; answers how many there were.
    fn harvest(&mut self, written: &mut impl FnMut(u32, u64)) -> u64 {
        let mut harvested = 0;
        // An entry that was given back is not filled again before the reset, so that this ends.
        while harvested < u64::from(self.count) {
            // SAFETY: the index is below the count, and `map` mapped as many entries.
            let entry = unsafe { self.entries.add(self.next as usize) }.as_ptr();
            // SAFETY: the flags are aligned and mapped, and both KVM and this access them as one atomic word.
            let flags = unsafe { AtomicU32::from_ptr(&raw mut (*entry).flags) };
            // KVM fills slot and offset before it sets the flag, and leaves them alone until it gets the entry back.
            if !DirtyGfnFlags::from_bits_retain(flags.load(Ordering::Acquire)).contains(DirtyGfnFlags::DIRTY)
            {
                break;
            }
            // SAFETY: as above, nobody writes these now.
            let (slot, offset) = unsafe {
                ((&raw const (*entry).slot).read_volatile(), (&raw const (*entry).offset).read_volatile())
            };
            written(slot, offset);
            flags.store(DirtyGfnFlags::RESET.bits(), Ordering::Release);
            self.next = (self.next + 1) % self.count;
            harvested += 1;
        }
        harvested
    }
}

impl Drop for VcpuRing {
    fn drop(&mut self) {
        // SAFETY: `map` mapped exactly this, and nobody else knows the address.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), bytes(self.count)) };
    }
}

fn bytes(entries: u32) -> usize {
    entries as usize * size_of::<kvm_dirty_gfn>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 8;

    /// KVM's side of a ring: fills entries, and takes back those that were read.
    struct Kvm {
        entries: *mut kvm_dirty_gfn,
        filled: usize,
        taken: usize,
    }

    impl Kvm {
        fn entry(&self, index: usize) -> *mut kvm_dirty_gfn {
            // SAFETY: the index is below the count of the mapping.
            unsafe { self.entries.add(index % COUNT) }
        }

        fn fill(&mut self, slot: u32, offset: u64) {
            let entry = kvm_dirty_gfn { flags: DirtyGfnFlags::DIRTY.bits(), slot, offset };
            // SAFETY: the entry is mapped, and the test is the only thread.
            unsafe { self.entry(self.filled).write(entry) };
            self.filled += 1;
        }

        /// How many entries it takes back.
        fn reset(&mut self) -> u64 {
            let begun = self.taken;
            loop {
                let entry = self.entry(self.taken);
                // SAFETY: as above.
                unsafe {
                    if !DirtyGfnFlags::from_bits_retain((*entry).flags).contains(DirtyGfnFlags::RESET) {
                        return (self.taken - begun) as u64;
                    }
                    (*entry).flags = 0;
                }
                self.taken += 1;
            }
        }
    }

    /// A ring in memory that nobody shares.
    fn ring() -> (VcpuRing, Kvm) {
        let count = u32::try_from(COUNT).unwrap();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping touches nothing that exists; the ring unmaps it.
        let mapped = unsafe {
            libc::mmap(ptr::null_mut(), bytes(count), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert_ne!(mapped, libc::MAP_FAILED);
        let entries = NonNull::new(mapped.cast()).unwrap();
        (VcpuRing { entries, count, next: 0 }, Kvm { entries: entries.as_ptr(), filled: 0, taken: 0 })
    }

    fn harvest(ring: &mut VcpuRing) -> (u64, Vec<(u32, u64)>) {
        let mut written = Vec::new();
        let count = ring.harvest(&mut |slot, offset| written.push((slot, offset)));
        (count, written)
    }

    #[test]
    fn entries_are_handed_on_once_and_in_order_around_the_ring() {
        let (mut ring, mut kvm) = ring();
        for round in 0..10 {
            let written: Vec<_> = (0..5).map(|page| (round, u64::from(round) + page)).collect();
            written.iter().for_each(|&(slot, offset)| kvm.fill(slot, offset));
            assert_eq!(harvest(&mut ring), (5, written), "round {round}");
            assert_eq!(harvest(&mut ring), (0, vec![]), "round {round}, before the reset");
            assert_eq!(kvm.reset(), 5, "round {round}");
            assert_eq!(harvest(&mut ring), (0, vec![]), "round {round}, after the reset");
        }
    }

    #[test]
    fn a_ring_that_kvm_fills_to_the_last_entry_is_told_by_its_count() {
        let (mut ring, mut kvm) = ring();
        (0..10).for_each(|page| kvm.fill(0, page));
        let (count, written) = harvest(&mut ring);
        assert_eq!(count, COUNT as u64, "the first two were overwritten: {written:?}");
    }

    #[test]
    fn entries_that_kvm_fills_again_before_they_were_reset_are_told_by_the_reset() {
        let (mut ring, mut kvm) = ring();
        (0..6).for_each(|page| kvm.fill(0, page));
        let (harvested, _) = harvest(&mut ring);
        // Three more than were free.
        (6..11).for_each(|page| kvm.fill(0, page));
        assert_ne!(kvm.reset(), harvested);
    }
}
