//! Physical addresses of this process's memory, for devices without an IOMMU between.
//!
//! They are read from `/proc/self/pagemap` (Linux `Documentation/admin-guide/mm/pagemap.rst`: 8 bytes a page, bit 63 if it
//! is there, bits 54:0 its frame, which only a process with `CAP_SYS_ADMIN` sees). They hold for as long as the kernel does
//! not move the pages: huge pages stay, and locked ones do where `vm.compact_unevictable_allowed` is 0.

use std::ffi::c_void;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError, RwLock};

use super::pinned::Pinned;
use crate::dma::{DmaRange, HostAddress};

/// Memory whose frames are known, and stay.
pub(super) struct Frames {
    start: HostAddress,
    bytes: usize,
    /// Binary logarithm of the bytes that are known to follow each other from a known address on.
    shift: u32,
    /// The physical addresses of those.
    addresses: Vec<u64>,
}

const PAGE_SHIFT: u32 = 12;

/// What a page of the kernel's map says.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

impl Frames {
    /// Whether the driver's own memory is at physical addresses.
    pub(super) fn are_addresses_of(sample: &Pinned) -> bool {
        let physical = File::open(PAGEMAP).ok().and_then(|map| physical(&map, sample.address(0)));
        physical.is_some_and(|physical| physical == sample.device_address())
    }

    /// The frames of a range, if it is of pages that the kernel does not move.
    pub(super) fn of_pinned(range: &DmaRange) -> Option<Self> {
        let maps = fs::read_to_string("/proc/self/smaps").ok()?;
        let locked_ones_stay = fs::read_to_string("/proc/sys/vm/compact_unevictable_allowed")
            .is_ok_and(|text| text.trim() == "0");
        let shift = pinned_page_shift(&maps, range, locked_ones_stay)?;
        let map = File::open(PAGEMAP).ok()?;
        Self::of_pages(range, shift, |page| physical(&map, page))
    }

    /// The frames of the pages that hold a range, which need not begin with the first of them.
    fn of_pages(
        range: &DmaRange,
        shift: u32,
        physical: impl FnMut(HostAddress) -> Option<u64>,
    ) -> Option<Self> {
        let start = HostAddress(range.host.0 >> shift << shift);
        let bytes = range.bytes + usize::try_from(range.host.0 - start.0).ok()?;
        let pages = (0..bytes).step_by(1 << shift).map(|offset| start.offset(offset));
        let addresses = pages.map(physical).collect::<Option<_>>()?;
        Some(Self { start, bytes, shift, addresses })
    }

    /// The driver's own memory, which follows itself.
    pub(super) fn of_driver(pinned: &Pinned) -> Self {
        let (start, bytes) = (pinned.address(0), pinned.len());
        Self { start, bytes, shift: usize::BITS - 1, addresses: vec![pinned.device_address()] }
    }

    fn offset(&self, address: HostAddress) -> Option<usize> {
        let offset = usize::try_from(address.0.checked_sub(self.start.0)?).ok()?;
        (offset < self.bytes).then_some(offset)
    }

    fn translate(&self, address: HostAddress) -> Option<u64> {
        let offset = self.offset(address)?;
        Some(self.addresses[offset >> self.shift] + (offset & ((1 << self.shift) - 1)) as u64)
    }

    /// How many of the `bytes` bytes at `from` follow each other physically; `None` if the first is not in here.
    pub(super) fn contiguous(&self, from: HostAddress, bytes: usize) -> Option<usize> {
        let offset = self.offset(from)?;
        let end = self.bytes.min(offset + bytes);
        let mut page = offset >> self.shift;
        let mut until = (page + 1) << self.shift;
        while until < end && self.addresses[page + 1] == self.addresses[page] + (1 << self.shift) {
            page += 1;
            until += 1 << self.shift;
        }
        Some(until.min(end) - offset)
    }
}

const PAGEMAP: &str = "/proc/self/pagemap";

fn physical(map: &File, address: HostAddress) -> Option<u64> {
    let mut entry = [0; 8];
    map.read_exact_at(&mut entry, (address.0 >> PAGE_SHIFT) * 8).ok()?;
    let entry = u64::from_le_bytes(entry);
    let frame = entry & FRAME;
    let seen = entry & PRESENT != 0 && frame != 0;
    seen.then_some((frame << PAGE_SHIFT) | (address.0 & ((1 << PAGE_SHIFT) - 1)))
}

/// The page size of the mappings that hold the range, as a binary logarithm, if their pages stay where they are: of huge
/// pages (`ht` among the flags), or locked (`lo`) where locked ones stay.
fn pinned_page_shift(smaps: &str, range: &DmaRange, locked_ones_stay: bool) -> Option<u32> {
    let end = range.host.0 + range.bytes as u64;
    let mut at = range.host.0;
    let mut shift = u32::MAX;
    let mut mapping = 0..0;
    let mut page_shift = PAGE_SHIFT;
    for line in smaps.lines() {
        let (name, value) = line.split_once(' ')?;
        match name {
            "KernelPageSize:" => {
                let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
                page_shift = (kib << 10).ilog2();
            }
            "VmFlags:" if mapping.contains(&at) => {
                let is = |flag| value.split_whitespace().any(|one| one == flag);
                if !(is("ht") || is("lo") && locked_ones_stay) {
                    return None;
                }
                shift = shift.min(page_shift);
                at = mapping.end;
                if at >= end {
                    return Some(shift);
                }
            }
            _ => {
                if let Some((start, end)) = name.split_once('-') {
                    mapping = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
                }
            }
        }
    }
    None
}

