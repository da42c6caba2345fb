//! The bitmap of dirty pages, and its runs.

use pageferry_accel::guest::{GuestRam, PageRange};
use pageferry_accel::units::{Gpa, PageIndex, PageSize};

/// Which pages of a guest are dirty: a bit a page, a bitmap a region.
#[derive(Clone, Debug)]
pub struct DirtyBitmap {
    regions: Vec<DirtyRegion>,
}

/// The bitmap of one region, as trackers such as KVM's dirty log fill it.
#[derive(Clone, Debug)]
pub struct DirtyRegion {
    range: PageRange,
    words: Vec<u64>,
}

/// Consecutive dirty pages, however many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirtyRun {
    /// The first page.
    pub first: PageIndex,
    /// How many follow each other, the first included.
    pub pages: u64,
}

const WORD_BITS: u64 = u64::BITS as u64;

impl DirtyRun {
    /// The pages that hold any of `bytes` bytes at `gpa`.
    #[must_use]
    pub fn covering(gpa: Gpa, bytes: u64, page_size: PageSize) -> Self {
        let first = PageIndex::of(gpa, page_size);
        let pages = match bytes.checked_sub(1) {
            Some(before_last) => {
                PageIndex::of(Gpa(gpa.0.saturating_add(before_last)), page_size).0 - first.0 + 1
            }
            None => 0,
        };
        Self { first, pages }
    }
}

impl DirtyBitmap {
    /// The bitmap of `ram` with every page clean.
    #[must_use]
    pub fn clean(ram: &GuestRam) -> Self {
        Self::filled(ram, 0)
    }

    /// The bitmap of `ram` with every page dirty, as a migration begins.
    #[must_use]
    pub fn all(ram: &GuestRam) -> Self {
        Self::filled(ram, u64::MAX)
    }

    fn filled(ram: &GuestRam, word: u64) -> Self {
        let region = |range: PageRange| {
            let words = usize::try_from(range.pages.div_ceil(WORD_BITS)).unwrap_or(usize::MAX);
            DirtyRegion { range, words: vec![word; words] }
        };
        Self { regions: ram.ranges().map(region).collect() }
    }

    /// Marks a page dirty; a page in no region is ignored, as there is nothing to send of it.
    pub fn set(&mut self, page: PageIndex) {
        self.set_run(DirtyRun { first: page, pages: 1 });
    }

    /// Marks the pages of a run dirty, in as many regions as it lies in; those in no region are ignored.
    pub fn set_run(&mut self, run: DirtyRun) {
        let (begin, end) = (run.first.0, run.first.0.saturating_add(run.pages));
        let index = self.regions.partition_point(|region| region.range.end().0 <= begin);
        for region in &mut self.regions[index..] {
            let (first, behind) = (region.range.first.0, region.range.end().0);
            if end <= first {
                break;
            }
            for (word, mask) in masks(begin.max(first) - first, end.min(behind) - first) {
                region.words[word] |= mask;
            }
        }
    }

    /// Marks every page clean.
    pub fn clear(&mut self) {
        self.regions.iter_mut().for_each(|region| region.words.fill(0));
    }

    /// How many pages are dirty.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.regions.iter().map(DirtyRegion::count).sum()
    }

    /// The regions, to be filled by a tracker.
    pub fn regions_mut(&mut self) -> impl ExactSizeIterator<Item = &mut DirtyRegion> {
        self.regions.iter_mut()
    }

    /// The runs of dirty pages, ascending.
    pub fn runs(&self) -> impl Iterator<Item = DirtyRun> {
        self.regions.iter().flat_map(DirtyRegion::runs)
    }
}

impl DirtyRegion {
    /// Which pages the bits stand for.
    #[must_use]
    pub fn range(&self) -> PageRange {
        self.range
    }

    /// The bits: page `first + 64 * w + b` is bit `b` of word `w`, as in KVM's dirty log. Bits behind the last page
    /// are ignored.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// How many of its pages are dirty.
    fn count(&self) -> u64 {
        let (words, last) = self.words.split_at(self.words.len().saturating_sub(1));
        let last = last.first().map_or(0, |last| (last << self.excess_bits()).count_ones());
        words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>() + u64::from(last)
    }

    /// How many bits of the last word are no pages.
    fn excess_bits(&self) -> u64 {
        self.words.len() as u64 * WORD_BITS - self.range.pages
    }

    /// The runs of this region.
    fn runs(&self) -> Runs<'_> {
        let excess = self.excess_bits();
        let (words, last) = self.words.split_at(self.words.len().saturating_sub(1));
        Runs {
            words: words.iter(),
            last: last.first().map_or(0, |last| last & (u64::MAX >> excess)),
            word: 0,
            first_bit: self.range.first.0.wrapping_sub(WORD_BITS),
        }
    }
}

/// The words that bits from `begin` up to `end` lie in, each with a mask of those bits.
pub(crate) fn masks(begin: u64, end: u64) -> impl Iterator<Item = (usize, u64)> {
    let mut bit = begin;
    std::iter::from_fn(move || {
        let (word, offset) = (bit / WORD_BITS, bit % WORD_BITS);
        let count = (WORD_BITS - offset).min(end.checked_sub(bit).filter(|&left| left > 0)?);
        bit += count;
        Some((usize::try_from(word).ok()?, (u64::MAX >> (WORD_BITS - count)) << offset))
    })
}

/// The runs of one region, a word at a time.
struct Runs<'a> {
    words: std::slice::Iter<'a, u64>,
    /// The last word, without the bits that stand for no page; then zero.
    last: u64,
    /// What is left of the current word.
    word: u64,
    /// The page of the current word's lowest bit.
    first_bit: u64,
}

