//! Which way is tried next though another is thought to be the best.

use super::host::single;

/// When which way is probed, and how much may be spent on it.
#[derive(Clone, Debug)]
pub(super) struct Probes {
    /// Pages that were sent to find out, by way.
    pages: Vec<u32>,
    /// When a way was last probed, in decisions.
    last: Vec<u64>,
    request_pages: u32,
    /// How many pages may go another way than the one that is thought best.
    allowance: f32,
}

/// Requests that a way is probed with at first.
const FIRST: u32 = 10;

/// After so many of them it is left at that, if the way is [`HOPELESS`] times as dear as the best.
const LEAST: u32 = 3;
const HOPELESS: f32 = 2.0;

/// Of the first decisions every so many-th is a probe.
const EVERY: u64 = 4;

/// Later, every so many-th.
const SELDOM: u64 = 128;

/// A way that is so many times as dear as the best is not probed any more.
const NEVER: f32 = 4.0;

/// Of all pages so large a share may be spent to look whether other ways do better somewhere. It does not gather for ever.
const SPENT: f32 = 0.04;
const SAVED_REQUESTS: f32 = 16.0;

impl Probes {
    /// Probes of so many ways, in requests of so many pages.
    pub(super) fn new(ways: usize, request_pages: u32) -> Self {
        let request_pages = request_pages.max(1);
        Self { pages: vec![0; ways], last: vec![0; ways], request_pages, allowance: 0.0 }
    }

    /// Pages are decided on: a share of as many may be spent on looks.
    pub(super) fn earn(&mut self, pages: f32) {
        let most = SAVED_REQUESTS * single(self.request_pages.into());
        self.allowance = (self.allowance + SPENT * pages).min(most);
    }

    /// Whether a look with so many pages can be afforded; it is paid then.
    pub(super) fn spend(&mut self, pages: f32) -> bool {
        let can = pages <= self.allowance;
        if can {
            self.allowance -= pages;
        }
        can
    }

    /// A look was worth it: what it cost comes back.
    pub(super) fn refund(&mut self, pages: f32) {
        self.allowance += pages;
    }

    /// The way to probe with the pages of this decision, if any. `costs` says what each costs as far as is known, infinity if it
    /// cannot be gone; `is_exact`, whether nothing about it can be found out.
    pub(super) fn due(
        &mut self,
        decision: u64,
        costs: &[f32],
        best: usize,
        is_exact: impl Fn(usize) -> bool,
        pages: u32,
    ) -> Option<usize> {
        let found = if decision.is_multiple_of(EVERY) { self.unknown(costs, best, is_exact) } else { None };
        let found = found
            .or_else(|| if decision.is_multiple_of(SELDOM) { self.long_ago(costs, best) } else { None })?;
        self.pages[found] += pages;
        self.last[found] = decision;
        Some(found)
    }

    /// The way that was probed least, of those that were not probed enough.
    fn unknown(&self, costs: &[f32], best: usize, is_exact: impl Fn(usize) -> bool) -> Option<usize> {
        let wanting = |&way: &usize| {
            let requests = self.pages[way] / self.request_pages;
            let is_hopeless = costs[way] > HOPELESS * costs[best];
            let enough = match (is_hopeless, is_exact(way)) {
                (true, true) => 0,
                (true, false) => LEAST,
                (false, _) => FIRST,
            };
            costs[way].is_finite() && requests < enough
        };
        (0..costs.len()).filter(wanting).min_by_key(|&way| self.pages[way])
    }

    fn long_ago(&self, costs: &[f32], best: usize) -> Option<usize> {
        let worth = |&way: &usize| way != best && costs[way] <= NEVER * costs[best];
        (0..costs.len()).filter(worth).min_by_key(|&way| self.last[way])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(costs: &[f32], decisions: u64) -> Vec<u32> {
        let mut probes = Probes::new(costs.len(), 63);
        let mut counts = vec![0; costs.len()];
        for decision in 1..=decisions {
            if let Some(way) = probes.due(decision, costs, 0, |way| way == 4, 63) {
                counts[way] += 1;
            }
        }
        counts
    }

    #[test]
    fn every_way_is_probed_with_ten_requests_and_a_hopeless_one_with_three() {
        assert_eq!(probed(&[1.0, 1.5, 100.0, f32::INFINITY, 100.0], 127), [10, 10, 3, 0, 0]);
    }

    #[test]
    fn looks_take_a_share_of_the_pages_and_what_paid_off_comes_back() {
        let mut probes = Probes::new(1, 63);
        let mut looked = 0;
        for _ in 0..1000 {
            probes.earn(63.0);
            looked += u32::from(probes.spend(63.0));
        }
        assert!((38..=40).contains(&looked), "{looked} of 1000");
        probes.refund(63.0);
        assert!(probes.spend(63.0));
    }

    #[test]
    fn later_probes_are_few_and_go_round_the_ways_that_may_still_win() {
        let counts = probed(&[1.0, 1.5, 1.6, 100.0], 12_800);
        assert_eq!(counts[0], 10, "the best one needs no probe");
        assert_eq!(counts[3], 3);
        assert!((55..=62).contains(&counts[1]) && (55..=62).contains(&counts[2]), "{counts:?}");
    }
}
