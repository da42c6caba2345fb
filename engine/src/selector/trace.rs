//! What a selector was shown and what it decided, one event after the other: enough to replay it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};
use serde::{Deserialize, Serialize};

use super::link::Stretch;
use super::sight::Observation;
use super::terms::Terms;
use super::way::Way;

/// Is handed every event, in order, on the migration thread.
#[derive(Clone)]
pub struct Tracer(Arc<dyn Fn(&Event) + Send + Sync>);

impl Tracer {
    /// One that calls `tell`.
    #[must_use]
    pub fn new(tell: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Calls it.
    pub fn tell(&self, event: &Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}

/// One thing that happened to a selector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It began, on these terms.
    Began(Terms),
    /// A round began.
    Round {
        /// Pages that are dirty.
        dirty: u64,
        /// Pages that there are.
        pages: u64,
    },
    /// It decided which way some pages go.
    Decided(Decision),
    /// It saw what became of a request.
    Observed(Seen),
    /// It saw what the sender's threads did for a while.
    Passed(Stretch),
    /// It was told what decoding costs the destination.
    Decoded {
        /// How many requests the destination decodes at the same time.
        workers: u32,
        /// By method: its number in the frame format, pages, nanoseconds of CPU time.
        methods: Vec<(u8, u64, u64)>,
    },
}

/// Which way pages go, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The first page.
    pub first: u64,
    /// How many pages.
    pub pages: u32,
    /// Of how many of them the destination's bytes are known.
    pub known: u32,
    /// The region that they are in.
    pub region: usize,
    /// The way that they go.
    pub way: Way,
    /// The way that the region's pages went until now.
    pub before: Option<Way>,
    /// Why.
    pub reason: Reason,
    /// Whether their bytes are kept as baselines.
    pub keep: bool,
    /// What a page costs by each way, in the order of the terms, in nanoseconds of the scarcest resource; null for a way that
    /// these pages cannot go.
    pub costs: Vec<Option<f32>>,
    /// The prices of link, CPU, poller, destination, and each accelerator.
    pub prices: Vec<f32>,
}

/// Why pages go the way that they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The region had no way yet: the cheapest.
    First,
    /// Its way is the cheapest, or not so much dearer that a change would pay.
    Stays,
    /// Another way is cheaper by more than the threshold.
    Cheaper,
    /// Its way cannot be gone any more.
    Gone,
    /// Its way needs baselines, and these pages have none; the region keeps its way.
    NoBaseline,
    /// To see what this way costs.
    Probe,
    /// To see whether this way does as well in this region as it does elsewhere.
    Look,
    /// Dearer now, but what it leaves as baselines pays for it in the next round.
    Baseline,
}

/// What became of a request, as a trace has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The way that it went.
    pub way: Way,
    /// First page and count of its runs that are not zero.
    pub runs: Vec<(u64, u32)>,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Pages for which a delta method found no baseline.
    pub no_baseline: u32,
    /// Pages whose bytes were kept as baselines.
    pub kept: u32,
    /// CPU time of the source.
    pub cpu: Duration,
    /// The accelerator's time.
    pub occupancy: Duration,
    /// Whether it was asked to go another way, which failed.
    pub failed: Option<Way>,
}

impl Seen {
    pub(super) fn of(seen: &Observation<'_>) -> Self {
        Self {
            way: seen.way,
            runs: seen.data().map(|run| (run.first.0, run.count.0)).collect(),
            bytes: seen.bytes,
            no_baseline: seen.no_baseline,
            kept: seen.kept,
            cpu: seen.cpu,
            occupancy: seen.occupancy,
            failed: seen.failed,
        }
    }

    /// The runs as requests have them.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        self.runs.iter().map(|&(first, count)| Run::data(PageIndex(first), PageCount(count))).collect()
    }
}
