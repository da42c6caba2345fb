//! The selector against a made-up pipeline whose best is known.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pageferry_accel::method::Method;
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};

use super::*;

const PAGE: u64 = 4096;
const REGION_PAGES: u64 = 512;
const REQUEST: u32 = 63;

/// What a region's pages are like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Compresses to a quarter.
    Text,
    /// Does not compress.
    Noise,
    /// Does not compress, but few bytes change.
    Counters,
}

/// A guest of some regions on its way over a link, by a CPU; everything takes exactly as long as it should.
struct World {
    kinds: Vec<Kind>,
    link_bytes_per_s: f64,
    cpus: f64,
    adaptive: Adaptive,
    /// Of which regions the destination's bytes are known.
    known: Vec<bool>,
    link_s: f64,
    cpu_s: f64,
    /// What was seen since the last stretch ended.
    since: (f64, f64, u64, u64),
    pages_by_way: Vec<u64>,
    /// A lane that does nothing any more.
    broken: Option<usize>,
}

const WAYS: [Method; 4] = [Method::Raw, Method::Zstd, Method::Lz4, Method::Xbzrle];

fn terms(regions: usize, cpus: f64, limit: Option<u64>) -> Terms {
    Terms {
        ways: WAYS.map(|method| Way { method, lane: 0 }).to_vec(),
        lanes: vec![LaneTerms { on_cpu: true, keeps_copies: true, queues: 4 }],
        end: regions as u64 * REGION_PAGES,
        page_bytes: 4096,
        max_pages: REQUEST,
        region_bytes: REGION_BYTES,
        cpus,
        max_bytes_per_s: limit,
        destination_workers: 4,
    }
}

impl World {
    fn new(kinds: Vec<Kind>, link_gbit: f64, cpus: f64) -> Self {
        let adaptive = Adaptive::new(terms(kinds.len(), cpus, None), None);
        Self::with(adaptive, kinds, link_gbit, cpus)
    }

    fn with(adaptive: Adaptive, kinds: Vec<Kind>, link_gbit: f64, cpus: f64) -> Self {
        let regions = kinds.len();
        let link_bytes_per_s = link_gbit * 125e6;
        let pages_by_way = vec![0; adaptive.ways().len()];
        let (known, since) = (vec![false; regions], (0.0, 0.0, 0, 0));
        let (link_s, cpu_s, broken) = (0.0, 0.0, None);
        Self { kinds, link_bytes_per_s, cpus, adaptive, known, link_s, cpu_s, since, pages_by_way, broken }
    }

    /// Bytes and nanoseconds of CPU a page.
    fn cost(kind: Kind, method: Method) -> (u32, u32) {
        let bytes = match (kind, method) {
            (_, Method::Raw) => 4096,
            (Kind::Text, Method::Zstd) => 1024,
            (Kind::Text, Method::Lz4) => 1600,
            (Kind::Counters, Method::Xbzrle) => 100,
            _ => 4090,
        };
        let cpu = match method {
            Method::Raw => 300,
            Method::Zstd => 4000,
            Method::Lz4 => 1800,
            _ => 700,
        };
        (bytes, cpu)
    }

    /// Sends every page once. Returns the seconds that took, as if link and CPU never waited for each other.
    fn round(&mut self) -> f64 {
        let before = (self.link_s, self.cpu_s);
        let pages = self.kinds.len() as u64 * REGION_PAGES;
        self.adaptive.begin_round(pages, pages);
        for region in 0..self.kinds.len() {
            let first = region as u64 * REGION_PAGES;
            let mut known = false;
            let mut at = first;
            while at < first + REGION_PAGES {
                let pages = u32::try_from(first + REGION_PAGES - at).unwrap().min(REQUEST);
                known = self.send(region, at, pages);
                at += u64::from(pages);
            }
            self.known[region] = known;
        }
        (self.link_s - before.0).max(self.cpu_s - before.1)
    }

    /// The seconds of so many rounds.
    fn rounds(&mut self, rounds: u32) -> f64 {
        (0..rounds).map(|_| self.round()).sum()
    }

