//! Which pages came in this round: each may come once.

use pageferry_accel::run::Run;

use crate::dirty::{PackedPages, masks};
use crate::regions::Regions;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// A bit a page, set by whichever channel brings it.
#[derive(Debug)]
pub(super) struct SeenPages {
    /// For every region its first page, and where its bits begin.
    regions: Vec<(u64, u64)>,
    words: Vec<AtomicU64>,
}

const WORD_BITS: u64 = u64::BITS as u64;

impl SeenPages {
    pub(super) fn new(regions: &Regions) -> Self {
        let shift = regions.page_size().shift();
        let mut bits = 0;
        let place = |region: &crate::regions::Region| {
            let place = (region.gpa.0 >> shift, bits);
            bits += region.bytes >> shift;
            place
        };
        let regions = regions.as_slice().iter().map(place).collect();
        let words = usize::try_from(bits.div_ceil(WORD_BITS)).unwrap_or(usize::MAX);
        Self { regions, words: std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect() }
    }

    /// Marks a run that lies in one region, and says whether all its pages are new.
    pub(super) fn mark(&self, run: Run) -> bool {
        let after = self.regions.partition_point(|&(first, _)| first <= run.first.0);
        let (first, bits) = self.regions[after.saturating_sub(1)];
        let begin = bits + (run.first.0 - first);
        let end = begin + u64::from(run.count.0);
        let mut new = true;
        for (word, mask) in masks(begin, end) {
            new &= self.words[word].fetch_or(mask, Relaxed) & mask == 0;
        }
        new
    }

    /// The pages that are marked. No channel marks meanwhile.
    pub(super) fn pages(&self) -> PackedPages {
        PackedPages::new(self.words.iter().map(|word| word.load(Relaxed)).collect())
    }

    /// Forgets all, for the next round. No channel marks meanwhile.
    pub(super) fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Relaxed));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
    use proptest::prelude::*;

    use super::*;
    use crate::regions::Region;

    fn run(first: u64, count: u32) -> Run {
        Run::data(PageIndex(first), PageCount(count))
    }

    proptest! {
        #[test]
        fn a_run_is_new_unless_one_of_its_pages_came_before(
            runs in prop::collection::vec((prop::bool::ANY, 0..150_u64, 1..150_u32), 0..30),
        ) {
            let region = |gpa: u64, pages: u64| Region { gpa: Gpa(gpa << 12), bytes: pages << 12 };
            let regions = Regions::new(PageSize::Kib4, vec![region(7, 300), region(1000, 300)]).unwrap();
            let seen = SeenPages::new(&regions);
            let mut pages = std::collections::HashSet::new();
            for (high, first, count) in runs {
                let run = run(first + if high { 1000 } else { 7 }, count);
                let new = run.pages().filter(|&page| pages.insert(page)).count() == run.count.as_usize();
                prop_assert_eq!(seen.mark(run), new);
            }
            seen.clear();
            prop_assert!(seen.mark(run(7, 300)) && seen.mark(run(1000, 300)));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};

    use super::*;
    use crate::regions::Region;

    #[test]
    fn of_two_channels_that_bring_one_page_one_at_least_is_refused() {
        loom::model(|| {
            let regions = vec![Region { gpa: Gpa(0), bytes: 128 << 12 }];
            let seen = Arc::new(SeenPages::new(&Regions::new(PageSize::Kib4, regions).unwrap()));
            // Both runs lie across the border of two words, and overlap by page 65.
            let other = {
                let seen = Arc::clone(&seen);
                loom::thread::spawn(move || seen.mark(Run::data(PageIndex(60), PageCount(6))))
            };
            let one_is_new = seen.mark(Run::data(PageIndex(63), PageCount(5)));
            let other_is_new = other.join().unwrap();
            assert!(!(one_is_new && other_is_new));
        });
    }
}
