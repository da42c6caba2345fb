//! The selector that goes by what it sees.

use pageferry_accel::method::Method;
use pageferry_accel::run::{Content, Run};
use pageferry_accel::units::PageIndex;
use std::time::Duration;

use super::destination::{Decoded, Destination};
use super::evidence::{Evidence, RegionState, Regions};
use super::host::{CpuShare, PollerCost, single};
use super::link::{LinkRate, Stretch};
use super::prices::{Prices, Resource};
use super::probes::Probes;
use super::terms::Terms;
use super::trace::{Decision, Event, Reason, Seen, Tracer};
use super::way::{Expectation, Family, PageCost, Way};

/// Picks, for the pages of every region, the way by which most pages a second reach the other side.
///
/// It has no clock and no thread: what it decides follows from its terms, from what it was shown, and from nothing else.
pub struct Adaptive {
    terms: Terms,
    ways: Vec<WayState>,
    regions: Regions,
    prices: Prices,
    tariff: Tariff,
    link: LinkRate,
    poller: PollerCost,
    share: CpuShare,
    /// What was decoded since the last stretch, in nanoseconds of the destination.
    decoding_ns: f32,
    destination: Destination,
    probes: Probes,
    counts: SelectorCounts,
    /// Pages since the prices were last set.
    unsettled: f32,
    /// What a page costs by each way, for the pages that are being decided on.
    costs: Vec<f32>,
    /// How likely a page that is sent now is sent again.
    again: f32,
    tracer: Option<Tracer>,
}

/// Pages to decide on: of one region, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first.
    pub first: PageIndex,
    /// How many, one at least.
    pub pages: u32,
    /// Of how many of them the destination's bytes are known.
    pub known: u32,
}

/// Which way pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The number of the way, in the order of the terms.
    pub number: usize,
    /// The way.
    pub way: Way,
    /// Whether it is worth the CPU time to keep their bytes as baselines.
    pub keep_baselines: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The method, and the accelerator that did it.
    pub way: Way,
    /// The way that it was to go, if another accelerator had to do it.
    pub failed: Option<Way>,
    /// Its runs.
    pub runs: &'a [Run],
    /// Bytes on the wire.
    pub bytes: u64,
    /// Pages for which a delta method found no baseline.
    pub no_baseline: u32,
    /// Pages whose bytes were kept as baselines.
    pub kept: u32,
    /// CPU time of the source.
    pub cpu: Duration,
    /// How long it took the accelerator, shared with those that were in it at the same time.
    pub occupancy: Duration,
}

/// What a selector did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectorCounts {
    /// Decisions, each about pages of one region.
    pub decisions: u64,
    /// Decisions after which a region's pages went another way than before.
    pub changes: u64,
    /// Decisions to find out what a way costs.
    pub probes: u64,
}

impl SelectorCounts {
    /// Adds what another one did.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.decisions += other.decisions;
        self.changes += other.changes;
        self.probes += other.probes;
    }
}

/// What is known of a way for the whole stream.
#[derive(Clone, Debug)]
struct WayState {
    way: Way,
    on_cpu: bool,
    keeps_copies: bool,
    queues: f32,
    /// The mean of the stream.
    cost: PageCost,
    /// How many pages that rests on, the older the less.
    pages: f32,
    /// Bytes of a page where it did best.
    best_bytes: f32,
    /// The accelerator's time a page, at its least.
    occupancy_ns: Option<f32>,
    failures: u32,
    /// Not before so many decisions were taken, for it has failed.
    suspended_until: u64,
}

/// What bytes and CPU time cost at present, by way.
#[derive(Clone, Debug, Default)]
struct Tariff {
    byte: f32,
    /// A nanosecond of CPU time, and what a page costs in any case.
    ways: Vec<(f32, f32)>,
}

/// A way must be cheaper by so much for a region to change to it.
const THRESHOLD: f32 = 0.08;

/// A region that has changed its way of late needs a better reason to do so again: so many times the threshold more at most.
const MOST_RESTLESS: f32 = 4.0;

