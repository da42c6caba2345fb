//! Runs of dirty pages into requests of at most `max_pages`.

use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};

use crate::dirty::DirtyRun;

/// Cuts and gathers runs so that every request but the last is full.
pub(crate) struct Batcher<I> {
    runs: I,
    /// What the last request left of its last run.
    rest: DirtyRun,
    max_pages: PageCount,
}

impl<I: Iterator<Item = DirtyRun>> Batcher<I> {
    pub(crate) fn new(runs: I, max_pages: PageCount) -> Self {
        Self { runs, rest: DirtyRun { first: PageIndex(0), pages: 0 }, max_pages }
    }

    /// Fills an empty list of runs, and says whether there was anything left to put there.
    pub(crate) fn fill(&mut self, request: &mut Vec<Run>) -> bool {
        let mut room = u64::from(self.max_pages.0);
        while room > 0 {
            if self.rest.pages == 0 {
                let Some(run) = self.runs.next() else { break };
                self.rest = run;
            }
            let taken = self.rest.pages.min(room);
            let count = PageCount(u32::try_from(taken).unwrap_or(self.max_pages.0));
            request.push(Run::data(self.rest.first, count));
            self.rest = DirtyRun { first: self.rest.first.offset(taken), pages: self.rest.pages - taken };
            room -= taken;
        }
        !request.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_hold_every_page_once_in_order_and_all_but_the_last_are_full(
            lengths in prop::collection::vec((1..5_u64, 1..200_u64), 0..40),
            max_pages in 1..=1024_u32,
        ) {
            let mut at = 0;
            let runs: Vec<_> = lengths.iter().map(|&(gap, pages)| {
                let first = PageIndex(at + gap);
                at += gap + pages;
                DirtyRun { first, pages }
            }).collect();
            let mut batcher = Batcher::new(runs.iter().copied(), PageCount(max_pages));
            let (mut pages, mut sizes, mut request) = (Vec::new(), Vec::new(), Vec::new());
            while batcher.fill(&mut request) {
                sizes.push(request.iter().map(|run: &Run| run.count.0).sum::<u32>());
                pages.extend(request.drain(..).flat_map(Run::pages));
            }
            let expected = runs.iter().flat_map(|run| (run.first.0..run.first.0 + run.pages).map(PageIndex));
            prop_assert_eq!(pages, expected.collect::<Vec<_>>());
            let full = sizes.len().saturating_sub(1);
            prop_assert!(sizes[..full].iter().all(|&size| size == max_pages));
            prop_assert!(sizes[full..].iter().all(|&size| 0 < size && size <= max_pages));
        }
    }
}
