//! The memory that a modelled device reaches: its DMA map, and accesses that never leave it.
//!
//! Nobody stops touching memory because a device does, so no reference to it ever exists here: what the model reads
//! and writes, it does by one machine instruction that the compiler cannot look into, or by relaxed atomics.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::dma::map_shared;

/// What I/O addresses, lengths and memory must be aligned to, as an IOMMU would have it.
const PAGE: u64 = 4096;

/// What a device may touch, by I/O address. Clones share the map.
#[derive(Clone, Default)]
pub struct DeviceMemory {
    ranges: Arc<RwLock<Vec<Range>>>,
    /// Addresses that fault through this clone alone, whatever the map says.
    absent: Option<std::ops::Range<u64>>,
}

/// An access to an address that is not mapped, or may not be touched just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryFault {
    /// The first byte that could not be touched.
    pub address: u64,
    /// Whether it was to be written.
    pub write: bool,
    /// How many bytes before it were read or written.
    pub done: usize,
}

/// A piece of the map. `start` points to `bytes` bytes that whoever mapped them keeps until the range is gone.
struct Range {
    iova: u64,
    bytes: u64,
    start: NonNull<u8>,
    /// Whether the memory was mapped here, to be unmapped with the range.
    owned: bool,
}

// SAFETY: a range is an address and a length; the memory behind it is accessed without references by any thread.
unsafe impl Send for Range {}
// SAFETY: as above.
unsafe impl Sync for Range {}

impl DeviceMemory {
    /// Nothing mapped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps memory of this process at an I/O address.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if anything is not aligned to a page or the range is empty or ends beyond the
    /// last address, [`io::ErrorKind::AlreadyExists`] if some of it is mapped already.
    ///
    /// # Safety
    /// The memory stays mapped, to be read and written, until [`unmap`](Self::unmap) has returned or the last clone is
    /// gone; and whoever holds references to it sees to it that the device is given no such address.
    pub unsafe fn map(&self, iova: u64, start: NonNull<u8>, bytes: u64) -> io::Result<()> {
        self.insert(Range { iova, bytes, start, owned: false })
    }

