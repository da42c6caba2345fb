//! What either end saw of one migration, as it goes to the other.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pageferry_accel::baseline::BaselineCounters;
use pageferry_accel::method::{Method, UnknownMethod};
use pageferry_accel::units::PageSize;
use pageferry_engine::fallbacks::Fallbacks;
use pageferry_engine::receiver::ReceiveReport;
use pageferry_engine::sender::{MethodCounts, RequestTime, SendReport};
use pageferry_engine::work::Work;
use serde::{Deserialize, Serialize};

use crate::grouped::count;
use crate::measure::Measured;
use crate::methods::MethodMix;

/// What the source saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SourceFigures {
    pub(crate) method: MethodMix,
    pub(crate) seconds: f64,
    pub(crate) cpu_us: Option<f64>,
    /// Of the sender's threads alone, without what else the process does.
    pub(crate) sender_cpu_us: f64,
    pub(crate) rounds: u32,
    pub(crate) pages: u64,
    pub(crate) zero_pages: u64,
    pub(crate) source_bytes: u64,
    pub(crate) wire_bytes: u64,
    /// Bytes of the pages that a delta method encoded, before and after.
    pub(crate) delta_bytes: (u64, u64),
    pub(crate) request_us: RequestMicros,
    pub(crate) pages_by_method: MethodPages,
    pub(crate) fallbacks: FallbackCounts,
    pub(crate) baselines: BaselineCounts,
    pub(crate) accelerators: Vec<WorkCounts>,
}

/// What the destination saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DestinationFigures {
    pub(crate) cpu_us: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) rounds: u32,
    pub(crate) frames: u64,
    pub(crate) pages: u64,
    pub(crate) zero_pages: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) fallbacks: FallbackCounts,
    pub(crate) accelerators: Vec<WorkCounts>,
}

/// What one accelerator did at one end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkCounts {
    pub(crate) accelerator: String,
    pub(crate) provenance: String,
    pub(crate) requests: u64,
    /// Zero pages included.
    pub(crate) pages: u64,
}

/// How long requests took from submission until they were sent, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestMicros {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// Pages that each method carried; methods that carried none are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MethodPages(BTreeMap<MethodName, u64>);

/// A method by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct MethodName(Method);

/// Why pages or requests went another way than asked for, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FallbackCounts(Fallbacks);

/// What the cache of baselines did, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BaselineCounts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) refused: u64,
    pub(crate) evictions: u64,
}

impl SourceFigures {
    pub(crate) fn new(
        method: MethodMix,
        page_size: PageSize,
        measured: Measured,
        report: &SendReport,
    ) -> Self {
        let delta = [Method::Xbzrle, Method::Delta].map(|method| report.methods.of(method));
        let delta_pages: u64 = delta.iter().map(|count| count.pages).sum();
        Self {
            method,
            seconds: measured.wall.as_secs_f64(),
            cpu_us: measured.cpu.map(micros),
            sender_cpu_us: micros(report.cpu),
            rounds: report.rounds,
            pages: report.pages,
            zero_pages: report.zero_pages,
            source_bytes: report.source_bytes,
            wire_bytes: report.wire_bytes,
            delta_bytes: (
                delta_pages << page_size.shift(),
                delta.iter().map(|count| count.payload_bytes).sum(),
            ),
            request_us: RequestMicros::of(&report.request_time),
            pages_by_method: MethodPages::of(report),
            fallbacks: report.fallbacks.into(),
            baselines: report.baselines.into(),
            accelerators: report.accelerators.iter().map(WorkCounts::from).collect(),
        }
    }
}

impl DestinationFigures {
    pub(crate) fn new(measured: Measured, report: &ReceiveReport) -> Self {
        Self {
            cpu_us: measured.cpu.map(micros),
            seconds: measured.wall.as_secs_f64(),
            rounds: report.rounds,
            frames: report.frames,
            pages: report.pages,
            zero_pages: report.zero_pages,
            payload_bytes: report.payload_bytes,
            fallbacks: report.fallbacks.into(),
            accelerators: report.accelerators.iter().map(WorkCounts::from).collect(),
        }
    }
}

