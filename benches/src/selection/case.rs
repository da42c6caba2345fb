//! One input over one link with one budget: by every fixed method, and by the selector.

use std::time::Duration;

use pageferry_accel::method::Method;
use pageferry_engine::selector::SelectorCounts;
use pageferry_tools::page_costs::PageCosts;
use pageferry_tools::simulation::{
    Adapting, CpuLane, Fixed, Host, HostCosts, Lane, Link, Setup, Simulated, SimulationError, transfer,
};

use super::{METHODS, shortest};

/// A link, and what the source may spend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Gbit/s.
    pub link: f64,
    /// CPUs of the source.
    pub cpus: f64,
}

/// What came of a race.
#[derive(Clone, Debug)]
pub struct Race {
    /// The link and the budget.
    pub case: Case,
    /// What every fixed method made of it.
    pub fixed: Vec<(Method, Outcome)>,
    /// What the selector made of it.
    pub selector: Outcome,
    /// What the selector did.
    pub counts: SelectorCounts,
    /// The seconds that nobody can do without, whatever goes which way.
    pub bound_s: f64,
}

/// How long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Virtual seconds.
    pub seconds: f64,
    /// Pages a second that were not zero.
    pub pages_per_s: f64,
}

impl Race {
    /// The fixed method that was fastest.
    #[must_use]
    pub fn best(&self) -> (Method, Outcome) {
        let fastest =
            self.fixed.iter().max_by(|one, other| one.1.pages_per_s.total_cmp(&other.1.pages_per_s));
        fastest.copied().unwrap_or((Method::Raw, self.selector))
    }

    /// How much more the selector moved a second than the best fixed method.
    #[must_use]
    pub fn gain(&self) -> f64 {
        self.selector.pages_per_s / self.best().1.pages_per_s - 1.0
    }

    /// How much longer the selector took than the best that is possible.
    #[must_use]
    pub fn regret(&self) -> f64 {
        self.selector.seconds / self.bound_s - 1.0
    }

    /// Regions that changed their way, a second.
    #[must_use]
    pub fn changes_per_s(&self) -> f64 {
        self.counts.changes as f64 / self.selector.seconds
    }
}

/// Sends an input by every fixed method and by the selector.
///
/// # Errors
/// [`SimulationError`] if the input's costs are not all known.
pub fn race(costs: &PageCosts, host: HostCosts, case: Case) -> Result<Race, SimulationError> {
    let rounds = u32::try_from(costs.rounds().len()).unwrap_or(u32::MAX);
    let outcome =
        |simulated: &Simulated| Outcome { seconds: simulated.seconds, pages_per_s: simulated.pages_per_s };
    let fixed = METHODS.map(|method| {
        let setup = setup(costs, host, case, method.needs_baseline());
        let simulated = transfer(&setup, costs, rounds, &mut Fixed::new(method, 0))?;
        Ok((method, outcome(&simulated)))
    });
    let setup = setup(costs, host, case, true);
    let mut adapting = Adapting::new(&setup, costs, &METHODS, None);
    let simulated = transfer(&setup, costs, rounds, &mut adapting)?;
    Ok(Race {
        case,
        fixed: fixed.into_iter().collect::<Result<_, _>>()?,
        selector: outcome(&simulated),
        counts: adapting.counts(),
        bound_s: shortest(&setup, costs),
    })
}

/// Two hosts of four CPUs and as many workers; the source is held to its budget.
fn setup(costs: &PageCosts, host: HostCosts, case: Case, keeps_baselines: bool) -> Setup {
    let end = Host { cpus: 4.0, lanes: vec![Lane::Cpu(CpuLane { workers: 4, depth: 4 })] };
    Setup {
        max_pages: 63,
        host,
        source: end.clone(),
        destination: end,
        one_machine: false,
        link: Link::network(case.link, Duration::from_micros(20)),
        baseline_pages: if keeps_baselines { costs.pages() as usize } else { 0 },
        cpu_budget: Some(case.cpus),
    }
}
