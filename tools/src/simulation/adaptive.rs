//! The engine's selector as a chooser.

use std::time::Duration;

use pageferry_accel::method::Method;
use pageferry_accel::units::PageIndex;
use pageferry_engine::selector::{
    self, Adaptive, LaneTerms, Observation, REGION_BYTES, SelectorCounts, Stretch, Terms, Tracer, Way,
};

use super::chooser::{Choice, Chooser, LinkWindow, Observed, Piece};
use super::setup::{Lane, Setup};
use super::world::{is_known, some_lane};
use crate::page_costs::PageCosts;

/// The engine's selector, shown what a sender would be shown.
pub struct Adapting {
    adaptive: Adaptive,
    lanes: Vec<LaneTerms>,
    pages: u64,
    max_pages: u32,
    /// What requests that have come back since the last window used each accelerator.
    occupied: Vec<Duration>,
}

impl Adapting {
    /// A selector for this set-up, which may go by every method of `methods` that both ends can and whose costs are known.
    #[must_use]
    pub fn new(setup: &Setup, costs: &PageCosts, methods: &[Method], tracer: Option<Tracer>) -> Self {
        let terms = terms(setup, costs, methods);
        let (lanes, pages) = (terms.lanes.clone(), terms.end);
        let occupied = vec![Duration::ZERO; lanes.len()];
        Self { adaptive: Adaptive::new(terms, tracer), lanes, pages, max_pages: setup.max_pages, occupied }
    }

    /// What it did.
    #[must_use]
    pub fn counts(&self) -> SelectorCounts {
        self.adaptive.counts()
    }
}

fn terms(setup: &Setup, costs: &PageCosts, methods: &[Method]) -> Terms {
    let lanes = &setup.source.lanes;
    let usable = methods.iter().filter(|&&method| {
        is_known(costs, method) && some_lane(&setup.destination.lanes, 0, |lane| lane.decodes(method))
    });
    let ways = usable.flat_map(|&method| {
        let able = (0..lanes.len()).filter(move |&lane| lanes[lane].encodes(method));
        able.map(move |lane| Way { method, lane })
    });
    let workers = setup.destination.lanes.iter().map(|lane| match lane {
        Lane::Cpu(cpu) => cpu.workers,
        Lane::Device(device) => device.engines,
    });
    Terms {
        ways: ways.collect(),
        lanes: lanes.iter().map(lane_terms).collect(),
        end: costs.pages().into(),
        page_bytes: costs.page_bytes(),
        max_pages: setup.max_pages,
        region_bytes: REGION_BYTES,
        cpus: setup.cpu_budget.unwrap_or(setup.source.cpus),
        max_bytes_per_s: None,
        destination_workers: u32::try_from(workers.sum::<usize>()).unwrap_or(u32::MAX),
    }
}

fn lane_terms(lane: &Lane) -> LaneTerms {
    match lane {
        Lane::Cpu(cpu) => LaneTerms {
            on_cpu: true,
            keeps_copies: true,
            queues: u32::try_from(cpu.workers).unwrap_or(u32::MAX),
        },
        Lane::Device(device) => LaneTerms {
            on_cpu: false,
            keeps_copies: device.encode.iter().any(|work| work.keeps_baselines),
            queues: u32::try_from(device.queues).unwrap_or(u32::MAX),
        },
    }
}

impl Chooser for Adapting {
    fn begin_round(&mut self, dirty: u64) {
        self.adaptive.begin_round(dirty, self.pages);
    }

    fn choose(&mut self, piece: Piece) -> Choice {
        let Piece { first_page, pages, baselines_known: known } = piece;
        let piece = selector::Piece { first: PageIndex(first_page), pages, known };
        let choice = self.adaptive.choose(piece);
        let Way { method, lane } = choice.way;
        Choice { method, lane, keep_baselines: choice.keep_baselines }
    }

    fn most_pages(&self) -> u32 {
        self.max_pages
    }

    /// What `cargo bench -p pageferry-benches --bench selector` shows at most, as the issue of the design allows.
    fn ns_a_page(&self) -> f64 {
        NS_A_PAGE
    }

    fn observe(&mut self, seen: &Observed<'_>) {
        let occupancy = Duration::from_secs_f64(seen.took_ns / f64::from(seen.in_flight.max(1)) / 1e9);
        if let Some(occupied) = self.occupied.get_mut(seen.lane) {
            *occupied += occupancy;
        }
        self.adaptive.observe(&Observation {
            way: Way { method: seen.choice.method, lane: seen.lane },
            failed: None,
            runs: seen.runs,
            bytes: seen.payload_bytes,
            no_baseline: seen.no_baseline,
            kept: if seen.kept { seen.data_pages } else { 0 },
            cpu: Duration::from_secs_f64(seen.cpu_ns / 1e9),
            occupancy,
        });
    }

    fn observe_link(&mut self, window: &LinkWindow) {
        let time = |ns: f64| Duration::from_secs_f64(ns.max(0.0) / 1e9);
        let devices = self.occupied.iter().zip(&self.lanes).filter(|(_, lane)| !lane.on_cpu);
        let devices = devices.map(|(occupied, _)| *occupied).max().unwrap_or_default();
        self.occupied.fill(Duration::ZERO);
        self.adaptive.observe_stretch(&Stretch {
            wall: time(window.wall_ns),
            blocked: time(window.blocked_ns),
            waited: time(window.waited_ns),
            bytes: window.bytes,
            requests: window.requests,
            poller_cpu: time(window.poller_cpu_ns),
            cpu: time(window.source_cpu_ns),
            devices,
        });
    }
}

/// What a decision costs the migration thread a page, in nanoseconds.
const NS_A_PAGE: f64 = 10.0;
