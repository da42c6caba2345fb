//! A set of pages as it travels.

use super::DirtyBitmap;

/// A bit a page over all regions, one region right behind the other, whatever their addresses: bit `b` of word `w` is page
/// `64 * w + b` of the guest, counted over its regions in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedPages {
    words: Vec<u64>,
}

const WORD_BITS: usize = u64::BITS as usize;

impl PackedPages {
    /// Of these words.
    #[must_use]
    pub fn new(words: Vec<u64>) -> Self {
        Self { words }
    }

    /// Whether no page is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The words, little-endian, one behind the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads words; bytes behind the last whole one are ignored.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks();
        Self { words: words.iter().map(|&word| u64::from_le_bytes(word)).collect() }
    }

    /// 64 pages from `page` on. What is behind the end is not in the set.
    fn word_at(&self, page: usize) -> u64 {
        let (word, bit) = (page / WORD_BITS, page % WORD_BITS);
        let at = |index: usize| self.words.get(index).copied().unwrap_or(0);
        if bit == 0 { at(word) } else { at(word) >> bit | at(word + 1) << (WORD_BITS - bit) }
    }
}

impl DirtyBitmap {
    /// Marks the pages of a set clean.
    pub fn remove(&mut self, pages: &PackedPages) {
        let mut first = 0;
        for region in self.regions_mut() {
            let count = usize::try_from(region.range().pages).unwrap_or(usize::MAX);
            for (index, word) in region.words_mut().iter_mut().enumerate() {
                *word &= !pages.word_at(first + index * WORD_BITS);
            }
            first += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use pageferry_accel::guest::{AnonymousMemory, GuestRam};
    use pageferry_accel::units::{Gpa, PageIndex, PageSize};
    use proptest::prelude::*;

    use super::*;

    /// 100 pages from 0 on and 200 from 1000 on: neither a whole number of words.
    fn ram() -> GuestRam {
        let memory = AnonymousMemory::new(&[(Gpa(0), 100 << 12), (Gpa(1000 << 12), 200 << 12)]).unwrap();
        GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap()
    }

    fn page(number: u64) -> PageIndex {
        PageIndex(if number < 100 { number } else { number + 900 })
    }

    proptest! {
        #[test]
        fn what_is_removed_is_the_set_and_nothing_else(
            dirty in prop::collection::btree_set(0..300_u64, 0..300),
            removed in prop::collection::btree_set(0..300_u64, 0..300),
        ) {
            let mut words = vec![0; 5];
            removed.iter().for_each(|page| words[usize::try_from(page / 64).unwrap()] |= 1 << (page % 64));
            let removed_pages = PackedPages::from_bytes(&PackedPages::new(words).to_bytes());
            let mut bitmap = DirtyBitmap::clean(&ram());
            dirty.iter().for_each(|&number| bitmap.set(page(number)));
            bitmap.remove(&removed_pages);
            let left: BTreeSet<_> =
                dirty.difference(&removed).map(|&number| page(number)).collect();
            let found: BTreeSet<_> =
                bitmap.runs().flat_map(|run| (0..run.pages).map(move |offset| run.first.offset(offset))).collect();
            prop_assert_eq!(found, left);
        }
    }
}
