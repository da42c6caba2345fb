//! What is known of every way: in the whole stream, and in each region.
//!
//! Pages differ, and so do methods. That zstd made less of one region than deflate did of another says nothing of the two as long
//! as nobody knows which region was the harder. So what was seen is divided: how hard a region's pages are for a family of
//! methods, in the whole stream and in each region; and how a method does for pages of the same hardness, which is learned
//! where two methods of a family have seen the same region.

use super::evidence::{Evidence, Regions};
use super::sight::Observation;
use super::single::single;
use super::terms::Terms;
use super::way::{Expectation, Family, PageCost, Way};

/// All that was learned of the ways that pages go.
#[derive(Clone, Debug)]
pub(super) struct Knowledge {
    pub(super) ways: Vec<KnownWay>,
    pub(super) regions: Regions,
    /// How hard pages are for each family.
    families: [Hardness; Family::ALL.len()],
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
    /// What a page of hardness 1 costs.
    cost: PageCost,
    /// How many pages were seen.
    pages: f32,
    failures: u32,
    /// Not before so many decisions were taken, for it has failed.
    suspended_until: u64,
}

/// How many bytes, and how much CPU time, pages take over those of hardness 1.
#[derive(Clone, Copy, Debug)]
struct Hardness {
    bytes: f32,
    cpu: f32,
    /// How many pages that rests on, the older the less.
    pages: f32,
    /// The least bytes of any request, which is slowly forgotten.
    best: f32,
}

/// Copying a page into the cache of baselines, in nanoseconds a byte, until it was seen.
const KEEP_NS_PER_BYTE: f32 = 0.25;

/// How fast what was seen of that is followed.
const FOLLOW: f32 = 0.1;

/// How many pages the means of the whole stream rest on at most.
const STREAM_PAGES: f32 = 512.0;

/// CPU time that is so many times what was expected tells of something else than the pages.
const OUTLIER: f32 = 3.0;

/// So many pages of the stream are enough for their mean to tell something.
const ENOUGH: f32 = 256.0;

/// How fast the best that a way did somewhere is forgotten, by request.
const FADE_BEST: f32 = 0.002;

/// However it went elsewhere, this share of it may be hoped for. What that may cost is limited (`probes`).
const HOPE: f32 = 0.5;

/// How fast a method's own cost follows where it can be told, by request.
const FOLLOW_OTHERS: f32 = 0.2;

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
        let families = Family::ALL.map(Hardness::expected);
        Self { ways, regions, families, page_bytes, keep_ns: KEEP_NS_PER_BYTE * page_bytes }
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
        self.learn_keeping(number, cost, seen);
        self.learn_from_others(number, cost, seen);
        self.compare(number, cost, seen);
        let way = &mut self.ways[number];
        way.learn(seen);
        if way.family != Family::Plain {
            self.families[way.family as usize].learn(cost, way.cost, single(seen.data_pages().into()));
        } else {
            way.cost.cpu_ns += (cost.cpu_ns.min(OUTLIER * way.cost.cpu_ns) - way.cost.cpu_ns) * FOLLOW;
        }
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

    /// How much longer a request took whose pages were all kept than its region lets expect.
    fn learn_keeping(&mut self, number: usize, cost: PageCost, seen: &Observation<'_>) {
        let (way, pages) = (&self.ways[number], seen.data_pages());
        let tells = way.keeps_copies && !way.needs_baseline() && seen.kept >= pages && way.pages >= ENOUGH;
        let Some(run) = seen.data().next().filter(|_| tells && pages * 2 > seen.pages()) else { return };
        let usual = self.expected(self.regions.of(run.first), number).cpu_ns;
        let more = (self.keep_ns + cost.cpu_ns - usual).clamp(0.0, 4.0 * KEEP_NS_PER_BYTE * self.page_bytes);
        self.keep_ns += (more - self.keep_ns) * FOLLOW;
    }

    /// Compares what was seen with what was known of the region.
    fn compare(&mut self, number: usize, cost: PageCost, seen: &Observation<'_>) {
        let Some(run) = seen.data().next() else { return };
        let region = self.regions.of(run.first);
        let family = self.ways[number].family;
        if family != Family::Plain && self.is_known(region, family) {
            let ratio = cost.bytes / self.expected(region, number).bytes.max(1.0);
            if self.regions.compare(region, ratio) {
                self.families = Family::ALL.map(Hardness::expected);
            }
        }
    }

    /// Compares a method with others of its family that have seen the same region.
    fn learn_from_others(&mut self, number: usize, cost: PageCost, seen: &Observation<'_>) {
        let Some(run) = seen.data().next() else { return };
        let region = self.regions.of(run.first);
        let family = self.ways[number].family;
        let (age, own) = (self.regions.age(), self.ways[number].way);
        let others = self.relatives(region, family);
        let others = others.filter(|(other, evidence)| other.way != own && evidence.is_fresh(age));
        let Some(hardness) = hardness(others, age) else { return };
        let way = &mut self.ways[number].cost;
        way.bytes += (cost.bytes / hardness.bytes - way.bytes) * FOLLOW_OTHERS;
        let cpu_ns = (cost.cpu_ns / hardness.cpu_ns).min(OUTLIER * way.cpu_ns);
        way.cpu_ns += (cpu_ns - way.cpu_ns) * FOLLOW_OTHERS;
    }

    /// What a page of a region is expected to cost by a way: as seen there, or as the family did there, or as in the whole stream.
    pub(super) fn expected(&self, region: usize, number: usize) -> PageCost {
        let (own, age) = (&self.regions.evidence(region)[number], self.regions.age());
        if own.is_fresh(age) {
            return own.cost();
        }
        let way = &self.ways[number];
        match self.hardness_of(region, way.family) {
            Some(here) => self.scaled(way.cost, here),
            None if own.pages(age) > 0.0 => own.cost(),
            None => {
                let Hardness { bytes, cpu, .. } = self.families[way.family as usize];
                self.scaled(way.cost, PageCost { bytes, cpu_ns: cpu })
            }
        }
    }

    /// What a page may cost where nothing fresh tells: as little as where the family did best, or half of what is usual.
    pub(super) fn hoped(&self, region: usize, number: usize) -> PageCost {
        let expected = self.expected(region, number);
        let way = &self.ways[number];
        if self.is_known(region, way.family) {
            return expected;
        }
        let hope = way.cost.bytes * self.families[way.family as usize].hope();
        PageCost { bytes: hope.min(expected.bytes), ..expected }
    }

    /// Whether a region was ever seen by a family.
    pub(super) fn was_seen(&self, region: usize, family: Family) -> bool {
        self.relatives(region, family).any(|(_, evidence)| evidence.pages(self.regions.age()) > 0.0)
    }

    /// Whether a region has fresh evidence of a family.
    pub(super) fn is_known(&self, region: usize, family: Family) -> bool {
        family == Family::Plain
            || self.relatives(region, family).any(|(_, evidence)| evidence.is_fresh(self.regions.age()))
    }

    /// How hard a region's pages are for a family, if anything of it was seen there; the latest counts most.
    fn hardness_of(&self, region: usize, family: Family) -> Option<PageCost> {
        if family == Family::Plain {
            return None;
        }
        hardness(self.relatives(region, family), self.regions.age())
    }

    fn relatives(&self, region: usize, family: Family) -> impl Iterator<Item = (&KnownWay, &Evidence)> {
        let all = self.ways.iter().zip(self.regions.evidence(region));
        all.filter(move |(other, _)| other.family == family)
    }

    fn scaled(&self, cost: PageCost, by: PageCost) -> PageCost {
        let bytes = (cost.bytes * by.bytes).min(self.page_bytes + FRAME_BYTES);
        PageCost { bytes, cpu_ns: cost.cpu_ns * by.cpu_ns }
    }
}

