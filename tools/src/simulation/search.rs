//! The largest rate at which a guest may write and still be moved.

use super::SimulationError;
use super::chooser::Chooser;
use super::course::{Switchover, migration};
use super::guest::{Pattern, Writes};
use super::outcome::Simulated;
use super::setup::Setup;
use crate::page_costs::PageCosts;

/// How hard is looked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// The largest rate that is tried, in pages a second.
    pub ceiling: f64,
    /// The search ends when a rate that works and one that does not are no further apart than by this factor.
    pub precision: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct LargestRate {
    /// The largest rate that was found to work, in pages a second; 0 if none does.
    pub pages_per_s: f64,
    /// Whether the ceiling works too, so that the largest rate may be larger.
    pub at_ceiling: bool,
    /// The migration at that rate; none if no rate works.
    pub migration: Option<Simulated>,
}

/// Below this rate nothing is looked for.
const FLOOR: f64 = 100.0;

impl Default for Effort {
    /// To 2%, up to 64 Mi pages a second, which 256 GiB of pages of 4 KiB are.
    fn default() -> Self {
        Self { ceiling: f64::from(1 << 26), precision: 1.02 }
    }
}

/// Looks for the largest rate of writes with which [`migration`] succeeds, by halving on a scale of factors.
///
/// `chooser` makes a new chooser for each try, so that none knows of the one before.
///
/// # Errors
/// Those of [`migration`].
pub fn largest_dirty_rate(
    setup: &Setup,
    costs: &PageCosts,
    (pattern, hot_pages): (Pattern, Option<usize>),
    switchover: &Switchover,
    effort: Effort,
    mut chooser: impl FnMut() -> Box<dyn Chooser>,
) -> Result<LargestRate, SimulationError> {
    search(effort, |pages_per_s| {
        let writes = Writes { pages_per_s, pattern, hot_pages };
        let simulated = migration(setup, costs, &writes, switchover, &mut *chooser())?;
        Ok(Some(simulated).filter(|simulated| simulated.migrated))
    })
}

/// Halves what is between a rate that works and one that does not.
fn search<E>(
    effort: Effort,
    mut works: impl FnMut(f64) -> Result<Option<Simulated>, E>,
) -> Result<LargestRate, E> {
    if let Some(migration) = works(effort.ceiling)? {
        return Ok(LargestRate { pages_per_s: effort.ceiling, at_ceiling: true, migration: Some(migration) });
    }
    let none = LargestRate { pages_per_s: 0.0, at_ceiling: false, migration: None };
    let Some(migration) = works(FLOOR)? else { return Ok(none) };
    let (mut low, mut high, mut best) = (FLOOR, effort.ceiling, migration);
    while high / low > effort.precision.max(1.0 + 1e-6) {
        let middle = (low * high).sqrt();
        match works(middle)? {
            Some(migration) => (low, best) = (middle, migration),
            None => high = middle,
        }
    }
    Ok(LargestRate { pages_per_s: low, at_ceiling: false, migration: Some(best) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_rate_lies_within_the_precision_below_the_limit_wherever_that_is() {
        for limit in [150.0, 12_345.0, 3e7] {
            let works = |rate: f64| Ok::<_, ()>((rate <= limit).then(Simulated::default));
            let found = search(Effort::default(), works).unwrap().pages_per_s;
            assert!(found <= limit && limit / found <= 1.02, "{found} for {limit}");
        }
    }

    #[test]
    fn a_limit_beyond_what_is_looked_for_is_said_to_be_so() {
        let always = search(Effort::default(), |_| Ok::<_, ()>(Some(Simulated::default()))).unwrap();
        assert!(always.at_ceiling && always.pages_per_s == Effort::default().ceiling);
        let never = search(Effort::default(), |_| Ok::<_, ()>(None)).unwrap();
        assert_eq!(never, LargestRate { pages_per_s: 0.0, at_ceiling: false, migration: None });
    }
}
