//! What came of a simulated migration.

use serde::Serialize;

/// What came of it. All of it is calculated; nothing was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Simulated {
    /// Whether the guest is at the destination, and was stopped no longer than it may; of a transfer without a guest that
    /// runs: yes.
    pub migrated: bool,
    /// From the first round's beginning to the last confirmation.
    pub seconds: f64,
    /// Pages that were not zero.
    pub pages: u64,
    /// Pages that were zero.
    pub zero_pages: u64,
    /// Pages that were not zero, a second.
    pub pages_per_s: f64,
    /// Bytes on the wire, headers and tables too.
    pub wire_bytes: u64,
    /// Bytes of the pages that were not zero over those on the wire.
    pub ratio: f64,
    /// CPU time of the source, in seconds, by thread.
    pub source_cpu: SourceCpu,
    /// CPU time of the destination, in seconds, by thread.
    pub destination_cpu: DestinationCpu,
    /// How long the poller could not write since the link was full, in seconds.
    pub blocked_s: f64,
    /// How long the guest stood still; none if it was never stopped.
    pub downtime_s: Option<f64>,
    /// Every round.
    pub rounds: Vec<RoundFigures>,
    /// What each method carried.
    pub methods: Vec<MethodShare>,
    /// What each of the source's accelerators did, in the order of the set-up.
    pub lanes: Vec<LaneFigures>,
    /// How long requests took from submission to completion.
    pub latency: Latency,
    /// How it went on, every 10 ms or, of long ones, more seldom.
    pub samples: Vec<Sample>,
}

/// CPU time of the source, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SourceCpu {
    /// Of the thread that composes and submits.
    pub migration_s: f64,
    /// Of the thread that collects and sends.
    pub poller_s: f64,
    /// Of all workers.
    pub workers_s: f64,
}

/// CPU time of the destination, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DestinationCpu {
    /// Of the thread that reads.
    pub reader_s: f64,
    /// Of all workers.
    pub workers_s: f64,
    /// Of the thread that counts and recycles.
    pub poller_s: f64,
}

/// One round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RoundFigures {
    /// Pages that were dirty when it began.
    pub pages: u64,
    /// Zero pages among them.
    pub zero_pages: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// From its beginning to the destination's report, in seconds.
    pub seconds: f64,
    /// CPU time of the source, in seconds.
    pub source_cpu_s: f64,
}

/// What a method carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct MethodShare {
    /// The method's name.
    pub method: &'static str,
    /// Pages that were not zero.
    pub pages: u64,
    /// Bytes of payload.
    pub payload_bytes: u64,
}

/// What an accelerator did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LaneFigures {
    /// Its name: `cpu`, or the profile's.
    pub name: String,
    /// Requests.
    pub requests: u64,
    /// Their pages.
    pub pages: u64,
    /// How long its workers or engines were at work, all together, in seconds.
    pub busy_s: f64,
}

/// How long requests took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of them took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of a hundred took no longer, in microseconds.
    pub p99_us: f64,
    /// None took longer, in microseconds.
    pub max_us: f64,
    /// Each bucket's upper end in microseconds, and how many requests are in it.
    pub buckets: Vec<(f64, u64)>,
}

/// What had been done by some time. All counts are from the beginning on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// When, in seconds.
    pub at_s: f64,
    /// Pages that were not zero.
    pub pages: u64,
    /// Pages that were zero.
    pub zero_pages: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// CPU time of the source, in seconds.
    pub source_cpu_s: f64,
    /// What each method carried.
    pub methods: Vec<MethodShare>,
}

impl SourceCpu {
    /// All of it, in seconds.
    #[must_use]
    pub fn total_s(&self) -> f64 {
        self.migration_s + self.poller_s + self.workers_s
    }
}

impl DestinationCpu {
    /// All of it, in seconds.
    #[must_use]
    pub fn total_s(&self) -> f64 {
        self.reader_s + self.workers_s + self.poller_s
    }
}
