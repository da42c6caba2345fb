//! What says which way pages go, and is shown what became of those that went before.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::queue::Accelerator;
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::Run;
use pageferry_accel::units::PageCount;

use super::watch::SendWatch;
use super::{LinkClock, SendError, SenderConfig};
use crate::budget::CpuBudget;
use crate::dirty::{DirtyBitmap, DirtyRun};
use crate::dispatcher::Dispatcher;
use crate::frame::{DecodeCost, Header, Limits, Report};
use crate::selector::{
    Adaptive, Decoded, LaneTerms, Observation, Piece, REGION_BYTES, SelectorCounts, Stretch, Terms, Way,
};

/// What says which way pages go.
pub(super) enum Picker {
    /// Each of the methods for a request, in turn.
    InTurn { methods: Vec<Method>, next: usize },
    /// Whatever fits the pages' region best.
    Adaptive(Box<Watched>),
}

/// An adaptive selector, and what it was shown last.
pub(super) struct Watched {
    adaptive: Adaptive,
    /// How many pages the guest has.
    pages: u64,
    /// When the present stretch began, and what the poller had done then.
    begun: Instant,
    before: LinkClock,
    /// What the sender's other threads had worked then.
    cpu: Duration,
    /// What requests that have come back since used each accelerator;
    /// none for the CPU's workers, whose time is CPU time.
    devices: Vec<Option<Duration>>,
    /// How long the migration thread has waited.
    waited: Duration,
    requests: u32,
}

/// Consecutive pages that go the same way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lot {
    pub(super) run: Run,
    /// The number of the way.
    pub(super) number: usize,
    /// Whether their bytes are kept as baselines.
    pub(super) keep: bool,
    /// The way; where methods take turns, it is the request's turn that tells.
    way: Option<Way>,
}

/// A selector is shown what the sender's threads did after so many requests, and not before so long.
const STRETCH_REQUESTS: u32 = 8;
const STRETCH: Duration = Duration::from_millis(2);

impl Picker {
    /// What `config` asks for.
    ///
    /// # Errors
    /// [`SendError`] if a method that it insists on cannot be encoded here or decoded there.
    pub(super) fn new(
        config: &SenderConfig,
        dispatcher: &Dispatcher,
        accelerators: &[Arc<dyn Accelerator>],
        ram: &GuestRam,
        limits: &Limits,
    ) -> Result<Self, SendError> {
        let methods = config.selector.methods();
        if config.selector.is_adaptive() {
            let terms = terms(config, dispatcher, accelerators, ram, limits);
            let goes_always = |way: &Way| !way.method.needs_baseline();
            if !terms.ways.iter().any(goes_always) {
                return Err(SendError::CannotEncode(Method::Raw));
            }
            let devices = terms.lanes.iter().map(|lane| (!lane.on_cpu).then_some(Duration::ZERO)).collect();
            let adaptive = Adaptive::new(terms, config.selector.tracer().cloned());
            return Ok(Self::Adaptive(Box::new(Watched::new(adaptive, ram.pages(), devices))));
        }
        for &method in methods {
            if !dispatcher.can(method, Direction::Encode) {
                return Err(SendError::CannotEncode(method));
            }
            if !limits.allow(method) {
                return Err(SendError::CannotDecode(method));
            }
        }
        Ok(Self::InTurn { methods: methods.to_vec(), next: 0 })
    }

    /// How many ways there are.
    pub(super) fn ways(&self) -> usize {
        match self {
            Self::InTurn { .. } => 1,
            Self::Adaptive(watched) => watched.adaptive.ways().len(),
        }
    }

    /// What an adaptive selector did so far.
    pub(super) fn counts(&self) -> Option<SelectorCounts> {
        match self {
            Self::InTurn { .. } => None,
            Self::Adaptive(watched) => Some(watched.adaptive.counts()),
        }
    }

    /// Which way the first of these pages go: as many as go it together, `most` at most.
    pub(super) fn pick(&mut self, dirty: DirtyRun, most: PageCount, cache: &BaselineCache) -> Lot {
        let DirtyRun { first, pages } = dirty;
        let count = |pages: u64| PageCount(u32::try_from(pages).unwrap_or(most.0).min(most.0));
        match self {
            Self::InTurn { .. } => {
                Lot { run: Run::data(first, count(pages)), number: 0, keep: true, way: None }
            }
            Self::Adaptive(watched) => {
                let run = Run::data(first, count(pages.min(watched.adaptive.room(first))));
                let known = cache.known_among(run).0;
                let choice = watched.adaptive.choose(Piece { first, pages: run.count.0, known });
                Lot { run, number: choice.number, keep: choice.keep_baselines, way: Some(choice.way) }
            }
        }
    }

    /// Says which way an empty request goes, into which the lot will be put.
    pub(super) fn direct(&mut self, request: &mut Request, lot: Lot) {
        match (self, lot.way) {
            (_, Some(Way { method, lane })) => {
                request.method = method;
                request.preferred = lane;
            }
            (Self::InTurn { methods, next }, None) => {
                request.method = methods[*next];
                *next = (*next + 1) % methods.len();
            }
            (Self::Adaptive(_), None) => {}
        }
    }

