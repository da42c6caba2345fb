//! The result as readers and programs get it: one object, a row for every method.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::figures::{BaselineCounts, FallbackCounts, MethodPages, RequestMicros, WorkCounts};
use crate::host::Host;
use crate::source::Migrated;
use crate::trace::{Choices, LatencyBucket, Sample};

/// Everything that accelbench has to say. Field names never change within a schema.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    /// Results of before there were several kinds have none, and are of `run`, `send` or `recv`.
    #[serde(default)]
    pub(crate) kind: Kind,
    pub(crate) host: Host,
    /// All settings, defaults included.
    pub(crate) config: Value,
    pub(crate) results: Vec<Outcome>,
    /// What makes the figures doubtful, and what to do about it.
    pub(crate) warnings: Vec<String>,
    /// What was measured, in a line or two, for people.
    #[serde(skip)]
    pub(crate) summary: Vec<String>,
}

/// Which command a result is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Run,
    Send,
    Recv,
}

/// The version of [`Report`]'s fields.
pub(crate) const SCHEMA: u32 = 1;

/// What came of one method: of the run whose pages a second are the median of all.
///
/// All figures a page are of pages that are not zero. Figures that do not exist are null.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) method: String,
    pub(crate) accelerator: String,
    pub(crate) provenance: String,
    pub(crate) rounds: u32,
    /// Pages that were not zero, each counted in every round in which it was sent.
    pub(crate) pages: u64,
    /// Pages that were zero.
    pub(crate) zero_pages: u64,
    pub(crate) pages_per_s: f64,
    /// Bytes of the pages that were not zero.
    pub(crate) source_bytes: u64,
    /// Bytes that were written to the connections.
    pub(crate) wire_bytes: u64,
    pub(crate) source_bytes_per_s: f64,
    pub(crate) wire_bytes_per_s: f64,
    /// Source bytes over wire bytes.
    pub(crate) ratio: Option<f64>,
    /// Source bytes over encoded bytes, of the pages that a delta method encoded.
    pub(crate) encoding_rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) source_cpu_us_per_page: Option<f64>,
    pub(crate) destination_cpu_us_per_page: Option<f64>,
    /// Of both ends together, also where they share a process and cannot be told apart.
    pub(crate) cpu_us_per_page: Option<f64>,
    /// How many cores the sender's threads kept busy on average: what a CPU budget is a limit of.
    pub(crate) sender_cores: Option<f64>,
    pub(crate) request_us: RequestMicros,
    pub(crate) pages_by_method: MethodPages,
    pub(crate) fallbacks: FallbackCounts,
    /// Likewise at the destination.
    pub(crate) destination_fallbacks: FallbackCounts,
    pub(crate) baselines: BaselineCounts,
    /// What each accelerator did at the source, the one asked for first.
    pub(crate) accelerators: Vec<WorkCounts>,
    /// Likewise at the destination.
    pub(crate) destination_accelerators: Vec<WorkCounts>,
    /// Whether memory was the same at both ends in all runs; null if it was not compared.
    pub(crate) verified: Option<bool>,
    /// All runs, in order.
    pub(crate) runs: Vec<Run>,
    /// The counts while it ran; empty at the destination.
    #[serde(default)]
    pub(crate) timeline: Vec<Sample>,
    /// How long requests took; empty at the destination.
    #[serde(default)]
    pub(crate) latency: Vec<LatencyBucket>,
    /// For how long the guest stood still; null where there is no guest that runs.
    #[serde(default)]
    pub(crate) downtime_ms: Option<f64>,
    /// What the selector chose for the guest's memory, where it had a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) choices: Option<Choices>,
}

/// One of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) pages_per_s: f64,
    pub(crate) source_cpu_us_per_page: Option<f64>,
    pub(crate) destination_cpu_us_per_page: Option<f64>,
}

impl Outcome {
    /// What all runs of one method amount to. `one_process` if both ends ran in this process, whose CPU time is then
    /// both ends'.
    ///
    /// `None` if there was no run.
    pub(crate) fn of(migrated: &[Migrated], one_process: bool) -> Option<Self> {
        let mut all: Vec<Self> =
            migrated.iter().map(|migrated| Self::of_run(migrated, one_process)).collect();
        let runs: Vec<Run> = all.iter().flat_map(|one| one.runs.clone()).collect();
        let verified = all.iter().map(|one| one.verified).reduce(|all, one| Some(all? && one?)).flatten();
        all.sort_by(|one, other| one.pages_per_s.total_cmp(&other.pages_per_s));
        let median = all.len().checked_sub(1)? / 2;
        Some(Self { runs, verified, ..all.swap_remove(median) })
    }