/// Pages must become smaller than this share of what they were.
const WORTHWHILE: f32 = 0.97;

/// For so many decisions a region stays with its way, unless that is twice as dear as another.
const DWELL: u16 = 8;

/// How many pages the means of the whole stream rest on at most.
const STREAM_PAGES: f32 = 2048.0;

/// How likely a page is sent again, at the least and at the most.
const LEAST_AGAIN: f32 = 0.1;
const MOST_AGAIN: f32 = 0.9;

/// How fast the best that a way did somewhere is forgotten, by request.
const FADE_BEST: f32 = 0.01;

/// How many decisions of a region lie between two looks.
const LOOK_EVERY: u16 = 32;

/// How fast an accelerator's least time a page is forgotten.
const FORGET: f32 = 1.005;

/// Copying a page into the cache of baselines, in nanoseconds a byte: a copy, and most often a page fault on the cache's memory.
const KEEP_NS_PER_BYTE: f32 = 0.6;

impl Adaptive {
    /// A selector on these terms. Says so to `tracer`, which is handed everything that follows too.
    #[must_use]
    pub fn new(terms: Terms, tracer: Option<Tracer>) -> Self {
        if let Some(tracer) = &tracer {
            tracer.tell(&Event::Began(terms.clone()));
        }
        let page_bytes = page_bytes(&terms);
        let ways: Vec<_> = terms.ways.iter().map(|&way| WayState::new(way, &terms, page_bytes)).collect();
        let mut adaptive = Self {
            regions: Regions::new(terms.end(), terms.page_size(), terms.region_bytes, ways.len()),
            prices: Prices::new(Resource::count(terms.lanes.len())),
            tariff: Tariff::default(),
            link: LinkRate::new(terms.max_bytes_per_s),
            poller: PollerCost::new(),
            share: CpuShare::new(),
            decoding_ns: 0.0,
            destination: Destination::new(terms.destination_workers, page_bytes),
            probes: Probes::new(ways.len(), terms.max_pages),
            counts: SelectorCounts::default(),
            unsettled: 0.0,
            costs: vec![0.0; ways.len()],
            again: LEAST_AGAIN,
            tracer,
            ways,
            terms,
        };
        adaptive.set_tariff();
        adaptive
    }

    /// A round begins, with so many dirty pages of so many that there are.
    ///
    /// Where few pages are dirty they are likely to be dirty again: that is how a round came to have few. Where all are, as in
    /// the first round, that says nothing.
    pub fn begin_round(&mut self, dirty: u64, pages: u64) {
        if let Some(tracer) = &self.tracer {
            tracer.tell(&Event::Round { dirty, pages });
        }
        let share = single(dirty as f64) / single(pages.max(1) as f64);
        self.again = (1.0 - share).clamp(LEAST_AGAIN, MOST_AGAIN);
    }

    /// Which way a piece goes.
    pub fn choose(&mut self, piece: Piece) -> Choice {
        let region = self.regions.of(piece.first);
        self.regions.visit(region);
        self.counts.decisions += 1;
        self.weigh(region, piece);
        let state = self.regions.state(region);
        let best = cheapest(&self.costs);
        let (mut number, mut reason) = self.decide(region, best, piece);
        let mut keep = self.ways[number].needs_baseline();
        if !keep && let Some(gain) = self.gain_of_baselines(region, number) {
            keep = true;
            if !self.ways[number].keeps_copies
                && !matches!(reason, Reason::Probe | Reason::Look)
                && let Some(keeping) = self.cheapest_that_keeps(number, gain)
            {
                (number, reason) = (keeping, Reason::Baseline);
            }
        }
        self.trace(region, piece, state, number, reason, keep);
        self.settle_on(region, number, reason);
        self.use_up(region, number, piece);
        Choice { number, way: self.ways[number].way, keep_baselines: keep }
    }