/// The mean hardness that some ways have met in this age, by how many pages each has seen.
fn hardness<'a>(ways: impl Iterator<Item = (&'a KnownWay, &'a Evidence)>, age: u32) -> Option<PageCost> {
    let (mut sum, mut pages) = (PageCost::default(), 0.0);
    for (way, evidence) in ways {
        let (seen, weight) = (evidence.cost(), evidence.pages(age));
        sum.bytes += weight * seen.bytes / way.cost.bytes.max(1.0);
        sum.cpu_ns += weight * seen.cpu_ns / way.cost.cpu_ns.max(1.0);
        pages += weight;
    }
    (pages > 0.0).then(|| PageCost { bytes: sum.bytes / pages, cpu_ns: sum.cpu_ns / pages })
}

impl Hardness {
    /// What is taken for granted. What a guest will write nobody knows: differences must be seen to be believed in.
    fn expected(family: Family) -> Self {
        let bytes = if family == Family::Difference { 6.0 } else { 1.0 };
        Self { bytes, cpu: 1.0, pages: 0.0, best: 1.0 }
    }

    /// What may be hoped for where nothing is known.
    fn hope(&self) -> f32 {
        self.best.min(self.bytes * HOPE)
    }

    fn learn(&mut self, cost: PageCost, of_way: PageCost, pages: f32) {
        let share = pages / (self.pages + pages);
        let bytes = cost.bytes / of_way.bytes.max(1.0);
        let cpu = (cost.cpu_ns / of_way.cpu_ns.max(1.0)).min(OUTLIER * self.cpu);
        self.bytes += (bytes - self.bytes) * share;
        self.cpu += (cpu - self.cpu) * share;
        self.pages = (self.pages + pages).min(STREAM_PAGES);
        self.best = bytes.min(self.best + (self.bytes - self.best) * FADE_BEST);
    }
}

impl KnownWay {
    fn new(way: Way, terms: &Terms) -> Self {
        let (lane, page_bytes) = (&terms.lanes[way.lane], terms.page_bytes());
        let expected = Expectation::of(way.method).on_cpu(page_bytes);
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

    /// Takes in what a request showed of the accelerator.
    fn learn(&mut self, seen: &Observation<'_>) {
        let occupancy = single(seen.occupancy.as_secs_f64() * 1e9) / single(seen.pages().max(1).into());
        let least = if self.pages == 0.0 { f32::INFINITY } else { self.occupancy_ns * FORGET };
        self.occupancy_ns = occupancy.min(least);
        self.pages = (self.pages + single(seen.data_pages().into())).min(STREAM_PAGES);
        self.failures = 0;
    }
}
