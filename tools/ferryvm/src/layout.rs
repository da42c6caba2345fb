//! Where the guest's memory is, and what lies where in it.
//!
//! The guest's program knows no hole: its page tables map the regions one behind the other from virtual address 0 on. Such
//! an address is called linear here; in the first region it is the guest physical address too.

use pageferry_accel::guest::PageRange;
use pageferry_accel::units::{Gpa, PageIndex, PageSize};

/// The page size of every guest here: that of KVM's dirty log on x86-64.
pub const PAGE_SIZE: PageSize = PageSize::Kib4;

/// Bytes of a page, as a length and in addresses.
pub(crate) const PAGE_LEN: usize = PAGE_SIZE.bytes();
pub(crate) const PAGE_BYTES: u64 = PAGE_LEN as u64;

/// The bytes of a page.
pub(crate) type PageBytes = [u8; PAGE_LEN];
/// Regions are made of whole pages of this size, so that the guest's page tables need no smaller ones.
const LARGE_PAGE_BYTES: u64 = 2 << 20;
const GIB: u64 = 1 << 30;
/// Devices have the addresses from here to 4 GiB, as on a PC.
const HOLE: (u64, u64) = (3 * GIB, 4 * GIB);
pub(crate) const SMALLEST: u64 = 64 << 20;
/// One page of the second level of page tables maps so much; its last entries map the doorbell.
const LARGEST: u64 = 510 * GIB;

/// The most vCPUs that a guest has.
pub const MAX_VCPUS: u32 = 64;

/// An address as the guest's program sees it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Linear(pub(crate) u64);

impl Linear {
    pub(crate) const GDT: Self = Self(0x1000);
    pub(crate) const PML4: Self = Self(0x2000);
    pub(crate) const PDPT: Self = Self(0x3000);
    /// The page directory of the doorbell.
    pub(crate) const DOORBELL_TABLE: Self = Self(0x4000);
    pub(crate) const PROGRAM: Self = Self(0x8000);
    /// Where the doorbell is for the program: behind all memory. It is in none.
    pub(crate) const DOORBELL: Self = Self(511 * GIB);
    const BLOCKS: Self = Self(0x1_0000);
    /// A page directory for every GiB.
    pub(crate) const TABLES: Self = Self(0x10_0000);

    /// The block of a vCPU; the page behind it is its scratch page.
    pub(crate) const fn block(vcpu: u32) -> Self {
        Self(Self::BLOCKS.0 + vcpu as u64 * 2 * PAGE_BYTES)
    }
}

/// The guest physical address of the doorbell, where devices are.
pub(crate) const DOORBELL_GPA: Gpa = Gpa(0xd000_0000);

/// The regions of a guest's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    regions: Vec<(Gpa, u64)>,
    bytes: u64,
}

/// Memory that no guest can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The program and its tables need some.
    #[error("a guest of {bytes} bytes is too small: give it 64 MiB or more")]
    TooSmall {
        /// What was asked for.
        bytes: u64,
    },
    /// The guest's page tables reach no further.
    #[error("a guest of {bytes} bytes is too large: 510 GiB are the most")]
    TooLarge {
        /// What was asked for.
        bytes: u64,
    },
    /// A region does not begin or end at 2 MiB.
    #[error("the region at {gpa} of {bytes} bytes is not made of whole 2 MiB pages: use a multiple of 2 MiB")]
    NotWhole {
        /// Where it begins.
        gpa: Gpa,
        /// Its length.
        bytes: u64,
    },
    /// A region is where devices are.
    #[error(
        "the region at {gpa} of {bytes} bytes reaches into the addresses from 3 to 4 GiB, where devices are"
    )]
    InHole {
        /// Where it begins.
        gpa: Gpa,
        /// Its length.
        bytes: u64,
    },
    /// Two regions share addresses, or they do not ascend.
    #[error("the region at {gpa} begins before the one below it ends")]
    Overlap {
        /// Where it begins.
        gpa: Gpa,
    },
    /// The program's own place is missing.
    #[error("the first region begins at {gpa}, and the guest's program lies in the first 4 MiB of memory")]
    NotFromZero {
        /// Where it begins.
        gpa: Gpa,
    },
    /// The guest has too many vCPUs, none, or too few pages for each to have some.
    #[error(
        "a guest of {vcpus} vCPUs cannot be: use 1 to {MAX_VCPUS}, with 16 pages or more to write for each"
    )]
    Vcpus {
        /// What was asked for.
        vcpus: u32,
    },
}