    /// A request has come back.
    pub fn observe(&mut self, seen: &Observation<'_>) {
        if let Some(tracer) = &self.tracer {
            tracer.tell(&Event::Observed(Seen::of(seen)));
        }
        if let Some(failed) = seen.failed.and_then(|way| self.number_of(way)) {
            self.suspend(failed);
        }
        let Some(number) = self.number_of(seen.way) else { return };
        let data = seen.runs.iter().filter(|run| run.content == Content::Data);
        let pages: u32 = data.clone().map(|run| run.count.0).sum();
        let all: u32 = seen.runs.iter().map(|run| run.count.0).sum();
        let Some(cost) = self.cost_of(seen, pages) else { return };
        // Where most pages were zero, it was they that took the time.
        let cost =
            if pages * 2 < all { PageCost { cpu_ns: self.ways[number].cost.cpu_ns, ..cost } } else { cost };
        self.decoding_ns += self.destination.page_ns(seen.way.method) * single(pages.into());
        self.ways[number].learn(cost, single(pages.into()), seen, all);
        for run in data {
            self.refund_look(self.regions.of(run.first), number, cost, run.count.0);
            self.regions.add(self.regions.of(run.first), number, cost, single(run.count.0.into()));
        }
    }

    /// Some milliseconds have passed.
    pub fn observe_stretch(&mut self, stretch: &Stretch) {
        if let Some(tracer) = &self.tracer {
            tracer.tell(&Event::Passed(*stretch));
        }
        self.link.observe(stretch);
        self.poller.observe(stretch);
        let busiest = self.busiest(stretch);
        self.share.observe(stretch, busiest);
        self.decoding_ns = 0.0;
        self.set_tariff();
    }

    /// The destination has said what decoding costs it.
    pub fn observe_destination(&mut self, workers: u32, decoded: &[Decoded]) {
        if let Some(tracer) = &self.tracer {
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let methods = decoded.iter().map(|one| (one.method.to_wire(), one.pages, nanos(one.cpu)));
            tracer.tell(&Event::Decoded { workers, methods: methods.collect() });
        }
        self.destination.observe(workers, decoded);
        self.set_tariff();
    }

    /// The ways that there are.
    #[must_use]
    pub fn ways(&self) -> &[Way] {
        &self.terms.ways
    }

    /// The most pages that a piece from `page` on may have without leaving its region.
    #[must_use]
    pub fn room(&self, page: PageIndex) -> u64 {
        let pages = self.terms.region_bytes / u64::from(self.terms.page_bytes);
        pages - page.0 % pages.max(1)
    }

    /// What it did so far.
    #[must_use]
    pub fn counts(&self) -> SelectorCounts {
        self.counts
    }

    /// What a page of the piece costs by each way, at present prices.
    fn weigh(&mut self, region: usize, piece: Piece) {
        let known = single(piece.known.into()) / single(piece.pages.max(1).into());
        let plain = page_bytes(&self.terms);
        for number in 0..self.ways.len() {
            let mut cost = self.expected(region, number);
            if self.ways[number].needs_baseline() {
                // Pages without a baseline are sent as they are.
                cost.bytes = cost.bytes * known + plain * (1.0 - known);
            }
            let is_open = self.is_open(number, piece);
            self.costs[number] = if is_open { self.price(number, cost) } else { f32::INFINITY };
        }
        self.leave_out_what_does_not_shrink(region);
        // Whatever has failed: something must be sent.
        if self.costs.iter().all(|cost| cost.is_infinite())
            && let Some(any) = self.ways.iter().position(|way| !way.needs_baseline())
        {
            self.costs[any] = 1.0;
        }
    }

    /// Whether the pages of the piece can go a way at all.
    fn is_open(&self, number: usize, piece: Piece) -> bool {
        let way = &self.ways[number];
        way.suspended_until <= self.counts.decisions && (!way.needs_baseline() || piece.known > 0)
    }

