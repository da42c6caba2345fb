//! What is counted on the way.

use hdrhistogram::Histogram;
use pageferry_accel::method::Method;

use super::job::Job;
use super::outcome::{Latency, MethodShare, Sample};
use super::time::Nanos;
use super::whole;

/// Everything that was sent until now.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pub(super) data_pages: u64,
    pub(super) zero_pages: u64,
    pub(super) confirmed_pages: u64,
    pub(super) source_bytes: f64,
    pub(super) wire_bytes: f64,
    /// How long the poller could not write.
    pub(super) blocked: Nanos,
    methods: [(u64, f64); Method::ALL.len()],
    latency: Option<Histogram<u64>>,
    samples: Vec<Sample>,
    next_sample: Nanos,
    interval: Nanos,
}

/// The least time between two samples, and the most of them; when there are more, every other one goes.
const INTERVAL: Nanos = Nanos(10e6);
const SAMPLES: usize = 400;

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            data_pages: 0,
            zero_pages: 0,
            confirmed_pages: 0,
            source_bytes: 0.0,
            wire_bytes: 0.0,
            blocked: Nanos::ZERO,
            methods: Default::default(),
            // From a nanosecond to a minute, to two digits, as the engine's.
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 2).ok(),
            samples: Vec::new(),
            next_sample: Nanos::ZERO,
            interval: INTERVAL,
        }
    }

    /// Counts a request that was sent.
    pub(super) fn sent(&mut self, job: &Job, payload_bytes: f64, page_bytes: u32) {
        let method = job.choice.method;
        self.data_pages += u64::from(job.data_pages);
        self.zero_pages += u64::from(job.zero_pages());
        self.source_bytes += f64::from(job.data_pages) * f64::from(page_bytes);
        let raw = f64::from(job.no_baseline) * f64::from(page_bytes);
        self.count(method, job.data_pages - job.no_baseline, (payload_bytes - raw).max(0.0));
        self.count(Method::Raw, job.no_baseline, raw);
    }

    fn count(&mut self, method: Method, pages: u32, bytes: f64) {
        let count = &mut self.methods[usize::from(method.to_wire())];
        count.0 += u64::from(pages);
        count.1 += bytes;
    }

    pub(super) fn latency(&mut self, took: Nanos) {
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(u64::try_from(took.duration().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Takes a sample, if it is time for one.
    pub(super) fn sample(&mut self, now: Nanos, source_cpu: Nanos) {
        if now < self.next_sample {
            return;
        }
        self.samples.push(Sample {
            at_s: now.s(),
            pages: self.data_pages,
            zero_pages: self.zero_pages,
            wire_bytes: whole(self.wire_bytes),
            source_cpu_s: source_cpu.s(),
            methods: self.methods(),
        });
        if self.samples.len() == SAMPLES {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.interval = self.interval + self.interval;
        }
        self.next_sample = now + self.interval;
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.clone()
    }

    pub(super) fn methods(&self) -> Vec<MethodShare> {
        let counts = Method::ALL.into_iter().zip(self.methods).filter(|(_, (pages, _))| *pages > 0);
        counts
            .map(|(method, (pages, bytes))| MethodShare {
                method: method.name(),
                pages,
                payload_bytes: whole(bytes),
            })
            .collect()
    }

    pub(super) fn latencies(&self) -> Latency {
        let Some(latency) = &self.latency else { return Latency::default() };
        let us = |ns: u64| ns as f64 / 1e3;
        Latency {
            p50_us: us(latency.value_at_quantile(0.5)),
            p99_us: us(latency.value_at_quantile(0.99)),
            max_us: us(latency.max()),
            buckets: latency
                .iter_log(1000, 2.0)
                .map(|step| (us(step.value_iterated_to()), step.count_since_last_iteration()))
                .filter(|&(_, count)| count > 0)
                .collect(),
        }
    }
}
