//! A request under way, and what it costs wherever it comes.

use pageferry_accel::method::Method;
use pageferry_accel::run::{Content, Run};
use pageferry_accel::units::{PageCount, PageIndex};

use super::chooser::Choice;
use super::setup::DeviceMethod;
use super::time::Nanos;
use crate::page_costs::{Cost, PageCosts};

/// Bytes of a frame's header, and of an entry of its tables (`engine/FORMAT.md`).
const HEADER_BYTES: f64 = 52.0;
const ENTRY_BYTES: f64 = 8.0;

/// A request. As in the engine it is recycled, so that nothing is allocated for it but once.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) choice: Choice,
    pub(super) runs: Vec<Run>,
    pub(super) pages: u32,
    pub(super) data_pages: u32,
    /// Pages that a delta method sends raw.
    pub(super) no_baseline: u32,
    segments: u32,
    /// By the CPU's codec.
    payload: f64,
    encode_ns: f64,
    decode_ns: f64,
    /// Where it went.
    pub(super) lane: usize,
    pub(super) submitted: Nanos,
    pub(super) completed: Nanos,
    /// CPU time of its worker, or its driver.
    pub(super) cpu_ns: f64,
    /// How many requests its accelerator had when it completed.
    pub(super) in_flight: u32,
}

impl Job {
    pub(super) fn new(choice: Choice) -> Self {
        Self {
            choice,
            runs: Vec::new(),
            pages: 0,
            data_pages: 0,
            no_baseline: 0,
            segments: 0,
            payload: 0.0,
            encode_ns: 0.0,
            decode_ns: 0.0,
            lane: choice.lane,
            submitted: Nanos::ZERO,
            completed: Nanos::ZERO,
            cpu_ns: 0.0,
            in_flight: 0,
        }
    }

    /// Empties it for its next use.
    pub(super) fn reset(&mut self, choice: Choice) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        *self = Self { runs, ..Self::new(choice) };
    }

    /// Adds a page; none if what its method costs is not known.
    pub(super) fn add(&mut self, costs: &PageCosts, round: u32, page: u32, has_baseline: bool) -> Option<()> {
        let method = self.choice.method;
        self.pages += 1;
        if costs.is_zero(round, page) {
            self.extend(page, Content::Zero);
            self.spend(costs.zero());
            return Some(());
        }
        let raw = method.needs_baseline() && !has_baseline;
        let by = if raw { Method::Raw } else { method };
        let cost = costs.cost(round, page, by)?;
        self.extend(page, Content::Data);
        self.spend(cost);
        self.data_pages += 1;
        self.no_baseline += u32::from(raw);
        // A segment a page against baselines; raw ones next to each other are one.
        self.segments += u32::from(self.segments == 0 || (method.needs_baseline() && !raw));
        if self.choice.keep_baselines && (raw || !method.needs_baseline()) {
            self.encode_ns += costs.keep_ns();
        }
        Some(())
    }

    fn spend(&mut self, cost: Cost) {
        self.payload += f64::from(cost.payload_bytes);
        self.encode_ns += f64::from(cost.encode_ns);
        self.decode_ns += f64::from(cost.decode_ns);
    }

    fn extend(&mut self, page: u32, content: Content) {
        match self.runs.last_mut() {
            Some(run) if run.content == content && run.end() == PageIndex(page.into()) => {
                run.count = PageCount(run.count.0 + 1);
            }
            _ => {
                self.runs.push(Run { first: PageIndex(page.into()), count: PageCount::ONE, content });
            }
        }
    }

    pub(super) fn zero_pages(&self) -> u32 {
        self.pages - self.data_pages
    }

    /// Bytes of the payload; `device` made it, or a CPU.
    pub(super) fn payload_bytes(&self, device: Option<&DeviceMethod>, page_bytes: u32) -> f64 {
        let raw = f64::from(self.data_pages) * f64::from(page_bytes);
        (self.payload * device.map_or(1.0, |device| device.relative_bytes)).min(raw)
    }

    /// Bytes of the frame's header and tables.
    pub(super) fn head_bytes(&self) -> f64 {
        HEADER_BYTES + (self.runs.len() as f64 + f64::from(self.segments)) * ENTRY_BYTES
    }

    /// CPU time of a worker to encode it.
    pub(super) fn encode_ns(&self) -> f64 {
        self.encode_ns
    }

    /// CPU time of a worker to decode it.
    pub(super) fn decode_ns(&self) -> f64 {
        self.decode_ns
    }
}