    /// To encode pages that come out as large as they went in is CPU time for nothing, be it ever so cheap.
    fn leave_out_what_does_not_shrink(&mut self, region: usize) {
        let is_plain = |way: &WayState| Family::of(way.way.method) == Family::Plain;
        if !self.ways.iter().zip(&self.costs).any(|(way, cost)| is_plain(way) && cost.is_finite()) {
            return;
        }
        let limit = WORTHWHILE * page_bytes(&self.terms);
        for number in 0..self.ways.len() {
            let seen_here = self.relative(region, number).is_some();
            if !is_plain(&self.ways[number]) && seen_here && self.expected(region, number).bytes > limit {
                // A later look may find otherwise.
                self.costs[number] = f32::INFINITY;
            }
        }
    }

    /// What a page of a region is expected to cost by a way: as seen there, or as seen of a way of its family there, or as in the
    /// whole stream.
    fn expected(&self, region: usize, number: usize) -> PageCost {
        if let Some(cost) = self.regions.evidence(region)[number].cost() {
            return cost;
        }
        let way = &self.ways[number];
        let factor = self.relative(region, number).unwrap_or(1.0);
        PageCost { bytes: (way.cost.bytes * factor).min(page_bytes(&self.terms) + 16.0), ..way.cost }
    }

    /// How a region's pages compare with those of the whole stream by the ways of one family, if any was seen there.
    fn relative(&self, region: usize, number: usize) -> Option<f32> {
        let family = Family::of(self.ways[number].way.method);
        if family == Family::Plain {
            return Some(1.0);
        }
        let mut relatives = self.relatives(region, family);
        relatives
            .find_map(|(other, evidence)| evidence.cost().map(|cost| cost.bytes / other.cost.bytes.max(1.0)))
    }

    fn relatives(&self, region: usize, family: Family) -> impl Iterator<Item = (&WayState, &Evidence)> {
        let relatives = self.ways.iter().zip(self.regions.evidence(region));
        relatives.filter(move |(other, _)| Family::of(other.way.method) == family)
    }

    /// Whether a region has fresh evidence of a way, or of one of its family.
    fn is_known(&self, region: usize, number: usize) -> bool {
        let family = Family::of(self.ways[number].way.method);
        family == Family::Plain || self.relatives(region, family).any(|(_, evidence)| evidence.is_fresh())
    }

    /// What a page may cost where nothing fresh tells: as little as where the way did best.
    fn hoped(&self, region: usize, number: usize) -> PageCost {
        let expected = self.expected(region, number);
        if self.is_known(region, number) {
            return expected;
        }
        PageCost { bytes: self.ways[number].best_bytes.min(expected.bytes), ..expected }
    }

    fn price(&self, number: usize, cost: PageCost) -> f32 {
        let (cpu, flat) = self.tariff.ways[number];
        cost.bytes * self.tariff.byte + cost.cpu_ns * cpu + flat
    }

    fn decide(&mut self, region: usize, best: usize, piece: Piece) -> (usize, Reason) {
        let pages = single(piece.pages.into());
        self.probes.earn(pages);
        // Bytes that are sent as they are need no finding out.
        let is_exact = |way: usize| Family::of(self.ways[way].way.method) == Family::Plain;
        let decision = self.counts.decisions;
        if let Some(probe) = self.probes.due(decision, &self.costs, best, is_exact, piece.pages) {
            return (probe, Reason::Probe);
        }
        let state = self.regions.state(region);
        let (number, reason) = self.keep_or_change(state, best, piece);
        match self.look(region, number, state, piece) {
            Some(look) if self.probes.spend(pages) => (look, Reason::Look),
            _ => (number, reason),
        }
    }

    fn keep_or_change(&self, state: RegionState, best: usize, piece: Piece) -> (usize, Reason) {
        let Some(now) = state.way.map(usize::from) else { return (best, Reason::First) };
        let (cost, least) = (self.costs[now], self.costs[best]);
        if cost.is_infinite() {
            let lacks_baselines = self.ways[now].needs_baseline() && piece.known == 0;
            return (best, if lacks_baselines { Reason::NoBaseline } else { Reason::Gone });
        }
        let threshold = THRESHOLD * (1.0 + state.restless);
        let pays = least < cost * (1.0 - threshold) && state.stayed >= DWELL;
        if pays || least < cost / 2.0 { (best, Reason::Cheaper) } else { (now, Reason::Stays) }
    }

