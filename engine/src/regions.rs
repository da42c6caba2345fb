//! The guest's memory as both ends see it: regions that the handshake states and every run must lie in.

use pageferry_accel::guest::{GuestRam, PageRange};
use pageferry_accel::units::{Gpa, PageIndex, PageSize};

/// The most regions a guest may have.
pub const MAX_REGIONS: usize = 1024;

/// Page numbers have this many bits in the frame format.
pub const PAGE_NUMBER_BITS: u32 = 48;

/// A contiguous part of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it begins.
    pub gpa: Gpa,
    /// Its length.
    pub bytes: u64,
}

/// Guest memory: 1 to [`MAX_REGIONS`] regions of whole pages, ascending, none overlapping another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    page_size: PageSize,
    regions: Vec<Region>,
}

/// Why a list of regions is no guest memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionsError {
    /// No region, or more than there may be.
    #[error("guest memory has {found} regions: 1 to {MAX_REGIONS} are possible, merge neighbours")]
    Count {
        /// How many there are.
        found: usize,
    },
    /// A region without bytes.
    #[error("region {index} at {gpa} is empty: leave it out")]
    Empty {
        /// Which one, from 0.
        index: usize,
        /// Where it begins.
        gpa: Gpa,
    },
    /// A region that does not begin and end with a page.
    #[error("region {index} at {gpa} of {bytes:#x} bytes does not consist of whole pages of {page_size}")]
    Alignment {
        /// Which one, from 0.
        index: usize,
        /// Where it begins.
        gpa: Gpa,
        /// Its length.
        bytes: u64,
        /// The size of a page.
        page_size: PageSize,
    },
    /// A region that ends above the highest page number.
    #[error("region {index} at {gpa} of {bytes:#x} bytes ends above page 2^{PAGE_NUMBER_BITS}")]
    TooHigh {
        /// Which one, from 0.
        index: usize,
        /// Where it begins.
        gpa: Gpa,
        /// Its length.
        bytes: u64,
    },
    /// A region that begins before its predecessor ends.
    #[error(
        "region {index} at {gpa} begins before {previous_end}, the end of its predecessor: sort the regions"
    )]
    Order {
        /// Which one, from 0.
        index: usize,
        /// Where it begins.
        gpa: Gpa,
        /// Where its predecessor ends.
        previous_end: Gpa,
    },
}

impl Regions {
    /// Guest memory of these regions.
    ///
    /// # Errors
    /// [`RegionsError`] unless they are 1 to [`MAX_REGIONS`], not empty, of whole pages, ascending, apart from each
    /// other, and below page 2^48.
    pub fn new(page_size: PageSize, regions: Vec<Region>) -> Result<Self, RegionsError> {
        if regions.is_empty() || regions.len() > MAX_REGIONS {
            return Err(RegionsError::Count { found: regions.len() });
        }
        let mut previous_end = Gpa(0);
        for (index, region) in regions.iter().enumerate() {
            let end = checked_end(index, *region, page_size)?;
            if region.gpa < previous_end {
                return Err(RegionsError::Order { index, gpa: region.gpa, previous_end });
            }
            previous_end = end;
        }
        Ok(Self { page_size, regions })
    }

    /// The memory of a guest that is mapped here.
    ///
    /// # Errors
    /// [`RegionsError::Count`] if it has too many regions; the rest was checked when it was mapped.
    pub fn of(ram: &GuestRam) -> Result<Self, RegionsError> {
        let shift = ram.page_size().shift();
        let region =
            |range: PageRange| Region { gpa: Gpa(range.first.0 << shift), bytes: range.pages << shift };
        Self::new(ram.page_size(), ram.ranges().map(region).collect())
    }

    /// The size of a page.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The regions, ascending.
    #[must_use]
    pub fn as_slice(&self) -> &[Region] {
        &self.regions
    }

    /// Whether `pages` pages from `first` on lie wholly within one region.
    #[must_use]
    pub fn hold(&self, first: PageIndex, pages: u64) -> bool {
        let shift = self.page_size.shift();
        let behind = self.regions.partition_point(|region| region.gpa.0 >> shift <= first.0);
        let Some(region) = behind.checked_sub(1).map(|index| self.regions[index]) else { return false };
        let end = (region.gpa.0 + region.bytes) >> shift;
        first.0.checked_add(pages).is_some_and(|run_end| run_end <= end) && first.0 < end
    }
}

