//! What was seen of each way in each region of guest memory.

use pageferry_accel::units::{PageIndex, PageSize};

use super::way::PageCost;

/// What was seen of one way in one region.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    cost: PageCost,
    /// How many pages it rests on, the older the less.
    pages: f32,
    /// In which age of the guest it was seen.
    age: u32,
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
    /// In which age of the guest that is.
    age: u32,
}

/// A table of all regions, by all ways.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    shift: u32,
    ways: usize,
    states: Vec<RegionState>,
    evidence: Vec<Evidence>,
    /// A new age begins when much of the guest is not any more what it was: what is older is not believed in.
    age: u32,
    /// Which share of the regions that were seen last was a surprise.
    surprise: f32,
    /// The region that was compared last: once it has surprised, it does so no more.
    compared: Option<usize>,
}

/// So many pages are enough to believe what they show.
const ENOUGH: f32 = 8.0;

/// However many pages were seen, the next request counts for a good part.
const MOST: f32 = 256.0;

/// What a visit leaves of the evidence: half in 34 visits.
const FADE: f32 = 0.98;

/// How fast the share of surprises follows, and above which a new age has begun.
const SURPRISE_FOLLOWS: f32 = 0.1;
const SURPRISED: f32 = 0.5;

/// A page that takes so many times what was expected is no noise: the content has changed.
const SUDDEN: f32 = 1.3;

impl Evidence {
    /// What the pages cost when they were last seen; nothing if they never were.
    pub(super) fn cost(&self) -> PageCost {
        self.cost
    }

    /// Whether that is of more than a few pages, not long ago, and of this age.
    pub(super) fn is_fresh(&self, age: u32) -> bool {
        self.pages(age) >= ENOUGH
    }

    /// How many pages of this age it rests on, the older the less.
    pub(super) fn pages(&self, age: u32) -> f32 {
        if self.age == age { self.pages } else { 0.0 }
    }

    pub(super) fn add(&mut self, seen: PageCost, pages: f32, age: u32) {
        let is_sudden = self.age != age || seen.bytes > SUDDEN * self.cost.bytes;
        let kept = if is_sudden { 0.0 } else { self.pages };
        let share = pages / (kept + pages);
        self.cost.bytes += (seen.bytes - self.cost.bytes) * share;
        self.cost.cpu_ns += (seen.cpu_ns - self.cost.cpu_ns) * share;
        self.pages = (kept + pages).min(MOST);
        self.age = age;
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
        let state = RegionState { way: None, stayed: 0, unseen: u16::MAX, restless: 0.0, age: 0 };
        let (states, evidence) = (vec![state; count], vec![Evidence::default(); count * ways]);
        Self { shift, ways, states, evidence, age: 0, surprise: 0.0, compared: None }
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
        self.evidence[region * self.ways + way].add(seen, pages, self.age);
    }

    pub(super) fn age(&self) -> u32 {
        self.age
    }

    /// A request took so many times the bytes that its region let expect. Says whether that begins a new age.
    pub(super) fn compare(&mut self, region: usize, ratio: f32) -> bool {
        if self.compared.replace(region) == Some(region) {
            return false;
        }
        let is_surprise = !(1.0 / SUDDEN..=SUDDEN).contains(&ratio);
        self.surprise += (f32::from(u8::from(is_surprise)) - self.surprise) * SURPRISE_FOLLOWS;
        let is_new_age = self.surprise > SURPRISED;
        if is_new_age {
            self.age += 1;
            self.surprise = 0.0;
        }
        is_new_age
    }

    /// A decision is taken in the region: what is known of it is that much older.
    pub(super) fn visit(&mut self, region: usize) {
        let state = &mut self.states[region];
        state.stayed = state.stayed.saturating_add(1);
        state.unseen = state.unseen.saturating_add(1);
        state.restless *= FADE;
        if state.age != self.age {
            (state.age, state.unseen, state.restless) = (self.age, u16::MAX, 0.0);
        }
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
        assert!(!evidence.is_fresh(0) && evidence.pages(0) == 0.0);
        evidence.add(cost(1000.0), 63.0, 0);
        evidence.add(cost(1200.0), 63.0, 0);
        assert_eq!(evidence.cost(), PageCost { bytes: 1100.0, cpu_ns: 100.0 });
        evidence.add(cost(4096.0), 10.0, 0);
        assert_eq!(evidence.cost(), PageCost { bytes: 4096.0, cpu_ns: 100.0 });
    }

    #[test]
    fn evidence_fades_with_visits_until_it_is_fresh_no_more() {
        let mut regions = Regions::new(PageIndex(1024), PageSize::Kib4, 2 << 20, 2);
        assert_eq!((regions.of(PageIndex(512)), regions.of(PageIndex(u64::MAX))), (1, 2));
        regions.add(1, 0, cost(10.0), 63.0);
        for visit in 0..1000 {
            if !regions.evidence(1)[0].is_fresh(0) {
                assert!((50..200).contains(&visit), "after {visit} visits");
                assert_eq!(regions.evidence(1)[0].cost(), cost(10.0), "better than nothing");
                return;
            }
            regions.visit(1);
        }
        panic!("never");
    }

    #[test]
    fn a_guest_that_turns_into_another_one_begins_a_new_age() {
        let mut regions = Regions::new(PageIndex(1024), PageSize::Kib4, 2 << 20, 1);
        regions.add(0, 0, cost(100.0), 63.0);
        let few =
            (0..1000).filter(|number| regions.compare(number % 3, if number % 4 == 0 { 40.0 } else { 1.1 }));
        assert_eq!(few.count(), 0);
        assert!(regions.evidence(0)[0].is_fresh(regions.age()), "single regions change all the time");
        assert_eq!((0..100).filter(|_| regions.compare(1, 40.0)).count(), 0, "one region tells of itself");
        assert_eq!((0..8).filter(|number| regions.compare(number % 2, 40.0)).count(), 1);
        assert!(!regions.evidence(0)[0].is_fresh(regions.age()));
        regions.add(0, 0, cost(200.0), 10.0);
        assert!(regions.evidence(0)[0].is_fresh(regions.age()));
        assert_eq!(regions.evidence(0)[0].cost(), cost(200.0), "nothing is left of the age before");
    }
}
