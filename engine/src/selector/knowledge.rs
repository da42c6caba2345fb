//! What is known of every way: in the whole stream, and in each region.

use super::evidence::{Evidence, Regions};
use super::host::single;
use super::sight::Observation;
use super::terms::Terms;
use super::way::{Expectation, Family, PageCost, Way};

/// All that was learned of the ways that pages go.
#[derive(Clone, Debug)]
pub(super) struct Knowledge {
    pub(super) ways: Vec<KnownWay>,
    pub(super) regions: Regions,
    page_bytes: f32,
    /// CPU time to keep a page as a baseline.
    keep_ns: f32,
}

/// What is known of a way for the whole stream.
#[derive(Clone, Debug)]
pub(super) struct KnownWay {
    pub(super) way: Way,
    pub(super) family: Family,
    /// Whether the CPU does its work, and how many of its workers.
    pub(super) on_cpu: bool,
    pub(super) queues: f32,
    /// Whether what goes this way is known to the byte, so that it may become a baseline.
    pub(super) keeps_copies: bool,
    /// The accelerator's time a page, at its least; 0 as long as nothing was seen.
    pub(super) occupancy_ns: f32,
    /// The mean of the stream.
    cost: PageCost,
    /// How many pages that rests on, the older the less.
    pages: f32,
    /// Bytes of a page where it did best.
    best_bytes: f32,
    failures: u32,
    /// Not before so many decisions were taken, for it has failed.
    suspended_until: u64,
}

/// Copying a page into the cache of baselines, in nanoseconds a byte, until it was seen.
const KEEP_NS_PER_BYTE: f32 = 0.25;

/// How fast what was seen of that is followed.
const FOLLOW: f32 = 0.1;

/// How many pages the means of the whole stream rest on at most.
const STREAM_PAGES: f32 = 2048.0;

/// So many pages of the stream are enough for their mean to tell something.
const ENOUGH: f32 = 256.0;

/// How fast the best that a way did somewhere is forgotten, by request.
const FADE_BEST: f32 = 0.01;

/// How fast an accelerator's least time a page is forgotten.
const FORGET: f32 = 1.005;

/// Decisions for which a way is left alone after its first failure; twice as many after each that follows.
const REST: u64 = 64;

/// What a frame takes beside the bytes of the pages, at the most that matters.
const FRAME_BYTES: f32 = 16.0;

impl Knowledge {
    pub(super) fn new(terms: &Terms) -> Self {
        let page_bytes = terms.page_bytes();
        let ways: Vec<_> = terms.ways.iter().map(|&way| KnownWay::new(way, terms)).collect();
        let regions = Regions::new(terms.end(), terms.page_size(), terms.region_bytes, ways.len());
        Self { ways, regions, page_bytes, keep_ns: KEEP_NS_PER_BYTE * page_bytes }
    }

    pub(super) fn number_of(&self, way: Way) -> Option<usize> {
        self.ways.iter().position(|known| known.way == way)
    }

    /// CPU time to keep a page as a baseline.
    pub(super) fn keep_ns(&self) -> f32 {
        self.keep_ns
    }

    /// Takes in what a request showed.
    pub(super) fn learn(&mut self, number: usize, cost: PageCost, seen: &Observation<'_>) {
        self.learn_keeping(number, seen);
        self.ways[number].learn(cost, seen);
        for run in seen.data() {
            self.regions.add(self.regions.of(run.first), number, cost, single(run.count.0.into()));
        }
    }

    /// What a page of the request cost; none if it had none that tells.
    pub(super) fn cost_of(&self, number: usize, seen: &Observation<'_>) -> Option<PageCost> {
        let way = &self.ways[number];
        let pages = seen.data_pages();
        let (mut told, mut bytes) = (pages, single(seen.bytes as f64));
        if way.needs_baseline() {
            told = pages.saturating_sub(seen.no_baseline);
            bytes = (bytes - self.page_bytes * single(seen.no_baseline.into())).max(0.0);
        }
        if told == 0 {
            return None;
        }
        // Where most pages were zero, it was they that took the time.
        let cpu_ns =
            if pages * 2 < seen.pages() { way.cost.cpu_ns } else { self.cpu_ns_of(way, seen, pages) };
        Some(PageCost { bytes: bytes / single(told.into()), cpu_ns })
    }

    /// CPU time of a page, but for what it took to keep it: that is counted where it is decided whether to.
    fn cpu_ns_of(&self, way: &KnownWay, seen: &Observation<'_>, pages: u32) -> f32 {
        let all = single(seen.cpu.as_secs_f64() * 1e9);
        let kept = if way.keeps_copies && !way.needs_baseline() { seen.kept } else { 0 };
        (all - self.keep_ns * single(kept.into())).max(all / 4.0) / single(pages.into())
    }