impl Layout {
    /// Memory of so many bytes as a VMM lays it out: one region, or two around the hole below 4 GiB.
    ///
    /// # Errors
    /// [`LayoutError`] if no guest can have so much, or so little.
    pub fn of_size(bytes: u64) -> Result<Self, LayoutError> {
        if bytes <= HOLE.0 {
            return Self::of_regions(&[(Gpa(0), bytes)]);
        }
        Self::of_regions(&[(Gpa(0), HOLE.0), (Gpa(HOLE.1), bytes - HOLE.0)])
    }

    /// Memory of these regions, ascending: what a peer's offer says, or a test.
    ///
    /// # Errors
    /// [`LayoutError`] if the guest's program cannot run in them.
    pub fn of_regions(regions: &[(Gpa, u64)]) -> Result<Self, LayoutError> {
        let bytes = regions.iter().fold(0_u64, |sum, &(_, bytes)| sum.saturating_add(bytes));
        if bytes < SMALLEST || regions[0].1 < 2 * LARGE_PAGE_BYTES {
            return Err(LayoutError::TooSmall { bytes });
        }
        if bytes > LARGEST {
            return Err(LayoutError::TooLarge { bytes });
        }
        if regions[0].0 != Gpa(0) {
            return Err(LayoutError::NotFromZero { gpa: regions[0].0 });
        }
        let mut end = 0;
        for &(gpa, bytes) in regions {
            end = region_end(gpa, bytes, end)?;
        }
        Ok(Self { regions: regions.to_vec(), bytes })
    }

    /// The regions: guest physical address and length in bytes.
    #[must_use]
    pub fn regions(&self) -> &[(Gpa, u64)] {
        &self.regions
    }

    /// How much memory it is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The guest physical address that a linear one is mapped to; none behind the end of memory.
    pub(crate) fn gpa(&self, address: Linear) -> Option<Gpa> {
        let mut offset = address.0;
        for &(gpa, bytes) in &self.regions {
            if offset < bytes {
                return Some(Gpa(gpa.0 + offset));
            }
            offset -= bytes;
        }
        None
    }

    /// The page that a linear address is in.
    pub(crate) fn page(&self, address: Linear) -> Option<PageIndex> {
        self.gpa(address).map(|gpa| PageIndex::of(gpa, PAGE_SIZE))
    }

    /// The large pages that hold all of memory, as linear and guest physical addresses.
    pub(crate) fn large_pages(&self) -> impl Iterator<Item = (Linear, Gpa)> {
        let addresses = (0..self.bytes / LARGE_PAGE_BYTES).map(|page| Linear(page * LARGE_PAGE_BYTES));
        addresses.filter_map(|linear| self.gpa(linear).map(|gpa| (linear, gpa)))
    }

    /// How the memory behind program and page tables is shared out between vCPUs, each of which writes at most
    /// `most` pages.
    ///
    /// # Errors
    /// [`LayoutError::Vcpus`] if there cannot be so many.
    pub(crate) fn shares(&self, vcpus: u32, most: Option<u64>) -> Result<Vec<Share>, LayoutError> {
        let refused = LayoutError::Vcpus { vcpus };
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(refused);
        }
        let begin = Linear::TABLES.0 + self.bytes.div_ceil(GIB) * PAGE_BYTES;
        let pages = (self.bytes - begin) / PAGE_BYTES / u64::from(vcpus);
        // A generation of eight bytes for every page, in front of the pages.
        let table_pages = pages.div_ceil(PAGE_BYTES / 8 + 1);
        let data_pages = (pages - table_pages).min(most.unwrap_or(u64::MAX));
        if data_pages < Share::FEWEST {
            return Err(refused);
        }
        let share = |vcpu: u64| {
            let table = begin + vcpu * pages * PAGE_BYTES;
            Share { table: Linear(table), first: Linear(table + table_pages * PAGE_BYTES), pages: data_pages }
        };
        Ok((0..u64::from(vcpus)).map(share).collect())
    }
}

/// What one vCPU writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// How often each of its pages was written: a `u64` a page.
    pub(crate) table: Linear,
    /// Its first page.
    pub(crate) first: Linear,
    /// How many pages it writes.
    pub(crate) pages: u64,
}

