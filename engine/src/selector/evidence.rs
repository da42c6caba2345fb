//! What was seen of each way in each region of guest memory.

use pageferry_accel::units::{PageIndex, PageSize};

use super::way::PageCost;

/// What was seen of one way in one region.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    pub(super) cost: PageCost,
    /// How many pages it rests on, the older the less.
    pages: f32,
}

/// What was seen and decided in one region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RegionState {
    /// The way that its pages go, if there is one yet.
    pub(super) way: Option<u8>,
    /// For how many decisions that has been so.
    pub(super) stayed: u16,
    /// How many decisions ago it was last looked whether another way does better than its pages let expect.
    pub(super) unseen: u16,
    /// How many changes of way there were of late.
    pub(super) restless: f32,
}

/// A table of all regions, by all ways.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    shift: u32,
    ways: usize,
    states: Vec<RegionState>,
    evidence: Vec<Evidence>,
}

/// So many pages are enough to believe what they show.
const ENOUGH: f32 = 8.0;

/// However many pages were seen, the next request counts for a good part.
const MOST: f32 = 256.0;

/// What a visit leaves of the evidence: half in 34 visits.
const FADE: f32 = 0.98;

/// A page that takes so many times what was expected is no noise: the content has changed.
const SUDDEN: f32 = 1.3;

impl Evidence {
    /// What the pages cost when they were last seen, if ever.
    pub(super) fn cost(&self) -> Option<PageCost> {
        (self.pages > 0.0).then_some(self.cost)
    }

    /// Whether that is not long ago, and of more than a few pages.
    pub(super) fn is_fresh(&self) -> bool {
        self.pages >= ENOUGH
    }

    pub(super) fn add(&mut self, seen: PageCost, pages: f32) {
        let is_sudden = self.pages > 0.0 && seen.bytes > SUDDEN * self.cost.bytes;
        let kept = if is_sudden { 0.0 } else { self.pages };
        let share = pages / (kept + pages);
        self.cost.bytes += (seen.bytes - self.cost.bytes) * share;
        self.cost.cpu_ns += (seen.cpu_ns - self.cost.cpu_ns) * share;
        self.pages = (kept + pages).min(MOST);
    }

    fn fade(&mut self) {
        self.pages *= FADE;
    }
}

impl Regions {
    /// Regions of `bytes` (a power of two, at least a page) for a guest that ends at page `end`.
    pub(super) fn new(end: PageIndex, page_size: PageSize, bytes: u64, ways: usize) -> Self {
        let shift = bytes.max(1).ilog2().saturating_sub(page_size.shift().into());
        let count = usize::try_from((end.0 >> shift) + 1).unwrap_or(usize::MAX);
        let state = RegionState { way: None, stayed: 0, unseen: u16::MAX, restless: 0.0 };
        Self { shift, ways, states: vec![state; count], evidence: vec![Evidence::default(); count * ways] }
    }

    /// The region in which a page lies; the last one for pages behind the end.
    pub(super) fn of(&self, page: PageIndex) -> usize {
        usize::try_from(page.0 >> self.shift).unwrap_or(usize::MAX).min(self.states.len() - 1)
    }

    pub(super) fn state(&self, region: usize) -> RegionState {
        self.states[region]
    }

    pub(super) fn state_mut(&mut self, region: usize) -> &mut RegionState {
        &mut self.states[region]
    }

    pub(super) fn evidence(&self, region: usize) -> &[Evidence] {
        &self.evidence[region * self.ways..(region + 1) * self.ways]
    }

    pub(super) fn add(&mut self, region: usize, way: usize, seen: PageCost, pages: f32) {
        self.evidence[region * self.ways + way].add(seen, pages);
    }

    /// A decision is taken in the region: what is known of it is that much older.
    pub(super) fn visit(&mut self, region: usize) {
        let state = &mut self.states[region];
        state.stayed = state.stayed.saturating_add(1);
        state.unseen = state.unseen.saturating_add(1);
        state.restless *= FADE;
        let range = region * self.ways..(region + 1) * self.ways;
        self.evidence[range].iter_mut().for_each(Evidence::fade);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(bytes: f32) -> PageCost {
        PageCost { bytes, cpu_ns: 100.0 }
    }

    #[test]
    fn a_mean_follows_and_a_sudden_change_is_believed_at_once() {
        let mut evidence = Evidence::default();
        assert!(evidence.cost().is_none());
        evidence.add(cost(1000.0), 63.0);
        evidence.add(cost(1200.0), 63.0);
        assert_eq!(evidence.cost(), Some(PageCost { bytes: 1100.0, cpu_ns: 100.0 }));
        evidence.add(cost(4096.0), 10.0);
        assert_eq!(evidence.cost(), Some(PageCost { bytes: 4096.0, cpu_ns: 100.0 }));
    }

    #[test]
    fn evidence_fades_with_visits_until_it_is_fresh_no_more() {
        let mut regions = Regions::new(PageIndex(1024), PageSize::Kib4, 2 << 20, 2);
        assert_eq!((regions.of(PageIndex(512)), regions.of(PageIndex(u64::MAX))), (1, 2));
        regions.add(1, 0, cost(10.0), 63.0);
        for visit in 0..1000 {
            if !regions.evidence(1)[0].is_fresh() {
                assert!((50..200).contains(&visit), "after {visit} visits");
                assert_eq!(regions.evidence(1)[0].cost(), Some(cost(10.0)), "better than nothing");
                return;
            }
            regions.visit(1);
        }
        panic!("never");
    }
}