    /// How much longer a request took whose pages were all kept than those of its way do on average.
    fn learn_keeping(&mut self, number: usize, seen: &Observation<'_>) {
        let (way, pages) = (&self.ways[number], seen.data_pages());
        let tells = way.keeps_copies && !way.needs_baseline() && seen.kept >= pages && way.pages >= ENOUGH;
        if tells && pages > 0 && pages * 2 > seen.pages() {
            let all = single(seen.cpu.as_secs_f64() * 1e9) / single(pages.into());
            let more = (all - way.cost.cpu_ns).clamp(0.0, 4.0 * KEEP_NS_PER_BYTE * self.page_bytes);
            self.keep_ns += (more - self.keep_ns) * FOLLOW;
        }
    }

    /// What a page of a region is expected to cost by a way: as seen there, or as seen of a way of its family there, or as in the
    /// whole stream.
    pub(super) fn expected(&self, region: usize, number: usize) -> PageCost {
        if let Some(cost) = self.regions.evidence(region)[number].cost() {
            return cost;
        }
        let way = &self.ways[number];
        let factor = self.relative(region, way.family).unwrap_or(1.0);
        PageCost { bytes: (way.cost.bytes * factor).min(self.page_bytes + FRAME_BYTES), ..way.cost }
    }

    /// What a page may cost where nothing fresh tells: as little as where the way did best.
    pub(super) fn hoped(&self, region: usize, number: usize) -> PageCost {
        let expected = self.expected(region, number);
        let way = &self.ways[number];
        if self.is_known(region, way.family) {
            return expected;
        }
        PageCost { bytes: way.best_bytes.min(expected.bytes), ..expected }
    }

    /// How a region's pages compare with those of the whole stream by the ways of one family, if any was seen there.
    pub(super) fn relative(&self, region: usize, family: Family) -> Option<f32> {
        if family == Family::Plain {
            return Some(1.0);
        }
        let mut relatives = self.relatives(region, family);
        relatives
            .find_map(|(other, evidence)| evidence.cost().map(|cost| cost.bytes / other.cost.bytes.max(1.0)))
    }

    /// Whether a region has fresh evidence of a family.
    pub(super) fn is_known(&self, region: usize, family: Family) -> bool {
        family == Family::Plain || self.relatives(region, family).any(|(_, evidence)| evidence.is_fresh())
    }

    fn relatives(&self, region: usize, family: Family) -> impl Iterator<Item = (&KnownWay, &Evidence)> {
        let all = self.ways.iter().zip(self.regions.evidence(region));
        all.filter(move |(other, _)| other.family == family)
    }
}

impl KnownWay {
    fn new(way: Way, terms: &Terms) -> Self {
        let (lane, page_bytes) = (&terms.lanes[way.lane], terms.page_bytes());
        let expectation = Expectation::of(way.method);
        let expected = expectation.on_cpu(page_bytes);
        // A device leaves the CPU little to do.
        let cpu_ns = if lane.on_cpu { expected.cpu_ns } else { 0.01 * page_bytes };
        Self {
            way,
            family: Family::of(way.method),
            on_cpu: lane.on_cpu,
            queues: single(lane.queues.into()),
            keeps_copies: lane.keeps_copies,
            occupancy_ns: 0.0,
            cost: PageCost { cpu_ns, ..expected },
            pages: 0.0,
            best_bytes: expectation.least_bytes(page_bytes),
            failures: 0,
            suspended_until: 0,
        }
    }

    pub(super) fn needs_baseline(&self) -> bool {
        self.family == Family::Difference
    }

    /// Whether it may be gone, after so many decisions.
    pub(super) fn is_open(&self, decisions: u64) -> bool {
        self.suspended_until <= decisions
    }

    /// It has failed: it is left alone for a while, the longer the oftener that was.
    pub(super) fn suspend(&mut self, decisions: u64) {
        self.suspended_until = decisions + (REST << self.failures.min(10));
        self.failures += 1;
    }

    /// Takes what a request showed into the means of the stream.
    fn learn(&mut self, cost: PageCost, seen: &Observation<'_>) {
        let pages = single(seen.data_pages().into());
        let share = pages / (self.pages + pages);
        self.cost.bytes += (cost.bytes - self.cost.bytes) * share;
        self.cost.cpu_ns += (cost.cpu_ns - self.cost.cpu_ns) * share;
        self.best_bytes = cost.bytes.min(self.best_bytes + (self.cost.bytes - self.best_bytes) * FADE_BEST);
        let occupancy = single(seen.occupancy.as_secs_f64() * 1e9) / single(seen.pages().max(1).into());
        let least = if self.pages == 0.0 { f32::INFINITY } else { self.occupancy_ns * FORGET };
        self.occupancy_ns = occupancy.min(least);
        self.pages = (self.pages + pages).min(STREAM_PAGES);
        self.failures = 0;
    }
}
