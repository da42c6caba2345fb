//! `accelbench compare`: what CPUs, QAT, IAA and DSA are worth to a migration, side by side.
//!
//! What can be measured here is measured by `run`'s own code over a link that is held to its rate (`measured`); all else is
//! simulated (`modelled`) from what pages cost here and what devices are said to do. Every figure says which of both it
//! is (`figures`).

mod args;
mod cpus;
mod doubts;
mod figures;
mod guest;
mod measured;
mod modelled;
mod plan;
mod published;
mod report;
mod rows;
mod summary;
mod trace;
mod work;

use crate::error::Error;
use crate::export;
use crate::host::Host;
use crate::outcome::SCHEMA;
pub(crate) use args::CompareArgs;
pub(crate) use plan::ComparePlan;
use report::Comparison;
use work::Work;

/// Measures and simulates every row for every guest, and delivers the report, of the guests that were finished if not all
/// could be.
///
/// # Errors
/// [`Error`] if a migration failed, memory differed after one, or the simulation cannot be run.
pub(crate) fn compare(plan: &ComparePlan) -> Result<(), Error> {
    let mut work = Work::begin(plan)?;
    let compared = plan.guests.iter().try_for_each(|guest| work.compare(guest));
    let done = work.end();
    if done.workloads.is_empty() {
        return compared;
    }
    let host = Host::this();
    let comparison = Comparison {
        schema: SCHEMA,
        kind: "compare",
        summary: summary::lines(plan, &host),
        host,
        config: plan.config.clone(),
        workloads: done.workloads,
        published: done.published,
        warnings: done.warnings,
    };
    let delivered = export::deliver(&comparison, &plan.output);
    compared.and(delivered)
}
