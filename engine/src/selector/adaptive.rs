//! The selector that goes by what it sees.

use std::time::Duration;

use super::destination::Decoded;
use super::evidence::RegionState;
use super::knowledge::Knowledge;
use super::link::Stretch;
use super::market::Market;
use super::probes::Probes;
use super::sight::{Choice, Observation, Piece, SelectorCounts};
use super::single::single;
use super::terms::Terms;
use super::trace::{Decision, Event, Reason, Seen, Tracer};
use super::way::{Family, PageCost, Way};
use pageferry_accel::units::PageIndex;

/// Picks, for the pages of every region, the way by which most pages a second reach the other side.
///
/// It has no clock and no thread: what it decides follows from its terms, from what it was shown, and from nothing else.
pub struct Adaptive {
    terms: Terms,
    knowledge: Knowledge,
    market: Market,
    probes: Probes,
    counts: SelectorCounts,
    /// How often a page that is sent now is expected to be sent again.
    again: f32,
    /// What a page is expected to take by each way, for the pages that are being decided on, and what that costs; infinite for a
    /// way that they cannot go.
    expected: Vec<PageCost>,
    costs: Vec<f32>,
    tracer: Option<Tracer>,
}

/// A way must be cheaper by so much for a region to change to it.
const THRESHOLD: f32 = 0.08;

/// A region that has changed its way of late needs a better reason to do so again: so many times the threshold more at most.
const MOST_RESTLESS: f32 = 4.0;

/// For so many decisions a region that has changed its way of late stays with it, unless that is twice as dear as another.
const DWELL: u16 = 8;
const CALM: f32 = 0.5;

/// How many decisions of a region lie between two looks.
const LOOK_EVERY: u16 = 32;

/// Pages must become smaller than this share of what they were.
const WORTHWHILE: f32 = 0.97;

/// How likely a page is sent once more, at the least and at the most.
const LEAST_LIKELY: f32 = 0.1;
const MOST_LIKELY: f32 = 0.8;

