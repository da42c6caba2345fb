//! Pinned memory, and what of the process's memory a device reaches by which address.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::config::Memory;
use crate::pagemap::{self, PAGE};

/// I/O addresses are given out in slabs of this.
const SLAB: u64 = 2 << 20;

/// They have 39 bits.
const LAST: u64 = 1 << 39;

const MOST_ALLOCATED: usize = 64 << 20;
const MOST_ALIGNED: usize = 4 << 20;
const MOST_MAPPED: usize = 2 << 30;

/// The memory of one stand-in.
#[derive(Debug)]
pub(crate) struct PinnedMemory {
    mode: Memory,
    map: bool,
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    /// By address in the process.
    regions: BTreeMap<usize, Region>,
    /// By device address, where an IOMMU translates.
    by_iova: BTreeMap<u64, usize>,
    next_iova: u64,
}

/// Memory that was allocated or mapped.
#[derive(Clone, Copy, Debug)]
struct Region {
    bytes: usize,
    /// 0 where no IOMMU translates.
    iova: u64,
    /// The mapping of the process that holds it, if it was allocated.
    allocation: Option<(usize, usize)>,
}

/// What devices reach, while nothing is allocated or mapped.
pub(crate) struct Iommu<'a> {
    mode: Memory,
    tables: MutexGuard<'a, Tables>,
    last: Option<(usize, Region)>,
}

/// Why a device cannot reach some bytes.
#[derive(Debug)]
pub(crate) enum Unreachable {
    NotMapped { device: u64, bytes: usize },
    Overrun { device: u64, bytes: usize, left: usize },
    Scattered { device: u64, bytes: usize },
}

impl PinnedMemory {
    pub(crate) fn new(mode: Memory, map: bool) -> Self {
        let tables = Tables { regions: BTreeMap::new(), by_iova: BTreeMap::new(), next_iova: SLAB };
        Self { mode, map, tables: Mutex::new(tables) }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory that is aligned in the process and for the device, or 0. Beyond its end is nothing.
    pub(crate) fn allocate(&self, bytes: usize, alignment: usize) -> usize {
        if bytes == 0
            || bytes > MOST_ALLOCATED
            || !alignment.is_power_of_two()
            || alignment > MOST_ALIGNED
            || (self.mode == Memory::Physical && bytes as u64 > SLAB)
        {
            return 0;
        }
        let in_one_piece = self.mode == Memory::Physical && bytes > PAGE;
        let alignment = alignment.max(if in_one_piece { HUGE_PAGE } else { PAGE });
        // A huge page must be there whole.
        let reserved = if in_one_piece { bytes.next_multiple_of(HUGE_PAGE) } else { bytes };
        let Some((mapping, address)) = reserve(reserved, alignment) else { return 0 };
        if self.mode == Memory::Physical && !settle(address, reserved) {
            unmap(mapping);
            return 0;
        }
        let mut tables = self.lock();
        let iova = if self.mode == Memory::Iova {
            let Some(iova) = tables.iova(bytes, alignment as u64) else {
                unmap(mapping);
                return 0;
            };
            tables.by_iova.insert(iova, address);
            iova
        } else {
            0
        };
        tables.regions.insert(address, Region { bytes, iova, allocation: Some(mapping) });
        address
    }

    /// How many allocations there are.
    pub(crate) fn allocations(&self) -> u64 {
        self.lock().regions.values().filter(|region| region.allocation.is_some()).count() as u64
    }

    /// How much was allocated at an address, if something was.
    pub(crate) fn allocated(&self, address: usize) -> Option<usize> {
        let tables = self.lock();
        tables.regions.get(&address).filter(|region| region.allocation.is_some()).map(|region| region.bytes)
    }

    /// Gives back what [`Self::allocate`] gave.
    pub(crate) fn free(&self, address: usize) {
        let mut tables = self.lock();
        if let Some(region) = tables.regions.remove(&address) {
            tables.by_iova.remove(&region.iova);
            if let Some(mapping) = region.allocation {
                unmap(mapping);
            }
        }
    }

    /// Makes memory of the caller's reachable: its I/O address, or 0.
    pub(crate) fn map(&self, address: usize, bytes: usize) -> u64 {
        if !self.map
            || self.mode != Memory::Iova
            || address == 0
            || bytes == 0
            || bytes > MOST_MAPPED
            || !address.is_multiple_of(PAGE)
            || !bytes.is_multiple_of(PAGE)
            || !is_there(address, bytes)
        {
            return 0;
        }
        let mut tables = self.lock();
        let overlaps =
            tables.before(address + bytes).is_some_and(|(start, region)| start + region.bytes > address);
        if overlaps {
            return 0;
        }
        let Some(iova) = tables.iova(bytes, SLAB) else { return 0 };
        tables.by_iova.insert(iova, address);
        tables.regions.insert(address, Region { bytes, iova, allocation: None });
        iova
    }

    /// Whether exactly this was mapped.
    pub(crate) fn is_mapped(&self, address: usize, bytes: usize) -> bool {
        let tables = self.lock();
        tables
            .regions
            .get(&address)
            .is_some_and(|region| region.allocation.is_none() && region.bytes == bytes)
    }

    /// Undoes [`Self::map`].
    pub(crate) fn unmap(&self, address: usize) {
        let mut tables = self.lock();
        if let Some(region) = tables.regions.remove(&address) {
            tables.by_iova.remove(&region.iova);
        }
    }

    /// The device's address of a byte, or 0.
    pub(crate) fn translate(&self, address: usize) -> u64 {
        if self.mode == Memory::Shared {
            return address as u64;
        }
        let tables = self.lock();
        let Some((start, region)) = tables.before(address + 1) else { return 0 };
        if address >= start + region.bytes {
            return 0;
        }
        match self.mode {
            Memory::Physical => pagemap::physical(address).unwrap_or(0),
            Memory::Iova | Memory::Shared => region.iova + (address - start) as u64,
        }
    }

    /// Whether memory of the library's own is needed where it reads or writes what is private to it.
    pub(crate) fn must_be_own(&self) -> bool {
        self.mode != Memory::Shared
    }

    /// How many bytes of an allocation there are from an address on.
    pub(crate) fn left(&self, address: usize) -> Option<usize> {
        let tables = self.lock();
        let (start, region) = tables.before(address.checked_add(1)?)?;
        region.allocation?;
        (start + region.bytes).checked_sub(address).filter(|left| *left > 0)
    }

    /// What devices reach, as it is now.
    pub(crate) fn iommu(&self) -> Iommu<'_> {
        Iommu { mode: self.mode, tables: self.lock(), last: None }
    }
}

