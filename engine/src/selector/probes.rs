//! Which way is tried next though another is thought to be the best, and what that may cost.

use super::single::single;

/// When which way is probed, and how much may be spent on it.
#[derive(Clone, Debug)]
pub(super) struct Probes {
    /// Pages that were sent to find out, by way.
    pages: Vec<u32>,
    /// When a way was last probed, in decisions.
    last: Vec<u64>,
    request_pages: u32,
    /// How much dearer than the best pages may be sent, in all.
    allowance: f32,
    /// What a decision costs, as a mean.
    usual: f32,
}

/// Requests that a way is probed with at first.
const FIRST: u32 = 10;

/// Of the decisions every so many-th may be a probe, while there are ways that were not probed enough.
const EVERY: u64 = 4;

/// Later, every so many-th.
const SELDOM: u64 = 128;

/// So large a share of what everything costs may be spent to find out whether other ways are better. It does not gather for
/// ever: no more than so many decisions' cost, which is also what there is at first.
const SPENT: f32 = 0.02;
const SAVED: f32 = 8.0;

/// How fast the mean of a decision's cost follows.
const FOLLOW: f32 = 0.05;

impl Probes {
    /// Probes of so many ways, in requests of so many pages.
    pub(super) fn new(ways: usize, request_pages: u32) -> Self {
        let request_pages = request_pages.max(1);
        Self { pages: vec![0; ways], last: vec![0; ways], request_pages, allowance: 0.0, usual: 0.0 }
    }

    /// A decision that costs so much the best way: a share of it may be spent to find out.
    pub(super) fn earn(&mut self, cost: f32) {
        if self.usual == 0.0 {
            self.usual = cost;
            self.allowance = SAVED * cost;
        }
        self.usual += (cost - self.usual) * FOLLOW;
        self.allowance = (self.allowance + SPENT * cost).min(SAVED * self.usual);
    }

    /// Whether something can be afforded that costs so much more than it need; it is paid then.
    pub(super) fn spend(&mut self, more: f32) -> bool {
        let can = more <= self.allowance;
        if can {
            self.allowance -= more.max(0.0);
        }
        can
    }

    /// What was spent was worth it, and comes back.
    pub(super) fn refund(&mut self, more: f32) {
        self.allowance += more;
    }

    /// The way to probe with the `pages` pages of this decision, if any. `costs` says what a page costs by each as far as is known,
    /// infinity if it cannot be gone; `is_known`, whether there is little about it to be found out.
    pub(super) fn due(
        &mut self,
        decision: u64,
        costs: &[f32],
        best: usize,
        is_known: impl Fn(usize) -> bool,
        pages: u32,
    ) -> Option<usize> {
        let found = if decision.is_multiple_of(EVERY) { self.unknown(costs, &is_known) } else { None };
        let found = found
            .or_else(|| if decision.is_multiple_of(SELDOM) { self.long_ago(costs, best) } else { None })?;
        let pages_more = single(pages.into()) * (costs[found] - costs[best]);
        if !self.spend(pages_more) {
            return None;
        }
        self.pages[found] += pages;
        self.last[found] = decision;
        Some(found)
    }

    /// The cheapest of the ways that were not probed enough.
    fn unknown(&self, costs: &[f32], is_known: &impl Fn(usize) -> bool) -> Option<usize> {
        let wanting = |&way: &usize| {
            !is_known(way) && costs[way].is_finite() && self.pages[way] / self.request_pages < FIRST
        };
        let least = |&one: &usize, &other: &usize| costs[one].total_cmp(&costs[other]);
        (0..costs.len()).filter(wanting).min_by(least)
    }

    fn long_ago(&self, costs: &[f32], best: usize) -> Option<usize> {
        let worth = |&way: &usize| way != best && costs[way].is_finite();
        (0..costs.len()).filter(worth).min_by_key(|&way| self.last[way])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each way was probed, where the first is the best and little is to be found out about the last.
    fn probed(costs: &[f32], decisions: u64) -> Vec<u32> {
        let mut probes = Probes::new(costs.len(), 63);
        let mut counts = vec![0; costs.len()];
        for decision in 1..=decisions {
            probes.earn(63.0 * costs[0]);
            if let Some(way) = probes.due(decision, costs, 0, |way| way == 4, 63) {
                counts[way] += 1;
            }
        }
        counts
    }

    #[test]
    fn every_way_is_probed_with_ten_requests_unless_little_is_to_be_found_out() {
        let counts = probed(&[1.0, 1.5, 3.0, f32::INFINITY, 1.5], 1000);
        assert!(counts[1..3].iter().all(|&count| count >= 10), "{counts:?}");
        assert!(counts[3] == 0 && counts[4] < 10, "{counts:?}");
    }

    #[test]
    fn however_dear_the_other_ways_are_only_so_much_is_spent_on_them() {
        for other in [1.1, 2.0, 5.0, 8.9] {
            let costs = [1.0, other, other, other, 1.0];
            let decisions = 10_000;
            let spent: f32 =
                probed(&costs, decisions).iter().zip(costs).map(|(&n, cost)| n as f32 * (cost - 1.0)).sum();
            let most = SAVED + SPENT * 10_000.0;
            assert!(spent <= most * 1.01, "{spent} for ways that cost {other}");
            assert!(spent > 5.0, "{spent} for ways that cost {other}");
        }
    }

    #[test]
    fn what_paid_off_comes_back() {
        let mut probes = Probes::new(1, 63);
        probes.earn(10.0);
        assert!(probes.spend(70.0) && !probes.spend(70.0));
        probes.refund(70.0);
        assert!(probes.spend(70.0));
    }
}
