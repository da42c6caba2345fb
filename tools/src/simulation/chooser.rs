//! What decides how pages travel: the place of the engine's selector.

use pageferry_accel::method::Method;
use pageferry_accel::run::Run;

/// A piece of a run of dirty pages, within one region of 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its first page.
    pub first_page: u64,
    /// How many pages it has.
    pub pages: u32,
    /// How many of them have a baseline.
    pub baselines_known: u32,
}

/// The way of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Choice {
    /// What is done to its pages.
    pub method: Method,
    /// By which accelerator, as numbered in the set-up. A full one leaves a request to the next that can do the method.
    pub lane: usize,
    /// Whether baselines are kept of the pages, where the accelerator can; delta methods keep them in any case.
    pub keep_baselines: bool,
}

/// What a sender knows of a request that came back.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// As it was chosen.
    pub choice: Choice,
    /// The accelerator that did it.
    pub lane: usize,
    /// Its pages.
    pub runs: &'a [Run],
    /// How many of them were not zero.
    pub data_pages: u32,
    /// How many of these a delta method sent raw, as there was no baseline.
    pub no_baseline: u32,
    /// Whether its pages were kept as baselines.
    pub kept: bool,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// CPU time that its worker, or its driver, spent on it, in nanoseconds.
    pub cpu_ns: f64,
    /// From the submission to the completion, in nanoseconds.
    pub took_ns: f64,
    /// How many requests its accelerator had when this one came back, itself included.
    pub in_flight: u32,
    /// How many it holds at most.
    pub capacity: u32,
}

/// What a sender's poller knows of the connection, over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkWindow {
    /// How long that was, in nanoseconds.
    pub wall_ns: f64,
    /// How long of it the poller could not write, in nanoseconds.
    pub blocked_ns: f64,
    /// Bytes written.
    pub bytes: u64,
    /// CPU time of the poller, in nanoseconds.
    pub poller_cpu_ns: f64,
    /// CPU time of all the source's threads, in nanoseconds.
    pub source_cpu_ns: f64,
    /// How long the migration thread could not go on, in nanoseconds.
    pub waited_ns: f64,
    /// Requests sent.
    pub requests: u64,
}

/// Decides how pages travel. Knows what a sender would know, and nothing else.
pub trait Chooser {
    /// A round begins, with so many dirty pages.
    fn begin_round(&mut self, _dirty: u64) {}

    /// The way of a piece.
    fn choose(&mut self, piece: Piece) -> Choice;

    /// How many pages the next piece may have at most.
    fn most_pages(&self) -> u32 {
        u32::MAX
    }

    /// What its decisions cost the migration thread, in nanoseconds of CPU time a page.
    fn ns_a_page(&self) -> f64 {
        0.0
    }

    /// A request came back.
    fn observe(&mut self, _: &Observed<'_>) {}

    /// Some time passed at the connection: some milliseconds, while something is sent.
    fn observe_link(&mut self, _: &LinkWindow) {}
}

/// One way for all pages.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(
    /// The way.
    pub Choice,
);

impl Fixed {
    /// This method by this accelerator; baselines are kept for delta methods alone.
    #[must_use]
    pub fn new(method: Method, lane: usize) -> Self {
        Self(Choice { method, lane, keep_baselines: method.needs_baseline() })
    }
}

impl Chooser for Fixed {
    fn choose(&mut self, _: Piece) -> Choice {
        self.0
    }
}

/// These ways in turn, as many pages at a time as a request has.
#[derive(Clone, Debug)]
pub struct InTurn {
    ways: Vec<Choice>,
    pages: u32,
    turn: usize,
    left: u32,
}

impl InTurn {
    /// The `first` way, then those of `rest`; `pages` pages at a time.
    #[must_use]
    pub fn new(first: Choice, rest: &[Choice], pages: u32) -> Self {
        let ways = std::iter::once(first).chain(rest.iter().copied()).collect();
        Self { ways, pages, turn: 0, left: pages }
    }
}

impl Chooser for InTurn {
    fn choose(&mut self, piece: Piece) -> Choice {
        let way = self.ways[self.turn];
        self.left = self.left.saturating_sub(piece.pages);
        if self.left == 0 {
            self.turn = (self.turn + 1) % self.ways.len();
            self.left = self.pages;
        }
        way
    }

    fn most_pages(&self) -> u32 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_take_turns_by_the_request() {
        let way = |lane| Choice { method: Method::Raw, lane, keep_baselines: false };
        let mut chooser = InTurn::new(way(0), &[way(1)], 63);
        let lanes = [40, 23, 63, 1]
            .map(|pages| chooser.choose(Piece { first_page: 0, pages, baselines_known: 0 }).lane);
        assert_eq!(lanes, [0, 0, 1, 0]);
    }
}