impl Iommu<'_> {
    /// Where in the process a device reads or writes that is given its address `device` for what is at `address`.
    pub(crate) fn reach(&mut self, device: u64, address: usize, bytes: usize) -> Result<usize, Unreachable> {
        match self.mode {
            Memory::Shared => usize::try_from(device).map_err(|_| Unreachable::NotMapped { device, bytes }),
            Memory::Physical if pagemap::is_contiguous(address, bytes, device) => Ok(address),
            Memory::Physical => Err(Unreachable::Scattered { device, bytes }),
            Memory::Iova => self.look_up(device, bytes),
        }
    }

    fn look_up(&mut self, device: u64, bytes: usize) -> Result<usize, Unreachable> {
        let not_mapped = Unreachable::NotMapped { device, bytes };
        let within = |(_, region): &(usize, Region)| {
            device.checked_sub(region.iova).is_some_and(|offset| offset < region.bytes as u64)
        };
        // The buffers of a list are often of one region.
        let Some((start, region)) =
            self.last.filter(within).or_else(|| self.tables.at(device).filter(within))
        else {
            return Err(not_mapped);
        };
        self.last = Some((start, region));
        let offset = usize::try_from(device - region.iova).map_err(|_| not_mapped)?;
        let left = region.bytes - offset;
        if left < bytes { Err(Unreachable::Overrun { device, bytes, left }) } else { Ok(start + offset) }
    }
}

impl Tables {
    /// The last region that begins before an address.
    fn before(&self, address: usize) -> Option<(usize, Region)> {
        self.regions.range(..address).next_back().map(|(start, region)| (*start, *region))
    }

    /// The last region that begins at or before an I/O address.
    fn at(&self, iova: u64) -> Option<(usize, Region)> {
        let (_, address) = self.by_iova.range(..=iova).next_back()?;
        self.regions.get(address).map(|region| (*address, *region))
    }

    /// A range of I/O addresses that is free: those that were longest unused first, so that a stale one is found out.
    fn iova(&mut self, bytes: usize, alignment: u64) -> Option<u64> {
        let bytes = (bytes as u64).next_multiple_of(SLAB);
        let alignment = alignment.max(SLAB);
        let from_here = self.gap(self.next_iova, bytes, alignment);
        let iova = from_here.or_else(|| self.gap(SLAB, bytes, alignment))?;
        self.next_iova = iova + bytes;
        Some(iova)
    }

    fn gap(&self, from: u64, bytes: u64, alignment: u64) -> Option<u64> {
        let mut start = from.next_multiple_of(alignment);
        if let Some((iova, address)) = self.by_iova.range(..start).next_back() {
            start = start.max(self.end(*iova, *address).next_multiple_of(alignment));
        }
        for (iova, address) in self.by_iova.range(start..) {
            if start + bytes <= *iova {
                break;
            }
            start = self.end(*iova, *address).next_multiple_of(alignment);
        }
        (start + bytes <= LAST).then_some(start)
    }

