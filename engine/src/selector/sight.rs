//! What a selector is asked, what it answers, and what it is shown.

use std::time::Duration;

use pageferry_accel::run::{Content, Run};
use pageferry_accel::units::PageIndex;

use super::way::Way;

/// Pages to decide on: of one region, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first.
    pub first: PageIndex,
    /// How many, one at least.
    pub pages: u32,
    /// Of how many of them the destination's bytes are known.
    pub known: u32,
}

/// Which way pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The number of the way, in the order of the terms.
    pub number: usize,
    /// The way.
    pub way: Way,
    /// Whether it is worth the CPU time to keep their bytes as baselines.
    pub keep_baselines: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The method, and the accelerator that did it.
    pub way: Way,
    /// The way that it was to go, if another accelerator had to do it.
    pub failed: Option<Way>,
    /// Its runs.
    pub runs: &'a [Run],
    /// Bytes on the wire.
    pub bytes: u64,
    /// Pages for which a delta method found no baseline.
    pub no_baseline: u32,
    /// Pages whose bytes were kept as baselines.
    pub kept: u32,
    /// CPU time of the source.
    pub cpu: Duration,
    /// How long it took the accelerator, shared with those that were in it at the same time.
    pub occupancy: Duration,
}

/// What a selector did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectorCounts {
    /// Decisions, each about pages of one region.
    pub decisions: u64,
    /// Decisions after which a region's pages went another way than before.
    pub changes: u64,
    /// Decisions to find out what a way costs.
    pub probes: u64,
}

impl<'a> Observation<'a> {
    /// Its runs that are not zero.
    pub(super) fn data(&self) -> impl Iterator<Item = &'a Run> + use<'a> {
        self.runs.iter().filter(|run| run.content == Content::Data)
    }

    /// How many pages it had that were not zero.
    pub(super) fn data_pages(&self) -> u32 {
        self.data().map(|run| run.count.0).sum()
    }

    /// How many pages it had.
    pub(super) fn pages(&self) -> u32 {
        self.runs.iter().map(|run| run.count.0).sum()
    }
}

impl SelectorCounts {
    /// Adds what another one did.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.changes += other.changes;
        self.probes += other.probes;
    }
}