impl Share {
    const FEWEST: u64 = 16;

    /// The address of one of its pages.
    pub(crate) const fn page(&self, page: u64) -> Linear {
        Linear(self.first.0 + page * PAGE_BYTES)
    }
}

/// The regions that page ranges are.
#[must_use]
pub fn regions_of(ranges: impl Iterator<Item = PageRange>) -> Vec<(Gpa, u64)> {
    ranges.map(|range| (Gpa(range.first.0 * PAGE_BYTES), range.pages * PAGE_BYTES)).collect()
}

fn region_end(gpa: Gpa, bytes: u64, floor: u64) -> Result<u64, LayoutError> {
    if bytes == 0 || !(gpa.0 | bytes).is_multiple_of(LARGE_PAGE_BYTES) {
        return Err(LayoutError::NotWhole { gpa, bytes });
    }
    let end = gpa.0.checked_add(bytes).ok_or(LayoutError::TooLarge { bytes })?;
    if gpa.0 < floor {
        return Err(LayoutError::Overlap { gpa });
    }
    if gpa.0 < HOLE.1 && end > HOLE.0 {
        return Err(LayoutError::InHole { gpa, bytes });
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn large_memory_has_a_hole_below_4_gib() {
        let layout = Layout::of_size(5 * GIB).unwrap();
        assert_eq!(layout.regions(), [(Gpa(0), 3 * GIB), (Gpa(4 * GIB), 2 * GIB)]);
        assert_eq!(layout.gpa(Linear(3 * GIB - 1)), Some(Gpa(3 * GIB - 1)));
        assert_eq!(layout.gpa(Linear(3 * GIB + 5)), Some(Gpa(4 * GIB + 5)));
        assert_eq!(layout.gpa(Linear(5 * GIB)), None);
    }

    #[test]
    fn regions_that_no_program_can_run_in_are_refused() {
        for (regions, words) in [
            (vec![], "too small"),
            (vec![(Gpa(0), 32 * MIB)], "too small"),
            (vec![(Gpa(0), 511 * GIB)], "too large"),
            (vec![(Gpa(0), u64::MAX), (Gpa(0), u64::MAX)], "too large"),
            (vec![(Gpa(MIB), 64 * MIB)], "first region begins at"),
            (vec![(Gpa(0), 65 * MIB)], "whole 2 MiB"),
            (vec![(Gpa(0), 64 * MIB), (Gpa(32 * MIB), 64 * MIB)], "begins before"),
            (vec![(Gpa(0), 64 * MIB), (Gpa(3 * GIB), 64 * MIB)], "where devices are"),
        ] {
            let refusal = Layout::of_regions(&regions).unwrap_err().to_string();
            assert!(refusal.contains(words), "{regions:?}: {refusal}");
        }
    }

    #[test]
    fn shares_of_vcpus_lie_in_memory_and_do_not_touch() {
        for (bytes, vcpus) in [(64 * MIB, 1), (64 * MIB, 64), (5 * GIB, 3)] {
            let layout = Layout::of_size(bytes).unwrap();
            let shares = layout.shares(vcpus, None).unwrap();
            let mut end = Linear::TABLES.0 + bytes.div_ceil(GIB) * PAGE_BYTES;
            for share in &shares {
                assert!(share.table.0 >= end, "{share:?} begins before {end:#x}");
                assert!(share.first.0 >= share.table.0 + 8 * share.pages, "{share:?}");
                end = share.page(share.pages).0;
            }
            assert!(end <= bytes, "{bytes} bytes end before {end}");
            assert!(
                end + u64::from(vcpus) * 8 * PAGE_BYTES > bytes,
                "{bytes} bytes are not used behind {end}"
            );
        }
        assert!(Linear::block(MAX_VCPUS) < Linear::TABLES);
        assert_eq!(Layout::of_size(64 * MIB).unwrap().shares(2, Some(99)).unwrap()[1].pages, 99);
    }

    #[test]
    fn vcpus_without_pages_are_refused() {
        let layout = Layout::of_size(64 * MIB).unwrap();
        for (vcpus, most) in [(0, None), (MAX_VCPUS + 1, None), (1, Some(15))] {
            assert_eq!(layout.shares(vcpus, most), Err(LayoutError::Vcpus { vcpus }));
        }
    }
}