    fn send(&mut self, region: usize, first: u64, pages: u32) -> bool {
        let known = if self.known[region] { pages } else { 0 };
        let choice = self.adaptive.choose(Piece { first: PageIndex(first), pages, known });
        let kind = self.kinds[region];
        let failed = self.broken == Some(choice.number);
        let way = if failed { Way { method: Method::Raw, lane: 0 } } else { choice.way };
        let (bytes, cpu) = Self::cost(kind, way.method);
        let sent = u64::from(bytes * pages);
        let (bytes, cpu) = (f64::from(bytes * pages), f64::from(cpu * pages));
        self.pages_by_way[choice.number] += u64::from(pages);
        self.adaptive.observe(&Observation {
            way,
            failed: failed.then_some(choice.way),
            runs: &[Run::data(PageIndex(first), PageCount(pages))],
            bytes: sent,
            no_baseline: 0,
            kept: 0,
            cpu: Duration::from_secs_f64(cpu / 1e9),
            occupancy: Duration::from_secs_f64(cpu / 4e9),
        });
        let poller = (2500.0 + 0.06 * bytes) / 1e9;
        self.link_s += bytes / self.link_bytes_per_s;
        self.cpu_s += (cpu / 1e9 + poller) / self.cpus;
        let (link, cpu_s, all, requests) = &mut self.since;
        *link += bytes / self.link_bytes_per_s;
        *cpu_s += (cpu / 1e9 + poller) / self.cpus;
        *all += sent;
        *requests += 1;
        if *requests == 32 {
            let (link, cpu, bytes, requests) = std::mem::take(&mut self.since);
            let wall = link.max(cpu);
            let time = Duration::from_secs_f64;
            self.adaptive.observe_stretch(&Stretch {
                wall: time(wall),
                blocked: time(if link >= cpu { wall - 0.2 * cpu } else { 0.0 }),
                waited: time(if cpu > link { wall * 0.9 } else { 0.0 }),
                bytes,
                requests,
                poller_cpu: time((2500.0 * requests as f64 + 0.06 * bytes as f64) / 1e9),
                cpu: time(cpu * self.cpus),
                devices: Duration::ZERO,
            });
        }
        choice.keep_baselines
    }

    /// Which share of all pages went by a method in the rounds to come.
    fn share(&mut self, method: Method, rounds: u32) -> f64 {
        self.pages_by_way.fill(0);
        self.rounds(rounds);
        let all: u64 = self.pages_by_way.iter().sum();
        let number = WAYS.iter().position(|&way| way == method).unwrap();
        self.pages_by_way[number] as f64 / all as f64
    }
}

#[test]
fn every_region_goes_its_own_best_way_where_the_link_is_short() {
    let kinds = vec![Kind::Text, Kind::Noise, Kind::Counters, Kind::Text, Kind::Noise, Kind::Counters];
    let mut world = World::new(kinds, 1.0, 4.0);
    world.rounds(10);
    assert!((world.share(Method::Zstd, 10) - 1.0 / 3.0).abs() < 0.03);
    assert!((world.share(Method::Xbzrle, 10) - 1.0 / 3.0).abs() < 0.03);
    let raw = world.share(Method::Raw, 10);
    assert!((raw - 1.0 / 3.0).abs() < 0.04, "{raw}");
}

#[test]
fn everything_is_sent_as_it_is_where_the_cpu_is_short_and_the_link_is_not() {
    let mut world = World::new(vec![Kind::Text; 16], 100.0, 0.25);
    world.round();
    let raw = world.share(Method::Raw, 5);
    assert!(raw > 0.95, "{raw}");
}

#[test]
fn pages_that_are_all_alike_are_divided_so_that_link_and_cpu_are_both_busy() {
    let mut world = World::new(vec![Kind::Text; 64], 10.0, 1.0);
    world.rounds(3);
    let took = world.rounds(10);
    // The best of all mixtures of two ways; on one CPU the poller's work is in it.
    let poller = |bytes: f64| 2500.0 / 63.0 + 0.06 * bytes;
    let ways = [Method::Raw, Method::Zstd, Method::Lz4].map(|method| {
        let (bytes, cpu) = World::cost(Kind::Text, method);
        let (bytes, cpu) = (f64::from(bytes), f64::from(cpu));
        (bytes * 0.8, cpu + poller(bytes))
    });
    let mut best = f64::MAX;
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        for step in 0..=1000 {
            let x = f64::from(step) / 1000.0;
            let mix = |a: f64, b: f64| a * x + b * (1.0 - x);
            best = best.min(mix(ways[one].0, ways[other].0).max(mix(ways[one].1, ways[other].1)));
        }
    }
    let best = best * 1e-9 * 64.0 * 512.0 * 10.0;
    assert!(took < best * 1.05, "{took} s, where {best} s is possible");
}