/// Where a region ends, which is at most page 2^48 and therefore (with pages of 64 KiB) possibly 2^64 itself: such
/// a region is refused too, so that the end of a region is always an address.
fn checked_end(index: usize, region: Region, page_size: PageSize) -> Result<Gpa, RegionsError> {
    let Region { gpa, bytes } = region;
    let in_page = page_size.bytes() as u64 - 1;
    if bytes == 0 {
        return Err(RegionsError::Empty { index, gpa });
    }
    if (gpa.0 | bytes) & in_page != 0 {
        return Err(RegionsError::Alignment { index, gpa, bytes, page_size });
    }
    let end = gpa.0.checked_add(bytes).filter(|end| end >> page_size.shift() <= 1 << PAGE_NUMBER_BITS);
    end.map(Gpa).ok_or(RegionsError::TooHigh { index, gpa, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(list: &[(u64, u64)]) -> Result<Regions, RegionsError> {
        let list = list.iter().map(|&(gpa, bytes)| Region { gpa: Gpa(gpa), bytes }).collect();
        Regions::new(PageSize::Kib4, list)
    }

    #[test]
    fn a_run_must_lie_wholly_within_one_region() {
        // Pages 0x10..0x20 and, directly behind, 0x20..0x30; a hole; 0x40..0x41.
        let memory = regions(&[(0x1_0000, 0x1_0000), (0x2_0000, 0x1_0000), (0x4_0000, 0x1000)]).unwrap();
        for (first, pages, inside) in [
            (0x10, 0x10, true),
            (0x1f, 1, true),
            (0x1f, 2, false),
            (0x20, 0x10, true),
            (0x0f, 1, false),
            (0x0f, 2, false),
            (0x30, 1, false),
            (0x40, 1, true),
            (0x40, 2, false),
            (0x41, 1, false),
            (0x40, u64::MAX, false),
            (u64::MAX, 1, false),
        ] {
            assert_eq!(memory.hold(PageIndex(first), pages), inside, "{pages:#x} pages from {first:#x}");
        }
    }

    #[test]
    fn lists_that_are_no_memory_are_refused_by_name() {
        assert_eq!(regions(&[]), Err(RegionsError::Count { found: 0 }));
        let many: Vec<_> = (0..1025).map(|n| (n * 0x2000, 0x1000)).collect();
        assert_eq!(regions(&many), Err(RegionsError::Count { found: 1025 }));
        assert!(regions(&many[..1024]).is_ok());
        assert_eq!(regions(&[(0, 0)]), Err(RegionsError::Empty { index: 0, gpa: Gpa(0) }));
        for (gpa, bytes) in [(0x800, 0x1000), (0x1000, 0x1800)] {
            assert!(matches!(regions(&[(gpa, bytes)]), Err(RegionsError::Alignment { index: 0, .. })));
        }
        for (gpa, bytes) in [(u64::MAX - 0xfff, 0x1000), (1 << 60, 0x1000), ((1 << 60) - 0x1000, 0x2000)] {
            assert!(matches!(regions(&[(gpa, bytes)]), Err(RegionsError::TooHigh { index: 0, .. })));
        }
        assert!(regions(&[((1 << 60) - 0x1000, 0x1000)]).is_ok());
        for second in [0, 0x1000] {
            let found = regions(&[(0x1000, 0x1000), (second, 0x1000)]);
            assert!(matches!(found, Err(RegionsError::Order { index: 1, .. })), "{found:?}");
        }
    }

    #[test]
    fn the_last_page_of_the_address_space_is_refused_with_pages_of_64_kib() {
        let top = Region { gpa: Gpa(0xffff_ffff_ffff_0000), bytes: 0x1_0000 };
        let found = Regions::new(PageSize::Kib64, vec![top]);
        assert!(matches!(found, Err(RegionsError::TooHigh { .. })), "{found:?}");
    }
}
