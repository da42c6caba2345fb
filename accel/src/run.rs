//! Runs of pages and segments of a payload: the two tables that say what a request holds.

use crate::method::Method;
use crate::units::{PageCount, PageIndex};

/// Consecutive pages of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first page.
    pub first: PageIndex,
    /// How many pages follow each other, at least one.
    pub count: PageCount,
    /// What the payload has of them.
    pub content: Content,
}

/// Whether the pages of a run have bytes in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The payload's segments cover these pages.
    Data,
    /// Every page is zero, and the payload has nothing of them.
    Zero,
}

impl Run {
    /// `count` pages from `first` on, all of them with data.
    #[must_use]
    pub const fn data(first: PageIndex, count: PageCount) -> Self {
        Self { first, count, content: Content::Data }
    }

    /// `count` pages from `first` on, all of them zero.
    #[must_use]
    pub const fn zero(first: PageIndex, count: PageCount) -> Self {
        Self { first, count, content: Content::Zero }
    }

    /// The page behind the last one.
    #[must_use]
    pub const fn end(self) -> PageIndex {
        self.first.offset(self.count.0 as u64)
    }

    /// The pages of the run, in order.
    pub fn pages(self) -> impl Iterator<Item = PageIndex> {
        (self.first.0..self.end().0).map(PageIndex)
    }
}

/// Walks through the pages of the data runs, as segments cover them.
#[derive(Clone)]
pub(crate) struct DataPages<'a> {
    runs: &'a [Run],
    /// How many pages of the first run are behind.
    taken: u32,
}

impl<'a> DataPages<'a> {
    pub(crate) fn new(runs: &'a [Run]) -> Self {
        Self { runs, taken: 0 }
    }

    /// Shows the next `pages` pages, run by run. Says whether there were as many.
    pub(crate) fn take(&mut self, pages: PageCount, mut each: impl FnMut(Run)) -> bool {
        let mut left = pages.0;
        while left > 0 {
            let Some(run) = self.runs.first() else { return false };
            let here = if run.content == Content::Data { run.count.0 - self.taken } else { 0 };
            let now = here.min(left);
            if now > 0 {
                each(Run::data(run.first.offset(self.taken.into()), PageCount(now)));
            }
            left -= now;
            self.taken += now;
            if here == now {
                self.runs = &self.runs[1..];
                self.taken = 0;
            }
        }
        true
    }
}

/// A part of a payload that decodes alone.
///
/// The segments of a request cover, in order, the pages of its data runs, in order; where they lie in the payload
/// follows from their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// How these pages were encoded: never [`Method::Zero`], and [`Method::Raw`] for pages that did not shrink.
    pub method: Method,
    /// How many pages of the data runs it covers.
    pub pages: PageCount,
    /// Its length in the payload. No bytes for a page of a delta method that equals its baseline.
    pub bytes: u32,
}

/// A length or count as tables, lists and descriptors have it; a request is at most 64 MiB.
pub(crate) fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Appends `page` to the runs: to the last one if it goes on there with the same content.
pub fn push_page(runs: &mut Vec<Run>, page: PageIndex, content: Content) {
    match runs.last_mut() {
        Some(run) if run.end() == page && run.content == content => run.count += PageCount::ONE,
        _ => runs.push(Run { first: page, count: PageCount::ONE, content }),
    }
}

/// Appends a segment: to the last one if both are raw, since raw bytes need no boundary.
pub fn push_segment(segments: &mut Vec<Segment>, segment: Segment) {
    match segments.last_mut() {
        Some(last) if last.method == Method::Raw && segment.method == Method::Raw => {
            last.pages += segment.pages;
            last.bytes += segment.bytes;
        }
        _ => segments.push(segment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_follow_each_other_make_one_run_until_their_content_changes() {
        let mut runs = Vec::new();
        for (page, content) in
            [(4, Content::Data), (5, Content::Data), (6, Content::Zero), (9, Content::Zero)]
        {
            push_page(&mut runs, PageIndex(page), content);
        }
        let expected = [
            Run::data(PageIndex(4), PageCount(2)),
            Run::zero(PageIndex(6), PageCount(1)),
            Run::zero(PageIndex(9), PageCount(1)),
        ];
        assert_eq!(runs, expected);
    }

    #[test]
    fn segments_find_their_pages_across_runs_and_past_zeros() {
        let (page, count) = (PageIndex, PageCount);
        let runs = [
            Run::zero(page(0), count(2)),
            Run::data(page(2), count(3)),
            Run::zero(page(5), count(1)),
            Run::data(page(6), count(4)),
        ];
        let mut pages = DataPages::new(&runs);
        let mut take = |number| {
            let mut taken = Vec::new();
            let enough = pages.take(count(number), |run| taken.push((run.first.0, run.count.0)));
            (enough, taken)
        };
        assert_eq!(take(2), (true, vec![(2, 2)]));
        assert_eq!(take(3), (true, vec![(4, 1), (6, 2)]));
        assert_eq!(take(3), (false, vec![(8, 2)]));
    }

    #[test]
    fn raw_segments_grow_and_others_stay_apart() {
        let mut segments = Vec::new();
        for method in [Method::Raw, Method::Raw, Method::Xbzrle, Method::Xbzrle] {
            push_segment(&mut segments, Segment { method, pages: PageCount::ONE, bytes: 10 });
        }
        let lengths: Vec<_> = segments.iter().map(|segment| segment.bytes).collect();
        assert_eq!(lengths, [20, 10, 10]);
    }
}