#[test]
fn regions_change_their_ways_seldom() {
    for (link, cpus) in [(1.0, 1.0), (10.0, 1.0), (10.0, 0.5), (25.0, 2.0)] {
        let kinds = [Kind::Text, Kind::Noise, Kind::Counters].into_iter().cycle().take(60).collect();
        let mut world = World::new(kinds, link, cpus);
        world.rounds(10);
        let before = world.adaptive.counts();
        world.rounds(20);
        let after = world.adaptive.counts();
        let changes = (after.changes - before.changes) as f64;
        let decisions = (after.decisions - before.decisions) as f64;
        assert!(changes / decisions < 0.02, "{link} Gbit/s, {cpus} CPUs: {changes} of {decisions}");
    }
}

#[test]
fn a_way_that_fails_is_left_at_once_and_tried_again_later() {
    let mut world = World::new(vec![Kind::Text; 8], 1.0, 4.0);
    world.rounds(5);
    let zstd = WAYS.iter().position(|&method| method == Method::Zstd).unwrap();
    world.broken = Some(zstd);
    assert!(world.share(Method::Zstd, 2) < 0.1);
    world.broken = None;
    // The longer it failed, the longer it is left alone.
    world.rounds(20);
    assert!(world.share(Method::Zstd, 5) > 0.8);
}

#[test]
fn pages_that_stop_shrinking_are_sent_as_they_are_after_one_request() {
    let mut world = World::new(vec![Kind::Text; 8], 1.0, 1.0);
    world.rounds(10);
    world.kinds = vec![Kind::Noise; 8];
    let raw = world.share(Method::Raw, 1);
    assert!(raw > 0.7, "one request of nine a region shows it, and some are probes: {raw}");
}

#[test]
fn a_trace_replayed_decides_the_same() {
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let written = Arc::clone(&events);
    let tracer = Tracer::new(move |event| written.lock().unwrap().push(event.clone()));
    let kinds = vec![Kind::Text, Kind::Noise, Kind::Counters, Kind::Text];
    let adaptive = Adaptive::new(terms(4, 1.0, None), Some(tracer));
    let mut world = World::with(adaptive, kinds, 10.0, 1.0);
    world.rounds(5);
    let lines: Vec<String> =
        events.lock().unwrap().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let decided = replay(&lines);
    assert!(decided > 150, "{decided} decisions");
}

/// Feeds a new selector with what the trace says another one was shown, and holds it to the other's decisions.
fn replay(lines: &[String]) -> usize {
    let mut adaptive: Option<Adaptive> = None;
    let mut decided = 0;
    for line in lines {
        let event: Event = serde_json::from_str(line).unwrap();
        match (event, &mut adaptive) {
            (Event::Began(terms), _) => adaptive = Some(Adaptive::new(terms, None)),
            (Event::Round { dirty, pages }, Some(adaptive)) => adaptive.begin_round(dirty, pages),
            (Event::Decided(decision), Some(adaptive)) => {
                let Decision { first, pages, known, way, keep, .. } = decision;
                let choice = adaptive.choose(Piece { first: PageIndex(first), pages, known });
                assert_eq!((choice.way, choice.keep_baselines), (way, keep), "decision {decided}");
                decided += 1;
            }
            (Event::Observed(seen), Some(adaptive)) => {
                let runs = seen.runs();
                let Seen { way, bytes, no_baseline, kept, cpu, occupancy, failed, .. } = seen;
                let runs = &runs[..];
                adaptive.observe(&Observation {
                    way,
                    failed,
                    runs,
                    bytes,
                    no_baseline,
                    kept,
                    cpu,
                    occupancy,
                });
            }
            (Event::Passed(stretch), Some(adaptive)) => adaptive.observe_stretch(&stretch),
            _ => panic!("{line}"),
        }
    }
    decided
}

#[test]
fn pieces_end_where_their_region_does() {
    let adaptive = Adaptive::new(terms(4, 1.0, None), None);
    assert_eq!((adaptive.room(PageIndex(0)), adaptive.room(PageIndex(511))), (512, 1));
    assert_eq!(PAGE * REGION_PAGES, REGION_BYTES);
}

#[test]
fn a_guest_that_becomes_another_one_is_noticed_within_a_part_of_a_round() {
    let mut world = World::new(vec![Kind::Counters; 64], 1.0, 2.0);
    world.rounds(6);
    assert!(world.share(Method::Xbzrle, 1) > 0.9);
    world.kinds = vec![Kind::Text; 64];
    let zstd = world.share(Method::Zstd, 1);
    assert!(zstd > 0.5, "{zstd} in the first round");
    let zstd = world.share(Method::Zstd, 2);
    assert!(zstd > 0.9, "{zstd} in the rounds after it");
}
