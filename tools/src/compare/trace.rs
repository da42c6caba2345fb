//! How a simulated migration went, for charts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::simulation::Simulated;

/// The counts of a simulated migration over time, and how long its requests took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Trace {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) timeline: Vec<Sample>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) latency: Vec<LatencyBucket>,
}

/// The counts at one time; all of them since the migration began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    /// Pages that were not zero.
    pub(crate) pages: u64,
    pub(crate) zero_pages: u64,
    /// Bytes of the pages that were not zero.
    pub(crate) source_bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) pages_by_method: BTreeMap<&'static str, u64>,
}

/// Requests that took longer than the bucket before this one says, and at most `upper_us`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct LatencyBucket {
    pub(crate) upper_us: f64,
    pub(crate) count: u64,
}

impl Trace {
    pub(crate) fn of(simulated: &Simulated, page_bytes: u32) -> Self {
        let timeline = simulated.samples.iter().map(|sample| Sample {
            seconds: sample.at_s,
            pages: sample.pages,
            zero_pages: sample.zero_pages,
            source_bytes: sample.pages * u64::from(page_bytes),
            wire_bytes: sample.wire_bytes,
            pages_by_method: sample.methods.iter().map(|share| (share.method, share.pages)).collect(),
        });
        let latency = simulated.latency.buckets.iter();
        let latency = latency.map(|&(upper_us, count)| LatencyBucket { upper_us, count });
        Self { timeline: timeline.collect(), latency: latency.collect() }
    }
}