    fn of_run(migrated: &Migrated, one_process: bool) -> Self {
        let Migrated { accelerator, provenance, source, destination, verdict, trace } = migrated;
        let seconds = source.seconds;
        let a_page = |micros: f64| over(micros, source.pages as f64);
        let both = if one_process {
            source.cpu_us
        } else {
            source.cpu_us.zip(destination.cpu_us).map(|(a, b)| a + b)
        };
        let source_cpu = source.cpu_us.filter(|_| !one_process).and_then(a_page);
        let destination_cpu = destination.cpu_us.filter(|_| !one_process).and_then(a_page);
        let a_second = |count: u64| over(count as f64, seconds).unwrap_or(0.0);
        let run = Run {
            seconds,
            pages_per_s: a_second(source.pages),
            source_cpu_us_per_page: source_cpu,
            destination_cpu_us_per_page: destination_cpu,
        };
        let (delta_before, delta_after) = source.delta_bytes;
        Self {
            method: source.method.to_string(),
            accelerator: accelerator.clone(),
            provenance: provenance.to_string(),
            rounds: source.rounds,
            pages: source.pages,
            zero_pages: source.zero_pages,
            pages_per_s: run.pages_per_s,
            source_bytes: source.source_bytes,
            wire_bytes: source.wire_bytes,
            source_bytes_per_s: a_second(source.source_bytes),
            wire_bytes_per_s: a_second(source.wire_bytes),
            ratio: if source.pages > 0 {
                over(source.source_bytes as f64, source.wire_bytes as f64)
            } else {
                None
            },
            encoding_rate: over(delta_before as f64, delta_after as f64),
            seconds,
            source_cpu_us_per_page: source_cpu,
            destination_cpu_us_per_page: destination_cpu,
            cpu_us_per_page: both.and_then(a_page),
            sender_cores: over(source.sender_cpu_us / 1e6, seconds),
            request_us: source.request_us,
            pages_by_method: source.pages_by_method.clone(),
            fallbacks: source.fallbacks,
            destination_fallbacks: destination.fallbacks,
            baselines: source.baselines,
            accelerators: source.accelerators.clone(),
            destination_accelerators: destination.accelerators.clone(),
            verified: verdict.as_ref().map(Result::is_ok),
            runs: vec![run],
            timeline: trace.timeline.clone(),
            latency: trace.latency.clone(),
            downtime_ms: None,
            choices: trace.choices.clone(),
        }
    }
}

/// A quotient, if there is one that can be written down.
fn over(dividend: f64, divisor: f64) -> Option<f64> {
    Some(dividend / divisor).filter(|quotient| quotient.is_finite())
}

#[cfg(test)]
pub(crate) mod tests {
    use pageferry_accel::queue::Provenance;
    use serde_json::json;

    use super::*;
    use crate::digest::Difference;
    use crate::trace::Trace;

    /// 1000 pages of 4 KiB in so many seconds, 8 ms of CPU at the source and 2 ms at the destination.
    pub(crate) fn migrated(method: &str, seconds: f64) -> Migrated {
        let source = json!({
            "method": method, "seconds": seconds, "cpu_us": 8000.0, "sender_cpu_us": 5000.0, "rounds": 2, "pages": 1000, "zero_pages": 24,
            "source_bytes": 4_096_000, "wire_bytes": 1_024_000, "delta_bytes": [40_960, 1024],
            "request_us": { "p50": 100.0, "p99": 250.5, "max": 1234.0 },
            "pages_by_method": { "raw": 990, "delta": 10 },
            "fallbacks": fallbacks(990, 0),
            "baselines": { "hits": 10, "misses": 990, "refused": 0, "evictions": 0 },
            "accelerators": [
                { "accelerator": "iaa-model", "provenance": "model", "requests": 15, "pages": 900 },
                { "accelerator": "cpu", "provenance": "cpu", "requests": 2, "pages": 124 },
            ],
        });
        let destination = json!({
            "cpu_us": 2000.0, "seconds": seconds, "rounds": 2, "frames": 17, "pages": 1000, "zero_pages": 24,
            "payload_bytes": 1_000_000, "fallbacks": fallbacks(0, 3),
            "accelerators": [{ "accelerator": "cpu", "provenance": "cpu", "requests": 17, "pages": 1024 }],
        });
        Migrated {
            accelerator: "cpu".to_owned(),
            provenance: Provenance::Cpu,
            source: serde_json::from_value(source).unwrap(),
            destination: serde_json::from_value(destination).unwrap(),
            verdict: Some(Ok(())),
            trace: Trace::default(),
        }
    }