impl From<&Work> for WorkCounts {
    fn from(work: &Work) -> Self {
        let Work { accelerator, provenance, requests, pages } = work;
        let (accelerator, provenance) = (accelerator.clone(), provenance.to_string());
        Self { accelerator, provenance, requests: *requests, pages: *pages }
    }
}

impl fmt::Display for WorkCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.provenance.as_str() {
            "cpu" => "",
            "model" => " (a model, no hardware)",
            "stand-in" => " (stand-in, no hardware)",
            "software-backup" => " (software backup: no QAT device)",
            other => &format!(" ({other})"),
        };
        write!(f, "{} requests by {}{what}", count(self.requests), self.accelerator)
    }
}

impl RequestMicros {
    fn of(time: &RequestTime) -> Self {
        Self { p50: micros(time.quantile(0.5)), p99: micros(time.quantile(0.99)), max: micros(time.max()) }
    }
}

impl MethodPages {
    /// What a sender counted.
    #[must_use]
    pub fn of(report: &SendReport) -> Self {
        Self::from(&report.methods)
    }

    /// Every method that carried pages, with their number.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, &pages)| (name.0.name(), pages))
    }
}

impl From<&MethodCounts> for MethodPages {
    fn from(counts: &MethodCounts) -> Self {
        let pages = Method::ALL.map(|method| (MethodName(method), counts.of(method).pages));
        Self(pages.into_iter().filter(|&(_, pages)| pages > 0).collect())
    }
}

impl TryFrom<String> for MethodName {
    type Error = UnknownMethod;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse().map(Self)
    }
}

impl From<MethodName> for String {
    fn from(name: MethodName) -> Self {
        name.0.name().to_owned()
    }
}

impl From<Fallbacks> for FallbackCounts {
    fn from(counts: Fallbacks) -> Self {
        Self(counts)
    }
}

impl FallbackCounts {
    /// Every reason by its field's name, with its count.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.fields().into_iter()
    }

    /// Why pages were sent raw, where that occurred.
    pub fn of_pages(&self) -> impl Iterator<Item = (&'static str, u64)> {
        occurred([
            ("without a baseline", self.0.no_baseline_pages),
            ("whose delta did not fit", self.0.overflow_pages),
            ("that did not shrink", self.0.did_not_shrink_pages),
        ])
    }

    /// What went wrong with devices, where that occurred. A full queue is not wrong: it is what a fast scan meets.
    pub fn of_devices(&self) -> impl Iterator<Item = (&'static str, u64)> {
        occurred([
            ("requests whose queue was gone", self.0.queue_gone_requests),
            ("requests that failed and went to another", self.0.device_failed_requests),
            ("requests that met their deadline and went to another", self.0.deadline_requests),
            ("requests that were decoded wrongly and went to another", self.0.misdecoded_requests),
            ("queues put into quarantine", self.0.quarantined_queues),
            ("probes of queues in quarantine", self.0.probes),
            ("queues readmitted", self.0.readmitted_queues),
            ("page faults after which a device went on", self.0.page_faults_resumed),
            ("page faults after which the CPU went on", self.0.page_faults_on_cpu),
            ("pages copied for a device", self.0.copied_pages),
        ])
    }
}

fn occurred<const N: usize>(reasons: [(&'static str, u64); N]) -> impl Iterator<Item = (&'static str, u64)> {
    reasons.into_iter().filter(|&(_, count)| count > 0)
}

impl From<BaselineCounters> for BaselineCounts {
    fn from(counters: BaselineCounters) -> Self {
        let BaselineCounters { hits, misses, refused, evictions } = counters;
        Self { hits, misses, refused, evictions }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
