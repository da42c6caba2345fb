//! Guest memory in pages: checked layout, and the four things the data path does to a live page.

use std::sync::Arc;

use super::{GuestMemory, Region, live};
use crate::dma::{BackingFile, DmaRange, HostAddress};
use crate::run::{Content, Run};
use crate::units::{Gpa, PageCount, PageIndex, PageSize};

/// Pages that exist: one region by its page numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    /// The first page.
    pub first: PageIndex,
    /// How many follow each other, the first included.
    pub pages: u64,
}

/// Page numbers are 48 bits in the frame format.
const PAGE_NUMBERS: u64 = 1 << 48;

impl PageRange {
    /// The page behind the last one.
    #[must_use]
    pub const fn end(self) -> PageIndex {
        self.first.offset(self.pages)
    }

    /// Whether the whole run lies in this range.
    #[must_use]
    pub fn holds(self, run: Run) -> bool {
        self.first <= run.first
            && run.first.0.checked_add(run.count.0.into()).is_some_and(|end| end <= self.end().0)
    }
}

/// A layout of regions that pages cannot be counted in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// No region, so nothing could ever be moved.
    #[error("guest memory has no regions")]
    Empty,
    /// A region does not begin or end at a page boundary, or its mapping does not.
    #[error(
        "the region at {gpa} of {bytes} bytes is not made of whole {page_size} pages: align it, or use a smaller page size"
    )]
    Misaligned {
        /// Where it begins.
        gpa: Gpa,
        /// Its length.
        bytes: u64,
        /// The page size it was measured in.
        page_size: PageSize,
    },
    /// A region ends beyond the highest page number that the frame format has.
    #[error("the region at {gpa} of {bytes} bytes ends beyond page number 2^48")]
    TooHigh {
        /// Where it begins.
        gpa: Gpa,
        /// Its length.
        bytes: u64,
    },
    /// Two regions share pages.
    #[error("the regions at {first} and {second} overlap")]
    Overlap {
        /// The region that begins first.
        first: Gpa,
        /// The region that begins inside it.
        second: Gpa,
    },
}

struct MappedRange {
    range: PageRange,
    host: *mut u8,
    numa_node: Option<u32>,
    file: Option<BackingFile>,
}

/// Live guest memory, a page at a time.
///
/// It is no byte slice and never lends one: the guest writes while we read. A page is copied out, copied in, cleared,
/// or asked whether it is zero.
///
/// # Panics
/// A page number that is not in the layout is a bug of the caller, and panics. Numbers that come from a peer are
/// checked against the layout when its frame is read.
pub struct GuestRam {
    /// Keeps the mappings alive.
    _memory: Arc<dyn GuestMemory>,
    ranges: Vec<MappedRange>,
    page_size: PageSize,
}

// SAFETY: the host pointers are only read and written through `live`, which bears with concurrent access from any
// thread, and the `GuestMemory` that keeps them mapped is itself `Send` and `Sync`.
unsafe impl Send for GuestRam {}
// SAFETY: as above.
unsafe impl Sync for GuestRam {}

impl GuestRam {
    /// Guest memory in pages of `page_size`.
    ///
    /// # Errors
    /// [`LayoutError`] where the regions cannot be counted in such pages.
    pub fn new(memory: Arc<dyn GuestMemory>, page_size: PageSize) -> Result<Self, LayoutError> {
        let mut regions = memory.regions();
        regions.sort_by_key(|region| region.gpa);
        let ranges = regions.iter().map(|region| mapped(region, page_size)).collect::<Result<Vec<_>, _>>()?;
        if ranges.is_empty() {
            return Err(LayoutError::Empty);
        }
        for (pair, gpas) in ranges.windows(2).zip(regions.windows(2)) {
            if pair[0].range.end() > pair[1].range.first {
                return Err(LayoutError::Overlap { first: gpas[0].gpa, second: gpas[1].gpa });
            }
        }
        Ok(Self { _memory: memory, ranges, page_size })
    }

