//! The guest at the source, and what it writes.

use crate::page_costs::PageCosts;
use crate::workload::Noise;

use super::time::Nanos;

/// What a guest writes while it is moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Writes {
    /// How many writes a second, each to one page.
    pub pages_per_s: f64,
    /// Where.
    pub pattern: Pattern,
    /// To how many pages; none for all that the input says are written.
    pub hot_pages: Option<usize>,
}

/// Where a guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// To one page after the other, and from the beginning.
    InOrder,
    /// Anywhere, by the same seed always the same.
    Random(u64),
}

/// A guest that writes.
pub(super) struct Guest {
    hot: Vec<u32>,
    pages_per_s: f64,
    noise: Option<Noise>,
    written: u64,
    dirty: Vec<bool>,
    count: usize,
}

/// So many writes a page leave no page unwritten, however random they are: e^-20 of them.
const ALL: u64 = 20;

impl Guest {
    pub(super) fn new(costs: &PageCosts, writes: &Writes) -> Self {
        let mut hot = costs.hot();
        hot.truncate(writes.hot_pages.unwrap_or(usize::MAX));
        let noise = match writes.pattern {
            Pattern::InOrder => None,
            Pattern::Random(seed) => Some(Noise::new(seed, 0, 0)),
        };
        let dirty = vec![false; hot.len()];
        Self { hot, pages_per_s: writes.pages_per_s, noise, written: 0, dirty, count: 0 }
    }

    /// Writes for so long.
    pub(super) fn run(&mut self, until: Nanos) {
        let pages = self.hot.len() as u64;
        let due = whole(until.s() * self.pages_per_s);
        let writes = due.saturating_sub(self.written);
        if pages == 0 || writes == 0 {
            return;
        }
        let enough = if self.noise.is_some() { ALL * pages } else { pages };
        if writes >= enough {
            self.dirty.fill(true);
            self.count = self.dirty.len();
        } else {
            (self.written..due).for_each(|number| self.write(number % pages));
        }
        self.written = due;
    }

    fn write(&mut self, next: u64) {
        let at = match &mut self.noise {
            Some(noise) => noise.index(self.hot.len()),
            None => usize::try_from(next).unwrap_or_default(),
        };
        self.count += usize::from(!self.dirty[at]);
        self.dirty[at] = true;
    }

    /// How many pages are dirty.
    pub(super) fn dirty_pages(&self) -> usize {
        self.count
    }

    /// Takes what is dirty, ascending.
    pub(super) fn collect(&mut self) -> Vec<u32> {
        let mut pages = Vec::with_capacity(self.count);
        pages.extend(self.hot.iter().zip(&self.dirty).filter(|(_, dirty)| **dirty).map(|(&page, _)| page));
        self.dirty.fill(false);
        self.count = 0;
        pages
    }
}

/// The whole part of a number that is not negative.
fn whole(number: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(number).map_or(0, |seconds| seconds.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_dirties_as_many_pages_as_it_writes_in_order_and_fewer_at_random() {
        let costs = PageCosts::uniform(1000, 4096, &[]);
        let writes = |pattern| Writes { pages_per_s: 1000.0, pattern, hot_pages: None };
        let mut in_order = Guest::new(&costs, &writes(Pattern::InOrder));
        in_order.run(Nanos::from_s(0.5));
        assert_eq!(in_order.dirty_pages(), 500);
        assert_eq!(in_order.collect(), (0..500).collect::<Vec<_>>());
        in_order.run(Nanos::from_s(0.7));
        assert_eq!(in_order.collect(), (500..700).collect::<Vec<_>>());
        let mut random = Guest::new(&costs, &writes(Pattern::Random(1)));
        random.run(Nanos::from_s(1.0));
        // 1 - 1/e of them.
        assert!((580..690).contains(&random.dirty_pages()), "{}", random.dirty_pages());
        random.run(Nanos::from_s(60.0));
        assert_eq!(random.dirty_pages(), 1000);
    }
}