    /// A way whose family was not seen in this region, and that would be better than `number` if it did here what it did elsewhere.
    fn look(&self, region: usize, number: usize, state: RegionState, piece: Piece) -> Option<usize> {
        if state.unseen < LOOK_EVERY {
            return None;
        }
        let unseen =
            |&other: &usize| other != number && self.is_open(other, piece) && !self.is_known(region, other);
        let hopes = (0..self.ways.len()).filter(unseen);
        let hopes = hopes.map(|other| (other, self.price(other, self.hoped(region, other))));
        let (other, hope) = hopes.min_by(|one, other| one.1.total_cmp(&other.1))?;
        (hope < self.costs[number] * (1.0 - THRESHOLD)).then_some(other)
    }

    /// What a page costs less in the next round if its bytes are kept now, less what keeping them costs; if that is a gain.
    fn gain_of_baselines(&self, region: usize, number: usize) -> Option<f32> {
        let now = self.costs[number];
        let usable = |&other: &usize| {
            let way = &self.ways[other];
            way.needs_baseline() && way.suspended_until <= self.counts.decisions
        };
        let differences = (0..self.ways.len()).filter(usable);
        let costs = differences.map(|other| self.price(other, self.hoped(region, other)));
        let keeping = KEEP_NS_PER_BYTE * page_bytes(&self.terms) * self.cpu_price();
        let gain = self.again * (now * (1.0 - THRESHOLD) - costs.reduce(f32::min)?) - keeping;
        Some(gain).filter(|&gain| gain > 0.0)
    }

    /// A way whose pages leave baselines, if it is dearer than `number` by no more than the gain.
    fn cheapest_that_keeps(&self, number: usize, gain: f32) -> Option<usize> {
        let keeping = (0..self.ways.len()).filter(|&other| self.ways[other].keeps_copies);
        let found = keeping.min_by(|&one, &other| self.costs[one].total_cmp(&self.costs[other]))?;
        (self.costs[found] - self.costs[number] < gain).then_some(found)
    }

    /// A look that found its way to be the better one has cost nothing.
    fn refund_look(&mut self, region: usize, number: usize, cost: PageCost, pages: u32) {
        if self.is_known(region, number) {
            return;
        }
        let way = self.regions.state(region).way.map(usize::from).filter(|&way| way != number);
        if way.is_some_and(|way| {
            self.price(number, cost) < self.price(way, self.expected(region, way)) * (1.0 - THRESHOLD)
        }) {
            self.probes.refund(single(pages.into()));
        }
    }

    /// Notes what was decided for the region.
    fn settle_on(&mut self, region: usize, number: usize, reason: Reason) {
        match reason {
            Reason::Probe => self.counts.probes += 1,
            Reason::Look => {
                self.counts.probes += 1;
                self.regions.state_mut(region).unseen = 0;
            }
            Reason::Stays | Reason::NoBaseline | Reason::Baseline => {}
            Reason::First | Reason::Cheaper | Reason::Gone => {
                let state = self.regions.state_mut(region);
                if reason != Reason::First {
                    self.counts.changes += 1;
                    state.restless = (state.restless + 1.0).min(MOST_RESTLESS);
                }
                state.way = u8::try_from(number).ok();
                state.stayed = 0;
            }
        }
    }

