//! Runs of dirty pages into requests: pieces, their ways, and one open request a way.

use std::collections::VecDeque;

use super::chooser::{Choice, Piece};
use super::lanes::JobId;

/// The round that is being sent.
#[derive(Clone, Debug)]
pub(super) struct Composer {
    dirty: Vec<u32>,
    next: usize,
    /// What is left of the last piece, and its way.
    piece: Option<(Choice, usize)>,
    /// Requests that are not full.
    open: Vec<(Choice, JobId)>,
    pub(super) round: u32,
    baselines: Baselines,
}

/// Pages whose baselines the source has: no more than there is room for.
#[derive(Clone, Debug)]
struct Baselines {
    known: Vec<bool>,
    /// The one that was kept first goes first. (The engine's cache gives pages that were used again a second chance; none
    /// is, in a round.)
    order: VecDeque<u32>,
    room: usize,
}

/// What there is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Choose the way of this piece.
    Choose(Piece),
    /// Put pages into the request of this way.
    Fill(Choice),
    /// Send a request that will not get any fuller.
    Flush(JobId),
    /// The round is composed.
    Nothing,
}

impl Composer {
    pub(super) fn new(pages: u32, room: usize) -> Self {
        let baselines = Baselines { known: vec![false; pages as usize], order: VecDeque::new(), room };
        Self { dirty: Vec::new(), next: 0, piece: None, open: Vec::new(), round: 0, baselines }
    }

    pub(super) fn begin(&mut self, round: u32, dirty: Vec<u32>) {
        (self.round, self.dirty, self.next) = (round, dirty, 0);
    }

    /// What is next; a piece has `most` pages at most and does not leave its region of `region_pages`.
    pub(super) fn next(&mut self, region_pages: u32, most: u32) -> Next {
        if let Some((choice, _)) = self.piece {
            return Next::Fill(choice);
        }
        if self.next == self.dirty.len() {
            return self.open.pop().map_or(Next::Nothing, |(_, job)| Next::Flush(job));
        }
        let pages = &self.dirty[self.next..];
        let first = pages[0];
        let follows = |&(page, at): &(u32, u32)| {
            page == first + at && page / region_pages == first / region_pages && at < most.max(1)
        };
        let pages = pages.iter().copied().zip(0_u32..).take_while(follows);
        let (count, known) = pages.fold((0, 0), |(count, known), (page, _)| {
            (count + 1, known + u32::from(self.baselines.has(page)))
        });
        Next::Choose(Piece { first_page: first.into(), pages: count, baselines_known: known })
    }

    /// States the way of the piece that is next.
    pub(super) fn choose(&mut self, piece: Piece, choice: Choice) {
        self.piece = Some((choice, self.next + piece.pages as usize));
    }

    /// The request of this way, if one is open.
    pub(super) fn open(&self, choice: Choice) -> Option<JobId> {
        self.open.iter().find(|(of, _)| *of == choice).map(|&(_, job)| job)
    }

    /// Opens a request.
    pub(super) fn begin_request(&mut self, choice: Choice, job: JobId) {
        self.open.push((choice, job));
    }

    /// The request of this way is full.
    pub(super) fn close(&mut self, choice: Choice) {
        self.open.retain(|(of, _)| *of != choice);
    }

    /// The next page of the piece, and whether it has a baseline.
    pub(super) fn take_page(&mut self) -> Option<(u32, bool)> {
        let (_, end) = self.piece?;
        let page = *self.dirty.get(self.next)?;
        self.next += 1;
        if self.next == end {
            self.piece = None;
        }
        Some((page, self.baselines.has(page)))
    }

    /// States whether the source knows what the destination will have of these pages.
    pub(super) fn keep(&mut self, pages: impl Iterator<Item = u32>, kept: bool) {
        pages.for_each(|page| self.baselines.keep(page, kept));
    }
}

impl Baselines {
    fn has(&self, page: u32) -> bool {
        self.known.get(page as usize).copied().unwrap_or(false)
    }

    fn keep(&mut self, page: u32, kept: bool) {
        let Some(known) = self.known.get_mut(page as usize) else { return };
        let before = std::mem::replace(known, kept && self.room > 0);
        if kept && !before && self.room > 0 {
            self.order.push_back(page);
            // A page that was dropped meanwhile is still in the order, and makes room without being there.
            while self.order.len() > self.room {
                if let Some(first) = self.order.pop_front() {
                    self.known[first as usize] = false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pageferry_accel::method::Method;

    use super::*;

    #[test]
    fn pieces_end_with_their_runs_and_regions() {
        let mut composer = Composer::new(2048, 0);
        composer.begin(0, vec![1, 2, 3, 510, 511, 512, 513]);
        let choice = Choice { method: Method::Raw, lane: 0, keep_baselines: false };
        let mut pieces = Vec::new();
        while let Next::Choose(piece) = composer.next(512, u32::MAX) {
            pieces.push((piece.first_page, piece.pages));
            composer.choose(piece, choice);
            (0..piece.pages).for_each(|_| assert!(composer.take_page().is_some()));
        }
        assert_eq!(pieces, [(1, 3), (510, 2), (512, 2)]);
    }

    #[test]
    fn a_baseline_makes_room_for_the_next() {
        let mut composer = Composer::new(8, 2);
        composer.keep([1, 2, 3].into_iter(), true);
        let has =
            |composer: &Composer| (0..8).filter(|&page| composer.baselines.has(page)).collect::<Vec<_>>();
        assert_eq!(has(&composer), [2, 3]);
        composer.keep([3].into_iter(), false);
        assert_eq!(has(&composer), [2]);
    }
}
