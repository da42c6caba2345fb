//! What a migration looked like while it ran: samples of its counts, the distribution of its requests' times, and what
//! the selector chose for the guest's memory.

mod choices;
mod chosen;
mod file;
mod recorder;

use std::time::Duration;

use pageferry_engine::sender::{Progress, RequestTime};
use serde::{Deserialize, Serialize};

use crate::figures::MethodPages;

pub(crate) use choices::{Choices, ChoicesError};
pub(crate) use chosen::{Chosen, NOTHING_YET};
pub(crate) use file::TraceFile;
pub(crate) use recorder::Recorder;

/// The counts of a migration at one time; all of them since it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Since the migration began, without what the guest did between two rounds.
    pub(crate) seconds: f64,
    /// Pages that were not zero.
    pub(crate) pages: u64,
    pub(crate) zero_pages: u64,
    /// Bytes of the pages that were not zero.
    pub(crate) source_bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) pages_by_method: MethodPages,
}

/// Requests that took longer than the bucket before this one says, and at most `upper_us`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatencyBucket {
    pub(crate) upper_us: f64,
    pub(crate) count: u64,
}

/// All of it, as far as it is known; nothing of the other end's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Trace {
    pub(crate) timeline: Vec<Sample>,
    pub(crate) latency: Vec<LatencyBucket>,
    pub(crate) choices: Option<Choices>,
}

impl Sample {
    fn new(time: Duration, progress: &Progress) -> Self {
        Self {
            seconds: time.as_secs_f64(),
            pages: progress.pages,
            zero_pages: progress.zero_pages,
            source_bytes: progress.source_bytes,
            wire_bytes: progress.wire_bytes,
            pages_by_method: MethodPages::from(&progress.methods),
        }
    }
}

/// A distribution of request times.
pub(crate) fn latency(time: &RequestTime) -> Vec<LatencyBucket> {
    let bucket =
        |(upper, count): (Duration, u64)| LatencyBucket { upper_us: upper.as_secs_f64() * 1e6, count };
    time.buckets().map(bucket).collect()
}
