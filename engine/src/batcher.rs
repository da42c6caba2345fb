//! Runs of dirty pages into requests of at most `max_pages`: one request is being filled for every way that pages go.

use pageferry_accel::request::Request;
use pageferry_accel::run::Run;
use pageferry_accel::units::PageCount;

/// The requests that are being filled.
#[derive(Debug)]
pub(crate) struct Batcher {
    bins: Vec<Bin>,
    max_pages: PageCount,
}

#[derive(Debug)]
struct Bin {
    request: Option<Box<Request>>,
    pages: u32,
}

impl Batcher {
    /// Requests of at most `max_pages` pages, as many at a time as there are ways.
    pub(crate) fn new(ways: usize, max_pages: PageCount) -> Self {
        let bin = || Bin { request: None, pages: 0 };
        Self { bins: std::iter::repeat_with(bin).take(ways).collect(), max_pages }
    }

    /// Whether a request is being filled for this way.
    pub(crate) fn is_open(&self, way: usize) -> bool {
        self.bins[way].request.is_some()
    }

    /// Begins to fill an empty request for this way, for which none is being filled.
    pub(crate) fn open(&mut self, way: usize, request: Box<Request>) {
        self.bins[way] = Bin { request: Some(request), pages: 0 };
    }

    /// Puts as many pages of `rest` into the request of this way as there is room for, and takes them off. Returns them, with
    /// the request that they are in; `None` if none is being filled.
    pub(crate) fn fill(&mut self, way: usize, rest: &mut Run) -> Option<(Run, &mut Request)> {
        let bin = &mut self.bins[way];
        let request = bin.request.as_deref_mut()?;
        let taken = PageCount(rest.count.0.min(self.max_pages.0 - bin.pages));
        let run = Run { count: taken, ..*rest };
        request.runs.push(run);
        bin.pages += taken.0;
        *rest = Run { first: run.end(), count: PageCount(rest.count.0 - taken.0), ..*rest };
        Some((run, request))
    }

    /// The request of this way, if it is full.
    pub(crate) fn take_full(&mut self, way: usize) -> Option<Box<Request>> {
        let bin = &mut self.bins[way];
        if bin.pages == self.max_pages.0 { bin.request.take() } else { None }
    }

    /// A request that will not be filled any further, at the end of a round.
    pub(crate) fn take_open(&mut self) -> Option<Box<Request>> {
        self.bins.iter_mut().find_map(|bin| bin.request.take())
    }
}

#[cfg(test)]
mod tests {
    use pageferry_accel::units::{PageIndex, PageSize};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_hold_every_page_of_their_way_once_in_order_and_all_but_the_last_are_full(
            lengths in prop::collection::vec((1..5_u64, 1..200_u32, 0..3_usize), 0..40),
            max_pages in 1..=1024_u32,
        ) {
            let mut batcher = Batcher::new(3, PageCount(max_pages));
            let (mut at, mut expected, mut found) = (0, vec![Vec::new(); 3], vec![Vec::new(); 3]);
            let mut sizes = vec![Vec::new(); 3];
            let mut keep = |way: usize, request: &Request| {
                sizes[way].push(request.pages().0);
                found[way].extend(request.runs.iter().copied().flat_map(Run::pages));
            };
            for (gap, pages, way) in lengths {
                let mut rest = Run::data(PageIndex(at + gap), PageCount(pages));
                at += gap + u64::from(pages);
                expected[way].extend(rest.pages());
                while rest.count.0 > 0 {
                    if !batcher.is_open(way) {
                        let mut request = Request::with_capacity(PageCount(1), PageSize::Kib4);
                        request.round = u32::try_from(way).unwrap();
                        batcher.open(way, Box::new(request));
                    }
                    batcher.fill(way, &mut rest).unwrap();
                    if let Some(request) = batcher.take_full(way) {
                        keep(way, &request);
                    }
                }
            }
            while let Some(request) = batcher.take_open() {
                keep(request.round as usize, &request);
            }
            prop_assert_eq!(found, expected);
            for sizes in sizes {
                let full = sizes.len().saturating_sub(1);
                prop_assert!(sizes[..full].iter().all(|&size| size == max_pages));
                prop_assert!(sizes[full..].iter().all(|&size| 0 < size && size <= max_pages));
            }
        }
    }
}
