//! What real runs on this machine say: `accelbench run` over a link that is held to its rate.

use clap::Parser;
use pageferry_engine::budget::CpuBudget;

use super::figures::Measurement;
use super::guest::Guest;
use crate::args::RunArgs;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::plan::{PlanError, RunPlan};
use crate::progress::Progress;
use crate::run;

/// How every row of a comparison is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// What the link carries of frames, in bytes a second.
    pub(crate) bytes_per_s: f64,
    /// Migrations a row, of which the median counts.
    pub(crate) runs: u32,
    /// What the source may use of CPUs.
    pub(crate) cpu_budget: Option<CpuBudget>,
}

/// The arguments of `run` alone.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    args: RunArgs,
}

impl Course {
    /// The plan of `run` for a guest, with the arguments that make the row.
    ///
    /// # Errors
    /// [`PlanError`] if an image cannot be read.
    pub(crate) fn plan(&self, guest: &Guest, row: &[String]) -> Result<RunPlan, PlanError> {
        let budget = self.cpu_budget.map(|budget| ("--cpu-budget", budget.cores().to_string()));
        let limits =
            [("--max-bandwidth", format!("{:.0}", self.bytes_per_s)), ("--runs", self.runs.to_string())];
        let limits = limits.into_iter().chain(budget).flat_map(|(option, value)| [option.to_owned(), value]);
        let all = guest.arguments.iter().cloned().chain(limits).chain(row.iter().cloned());
        let typed = Alone::try_parse_from(all).map_err(|error| PlanError::Run(error.to_string()))?;
        RunPlan::resolve(typed.args)
    }
}

/// Runs a plan, which has one method, and says what that measured; nothing if what did the work was neither a CPU nor a device.
///
/// # Errors
/// [`Error`] if a migration failed.
pub(crate) fn measure(
    plan: &RunPlan,
    label: &str,
    progress: &Progress,
) -> Result<Option<(Measurement, Outcome)>, Error> {
    let mut outcomes = Vec::new();
    run::measure(plan, label, progress, &mut outcomes)?;
    Ok(outcomes.pop().and_then(|outcome| Some((Measurement::of(&outcome)?, outcome))))
}