    /// Counts what the pages will use, and sets the prices anew once a request's worth has gathered.
    fn use_up(&mut self, region: usize, number: usize, piece: Piece) {
        let cost = self.expected(region, number);
        let pages = single(piece.pages.into());
        let way = &self.ways[number];
        let poller_ns = self.poller_ns(cost.bytes);
        let lane = if way.on_cpu { cost.cpu_ns / way.queues } else { way.occupancy_ns.unwrap_or(0.0) };
        for (resource, ns) in [
            (Resource::Link, cost.bytes * self.link.ns_per_byte()),
            (Resource::Cpu, (cost.cpu_ns + poller_ns) / self.cores()),
            (Resource::Poller, poller_ns),
            (Resource::Destination, self.decode_ns(way.way.method)),
            (Resource::Lane(way.way.lane), lane),
        ] {
            self.prices.use_up(resource, ns * pages);
        }
        self.unsettled += pages;
        let request = single(self.terms.max_pages.max(1).into());
        if self.unsettled >= request {
            self.prices.settle(self.unsettled / request);
            self.unsettled = 0.0;
            self.set_tariff();
        }
    }

    fn poller_ns(&self, bytes: f32) -> f32 {
        let request = self.poller.request_ns() / single(self.terms.max_pages.max(1).into());
        request + bytes * self.poller.byte_ns()
    }

    /// For which share of a stretch the busiest resource was used, as far as that is known.
    fn busiest(&self, stretch: &Stretch) -> f32 {
        let wall_ns = single(stretch.wall.as_secs_f64() * 1e9).max(1.0);
        let ns = |time: Duration| single(time.as_secs_f64() * 1e9);
        let link = single(stretch.bytes as f64) * self.link.ns_per_byte();
        let destination = self.decoding_ns / self.share.get();
        let source = ns(stretch.cpu) / self.cores();
        let uses = [link, source, destination, ns(stretch.poller_cpu), ns(stretch.devices)];
        uses.into_iter().fold(0.0, f32::max) / wall_ns
    }

    /// How many CPUs the sender has.
    fn cores(&self) -> f32 {
        single(self.terms.cpus.max(0.01)) * self.share.get()
    }

    /// Nanoseconds of the destination that a page takes.
    fn decode_ns(&self, method: Method) -> f32 {
        self.destination.page_ns(method) / self.share.get()
    }

    fn cpu_price(&self) -> f32 {
        self.prices.of(Resource::Cpu) / self.cores()
    }

    fn set_tariff(&mut self) {
        // The vector is used again, so that nothing is allocated.
        let mut tariffs = std::mem::take(&mut self.tariff.ways);
        let cpu = self.cpu_price();
        let poller = self.prices.of(Resource::Poller) + cpu;
        let byte = self.prices.of(Resource::Link) * self.link.ns_per_byte() + poller * self.poller.byte_ns();
        let any = poller * self.poller_ns(0.0);
        let destination = self.prices.of(Resource::Destination);
        let of_way = |way: &WayState| {
            let lane = self.prices.of(Resource::Lane(way.way.lane));
            let (per_cpu, per_page) = if way.on_cpu {
                (cpu + lane / way.queues, 0.0)
            } else {
                (cpu, lane * way.occupancy_ns.unwrap_or(0.0))
            };
            (per_cpu, any + per_page + destination * self.decode_ns(way.way.method))
        };
        tariffs.clear();
        tariffs.extend(self.ways.iter().map(of_way));
        self.tariff = Tariff { byte, ways: tariffs };
    }

    /// What a page of the request cost; none if it had none that tells.
    fn cost_of(&self, seen: &Observation<'_>, pages: u32) -> Option<PageCost> {
        let plain = page_bytes(&self.terms);
        let (mut told, mut bytes) = (pages, single(seen.bytes as f64));
        if seen.way.method.needs_baseline() {
            told = pages.saturating_sub(seen.no_baseline);
            bytes = (bytes - plain * single(seen.no_baseline.into())).max(0.0);
        }
        let mut cpu_ns = single(seen.cpu.as_secs_f64() * 1e9);
        if !seen.way.method.needs_baseline() && self.keeps_copies(seen.way.lane) {
            // What it takes to keep baselines is counted where it is decided whether to.
            let kept = KEEP_NS_PER_BYTE * plain * single(seen.kept.into());
            cpu_ns = (cpu_ns - kept).max(cpu_ns / 4.0);
        }
        (told > 0)
            .then(|| PageCost { bytes: bytes / single(told.into()), cpu_ns: cpu_ns / single(pages.into()) })
    }

