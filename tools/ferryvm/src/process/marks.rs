//! What the threads write, as they say themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pageferry_accel::guest::{GuestRam, PageRange};
use pageferry_accel::units::PageIndex;
use pageferry_engine::dirty::{DirtyBitmap, DirtyError, DirtySource};

/// A bit for every page of memory.
pub(super) struct Marks {
    regions: Vec<(PageRange, Vec<AtomicU64>)>,
}

impl Marks {
    pub(super) fn new(ram: &GuestRam) -> Self {
        let words = |range: PageRange| (0..range.pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { regions: ram.ranges().map(|range| (range, words(range))).collect() }
    }

    /// Marks a page that was just written. Marked before, it could be collected and sent before it is.
    pub(super) fn set(&self, page: PageIndex) {
        let region = self.regions.iter().find(|(range, _)| range.first <= page && page < range.end());
        if let Some((range, words)) = region {
            let bit = page.0 - range.first.0;
            let word = usize::try_from(bit / 64).unwrap_or_default();
            words[word].fetch_or(1 << (bit % 64), Ordering::Release);
        }
    }

    fn take(&self, dirty: &mut DirtyBitmap) {
        for (region, (_, marks)) in dirty.regions_mut().zip(&self.regions) {
            for (word, mark) in region.words_mut().iter_mut().zip(marks) {
                *word |= mark.swap(0, Ordering::AcqRel);
            }
        }
    }

    fn forget(&self) {
        let words = self.regions.iter().flat_map(|(_, words)| words);
        words.for_each(|word| word.store(0, Ordering::Release));
    }
}

/// The marks as a source of dirty pages.
pub(super) struct MarksSource {
    marks: Arc<Marks>,
    has_started: bool,
}

impl MarksSource {
    pub(super) fn new(marks: Arc<Marks>) -> Self {
        Self { marks, has_started: false }
    }
}

impl DirtySource for MarksSource {
    fn start(&mut self) -> Result<(), DirtyError> {
        self.marks.forget();
        self.has_started = true;
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        if !self.has_started {
            return Err(DirtyError::NotStarted);
        }
        self.marks.take(dirty);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        self.has_started = false;
        Ok(())
    }
}
