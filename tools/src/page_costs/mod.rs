//! What every page of an input costs by every method: bytes on the wire, and CPU time at both ends.

mod error;
mod guest;
pub(crate) mod measure;
mod station;

use pageferry_accel::method::Method;

pub use error::MeasureError;
pub use guest::{Guest, Writer, of_images, of_workload};

/// What one page costs by one method.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes of payload: the page's share, where a request is encoded as a whole.
    pub payload_bytes: f32,
    /// CPU time to encode it, in nanoseconds, its copy and its checksum included.
    pub encode_ns: f32,
    /// CPU time to decode it, verify it, and write it to guest memory, in nanoseconds.
    pub decode_ns: f32,
}

/// What all pages of an input cost.
#[derive(Clone, Debug, PartialEq)]
pub struct PageCosts {
    page_bytes: u32,
    /// Of the input.
    pages: u32,
    /// How often the input lies in the guest.
    times: u32,
    rounds: Vec<RoundCosts>,
    zero: Cost,
    keep_ns: f64,
}

/// What the dirty pages of one round cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoundCosts {
    /// The pages, ascending.
    dirty: Vec<u32>,
    /// For every page of the guest its place in the other lists; [`NONE`] for those that are not dirty.
    place: Vec<u32>,
    zero: Vec<bool>,
    by_method: [Vec<Cost>; Method::ALL.len()],
}

const NONE: u32 = u32::MAX;

impl RoundCosts {
    /// A round of a guest of `pages` pages with these dirty ones, ascending, and whether each is zero. No method costs anything
    /// yet.
    #[must_use]
    pub fn new(pages: u32, dirty: Vec<u32>, zero: Vec<bool>) -> Self {
        let mut place = vec![NONE; pages as usize];
        for (at, &page) in (0..).zip(&dirty) {
            if let Some(place) = place.get_mut(page as usize) {
                *place = at;
            }
        }
        Self { dirty, place, zero, by_method: Default::default() }
    }

    /// States what `method` costs, one entry a dirty page.
    pub fn set(&mut self, method: Method, costs: Vec<Cost>) {
        self.by_method[usize::from(method.to_wire())] = costs;
    }

    /// The dirty pages, ascending.
    #[must_use]
    pub fn dirty(&self) -> &[u32] {
        &self.dirty
    }

    /// What `method` costs, an entry a dirty page; empty if that is not known.
    #[must_use]
    pub fn of(&self, method: Method) -> &[Cost] {
        &self.by_method[usize::from(method.to_wire())]
    }

    /// How many of the dirty pages are zero.
    #[must_use]
    pub fn zero_pages(&self) -> usize {
        self.zero.iter().filter(|&&zero| zero).count()
    }

    fn place(&self, page: u32) -> Option<usize> {
        self.place.get(page as usize).filter(|&&place| place != NONE).map(|&place| place as usize)
    }
}

impl PageCosts {
    /// The costs of a guest's rounds, of which the first has every page.
    ///
    /// `zero` is what a zero page costs by any method of a CPU, and `keep_ns` the CPU time to keep a page as a baseline.
    ///
    /// # Panics
    /// Without a round.
    #[must_use]
    pub fn new(page_bytes: u32, rounds: Vec<RoundCosts>, zero: Cost, keep_ns: f64) -> Self {
        let pages = u32::try_from(rounds[0].place.len()).unwrap_or(NONE);
        Self { page_bytes, pages, times: 1, rounds, zero, keep_ns }
    }

    /// A larger guest, in which the same memory lies so often, once at least.
    #[must_use]
    pub fn repeated(self, times: u32) -> Self {
        Self { times: times.clamp(1, NONE / self.pages.max(1)), ..self }
    }

    /// A guest all of whose pages always cost the same.
    #[must_use]
    pub fn uniform(pages: u32, page_bytes: u32, costs: &[(Method, Cost)]) -> Self {
        let mut round = RoundCosts::new(pages, (0..pages).collect(), vec![false; pages as usize]);
        for &(method, cost) in costs {
            round.set(method, vec![cost; pages as usize]);
        }
        Self::new(page_bytes, vec![round], Cost::default(), 0.0)
    }