    /// The guest's page size.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The pages that exist, ascending.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = PageRange> {
        self.ranges.iter().map(|mapped| mapped.range)
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.ranges().map(|range| range.pages).sum()
    }

    /// How many bytes there are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages() << self.page_size.shift()
    }

    /// Where the page is, for a device that is to read or write it. The pages of a run follow each other there.
    #[must_use]
    pub fn address(&self, page: PageIndex) -> HostAddress {
        HostAddress::of(self.locate(page))
    }

    /// Where `pages` pages from `first` on are, if they follow each other in this process too: if they are in one region, in
    /// effect. `None` also for no pages.
    #[must_use]
    pub fn contiguous(&self, first: PageIndex, pages: PageCount) -> Option<HostAddress> {
        let address = self.address(first);
        let last = self.address(first.offset(u64::from(pages.0).checked_sub(1)?));
        let before_last = self.page_size.bytes_of(pages) - self.page_size.bytes();
        (last == address.offset(before_last)).then_some(address)
    }

    /// Appends the parts of `run` that are zero, and those that are not.
    pub fn part_zeros(&self, run: Run, runs: &mut Vec<Run>) {
        let from = runs.len();
        for page in run.pages() {
            let content = if self.is_zero(page) { Content::Zero } else { Content::Data };
            match runs[from..].last_mut() {
                Some(last) if last.content == content => last.count += PageCount::ONE,
                _ => runs.push(Run { first: page, count: PageCount::ONE, content }),
            }
        }
    }

    /// The NUMA node that the page is on, as far as whoever owns the memory has said.
    #[must_use]
    pub fn numa_node(&self, page: PageIndex) -> Option<u32> {
        self.holder(page).numa_node
    }

    /// All of it, to be mapped for a device.
    #[must_use]
    pub fn dma_ranges(&self) -> Vec<DmaRange> {
        let shift = self.page_size.shift();
        let range = |mapped: &MappedRange| DmaRange {
            host: HostAddress::of(mapped.host),
            bytes: usize::try_from(mapped.range.pages << shift).unwrap_or(usize::MAX),
            file: mapped.file.clone(),
        };
        self.ranges.iter().map(range).collect()
    }

    /// Takes a private copy of a page; `into` is as long as the page.
    pub fn copy_out(&self, page: PageIndex, into: &mut [u8]) {
        let bytes = self.page_size.bytes();
        // SAFETY: `locate` answers with a whole mapped page, `GuestMemory` keeps it mapped, pages are aligned.
        unsafe { live::copy_out(self.locate(page), &mut into[..bytes]) }
    }

    /// Overwrites a page; `from` is as long as the page.
    pub fn copy_in(&self, page: PageIndex, from: &[u8]) {
        let bytes = self.page_size.bytes();
        // SAFETY: as in `copy_out`; the mapping is writable by `GuestMemory`'s contract.
        unsafe { live::copy_in(self.locate(page), &from[..bytes]) }
    }

    /// Whether the page is zero, at memory speed.
    #[must_use]
    pub fn is_zero(&self, page: PageIndex) -> bool {
        // SAFETY: as in `copy_out`.
        unsafe { live::is_zero(self.locate(page), self.page_size.bytes()) }
    }

    /// Makes a page zero, without touching it if it is: memory that was never written stays unallocated.
    pub fn clear(&self, page: PageIndex) {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        if !self.is_zero(page) {
            self.copy_in(page, &ZEROS);
        }
    }

    fn locate(&self, page: PageIndex) -> *mut u8 {
        let mapped = self.holder(page);
        let offset = (page.0 - mapped.range.first.0) << self.page_size.shift();
        // SAFETY: the page is in the region, so the offset stays in its mapping; `new` saw that it fits `usize`.
        unsafe { mapped.host.add(usize::try_from(offset).unwrap_or_default()) }
    }

    /// The region that the page is in.
    fn holder(&self, page: PageIndex) -> &MappedRange {
        let after = self.ranges.partition_point(|mapped| mapped.range.first <= page);
        let mapped =
            after.checked_sub(1).map(|index| &self.ranges[index]).filter(|found| page < found.range.end());
        let Some(mapped) = mapped else {
            panic!("page {page} is in no region of guest memory");
        };
        mapped
    }
}