    fn suspend(&mut self, number: usize) {
        /// Decisions for which a way is left alone after its first failure; twice as many after each that follows.
        const REST: u64 = 64;
        let way = &mut self.ways[number];
        way.suspended_until = self.counts.decisions + (REST << way.failures.min(10));
        way.failures += 1;
    }

    fn keeps_copies(&self, lane: usize) -> bool {
        self.terms.lanes.get(lane).is_some_and(|lane| lane.keeps_copies)
    }

    fn number_of(&self, way: Way) -> Option<usize> {
        self.ways.iter().position(|known| known.way == way)
    }

    fn trace(
        &self,
        region: usize,
        piece: Piece,
        state: RegionState,
        number: usize,
        reason: Reason,
        keep: bool,
    ) {
        let Some(tracer) = &self.tracer else { return };
        tracer.tell(&Event::Decided(Decision {
            first: piece.first.0,
            pages: piece.pages,
            known: piece.known,
            region,
            way: self.ways[number].way,
            before: state.way.map(|way| self.ways[usize::from(way)].way),
            reason,
            keep,
            costs: self.costs.iter().map(|&cost| Some(cost).filter(|cost| cost.is_finite())).collect(),
            prices: self.prices.all().to_vec(),
        }));
    }
}

impl WayState {
    fn new(way: Way, terms: &Terms, page_bytes: f32) -> Self {
        let lane = &terms.lanes[way.lane];
        let expectation = Expectation::of(way.method);
        let expected = expectation.on_cpu(page_bytes);
        // A device leaves the CPU little to do.
        let cpu_ns = if lane.on_cpu { expected.cpu_ns } else { 0.01 * page_bytes };
        Self {
            way,
            on_cpu: lane.on_cpu,
            keeps_copies: lane.keeps_copies,
            queues: single(lane.queues.into()),
            cost: PageCost { cpu_ns, ..expected },
            pages: 0.0,
            best_bytes: expectation.least_bytes(page_bytes),
            occupancy_ns: None,
            failures: 0,
            suspended_until: 0,
        }
    }

    fn needs_baseline(&self) -> bool {
        self.way.method.needs_baseline()
    }

    /// Takes what a request showed into the means of the stream.
    fn learn(&mut self, cost: PageCost, pages: f32, seen: &Observation<'_>, all: u32) {
        let share = pages / (self.pages + pages);
        self.cost.bytes += (cost.bytes - self.cost.bytes) * share;
        self.cost.cpu_ns += (cost.cpu_ns - self.cost.cpu_ns) * share;
        self.pages = (self.pages + pages).min(STREAM_PAGES);
        self.best_bytes = cost.bytes.min(self.best_bytes + (self.cost.bytes - self.best_bytes) * FADE_BEST);
        let occupancy = single(seen.occupancy.as_secs_f64() * 1e9) / single(all.max(1).into());
        self.occupancy_ns = Some(self.occupancy_ns.map_or(occupancy, |least| occupancy.min(least * FORGET)));
        self.failures = 0;
    }
}

impl Seen {
    fn of(seen: &Observation<'_>) -> Self {
        let data = seen.runs.iter().filter(|run| run.content == Content::Data);
        Self {
            way: seen.way,
            runs: data.map(|run| (run.first.0, run.count.0)).collect(),
            bytes: seen.bytes,
            no_baseline: seen.no_baseline,
            kept: seen.kept,
            cpu: seen.cpu,
            occupancy: seen.occupancy,
            failed: seen.failed,
        }
    }
}

fn page_bytes(terms: &Terms) -> f32 {
    single(terms.page_bytes.into())
}

/// The number of the least cost, the first of several.
fn cheapest(costs: &[f32]) -> usize {
    let least = costs.iter().enumerate().min_by(|one, other| one.1.total_cmp(other.1));
    least.map_or(0, |(number, _)| number)
}