    /// The size of a page.
    #[must_use]
    pub fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// How many pages the guest has.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages * self.times
    }

    /// The pages of the guest that are dirty when that round begins, if nothing else is said of what it writes; ascending.
    #[must_use]
    pub fn dirty(&self, round: u32) -> Vec<u32> {
        let dirty = self.round(round).dirty();
        (0..self.times).flat_map(|time| dirty.iter().map(move |page| time * self.pages + page)).collect()
    }

    /// The rounds whose costs are known.
    #[must_use]
    pub fn rounds(&self) -> &[RoundCosts] {
        &self.rounds
    }

    /// What a zero page costs by any method of a CPU.
    #[must_use]
    pub fn zero(&self) -> Cost {
        self.zero
    }

    /// CPU time to keep a page as a baseline, in nanoseconds.
    #[must_use]
    pub fn keep_ns(&self) -> f64 {
        self.keep_ns
    }

    /// The round that is known and nearest to `round`: those behind the first come again and again.
    #[must_use]
    pub fn round(&self, round: u32) -> &RoundCosts {
        let later = self.rounds.len() - 1;
        match round as usize {
            _ if later == 0 => &self.rounds[0],
            0 => &self.rounds[0],
            round => &self.rounds[1 + (round - 1) % later],
        }
    }

    /// Whether the page is zero in that round.
    #[must_use]
    pub fn is_zero(&self, round: u32, page: u32) -> bool {
        let (known, page) = (self.round(round), page % self.pages);
        let found = known.place(page).map(|place| known.zero[place]);
        found.unwrap_or_else(|| self.rounds[0].place(page).is_some_and(|place| self.rounds[0].zero[place]))
    }

    /// What a page that is not zero costs in that round; by a delta method, where it has a baseline. None if that is not
    /// known.
    ///
    /// A page that was not dirty in that round costs what it cost in the first or, by a delta method, which has nothing to say
    /// there, what another one did in the round.
    #[must_use]
    pub fn cost(&self, round: u32, page: u32, method: Method) -> Option<Cost> {
        let (known, page) = (self.round(round), page % self.pages);
        if let Some(&cost) = known.place(page).and_then(|place| known.of(method).get(place)) {
            return Some(cost);
        }
        if method.needs_baseline() {
            let all = known.of(method);
            return all.get(page as usize % all.len().max(1)).copied();
        }
        let first = &self.rounds[0];
        first.place(page).and_then(|place| first.of(method).get(place)).copied()
    }

    /// The pages that the guest writes: those that were dirty behind the first round, or all.
    #[must_use]
    pub fn hot(&self) -> Vec<u32> {
        self.dirty(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(payload_bytes: f32) -> Cost {
        Cost { payload_bytes, ..Cost::default() }
    }

    #[test]
    fn a_page_costs_what_it_cost_in_its_round_and_what_is_nearest_to_that_otherwise() {
        let mut first = RoundCosts::new(4, vec![0, 1, 2, 3], vec![true, false, false, false]);
        first.set(Method::Zstd, [10.0, 11.0, 12.0, 13.0].map(cost).to_vec());
        let mut second = RoundCosts::new(4, vec![0, 3], vec![false, false]);
        second.set(Method::Zstd, [20.0, 23.0].map(cost).to_vec());
        second.set(Method::Xbzrle, [5.0, 6.0].map(cost).to_vec());
        let costs = PageCosts::new(4096, vec![first, second], Cost::default(), 0.0);
        let bytes = |round, page, method| costs.cost(round, page, method).map(|cost| cost.payload_bytes);
        assert_eq!(bytes(0, 3, Method::Zstd), Some(13.0));
        assert_eq!(bytes(1, 3, Method::Zstd), Some(23.0));
        assert_eq!(bytes(7, 3, Method::Zstd), Some(23.0), "the second round comes again");
        assert_eq!(bytes(1, 2, Method::Zstd), Some(12.0));
        assert_eq!(bytes(0, 0, Method::Xbzrle), None);
        assert_eq!(bytes(1, 1, Method::Xbzrle), Some(6.0));
        assert!(costs.is_zero(0, 0) && !costs.is_zero(1, 0) && !costs.is_zero(1, 2));
        assert_eq!(costs.hot(), [0, 3]);
        let twice = costs.clone().repeated(2);
        assert_eq!((twice.pages(), twice.dirty(1)), (8, vec![0, 3, 4, 7]));
        assert!(twice.is_zero(0, 4));
        assert_eq!(twice.cost(1, 7, Method::Zstd), costs.cost(1, 3, Method::Zstd));
    }
}
