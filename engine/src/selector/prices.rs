//! What the time of each resource is worth: nothing where there is plenty of it, everything where all wait for it.

/// What pages use up on their way to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// The link's time.
    Link,
    /// The CPU time that the source may use.
    Cpu,
    /// The poller's thread, of which there is one.
    Poller,
    /// The destination's CPU time.
    Destination,
    /// The time of the accelerator at this place of the order of preference.
    Lane(usize),
}

impl Resource {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Link => 0,
            Self::Cpu => 1,
            Self::Poller => 2,
            Self::Destination => 3,
            Self::Lane(lane) => 4 + lane,
        }
    }

    /// How many there are with so many accelerators.
    pub(super) const fn count(lanes: usize) -> usize {
        4 + lanes
    }
}

/// Prices of all resources, from 0 to 1.
///
/// All resources work at the same time, so pages arrive as fast as the busiest lets them. Each way of a page takes some time
/// of each; the prices say how much of one time is worth how much of another. They follow from how far a resource has run
/// ahead of the others: the one that has most before it costs 1, and one that is some decisions behind 1/e of that.
/// Who picks the cheapest way at such prices spreads the load as a linear program would: these are its multipliers,
/// and this is how mirror descent (Nemirovsky and Yudin, 1983) finds them.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    /// How much work of each resource was given out, in nanoseconds behind the one that has most; none is above 0.
    ahead: Vec<f32>,
    prices: Vec<f32>,
    /// How long a decision keeps its busiest resource, as a mean.
    decision_ns: f32,
    /// What was used since the prices were last set.
    pending: Vec<f32>,
    /// After how many decisions' worth of work a resource's price has fallen to 1/e.
    temper: f32,
}

/// Prices move fast at first, to get near to where they belong, and slowly later: all pages of a region go one way, and the
/// prices must not swing by more than a region's threshold while they do.
const QUICK: f32 = 16.0;
const CALM: f32 = 160.0;
const CALMING: f32 = 0.125;

/// A resource that lies idle saves nothing up: its price falls to e to the power of minus so much.
const BEHIND: f32 = 5.0;

/// How fast the mean of a decision's time follows.
const FOLLOW: f32 = 0.05;

impl Prices {
    pub(super) fn new(resources: usize) -> Self {
        let zeros = vec![0.0; resources];
        Self {
            ahead: zeros.clone(),
            prices: vec![1.0; resources],
            decision_ns: 0.0,
            pending: zeros,
            temper: QUICK,
        }
    }

    pub(super) fn of(&self, resource: Resource) -> f32 {
        self.prices[resource.index()]
    }

    pub(super) fn all(&self) -> &[f32] {
        &self.prices
    }

    /// Work of so many nanoseconds was given to `resource`.
    pub(super) fn use_up(&mut self, resource: Resource, ns: f32) {
        self.pending[resource.index()] += ns;
    }

    /// Sets the prices anew after a share of a decision: 1 for a whole one.
    pub(super) fn settle(&mut self, decisions: f32) {
        let most = self.pending.iter().copied().fold(0.0, f32::max);
        if most <= 0.0 {
            return;
        }
        let follow = if self.decision_ns == 0.0 { 1.0 } else { (FOLLOW * decisions).min(1.0) };
        self.decision_ns += (most / decisions - self.decision_ns) * follow;
        let mut top = f32::MIN;
        for (ahead, pending) in self.ahead.iter_mut().zip(&mut self.pending) {
            *ahead += std::mem::take(pending);
            top = top.max(*ahead);
        }
        self.temper = (self.temper + CALMING * decisions).min(CALM);
        let temper = self.temper * self.decision_ns;
        for (ahead, price) in self.ahead.iter_mut().zip(&mut self.prices) {
            *ahead = (*ahead - top).max(-BEHIND * temper);
            *price = (*ahead / temper).exp();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Resource = Resource::Link;
    const CPU: Resource = Resource::Cpu;

    /// Hands out pages one by one by whichever of the ways (link, cpu) is cheapest; returns the total use of both.
    fn spread(ways: &[(f32, f32)], pages: usize) -> (f32, f32) {
        let mut prices = Prices::new(Resource::count(0));
        let (mut link, mut cpu) = (0.0, 0.0);
        for _ in 0..pages {
            let cost = |way: &(f32, f32)| way.0 * prices.of(LINK) + way.1 * prices.of(CPU);
            let way = ways.iter().min_by(|one, other| cost(one).total_cmp(&cost(other))).unwrap();
            prices.use_up(LINK, way.0);
            prices.use_up(CPU, way.1);
            prices.settle(1.0);
            link += way.0;
            cpu += way.1;
        }
        (link, cpu)
    }

    #[test]
    fn two_ways_are_mixed_as_a_linear_program_would() {
        // A part x of the pages by the second way: 10 - 9x = 1 + 19x at x = 9/28, which takes 7.107 a page.
        let (link, cpu) = spread(&[(10.0, 1.0), (1.0, 20.0)], 10_000);
        let best = (10.0 - 9.0 * 9.0 / 28.0) * 10_000.0;
        assert!(link.max(cpu) < best * 1.01, "{link} and {cpu}, where {best} is possible");
    }

    #[test]
    fn a_way_that_is_best_for_the_only_scarce_resource_takes_everything() {
        let (link, cpu) = spread(&[(10.0, 1.0), (1.0, 0.5)], 1000);
        assert!((link, cpu) == (1000.0, 500.0), "{link}, {cpu}");
    }

    #[test]
    fn an_idle_resource_saves_nothing_up() {
        let mut prices = Prices::new(Resource::count(0));
        for _ in 0..1_000_000 {
            prices.use_up(LINK, 1000.0);
            prices.settle(1.0);
        }
        assert!(prices.of(CPU) >= (-BEHIND * 1.01).exp(), "{}", prices.of(CPU));
        for _ in 0..1200 {
            prices.use_up(CPU, 1000.0);
            prices.settle(1.0);
        }
        assert!(prices.of(CPU) == 1.0 && prices.of(LINK) < 0.1, "soon forgotten: {:?}", prices.all());
    }
}