impl Adaptive {
    /// A selector on these terms. Says so to `tracer`, which is handed everything that follows too.
    #[must_use]
    pub fn new(terms: Terms, tracer: Option<Tracer>) -> Self {
        if let Some(tracer) = &tracer {
            tracer.tell(&Event::Began(terms.clone()));
        }
        let knowledge = Knowledge::new(&terms);
        let ways = terms.ways.len();
        Self {
            market: Market::new(&terms, &knowledge.ways),
            probes: Probes::new(ways, terms.max_pages),
            counts: SelectorCounts::default(),
            again: LEAST_LIKELY,
            expected: vec![PageCost::default(); ways],
            costs: vec![0.0; ways],
            knowledge,
            tracer,
            terms,
        }
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

    /// A round begins, with so many dirty pages of so many that there are.
    ///
    /// Where few pages are dirty they are likely to be dirty again: that is how a round came to have few. Where all are, as in
    /// the first round, that says nothing.
    pub fn begin_round(&mut self, dirty: u64, pages: u64) {
        self.tell(|| Event::Round { dirty, pages });
        self.market.pause();
        let share = single(dirty as f64) / single(pages.max(1) as f64);
        let likely = (1.0 - share).clamp(LEAST_LIKELY, MOST_LIKELY);
        // Each time it is as likely as before.
        self.again = likely / (1.0 - likely);
    }

    /// Which way a piece goes.
    pub fn choose(&mut self, piece: Piece) -> Choice {
        let region = self.knowledge.regions.of(piece.first);
        self.knowledge.regions.visit(region);
        self.counts.decisions += 1;
        self.weigh(region, piece);
        let state = self.knowledge.regions.state(region);
        let (number, reason) = self.decide(region, piece);
        let (number, reason, keep) = self.consider_baselines(region, number, reason);
        self.tell(|| Event::Decided(self.decision(region, piece, state, number, reason, keep)));
        self.settle_on(region, number, reason);
        self.use_up(number, piece, keep);
        Choice { number, way: self.knowledge.ways[number].way, keep_baselines: keep }
    }

    /// A request has come back.
    pub fn observe(&mut self, seen: &Observation<'_>) {
        self.tell(|| Event::Observed(Seen::of(seen)));
        if let Some(failed) = seen.failed.and_then(|way| self.knowledge.number_of(way)) {
            self.knowledge.ways[failed].suspend(self.counts.decisions);
        }
        let Some(number) = self.knowledge.number_of(seen.way) else { return };
        let Some(cost) = self.knowledge.cost_of(number, seen) else { return };
        self.market.decoded(seen.way.method, seen.data_pages());
        for run in seen.data() {
            self.refund_look(self.knowledge.regions.of(run.first), number, cost, run.count.0);
        }
        self.knowledge.learn(number, cost, seen);
    }

    /// Some milliseconds have passed.
    pub fn observe_stretch(&mut self, stretch: &Stretch) {
        self.tell(|| Event::Passed(*stretch));
        self.market.observe(stretch);
        self.market.set_tariffs(&self.knowledge.ways);
    }

    /// The destination has said what decoding costs it.
    pub fn observe_destination(&mut self, workers: u32, decoded: &[Decoded]) {
        self.tell(|| {
            let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let methods = decoded.iter().map(|one| (one.method.to_wire(), one.pages, nanos(one.cpu)));
            Event::Decoded { workers, methods: methods.collect() }
        });
        self.market.observe_destination(workers, decoded);
        self.market.set_tariffs(&self.knowledge.ways);
    }

    /// Works out what a page of the piece costs by each way, at present prices.
    fn weigh(&mut self, region: usize, piece: Piece) {
        let known = single(piece.known.into()) / single(piece.pages.max(1).into());
        let whole = self.terms.page_bytes();
        for number in 0..self.costs.len() {
            let mut cost = self.knowledge.expected(region, number);
            self.expected[number] = cost;
            if self.knowledge.ways[number].needs_baseline() {
                // Pages without a baseline are sent as they are.
                cost.bytes = cost.bytes * known + whole * (1.0 - known);
            }
            let is_open = self.is_open(number, piece);
            self.costs[number] = if is_open { self.market.price(number, cost) } else { f32::INFINITY };
        }
        self.leave_out_what_does_not_shrink(region);
        // Whatever has failed: something must be sent.
        if self.costs.iter().all(|cost| cost.is_infinite())
            && let Some(any) = self.knowledge.ways.iter().position(|way| !way.needs_baseline())
        {
            self.costs[any] = 1.0;
        }
    }

    /// Whether the pages of the piece can go a way at all.
    fn is_open(&self, number: usize, piece: Piece) -> bool {
        let way = &self.knowledge.ways[number];
        way.is_open(self.counts.decisions) && (!way.needs_baseline() || piece.known > 0)
    }

    /// To encode pages that come out as large as they went in is CPU time for nothing, be it ever so cheap. A later look may find
    /// that they shrink by then.
    fn leave_out_what_does_not_shrink(&mut self, region: usize) {
        let Self { knowledge, expected, costs, terms, .. } = self;
        let is_plain = |number: usize| knowledge.ways[number].family == Family::Plain;
        if !(0..costs.len()).any(|number| is_plain(number) && costs[number].is_finite()) {
            return;
        }
        let limit = WORTHWHILE * terms.page_bytes();
        for number in (0..costs.len()).filter(|&number| !is_plain(number)) {
            let was_seen = knowledge.was_seen(region, knowledge.ways[number].family);
            if was_seen && expected[number].bytes > limit {
                costs[number] = f32::INFINITY;
            }
        }
    }

    fn decide(&mut self, region: usize, piece: Piece) -> (usize, Reason) {
        let best = cheapest(&self.costs);
        let pages = single(piece.pages.into());
        self.probes.earn(pages * self.costs[best]);
        // How many bytes they are that are sent as they are need no finding out.
        let is_known = |way: usize| self.knowledge.ways[way].family == Family::Plain;
        let decision = self.counts.decisions;
        if let Some(probe) = self.probes.due(decision, &self.costs, best, is_known, piece.pages) {
            return (probe, Reason::Probe);
        }
        let state = self.knowledge.regions.state(region);
        let (number, reason) = self.keep_or_change(state, best, piece);
        let Some(look) = self.look(region, number, state, piece) else { return (number, reason) };
        // What it costs if what is hoped for is not there.
        let expected = self.market.price(look, self.expected[look]);
        let more = pages * (expected - self.costs[number]);
        if self.probes.spend(more) { (look, Reason::Look) } else { (number, reason) }
    }

    fn keep_or_change(&self, state: RegionState, best: usize, piece: Piece) -> (usize, Reason) {
        let Some(now) = state.way.map(usize::from) else { return (best, Reason::First) };
        let (cost, least) = (self.costs[now], self.costs[best]);
        if cost.is_infinite() {
            let lacks_baselines = self.knowledge.ways[now].needs_baseline() && piece.known == 0;
            return (best, if lacks_baselines { Reason::NoBaseline } else { Reason::Gone });
        }
        let threshold = THRESHOLD * (1.0 + state.restless);
        let is_calm = state.stayed >= DWELL || state.restless < CALM;
        let pays = least < cost * (1.0 - threshold) && is_calm;
        if pays || least < cost / 2.0 { (best, Reason::Cheaper) } else { (now, Reason::Stays) }
    }

    /// A way whose family was not seen in this region, and that would be better than `number` if it did here what it did elsewhere.
    fn look(&self, region: usize, number: usize, state: RegionState, piece: Piece) -> Option<usize> {
        if state.unseen < LOOK_EVERY {
            return None;
        }
        let is_unseen = |&other: &usize| {
            let family = self.knowledge.ways[other].family;
            other != number && self.is_open(other, piece) && !self.knowledge.is_known(region, family)
        };
        let hopes = (0..self.costs.len()).filter(is_unseen);
        let hopes = hopes.map(|other| (other, self.market.price(other, self.knowledge.hoped(region, other))));
        let (other, hope) = hopes.min_by(|one, other| one.1.total_cmp(&other.1))?;
        (hope < self.costs[number] * (1.0 - THRESHOLD)).then_some(other)
    }

    /// A look that found its way to be the better one has cost nothing.
    fn refund_look(&mut self, region: usize, number: usize, cost: PageCost, pages: u32) {
        let Self { knowledge, market, probes, .. } = self;
        if knowledge.is_known(region, knowledge.ways[number].family) {
            return;
        }
        let Some(way) = knowledge.regions.state(region).way.map(usize::from) else { return };
        let usual = market.price(way, knowledge.expected(region, way));
        if way != number && market.price(number, cost) < usual * (1.0 - THRESHOLD) {
            let expected = market.price(number, knowledge.expected(region, number));
            probes.refund(single(pages.into()) * (expected - usual).max(0.0));
        }
    }

    /// Whether the pages' bytes are to be kept, and if that takes another way, whether it is worth that.
    fn consider_baselines(&self, region: usize, number: usize, reason: Reason) -> (usize, Reason, bool) {
        let way = &self.knowledge.ways[number];
        if way.needs_baseline() {
            return (number, reason, true);
        }
        let Some(gain) = self.gain_of_baselines(region, number) else { return (number, reason, false) };
        if way.keeps_copies || matches!(reason, Reason::Probe | Reason::Look) {
            return (number, reason, true);
        }
        match self.cheapest_that_keeps(number, gain) {
            Some(keeping) => (keeping, Reason::Baseline, true),
            None => (number, reason, true),
        }
    }

    /// What a page costs less whenever it is sent again if its bytes are kept now, less what keeping them costs; if that is a gain.
    /// From then on its baseline costs nothing more: a difference that is sent brings it up to date.
    fn gain_of_baselines(&self, region: usize, number: usize) -> Option<f32> {
        let is_usable = |&other: &usize| {
            let way = &self.knowledge.ways[other];
            way.needs_baseline() && way.is_open(self.counts.decisions)
        };
        let costs = (0..self.costs.len()).filter(is_usable);
        let costs = costs.map(|other| self.market.price(other, self.knowledge.hoped(region, other)));
        let saved = self.costs[number] * (1.0 - THRESHOLD) - costs.reduce(f32::min)?;
        let keeping = self.knowledge.keep_ns() * self.market.cpu_ns();
        Some(self.again * saved - keeping).filter(|&gain| gain > 0.0)
    }

    /// A way whose pages leave baselines, if it is dearer than `number` by no more than the gain.
    fn cheapest_that_keeps(&self, number: usize, gain: f32) -> Option<usize> {
        let keeping = (0..self.costs.len()).filter(|&other| self.knowledge.ways[other].keeps_copies);
        let found = keeping.min_by(|&one, &other| self.costs[one].total_cmp(&self.costs[other]))?;
        (self.costs[found] - self.costs[number] < gain).then_some(found)
    }

    /// Notes what was decided for the region.
    fn settle_on(&mut self, region: usize, number: usize, reason: Reason) {
        let state = self.knowledge.regions.state_mut(region);
        match reason {
            Reason::Stays | Reason::NoBaseline | Reason::Baseline => return,
            Reason::Probe => self.counts.probes += 1,
            Reason::Look => {
                self.counts.probes += 1;
                state.unseen = 0;
            }
            Reason::First => {}
            Reason::Cheaper | Reason::Gone => {
                self.counts.changes += 1;
                state.restless = (state.restless + 1.0).min(MOST_RESTLESS);
            }
        }
        if matches!(reason, Reason::First | Reason::Cheaper | Reason::Gone) {
            state.way = u8::try_from(number).ok();
            state.stayed = 0;
        }
    }

    fn use_up(&mut self, number: usize, piece: Piece, keep: bool) {
        let Self { knowledge, market, expected, .. } = self;
        let mut cost = expected[number];
        if keep && !knowledge.ways[number].needs_baseline() {
            cost.cpu_ns += knowledge.keep_ns();
        }
        if market.use_up(&knowledge.ways[number], cost, single(piece.pages.into())) {
            market.set_tariffs(&knowledge.ways);
        }
    }

    fn decision(
        &self,
        region: usize,
        piece: Piece,
        state: RegionState,
        number: usize,
        reason: Reason,
        keep: bool,
    ) -> Decision {
        let Piece { first, pages, known } = piece;
        let way = |number: usize| self.knowledge.ways[number].way;
        Decision {
            first: first.0,
            pages,
            known,
            region,
            way: way(number),
            before: state.way.map(|before| way(before.into())),
            reason,
            keep,
            costs: self.costs.iter().map(|&cost| Some(cost).filter(|cost| cost.is_finite())).collect(),
            prices: self.market.prices().to_vec(),
        }
    }

    /// Tells whoever traces; nothing is put together where nobody does.
    fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(tracer) = &self.tracer {
            tracer.tell(&event());
        }
    }
}

/// The number of the least cost, the first of several.
fn cheapest(costs: &[f32]) -> usize {
    let least = costs.iter().enumerate().min_by(|one, other| one.1.total_cmp(other.1));
    least.map_or(0, |(number, _)| number)
}