impl Runs<'_> {
    fn next_word(&mut self) -> Option<u64> {
        self.first_bit = self.first_bit.wrapping_add(WORD_BITS);
        match self.words.next() {
            Some(&word) => Some(word),
            None if self.last != 0 => Some(std::mem::take(&mut self.last)),
            None => None,
        }
    }

    /// The pages of a run that go on in the words behind the current one, which is used up.
    fn extend(&mut self) -> u64 {
        let mut pages = 0;
        while let Some(word) = self.next_word() {
            let more = u64::from(word.trailing_ones());
            pages += more;
            if more < WORD_BITS {
                self.word = word & (u64::MAX << more);
                break;
            }
        }
        pages
    }
}

impl Iterator for Runs<'_> {
    type Item = DirtyRun;

    #[inline]
    fn next(&mut self) -> Option<DirtyRun> {
        while self.word == 0 {
            self.word = self.next_word()?;
        }
        let word = self.word;
        let start = u64::from(word.trailing_zeros());
        // Adding the lowest set bit carries through the lowest run of ones, and leaves the first bit behind it.
        let carried = word.wrapping_add(word & word.wrapping_neg());
        let first = PageIndex(self.first_bit.wrapping_add(start));
        let end = u64::from(carried.trailing_zeros());
        self.word = word & carried;
        let pages = if end < WORD_BITS { end - start } else { WORD_BITS - start + self.extend() };
        Some(DirtyRun { first, pages })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pageferry_accel::guest::AnonymousMemory;
    use pageferry_accel::units::{Gpa, PageSize};
    use proptest::prelude::*;

    use super::*;

    /// 100 pages from 0 on and 200 from 1000 on: neither a whole number of words.
    fn ram() -> GuestRam {
        let memory = AnonymousMemory::new(&[(Gpa(0), 100 << 12), (Gpa(1000 << 12), 200 << 12)]).unwrap();
        GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap()
    }

    /// The oracle: page by page.
    fn runs_of(pages: &[u64]) -> Vec<DirtyRun> {
        let mut runs: Vec<DirtyRun> = Vec::new();
        for &page in pages {
            match runs.last_mut() {
                Some(run) if run.first.0 + run.pages == page && page != 1000 => run.pages += 1,
                _ => runs.push(DirtyRun { first: PageIndex(page), pages: 1 }),
            }
        }
        runs
    }

    #[test]
    fn all_pages_are_a_run_a_region() {
        let runs: Vec<_> = DirtyBitmap::all(&ram()).runs().collect();
        let expected =
            [(0, 100), (1000, 200)].map(|(first, pages)| DirtyRun { first: PageIndex(first), pages });
        assert_eq!(runs, expected);
    }

    #[test]
    fn bits_behind_the_last_page_are_no_pages() {
        let mut bitmap = DirtyBitmap::clean(&ram());
        bitmap.regions_mut().for_each(|region| *region.words_mut().last_mut().unwrap() = u64::MAX);
        assert_eq!(bitmap.count(), 100 - 64 + 200 - 192);
    }

    #[test]
    fn bytes_dirty_every_page_that_holds_one_of_them() {
        let covering = |gpa, bytes, size| {
            let run = DirtyRun::covering(Gpa(gpa), bytes, size);
            (run.first.0, run.pages)
        };
        assert_eq!(covering(4095, 2, PageSize::Kib4), (0, 2));
        assert_eq!(covering(4096, 4096, PageSize::Kib4), (1, 1));
        assert_eq!(covering(16383, 2, PageSize::Kib16), (0, 2));
        assert_eq!(covering(70_000, 0, PageSize::Kib64), (1, 0), "no bytes are in no page");
        assert_eq!(
            covering(u64::MAX, u64::MAX, PageSize::Kib64),
            (u64::MAX >> 16, 1),
            "the last page there is"
        );
    }

    #[test]
    fn a_page_in_no_region_is_not_sent() {
        let mut bitmap = DirtyBitmap::clean(&ram());
        bitmap.set(PageIndex(500));
        assert_eq!(bitmap.count(), 0);
    }

    proptest! {
        #[test]
        fn a_run_dirties_its_pages_that_exist_and_no_others(first in 0..1300_u64, pages in 0..1300_u64) {
            let mut bitmap = DirtyBitmap::clean(&ram());
            bitmap.set_run(DirtyRun { first: PageIndex(first), pages });
            let exists = |page: &u64| (0..100).contains(page) || (1000..1200).contains(page);
            let expected: Vec<u64> = (first..first + pages).filter(exists).collect();
            prop_assert_eq!(bitmap.runs().collect::<Vec<_>>(), runs_of(&expected));
        }

        #[test]
        fn runs_are_what_a_scan_page_by_page_finds(
            scattered in prop::collection::btree_set(0..300_u64, 0..300),
            dense in prop::collection::vec((0..300_u64, 1..150_u64), 0..4),
        ) {
            let mut pages: std::collections::BTreeSet<u64> = scattered;
            pages.extend(dense.into_iter().flat_map(|(first, count)| first..(first + count).min(300)));
            let pages: Vec<u64> = pages.into_iter().map(|page| if page < 100 { page } else { page + 900 }).collect();
            let mut bitmap = DirtyBitmap::clean(&ram());
            pages.iter().for_each(|&page| bitmap.set(PageIndex(page)));
            prop_assert_eq!(bitmap.runs().collect::<Vec<_>>(), runs_of(&pages));
            prop_assert_eq!(bitmap.count(), pages.len() as u64);
        }
    }
}