    fn end(&self, iova: u64, address: usize) -> u64 {
        let bytes = self.regions.get(&address).map_or(0, |region| region.bytes as u64);
        iova + bytes.next_multiple_of(SLAB)
    }
}

/// The kernel's, of x86-64.
const HUGE_PAGE: usize = 2 << 20;

/// Anonymous memory with nothing behind its last page: the whole mapping, and where in it the aligned bytes begin.
fn reserve(bytes: usize, alignment: usize) -> Option<((usize, usize), usize)> {
    let whole = bytes.next_multiple_of(PAGE) + alignment + PAGE;
    // SAFETY: a new mapping, of which nobody has an address yet.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            whole,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return None;
    }
    let base = base as usize;
    let start = base.next_multiple_of(alignment);
    // SAFETY: these pages are within the mapping above.
    let made = unsafe {
        libc::mprotect(
            start as *mut libc::c_void,
            bytes.next_multiple_of(PAGE),
            libc::PROT_READ | libc::PROT_WRITE,
        )
    };
    if made != 0 {
        unmap((base, whole));
        return None;
    }
    Some(((base, whole), start))
}

/// How often pages that were locked just now are looked for.
const LOOKS: u32 = 20;

/// Has the kernel give the pages, as one huge page where more than one is needed, and keep them.
fn settle(address: usize, bytes: usize) -> bool {
    // SAFETY: the bytes are of a mapping that was just made; an advice that is not taken shows in what follows.
    let locked = unsafe {
        libc::madvise(address as *mut libc::c_void, bytes, libc::MADV_HUGEPAGE);
        // Sanitizers make nothing of the function.
        libc::syscall(libc::SYS_mlock, address, bytes)
    };
    // A page may be on its way to another place until the kernel knows of the lock.
    let stays = || {
        let first = pagemap::physical(address);
        first.is_some_and(|first| pagemap::is_contiguous(address, bytes, first))
    };
    let mut looks = 0..LOOKS;
    locked == 0
        && looks.any(|_| {
            let there = stays();
            if !there {
                thread::sleep(Duration::from_millis(1));
            }
            there
        })
}

fn unmap((base, bytes): (usize, usize)) {
    // SAFETY: the mapping was made by `reserve`; nothing in flight uses it, which `World::free` has checked, or it never
    // left this module.
    unsafe { libc::munmap(base as *mut libc::c_void, bytes) };
}

/// Whether all pages are mapped in this process: pinning others fails.
fn is_there(address: usize, bytes: usize) -> bool {
    let mut pages = vec![0_u8; bytes / PAGE];
    // SAFETY: the vector has a byte for each page; the kernel reads nothing else of this process.
    unsafe { libc::mincore(address as *mut libc::c_void, bytes, pages.as_mut_ptr()) == 0 }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMapped { device, bytes } => {
                write!(f, "device address {device:#x} ({bytes} bytes) is not mapped")
            }
            Self::Overrun { device, bytes, left } => write!(
                f,
                "{bytes} bytes at device address {device:#x} run over the end of its mapping, {left} bytes on"
            ),
            Self::Scattered { device, bytes } => {
                write!(f, "{bytes} bytes at {device:#x} are not contiguous in physical memory")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_addresses_are_slabs_that_do_not_overlap_and_are_used_again_last() {
        let memory = PinnedMemory::new(Memory::Iova, true);
        let first = memory.allocate(64, 64);
        let second = memory.allocate(3 << 20, 4 << 20);
        let third = memory.allocate(1, 1);
        let iova = |address| memory.translate(address);
        assert_eq!(iova(first), SLAB);
        assert_eq!(iova(second), 2 * SLAB, "aligned to 4 MiB");
        assert_eq!(iova(third), 4 * SLAB, "behind 3 MiB in 2 slabs");
        assert!(second.is_multiple_of(4 << 20));
        memory.free(first);
        let fourth = memory.allocate(64, 64);
        assert_eq!(iova(fourth), 5 * SLAB);
    }

    #[test]
    fn io_addresses_that_ran_out_begin_again_in_the_gaps() {
        let memory = PinnedMemory::new(Memory::Iova, true);
        let (first, second) = (memory.allocate(64, 64), memory.allocate(64, 64));
        memory.free(first);
        memory.lock().next_iova = LAST;
        let third = memory.allocate(64, 64);
        assert_eq!(memory.translate(third), SLAB);
        assert_eq!(memory.translate(second), 2 * SLAB);
    }
}