    /// Maps a part of a file at an I/O address: what the client of a device in another process shares.
    ///
    /// # Errors
    /// As [`map`](Self::map), and what `mmap` says.
    pub fn map_file(&self, iova: u64, bytes: u64, file: &File, offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < end {
            // What lies behind the end of a file can be mapped, and kills whoever touches it.
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the file is shorter than what is to be mapped of it",
            ));
        }
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        let start = map_shared(file, offset, length)?;
        self.insert(Range { iova, bytes, start, owned: true })
    }

    /// Takes a range out of the map, as it was put in. No access to it is under way when this returns.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such range.
    pub fn unmap(&self, iova: u64, bytes: u64) -> io::Result<()> {
        let mut ranges = self.change();
        let at = ranges.iter().position(|range| range.iova == iova && range.bytes == bytes);
        ranges.remove(at.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    /// Takes everything out of the map.
    pub fn unmap_all(&self) {
        self.change().clear();
    }

    /// The same memory, in which `address` and the rest of its page cannot be touched through this clone.
    #[must_use]
    pub fn without(&self, address: u64) -> Self {
        let end = (address | (PAGE - 1)).saturating_add(1);
        Self { ranges: Arc::clone(&self.ranges), absent: Some(address..end) }
    }

    /// Whether an address faults through this clone alone.
    pub(super) fn is_absent(&self, address: u64) -> bool {
        self.absent.as_ref().is_some_and(|absent| absent.contains(&address))
    }

    /// Reads `into.len()` bytes at `address`.
    ///
    /// # Errors
    /// [`MemoryFault`]; the bytes before the fault are in `into`.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryFault> {
        self.each(address, into.len(), false, |memory, done, bytes| {
            // SAFETY: `each` hands out mapped memory of so many bytes while it keeps the map from changing; `into` is ours.
            unsafe { copy(memory, into[done..done + bytes].as_mut_ptr(), bytes) };
        })
    }

    /// Writes `from` at `address`.
    ///
    /// # Errors
    /// [`MemoryFault`]; the bytes before the fault are written.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryFault> {
        self.each(address, from.len(), true, |memory, done, bytes| {
            // SAFETY: as in `read`; `from` is only read.
            unsafe { copy(from[done..done + bytes].as_ptr(), memory, bytes) };
        })
    }

    /// Writes a completion record: whoever sees its first byte sees all else that was written before.
    ///
    /// # Errors
    /// [`MemoryFault`]; the first byte is not written then.
    pub(super) fn publish(&self, address: u64, record: &[u8]) -> Result<(), MemoryFault> {
        let Some((&status, rest)) = record.split_first() else { return Ok(()) };
        self.check(address, record.len(), true)?;
        self.write(address + 1, rest)?;
        self.each(address, 1, true, |memory, _, _| {
            // SAFETY: `each` hands out one mapped byte, which both sides touch atomically.
            unsafe { AtomicU8::from_ptr(memory) }.store(status, Ordering::Release);
        })
    }

    /// Whether all of a range could be touched now.
    ///
    /// # Errors
    /// [`MemoryFault`] names the first byte that could not.
    pub fn check(&self, address: u64, bytes: usize, write: bool) -> Result<(), MemoryFault> {
        self.each(address, bytes, write, |_, _, _| ())
    }

    /// How many bytes before `end`, at most `bytes`, can be touched from `end` downwards.
    pub(super) fn reach_down(&self, end: u64, bytes: u64) -> u64 {
        let ranges = self.look();
        let mut reached = 0;
        while reached < bytes {
            let last = end - reached - 1;
            let Some(range) = find(&ranges, last) else { break };
            let mut low = range.iova.max(end - bytes);
            if let Some(absent) = &self.absent {
                if absent.contains(&last) {
                    break;
                }
                if absent.end <= last {
                    low = low.max(absent.end);
                }
            }
            reached = end - low;
        }
        reached.min(bytes)
    }

    /// Calls `touch` with each mapped piece of a range: where it is, how many bytes came before, how many it has.
    fn each(
        &self,
        address: u64,
        bytes: usize,
        write: bool,
        mut touch: impl FnMut(*mut u8, usize, usize),
    ) -> Result<(), MemoryFault> {
        let ranges = self.look();
        let mut done = 0;
        while done < bytes {
            let fault = |address| MemoryFault { address, write, done };
            let at = address.checked_add(done as u64).ok_or_else(|| fault(u64::MAX))?;
            let range = find(&ranges, at).ok_or_else(|| fault(at))?;
            let mut end = range.iova + range.bytes;
            if let Some(absent) = &self.absent {
                if absent.contains(&at) {
                    return Err(fault(at));
                }
                if absent.start > at {
                    end = end.min(absent.start);
                }
            }
            let offset = usize::try_from(at - range.iova).map_err(|_| fault(at))?;
            let piece = usize::try_from(end - at).unwrap_or(usize::MAX).min(bytes - done);
            // SAFETY: `offset` is within the range, which whoever mapped it keeps for as long as it is in the map.
            touch(unsafe { range.start.add(offset) }.as_ptr(), done, piece);
            done += piece;
        }
        Ok(())
    }

    fn insert(&self, range: Range) -> io::Result<()> {
        let unaligned = [range.iova, range.bytes, range.start.as_ptr().addr() as u64]
            .iter()
            .any(|value| !value.is_multiple_of(PAGE));
        let Some(end) = range.iova.checked_add(range.bytes).filter(|_| range.bytes > 0 && !unaligned) else {
            let what = "a range to be mapped must be of whole pages";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        };
        let mut ranges = self.change();
        let at = ranges.partition_point(|other| other.iova < range.iova);
        let before = at.checked_sub(1).and_then(|before| ranges.get(before));
        if before.is_some_and(|before| before.iova + before.bytes > range.iova)
            || ranges.get(at).is_some_and(|behind| behind.iova < end)
        {
            let what = "some of the range is mapped already; unmap it first";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        ranges.insert(at, range);
        Ok(())
    }

    fn look(&self) -> RwLockReadGuard<'_, Vec<Range>> {
        self.ranges.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Vec<Range>> {
        self.ranges.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The range that has `address`; ranges are sorted.
fn find(ranges: &[Range], address: u64) -> Option<&Range> {
    let at = ranges.partition_point(|range| range.iova <= address);
    let range = ranges.get(at.checked_sub(1)?)?;
    (address - range.iova < range.bytes).then_some(range)
}

impl Drop for Range {
    fn drop(&mut self) {
        if let (true, Ok(bytes)) = (self.owned, usize::try_from(self.bytes)) {
            // SAFETY: `map_file` mapped exactly this, and a range in the map is only looked at under its lock.
            unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
        }
    }
}

/// # Safety
/// `from` is readable and `to` writable for `bytes`, and they do not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the calling convention.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// `from` is readable and `to` writable for `bytes`, and they do not overlap.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
    for index in 0..bytes {
        // SAFETY: `index` is within what the caller vouches for; a byte may be shared atomically.
        unsafe {
            let byte = AtomicU8::from_ptr(from.add(index).cast_mut()).load(Ordering::Relaxed);
            AtomicU8::from_ptr(to.add(index)).store(byte, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::Arena;

    /// Two neighbouring ranges at I/O addresses of their own, the second from another place of the file.
    fn two_ranges() -> (Arena, DeviceMemory) {
        let arena = Arena::new(1, 4 << 12).unwrap();
        let file = arena.range().file.unwrap().file;
        let memory = DeviceMemory::new();
        memory.map_file(0x1_0000, 0x1000, &file, 0x2000).unwrap();
        memory.map_file(0x1_1000, 0x1000, &file, 0).unwrap();
        (arena, memory)
    }

    #[test]
    fn an_access_across_neighbouring_ranges_is_whole() {
        let (arena, memory) = two_ranges();
        let bytes: Vec<u8> = (0..100).collect();
        memory.write(0x1_0fd0, &bytes).unwrap();
        let mut back = [0; 100];
        memory.read(0x1_0fd0, &mut back).unwrap();
        assert_eq!(back[..], bytes);
        let block = arena.take(4 << 12).unwrap();
        assert_eq!((block[0x2fd0], block[0]), (0, 48), "the pieces lie where the file has them");
    }

    #[test]
    fn an_access_ends_where_the_map_does() {
        let (_arena, memory) = two_ranges();
        let mut bytes = [0; 32];
        let fault = MemoryFault { address: 0x1_2000, write: false, done: 16 };
        assert_eq!(memory.read(0x1_1ff0, &mut bytes), Err(fault));
        assert_eq!(memory.write(0x1_1ff0, &bytes), Err(MemoryFault { write: true, ..fault }));
        assert_eq!(memory.read(0xfff0, &mut bytes).unwrap_err().done, 0);
        assert_eq!(memory.read(u64::MAX - 3, &mut bytes).unwrap_err().done, 0);
        assert_eq!(memory.reach_down(0x1_2000, 0x3000), 0x2000);
        assert_eq!(memory.reach_down(0x1_3000, 0x3000), 0);
        assert_eq!(memory.reach_down(0x1_2000, 0x10), 0x10);
        memory.unmap(0x1_1000, 0x1000).unwrap();
        assert_eq!(memory.read(0x1_0ff0, &mut bytes).unwrap_err().done, 16);
    }

    #[test]
    fn an_absent_page_faults_through_one_clone_alone() {
        let (_arena, memory) = two_ranges();
        let clone = memory.without(0x1_0100);
        let mut bytes = [0; 0x1000];
        let fault = MemoryFault { address: 0x1_0100, write: false, done: 0x100 };
        assert_eq!(clone.read(0x1_0000, &mut bytes), Err(fault));
        assert_eq!(
            clone.read(0x1_0200, &mut bytes),
            Err(MemoryFault { address: 0x1_0200, done: 0, ..fault })
        );
        assert_eq!(clone.read(0x1_1000, &mut bytes), Ok(()));
        assert_eq!(clone.reach_down(0x1_2000, 0x2000), 0x1000);
        assert_eq!(clone.reach_down(0x1_0100, 0x100), 0x100);
        assert_eq!(memory.read(0x1_0000, &mut bytes), Ok(()));
    }

    #[test]
    fn a_range_is_mapped_once_in_whole_pages_and_unmapped_as_it_was() {
        let (arena, memory) = two_ranges();
        let file = arena.range().file.unwrap().file;
        let map =
            |iova, bytes, offset| memory.map_file(iova, bytes, &file, offset).map_err(|error| error.kind());
        for (iova, bytes) in [(0x1_0000, 0x1000), (0xf000, 0x2000), (0x1_1000, 0x2000), (0xf000, 0x4000)] {
            assert_eq!(map(iova, bytes, 0), Err(io::ErrorKind::AlreadyExists), "{iova:#x} + {bytes:#x}");
        }
        for (iova, bytes) in [(0x2_0010, 0x1000), (0x2_0000, 0x10), (u64::MAX - 0xfff, 0x1000)] {
            assert_eq!(map(iova, bytes, 0), Err(io::ErrorKind::InvalidInput), "{iova:#x} + {bytes:#x}");
        }
        assert_eq!(map(0x2_0000, 0x2000, 0x3000), Err(io::ErrorKind::InvalidInput), "beyond the file");
        assert_eq!(memory.unmap(0x1_0000, 0x2000).unwrap_err().kind(), io::ErrorKind::NotFound);
        memory.unmap_all();
        assert_eq!(map(0xf000, 0x4000, 0), Ok(()));
    }
}