    fn fallbacks(no_baseline_pages: u64, deadline_requests: u64) -> Value {
        json!({
            "no_baseline_pages": no_baseline_pages, "overflow_pages": 0, "did_not_shrink_pages": 0,
            "page_faults_resumed": 0, "page_faults_on_cpu": 0, "copied_pages": 0, "queue_full_requests": 0,
            "queue_gone_requests": 0, "device_failed_requests": 0, "deadline_requests": deadline_requests,
            "misdecoded_requests": 0, "quarantined_queues": 0, "probes": 0, "readmitted_queues": 0
        })
    }

    pub(crate) fn report(outcomes: Vec<Outcome>) -> Report {
        Report {
            schema: SCHEMA,
            kind: Kind::Run,
            host: Host::this(),
            config: json!({ "seed": 1 }),
            results: outcomes,
            warnings: vec!["too short: use more".to_owned()],
            summary: vec!["two rounds".to_owned()],
        }
    }

    #[test]
    fn figures_a_page_and_a_second_follow_from_the_counts() {
        let outcome = Outcome::of(&[migrated("delta", 0.5)], false).unwrap();
        assert_eq!(
            (outcome.pages_per_s, outcome.ratio, outcome.encoding_rate),
            (2000.0, Some(4.0), Some(40.0))
        );
        assert_eq!((outcome.source_bytes_per_s, outcome.wire_bytes_per_s), (8_192_000.0, 2_048_000.0));
        assert_eq!(
            (outcome.source_cpu_us_per_page, outcome.destination_cpu_us_per_page),
            (Some(8.0), Some(2.0))
        );
        assert_eq!((outcome.cpu_us_per_page, outcome.verified), (Some(10.0), Some(true)));
    }

    #[test]
    fn the_median_run_stands_for_all_and_all_are_listed() {
        let runs = [0.5, 2.0, 1.0].map(|seconds| migrated("raw", seconds));
        let outcome = Outcome::of(&runs, false).unwrap();
        assert_eq!(outcome.seconds, 1.0);
        assert_eq!(outcome.runs.iter().map(|run| run.seconds).collect::<Vec<_>>(), [0.5, 2.0, 1.0]);
        assert!(Outcome::of(&[], false).is_none());
    }

    #[test]
    fn one_bad_comparison_spoils_all_runs_and_none_is_none() {
        let bad = Difference::Count { found: 0, expected: 1 };
        let verified = |verdicts: [Option<Result<(), Difference>>; 2]| {
            Outcome::of(&verdicts.map(|verdict| Migrated { verdict, ..migrated("raw", 1.0) }), false)
                .unwrap()
                .verified
        };
        assert_eq!(verified([Some(Ok(())), Some(Ok(()))]), Some(true));
        assert_eq!(verified([Some(Ok(())), Some(Err(bad))]), Some(false));
        assert_eq!(verified([None, None]), None);
    }

    #[test]
    fn cpu_time_of_one_process_is_given_to_neither_end() {
        let outcome = Outcome::of(&[migrated("raw", 1.0)], true).unwrap();
        assert_eq!((outcome.source_cpu_us_per_page, outcome.destination_cpu_us_per_page), (None, None));
        assert_eq!(outcome.cpu_us_per_page, Some(8.0));
    }

    #[test]
    fn a_guest_of_zeros_has_no_figures_a_page() {
        let mut zeros = migrated("raw", 1.0);
        (zeros.source.pages, zeros.source.source_bytes, zeros.source.delta_bytes) = (0, 0, (0, 0));
        let outcome = Outcome::of(&[zeros], false).unwrap();
        assert_eq!((outcome.ratio, outcome.encoding_rate, outcome.cpu_us_per_page), (None, None, None));
        assert_eq!((outcome.pages_per_s, outcome.zero_pages), (0.0, 24));
    }
}