/// What [`translate`] knows: the library's callback gets an address and nothing else.
static KNOWN: RwLock<Vec<Arc<Frames>>> = RwLock::new(Vec::new());

/// Memory that [`translate`] knows for as long as this lives.
pub(super) struct Registered(Vec<Arc<Frames>>);

impl Registered {
    pub(super) fn new(frames: Vec<Arc<Frames>>) -> Self {
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).extend(frames.iter().cloned());
        Self(frames)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        for ours in &self.0 {
            // Once each, since others may have registered the same.
            if let Some(index) = known.iter().position(|frames| Arc::ptr_eq(frames, ours)) {
                known.swap_remove(index);
            }
        }
    }
}

/// The physical address of registered memory; 0 of any other.
pub(super) extern "C" fn translate(address: *mut c_void) -> u64 {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    known.iter().find_map(|frames| frames.translate(HostAddress::of(address))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(host: u64, bytes: usize) -> DmaRange {
        DmaRange { host: HostAddress(host), bytes, file: None }
    }

    const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-s 00000000 00:0f 12 /dev/hugepages/guest
KernelPageSize:     2048 kB
VmFlags: rd wr sh mr mw me ms de ht
7f0000400000-7f0000402000 rw-p 00000000 00:00 0
KernelPageSize:        4 kB
VmFlags: rd wr mr mw me lo ac
7f0000402000-7f0000404000 rw-p 00000000 00:00 0
KernelPageSize:        4 kB
VmFlags: rd wr mr mw me ac
";

    #[test]
    fn only_pages_that_the_kernel_leaves_where_they_are_have_addresses() {
        let of = |host, bytes, stay| pinned_page_shift(SMAPS, &range(host, bytes), stay);
        assert_eq!(of(0x7f00_0000_0000, 4 << 20, false), Some(21));
        assert_eq!(of(0x7f00_0040_0000, 8192, true), Some(12));
        assert_eq!(of(0x7f00_0040_0000, 8192, false), None, "locked ones may be moved by compaction");
        assert_eq!(of(0x7f00_0020_0000, (2 << 20) + 4096, true), Some(12), "the smaller pages decide");
        assert_eq!(of(0x7f00_0040_0000, 3 << 12, true), None, "its last page is not locked");
        assert_eq!(of(0x6f00_0000_0000, 4096, true), None, "nothing is mapped there");
    }

    #[test]
    fn a_range_that_begins_within_a_huge_page_has_the_frames_of_that_page() {
        const HUGE: u64 = 2 << 20;
        // Backwards, so that no page follows the one before it.
        let physical = |page: HostAddress| {
            assert_eq!(page.0 % HUGE, 0, "a huge page has one frame");
            Some((1 << 40) - page.0)
        };
        let start = 3 * HUGE + 0xc_0000;
        let frames = Frames::of_pages(&range(start, 2 << 20), 21, physical).unwrap();
        assert_eq!(frames.translate(HostAddress(start)), Some((1 << 40) - 3 * HUGE + 0xc_0000));
        assert_eq!(frames.translate(HostAddress(4 * HUGE)), Some((1 << 40) - 4 * HUGE));
        assert_eq!(frames.contiguous(HostAddress(start), 2 << 20), Some((2 << 20) - 0xc_0000));
        assert_eq!(frames.contiguous(HostAddress(start + HUGE), 1), None);
    }

    #[test]
    fn frames_that_follow_each_other_are_one_buffer() {
        let addresses = vec![0x10_0000, 0x10_1000, 0x50_0000];
        let frames = Frames { start: HostAddress(0x4000), bytes: 3 << 12, shift: 12, addresses };
        assert_eq!(frames.contiguous(HostAddress(0x4000), 3 << 12), Some(2 << 12));
        assert_eq!(frames.contiguous(HostAddress(0x4800), 0x1000), Some(0x1000));
        assert_eq!(frames.contiguous(HostAddress(0x6000), 2 << 12), Some(1 << 12));
        assert_eq!(frames.contiguous(HostAddress(0x7000), 1), None);
        assert_eq!(frames.translate(HostAddress(0x5010)), Some(0x10_1010));
        assert_eq!(frames.translate(HostAddress(0x6fff)), Some(0x50_0fff));
    }

    #[test]
    fn registered_memory_is_translated_until_it_is_not() {
        let addresses = vec![0x70_0000];
        let frames = Frames { start: HostAddress(0x9000), bytes: 1 << 12, shift: 12, addresses };
        let address = 0x9010 as *mut c_void;
        let registered = Registered::new(vec![Arc::new(frames)]);
        assert_eq!(translate(address), 0x70_0010);
        drop(registered);
        assert_eq!(translate(address), 0);
    }
}
