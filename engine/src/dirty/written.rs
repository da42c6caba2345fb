//! Pages that their writer names: for VMMs that track writes by themselves, and for devices that write to guest memory.

use std::iter::repeat_with;
use std::sync::Arc;

use pageferry_accel::guest::{GuestRam, PageRange};
use pageferry_accel::units::{Gpa, PageIndex, PageSize};

use super::bitmap::masks;
use super::{DirtyBitmap, DirtyError, DirtyRun, DirtySource};
use crate::sync::{AtomicU64, Ordering};

/// A bitmap that any number of threads mark at once, each in one atomic operation a word of 64 pages and without ever waiting.
///
/// Whoever writes to guest memory marks *after* it has written: a page that is marked first may be collected and sent before
/// the bytes are there. Marks from before the source was started are dropped by its start, so there is no need to ask
/// whether anybody listens.
#[derive(Debug)]
pub struct WrittenPages {
    regions: Vec<MarkedRegion>,
    page_size: PageSize,
}

#[derive(Debug)]
struct MarkedRegion {
    range: PageRange,
    words: Vec<AtomicU64>,
}

impl WrittenPages {
    /// No page of `ram` marked.
    #[must_use]
    pub fn new(ram: &GuestRam) -> Self {
        let region = |range: PageRange| {
            let words = usize::try_from(range.pages.div_ceil(u64::BITS.into())).unwrap_or(usize::MAX);
            MarkedRegion { range, words: repeat_with(|| AtomicU64::new(0)).take(words).collect() }
        };
        Self { regions: ram.ranges().map(region).collect(), page_size: ram.page_size() }
    }

    /// Marks what was just written: `bytes` bytes at `gpa`. What is in no region is ignored.
    pub fn mark(&self, gpa: Gpa, bytes: u64) {
        self.mark_run(DirtyRun::covering(gpa, bytes, self.page_size));
    }

    /// Marks a page that was just written; a page in no region is ignored.
    pub fn mark_page(&self, page: PageIndex) {
        self.mark_run(DirtyRun { first: page, pages: 1 });
    }

    /// Marks pages that were just written; those in no region are ignored.
    pub fn mark_run(&self, run: DirtyRun) {
        let (begin, end) = (run.first.0, run.first.0.saturating_add(run.pages));
        let index = self.regions.partition_point(|region| region.range.end().0 <= begin);
        for region in &self.regions[index..] {
            let (first, behind) = (region.range.first.0, region.range.end().0);
            if end <= first {
                break;
            }
            for (word, mask) in masks(begin.max(first) - first, end.min(behind) - first) {
                // Releases what the caller wrote to guest memory to whoever takes the bit.
                region.words[word].fetch_or(mask, Ordering::Release);
            }
        }
    }

    /// Moves all marks to `dirty`.
    fn take_into(&self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        let ours = self.regions.iter().map(|marked| marked.range);
        if !ours.eq(dirty.regions_mut().map(|region| region.range())) {
            return Err(DirtyError::OtherLayout);
        }
        for (marked, region) in self.regions.iter().zip(dirty.regions_mut()) {
            marked.words.iter().zip(region.words_mut()).for_each(|(bits, word)| *word |= take(bits));
        }
        Ok(())
    }

    /// Drops all marks.
    fn forget(&self) {
        self.regions.iter().flat_map(|marked| &marked.words).for_each(|bits| {
            take(bits);
        });
    }
}

/// Takes the marks of a word. Looking first leaves words alone that nobody marked; a mark that comes meanwhile is in the next
/// collection.
fn take(bits: &AtomicU64) -> u64 {
    if bits.load(Ordering::Relaxed) == 0 { 0 } else { bits.swap(0, Ordering::Acquire) }
}

/// The source that collects what was marked in [`WrittenPages`]. There is one collector of a bitmap, or each would miss what
/// another took.
#[derive(Debug)]
pub struct WrittenSource {
    pages: Arc<WrittenPages>,
    started: bool,
}

impl WrittenSource {
    /// Collects what is marked in `pages`.
    #[must_use]
    pub fn new(pages: Arc<WrittenPages>) -> Self {
        Self { pages, started: false }
    }
}

