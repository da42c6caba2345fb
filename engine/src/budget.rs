//! Not more CPU time than the user allows.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How many cores a sender may keep busy on average, with all its threads together.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct CpuBudget(f64);

/// No CPU budget that can be held.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuBudgetError {
    /// Too little to work with, or more than there is anywhere.
    #[error("a CPU budget of {0} cores cannot be held: use 0.01 to 4096")]
    Cores(f64),
    /// It is no number.
    #[error("`{0}` is no CPU budget: write a number of cores, as in 0.25 or 2")]
    NoNumber(String),
}

impl CpuBudget {
    const LEAST: f64 = 0.01;
    const MOST: f64 = 4096.0;

    /// A budget of so many cores.
    ///
    /// # Errors
    /// [`CpuBudgetError::Cores`] if that is not between 0.01 and 4096.
    pub fn of_cores(cores: f64) -> Result<Self, CpuBudgetError> {
        let possible = (Self::LEAST..=Self::MOST).contains(&cores);
        if possible { Ok(Self(cores)) } else { Err(CpuBudgetError::Cores(cores)) }
    }

    /// How many cores it is.
    #[must_use]
    pub fn cores(self) -> f64 {
        self.0
    }
}

impl FromStr for CpuBudget {
    type Err = CpuBudgetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let cores = text.parse().map_err(|_| CpuBudgetError::NoNumber(text.to_owned()))?;
        Self::of_cores(cores)
    }
}

impl fmt::Display for CpuBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} core{}", self.0, if self.0 == 1.0 { "" } else { "s" })
    }
}

/// Holds a sender to its budget: it sleeps before new work, until the time has come at which the work that was done so far
/// was due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    budget: CpuBudget,
    /// CPU time that is accounted for.
    spent: Duration,
    /// When all of it will have been due.
    due: Instant,
}

/// How much time that was not used is saved up, so that work that came late does not cost throughput.
const SLACK: Duration = Duration::from_millis(5);

/// Nobody is sent to sleep for less: falling asleep and waking up take CPU time too.
const SHORTEST: Duration = Duration::from_millis(1);

impl Pace {
    pub(crate) fn new(budget: CpuBudget, now: Instant) -> Self {
        Self { budget, spent: Duration::ZERO, due: now }
    }

    /// How long to sleep before new work, now that the work of all threads has taken `spent` in all.
    pub(crate) fn admit(&mut self, spent: Duration, now: Instant) -> Duration {
        let more = spent.saturating_sub(self.spent).as_secs_f64() / self.budget.cores();
        self.spent = spent.max(self.spent);
        let due = Duration::try_from_secs_f64(more).ok().and_then(|more| self.due.checked_add(more));
        self.due = due.unwrap_or(self.due).max(now.checked_sub(SLACK).unwrap_or(now));
        let early = self.due.saturating_duration_since(now);
        if early < SHORTEST { Duration::ZERO } else { early }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUNDING: Duration = Duration::from_micros(1);

    #[test]
    fn a_budget_is_a_number_of_cores_that_can_be_held() {
        for (text, cores) in [("0.25", 0.25), ("1", 1.0), ("2e1", 20.0), ("0.01", 0.01), ("4096", 4096.0)] {
            assert_eq!(text.parse::<CpuBudget>().map(CpuBudget::cores), Ok(cores), "{text}");
        }
        for text in ["0", "-1", "0.0099", "4097", "inf", "NaN"] {
            let said = text.parse::<CpuBudget>().map_err(|error| error.to_string());
            assert!(said.as_ref().is_err_and(|said| said.ends_with("use 0.01 to 4096")), "{text}: {said:?}");
        }
        for text in ["", "two", "50%", "1 "] {
            assert_eq!(text.parse::<CpuBudget>(), Err(CpuBudgetError::NoNumber(text.to_owned())));
        }
        let words = ["0.25", "1"].map(|text| text.parse::<CpuBudget>().unwrap().to_string());
        assert_eq!(words, ["0.25 cores", "1 core"]);
    }

    /// Work in microseconds of CPU time, and how long it took, which is no less than its share of so many threads.
    fn work() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..20_000u64, 0..20_000u64), 1..200)
    }

    proptest! {
        #[test]
        fn whatever_is_done_and_however_long_it_takes_the_budget_is_not_exceeded(work in work(), cores in 0.01..16.0) {
            let budget = CpuBudget::of_cores(cores).unwrap();
            let begun = Instant::now();
            let (mut pace, mut now, mut spent) = (Pace::new(budget, begun), begun, Duration::ZERO);
            for (cpu, took) in work {
                spent += Duration::from_micros(cpu);
                now += Duration::from_micros(took);
                now += pace.admit(spent, now);
                let allowed = (now - begun + SHORTEST + ROUNDING).mul_f64(cores);
                prop_assert!(spent <= allowed, "{spent:?} of {allowed:?}");
            }
        }

        #[test]
        fn who_keeps_to_the_budget_is_never_sent_to_sleep(work in work(), cores in 0.01..16.0) {
            let budget = CpuBudget::of_cores(cores).unwrap();
            let mut now = Instant::now();
            let (mut pace, mut spent) = (Pace::new(budget, now), Duration::ZERO);
            for (cpu, took) in work {
                let cpu = Duration::from_micros(cpu);
                spent += cpu;
                now += cpu.div_f64(cores) + Duration::from_micros(took);
                prop_assert_eq!(pace.admit(spent, now), Duration::ZERO);
            }
        }
    }

    #[test]
    fn time_that_was_not_used_is_not_saved_up() {
        let now = Instant::now();
        let mut pace = Pace::new(CpuBudget::of_cores(1.0).unwrap(), now);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.admit(Duration::ZERO, later), Duration::ZERO);
        assert_eq!(pace.admit(Duration::from_secs(1), later), Duration::from_secs(1) - SLACK);
    }

    #[test]
    fn a_clock_that_goes_wrong_stops_nobody_for_good() {
        let now = Instant::now();
        let mut pace = Pace::new(CpuBudget::of_cores(0.01).unwrap(), now);
        assert_eq!(pace.admit(Duration::MAX, now), Duration::ZERO);
        assert_eq!(pace.admit(Duration::ZERO, now), Duration::ZERO);
    }
}