    /// A round begins.
    pub(super) fn begin_round(&mut self, dirty: &DirtyBitmap, watch: &SendWatch) {
        if let Self::Adaptive(watched) = self {
            watched.begin_stretch(watch);
            watched.adaptive.begin_round(dirty.count(), watched.pages);
        }
    }

    /// The migration thread waited for a request or a queue.
    pub(super) fn waited(&mut self, time: Duration) {
        if let Self::Adaptive(watched) = self {
            watched.waited += time;
        }
    }

    /// Shows a request that has come back, if it holds anything, and what the sender has done meanwhile.
    pub(super) fn look_at(&mut self, request: &Request, watch: &SendWatch) {
        let Self::Adaptive(watched) = self else { return };
        if request.runs.is_empty() {
            return;
        }
        watched.adaptive.observe(&observation(request));
        if let Some(Some(occupancy)) = watched.devices.get_mut(request.lane) {
            *occupancy += request.occupancy;
        }
        watched.requests += 1;
        if watched.requests >= STRETCH_REQUESTS && watched.begun.elapsed() >= STRETCH {
            watched.end_stretch(watch);
        }
    }

    /// Shows what the destination said at the end of a round.
    pub(super) fn look_at_report(&mut self, report: &Report) {
        let Self::Adaptive(watched) = self else { return };
        let costs = report.decoded.iter();
        let decoded = costs.map(|(method, DecodeCost { pages, cpu })| Decoded { method, pages, cpu });
        watched.adaptive.observe_destination(report.queues.into(), &decoded.collect::<Vec<_>>());
    }
}

impl Watched {
    fn new(adaptive: Adaptive, pages: u64, devices: Vec<Option<Duration>>) -> Self {
        let (begun, before) = (Instant::now(), LinkClock::default());
        let (cpu, waited) = (Duration::ZERO, Duration::ZERO);
        Self { adaptive, pages, begun, before, cpu, devices, waited, requests: 0 }
    }

    /// A new stretch begins: what was before it, such as the time between two rounds, tells nothing.
    fn begin_stretch(&mut self, watch: &SendWatch) {
        (self.begun, self.before) = (Instant::now(), watch.link());
        (self.cpu, self.waited, self.requests) = (watch.cpu_of_the_others(), Duration::ZERO, 0);
        self.devices.iter_mut().flatten().for_each(|occupancy| *occupancy = Duration::ZERO);
    }

    fn end_stretch(&mut self, watch: &SendWatch) {
        let (now, before) = (watch.link(), self.before);
        self.adaptive.observe_stretch(&Stretch {
            wall: self.begun.elapsed(),
            blocked: now.blocked.saturating_sub(before.blocked),
            waited: self.waited,
            bytes: now.wire_bytes - before.wire_bytes,
            requests: now.requests - before.requests,
            poller_cpu: now.poller_cpu.saturating_sub(before.poller_cpu),
            cpu: watch.cpu_of_the_others().saturating_sub(self.cpu),
            devices: self.devices.iter().copied().flatten().max().unwrap_or_default(),
        });
        self.begin_stretch(watch);
    }
}

/// What an adaptive selector has to know of this sender before it begins.
fn terms(
    config: &SenderConfig,
    dispatcher: &Dispatcher,
    accelerators: &[Arc<dyn Accelerator>],
    ram: &GuestRam,
    limits: &Limits,
) -> Terms {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let methods = config.selector.methods().iter().filter(|&&method| limits.allow(method));
    let methods = methods.filter(|method| !method.needs_baseline() || config.baseline_bytes > 0);
    let ways = methods.flat_map(|&method| {
        let lanes = (0..accelerators.len()).filter(move |&lane| dispatcher.can_by(lane, method));
        lanes.map(move |lane| Way { method, lane })
    });
    let lanes = accelerators.iter().map(|accelerator| LaneTerms::of(&accelerator.capabilities()));
    Terms {
        ways: ways.collect(),
        lanes: lanes.collect(),
        end: ram.ranges().map(|range| range.end().0).max().unwrap_or(0),
        page_bytes: u32::try_from(ram.page_size().bytes()).unwrap_or(u32::MAX),
        max_pages: limits.max_pages,
        region_bytes: REGION_BYTES,
        cpus: config.cpu_budget.map_or(cpus as f64, CpuBudget::cores),
        max_bytes_per_s: config.max_bytes_per_s,
        // Until it says so itself, it is taken to be as large as this machine.
        destination_workers: u32::try_from(cpus).unwrap_or(u32::MAX),
    }
}

fn observation(request: &Request) -> Observation<'_> {
    let Request { method, preferred, attempts, lane, cpu, occupancy, .. } = *request;
    let failed = (attempts > 0).then_some(Way { method, lane: preferred });
    Observation {
        way: Way { method, lane },
        failed,
        runs: &request.runs,
        bytes: (request.payload.len() + Header::BYTES) as u64,
        no_baseline: request.detours.no_baseline,
        kept: u32::try_from(request.baselines.iter().flatten().count()).unwrap_or(u32::MAX),
        cpu,
        occupancy,
    }
}