impl DirtySource for WrittenSource {
    fn start(&mut self) -> Result<(), DirtyError> {
        self.pages.forget();
        self.started = true;
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        if !self.started {
            return Err(DirtyError::NotStarted);
        }
        self.pages.take_into(dirty)
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        self.started = false;
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use pageferry_accel::guest::AnonymousMemory;
    use proptest::prelude::*;

    use super::*;

    /// 100 pages from 0 on and 200 from 1000 on.
    fn ram(page_size: PageSize) -> GuestRam {
        let layout = [(0, 100), (1000, 200)]
            .map(|(first, pages): (u64, u64)| (Gpa(first << page_size.shift()), pages << page_size.shift()));
        GuestRam::new(Arc::new(AnonymousMemory::new(&layout).unwrap()), page_size).unwrap()
    }

    fn started(ram: &GuestRam) -> (Arc<WrittenPages>, WrittenSource) {
        let pages = Arc::new(WrittenPages::new(ram));
        let mut source = WrittenSource::new(Arc::clone(&pages));
        source.start().unwrap();
        (pages, source)
    }

    proptest! {
        #[test]
        fn what_is_marked_is_what_a_plain_bitmap_would_hold_and_is_collected_once(
            size in prop::sample::select(vec![PageSize::Kib4, PageSize::Kib16, PageSize::Kib64]),
            writes in prop::collection::vec((0..1300_u64 << 16, 0..300_000_u64), 0..40),
        ) {
            let ram = ram(size);
            let (pages, mut source) = started(&ram);
            let (mut expected, mut found) = (DirtyBitmap::clean(&ram), DirtyBitmap::clean(&ram));
            for (gpa, bytes) in writes {
                pages.mark(Gpa(gpa), bytes);
                for page in gpa >> size.shift()..(gpa + bytes).div_ceil(1 << size.shift()) {
                    if bytes > 0 {
                        expected.set(PageIndex(page));
                    }
                }
            }
            source.collect(&mut found).unwrap();
            prop_assert_eq!(found.runs().collect::<Vec<_>>(), expected.runs().collect::<Vec<_>>());
            found.clear();
            source.collect(&mut found).unwrap();
            prop_assert_eq!(found.count(), 0, "collected before");
        }
    }

    #[test]
    fn what_was_marked_before_the_start_is_not_reported() {
        let ram = ram(PageSize::Kib4);
        let (pages, mut source) = started(&ram);
        pages.mark_page(PageIndex(3));
        source.stop().unwrap();
        let mut dirty = DirtyBitmap::clean(&ram);
        assert!(matches!(source.collect(&mut dirty), Err(DirtyError::NotStarted)));
        source.start().unwrap();
        pages.mark_page(PageIndex(1199));
        source.collect(&mut dirty).unwrap();
        let runs: Vec<_> = dirty.runs().collect();
        assert_eq!(runs, [DirtyRun { first: PageIndex(1199), pages: 1 }]);
    }

    #[test]
    fn a_bitmap_of_other_memory_is_refused() {
        let (_pages, mut source) = started(&ram(PageSize::Kib4));
        let memory = AnonymousMemory::new(&[(Gpa(0), 1 << 20)]).unwrap();
        let mut other = DirtyBitmap::clean(&GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap());
        let refused = source.collect(&mut other);
        assert!(matches!(refused, Err(DirtyError::OtherLayout)), "{refused:?}");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::atomic::AtomicU8;
    use pageferry_accel::guest::AnonymousMemory;

    use super::*;

    /// Two threads write to two bytes of a guest, whose pages share a word, and mark them, while the source collects.
    #[test]
    fn what_is_collected_was_written_and_what_was_written_is_collected() {
        loom::model(|| {
            let memory = AnonymousMemory::new(&[(Gpa(0), 2 << 12)]).unwrap();
            let ram = GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap();
            let pages = Arc::new(WrittenPages::new(&ram));
            let bytes = Arc::new([AtomicU8::new(0), AtomicU8::new(0)]);
            let mut source = WrittenSource::new(Arc::clone(&pages));
            source.start().unwrap();
            let writers = [0_u8, 1].map(|number| {
                let (pages, bytes) = (Arc::clone(&pages), Arc::clone(&bytes));
                loom::thread::spawn(move || {
                    bytes[usize::from(number)].store(1, Ordering::Relaxed);
                    pages.mark_page(PageIndex(number.into()));
                })
            });
            let mut early = DirtyBitmap::clean(&ram);
            source.collect(&mut early).unwrap();
            for run in early.runs() {
                for page in run.first.0..run.first.0 + run.pages {
                    let byte = bytes[usize::try_from(page).unwrap()].load(Ordering::Relaxed);
                    assert_eq!(byte, 1, "page {page} was reported before its bytes were there");
                }
            }
            for writer in writers {
                writer.join().unwrap();
            }
            let mut late = DirtyBitmap::clean(&ram);
            source.collect(&mut late).unwrap();
            assert_eq!(early.count() + late.count(), 2, "each page is reported once");
        });
    }
}