fn mapped(region: &Region, page_size: PageSize) -> Result<MappedRange, LayoutError> {
    let &Region { gpa, bytes, host, numa_node, ref file } = region;
    let mask = page_size.bytes() as u64 - 1;
    if bytes == 0 || (gpa.0 | bytes) & mask != 0 || !(host as usize).is_multiple_of(live::WORD) {
        return Err(LayoutError::Misaligned { gpa, bytes, page_size });
    }
    let range = PageRange { first: PageIndex::of(gpa, page_size), pages: bytes >> page_size.shift() };
    let fits = range.first.0.checked_add(range.pages).is_some_and(|end| end <= PAGE_NUMBERS);
    if !fits || usize::try_from(bytes).is_err() {
        return Err(LayoutError::TooHigh { gpa, bytes });
    }
    Ok(MappedRange { range, host, numa_node, file: file.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::AnonymousMemory;

    const MIB: u64 = 1 << 20;

    fn ram(layout: &[(Gpa, u64)], page_size: PageSize) -> Result<GuestRam, LayoutError> {
        let memory = AnonymousMemory::new(layout).expect("a few MiB can be mapped");
        GuestRam::new(Arc::new(memory), page_size)
    }

    #[test]
    fn a_page_reads_back_as_it_was_written_across_a_hole() {
        let ram = ram(&[(Gpa(16 * MIB), MIB), (Gpa(0), MIB)], PageSize::Kib4).unwrap();
        let last = PageIndex::of(Gpa(17 * MIB - 1), PageSize::Kib4);
        let written: Vec<u8> = (0..4096u32).map(|byte| (byte % 255) as u8).collect();
        ram.copy_in(last, &written);
        let mut read = vec![0; 4096];
        ram.copy_out(last, &mut read);
        assert_eq!(read, written);
        assert!(!ram.is_zero(last));
        ram.clear(last);
        assert!(ram.is_zero(last));
        assert_eq!(ram.pages(), 512);
    }

    #[test]
    #[should_panic(expected = "in no region")]
    fn a_page_in_a_hole_is_refused() {
        let ram = ram(&[(Gpa(0), MIB), (Gpa(16 * MIB), MIB)], PageSize::Kib4).unwrap();
        ram.copy_out(PageIndex::of(Gpa(MIB), PageSize::Kib4), &mut [0; 4096]);
    }

    /// Memory of two regions, on the nodes that its owner says.
    struct OnNodes(AnonymousMemory, [Option<u32>; 2]);

    // SAFETY: the regions are those of the memory inside, which lives as long.
    unsafe impl GuestMemory for OnNodes {
        fn regions(&self) -> Vec<Region> {
            let regions = self.0.regions().into_iter().zip(self.1);
            regions.map(|(region, numa_node)| Region { numa_node, ..region }).collect()
        }
    }

    #[test]
    fn a_page_is_on_the_node_of_its_region() {
        let memory = AnonymousMemory::new(&[(Gpa(16 * MIB), MIB), (Gpa(0), MIB)]).unwrap();
        let ram = GuestRam::new(Arc::new(OnNodes(memory, [Some(1), None])), PageSize::Kib4).unwrap();
        let node = |gpa| ram.numa_node(PageIndex::of(Gpa(gpa), PageSize::Kib4));
        assert_eq!([0, MIB - 1, 16 * MIB, 17 * MIB - 1].map(node), [None, None, Some(1), Some(1)]);
    }

    #[test]
    fn layouts_that_pages_cannot_count_are_refused() {
        let misaligned = ram(&[(Gpa(4096), MIB)], PageSize::Kib64).err();
        assert!(matches!(misaligned, Some(LayoutError::Misaligned { .. })), "{misaligned:?}");
        let overlapping = ram(&[(Gpa(0), MIB), (Gpa(MIB - 4096), MIB)], PageSize::Kib4).err();
        assert!(matches!(overlapping, Some(LayoutError::Overlap { .. })), "{overlapping:?}");
        let high = ram(&[(Gpa(1 << 60), MIB)], PageSize::Kib4).err();
        assert!(matches!(high, Some(LayoutError::TooHigh { .. })), "{high:?}");
        assert_eq!(ram(&[], PageSize::Kib4).err(), Some(LayoutError::Empty));
    }
}
