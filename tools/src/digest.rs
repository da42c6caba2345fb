//! Whether the guest's memory is the same at both ends: a digest of every block of 2 MiB.

use std::fmt;
use std::str::FromStr;
use std::thread;

use pageferry_accel::guest::{GuestRam, PageRange};
use pageferry_accel::units::Gpa;
use serde::{Deserialize, Serialize, Serializer};
use twox_hash::XxHash3_128;

/// The largest block, in bytes.
pub(crate) const BLOCK_BYTES: u64 = 2 << 20;

/// How long a digest is as text.
pub(crate) const DIGEST_CHARS: u64 = 32;

/// The XXH3 of a block, 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Digest(u128);

/// Text that is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest has 32 hexadecimal digits")]
pub(crate) struct NoDigest;

/// Where two memories differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Difference {
    /// Blocks whose bytes are not the same.
    #[error(
        "guest memory differs at the destination in {differing} of {blocks} blocks, first from {first} to {end}; \
         pages were lost or spoiled on the way: please report this with the command that shows it"
    )]
    Blocks { first: Gpa, end: Gpa, differing: usize, blocks: usize },
    /// The other end did not compare the same memory.
    #[error("the other end sent digests of {found} blocks where this guest has {expected}")]
    Count { found: usize, expected: usize },
}

impl FromStr for Digest {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        value.map(Self).ok_or(NoDigest)
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The digests of all blocks of a guest, in the order of its memory. All CPUs help.
pub(crate) fn of_guest(ram: &GuestRam) -> Vec<Digest> {
    let blocks = blocks(ram);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = blocks.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> =
            blocks.chunks(share).map(|share| scope.spawn(|| of_blocks(ram, share))).collect();
        // A share that panicked is a defect, and reads as one: its digests are missing.
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

/// How many blocks a guest has.
pub(crate) fn block_count(ram: &GuestRam) -> usize {
    blocks(ram).len()
}

/// Holds the other end's digests against ours.
///
/// # Errors
/// [`Difference`] names the first range of guest addresses that is not the same.
pub(crate) fn compare(ram: &GuestRam, here: &[Digest], there: &[Digest]) -> Result<(), Difference> {
    let blocks = blocks(ram);
    for digests in [here, there] {
        if digests.len() != blocks.len() {
            return Err(Difference::Count { found: digests.len(), expected: blocks.len() });
        }
    }
    let differing: Vec<usize> = (0..blocks.len()).filter(|&index| here[index] != there[index]).collect();
    let Some(&first) = differing.first() else { return Ok(()) };
    // Neighbouring blocks that differ are one range.
    let last = differing.iter().enumerate().take_while(|&(offset, &index)| index == first + offset).last();
    let last = last.map_or(first, |(_, &index)| index);
    let shift = ram.page_size().shift();
    Err(Difference::Blocks {
        first: Gpa(blocks[first].first.0 << shift),
        end: Gpa(blocks[last].end().0 << shift),
        differing: differing.len(),
        blocks: blocks.len(),
    })
}

/// The regions cut into blocks from their beginnings.
fn blocks(ram: &GuestRam) -> Vec<PageRange> {
    let pages = BLOCK_BYTES >> ram.page_size().shift();
    let cut = |range: PageRange| {
        let first = move |block: u64| range.first.offset(block * pages);
        (0..range.pages.div_ceil(pages)).map(move |block| PageRange {
            first: first(block),
            pages: pages.min(range.pages - block * pages),
        })
    };
    ram.ranges().flat_map(cut).collect()
}

fn of_blocks(ram: &GuestRam, blocks: &[PageRange]) -> Vec<Digest> {
    let mut page_bytes = vec![0; ram.page_size().bytes()];
    let digest = |block: &PageRange| {
        let mut hasher = XxHash3_128::new();
        for page in 0..block.pages {
            ram.copy_out(block.first.offset(page), &mut page_bytes);
            hasher.write(&page_bytes);
        }
        Digest(hasher.finish_128())
    };
    blocks.iter().map(digest).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pageferry_accel::guest::AnonymousMemory;
    use pageferry_accel::units::{PageIndex, PageSize};

    use super::*;

    /// 5 MiB from 0 and 1 MiB from 4 GiB on: three blocks and one.
    fn guest(page_size: PageSize) -> GuestRam {
        let layout = [(Gpa(0), 5 << 20), (Gpa(1 << 32), 1 << 20)];
        GuestRam::new(Arc::new(AnonymousMemory::new(&layout).unwrap()), page_size).unwrap()
    }

    #[test]
    fn equal_memories_have_equal_digests_whatever_the_page_size() {
        let (small, large) = (guest(PageSize::Kib4), guest(PageSize::Kib64));
        small.copy_in(PageIndex(512), &[7; 4096]);
        let mut bytes = vec![0; 1 << 16];
        bytes[..4096].fill(7);
        large.copy_in(PageIndex(32), &bytes);
        assert_eq!(of_guest(&small).len(), 4);
        assert_eq!(of_guest(&small), of_guest(&large));
        assert_eq!(compare(&small, &of_guest(&small), &of_guest(&large)), Ok(()));
    }

    #[test]
    fn a_byte_that_differs_is_found_and_its_block_named() {
        let (here, there) = (guest(PageSize::Kib4), guest(PageSize::Kib4));
        let mut bytes = vec![0; 4096];
        bytes[4095] = 1;
        there.copy_in(PageIndex((1 << 20) + 255), &bytes);
        let found = compare(&here, &of_guest(&here), &of_guest(&there));
        let (first, end) = (Gpa(1 << 32), Gpa((1 << 32) + (1 << 20)));
        assert_eq!(found, Err(Difference::Blocks { first, end, differing: 1, blocks: 4 }));
        bytes.fill(1);
        [0, 600].into_iter().for_each(|page| there.copy_in(PageIndex(page), &bytes));
        let found = compare(&here, &of_guest(&here), &of_guest(&there)).unwrap_err();
        assert_eq!(found, Difference::Blocks { first: Gpa(0), end: Gpa(4 << 20), differing: 3, blocks: 4 });
        assert!(found.to_string().contains("from 0x0 to 0x400000"), "{found}");
    }

    #[test]
    fn digests_of_another_guest_are_refused() {
        let ram = guest(PageSize::Kib4);
        let digests = of_guest(&ram);
        let found = compare(&ram, &digests, &digests[1..]);
        assert_eq!(found, Err(Difference::Count { found: 3, expected: 4 }));
    }

    #[test]
    fn a_digest_survives_as_text_and_other_text_is_none() {
        let digest = Digest(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for text in ["", "0123", &"+".repeat(32), &"0".repeat(33), &"é".repeat(16)] {
            assert_eq!(text.parse::<Digest>(), Err(NoDigest), "{text}");
        }
    }
}
