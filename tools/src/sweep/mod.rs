//! `accelbench sweep`: what `run` measures, at every combination of several settings.

mod args;
mod plan;
mod report;

use crate::accelerators;
use crate::console;
use crate::error::Error;
use crate::export;
use crate::host::Host;
use crate::measure::Neighbours;
use crate::outcome::SCHEMA;
use crate::plan::PlanError;
use crate::progress::Progress;
use crate::run;
use crate::warnings;
pub(crate) use args::SweepArgs;
use plan::Point;
pub(crate) use plan::SweepPlan;
use report::{Measured, SweepReport};

/// Measures every point, and delivers the report, of what was finished if not all could be.
///
/// # Errors
/// [`Error`] if a migration failed, or memory differed after one.
pub(crate) fn sweep(plan: &SweepPlan) -> Result<(), Error> {
    enough_queues(&plan.points)?;
    let mut points = Vec::new();
    let mut said = Vec::new();
    let neighbours = Neighbours::watch();
    let measured = measure(plan, &mut points, &mut said);
    if let Some(point) = plan.points.first() {
        // What others did is said of all points together.
        said.extend(warnings::after(&point.plan.transfer, &[], neighbours.cpus()));
    }
    if points.is_empty() {
        return measured;
    }
    let config = plan.config.clone();
    let report =
        SweepReport { schema: SCHEMA, kind: "sweep", host: Host::this(), config, points, warnings: said };
    let delivered = export::deliver(&report, &plan.output);
    measured.and(delivered)
}

fn measure(plan: &SweepPlan, points: &mut Vec<Measured>, warnings: &mut Vec<String>) -> Result<(), Error> {
    let parts = plan.points.iter().map(|point| run::migrations(&point.plan)).sum();
    let progress = Progress::new(parts);
    for (number, point) in plan.points.iter().enumerate() {
        let label = format!("point {} of {}, {}: ", number + 1, plan.points.len(), point.settings);
        let (transfer, methods) = (&point.plan.transfer, &point.plan.methods);
        let mut outcomes = Vec::new();
        let measured = run::measure(&point.plan, &label, &progress, &mut outcomes);
        let before = warnings::before(transfer, methods).into_iter();
        let after = warnings::after(transfer, &outcomes, None);
        before.chain(after).for_each(|words| add(warnings, words));
        points.extend(outcomes.into_iter().map(|result| Measured { settings: point.settings, result }));
        measured?;
    }
    Ok(())
}

/// What holds for many points is said once.
fn add(warnings: &mut Vec<String>, words: String) {
    if !warnings.contains(&words) {
        warnings.push(words);
    }
}

/// Whether every device that is to have so many queues has them: one that has fewer would be measured with these.
fn enough_queues(points: &[Point]) -> Result<(), Error> {
    let most = points.iter().max_by_key(|point| point.settings.queues);
    let Some((point, wanted)) = most.and_then(|point| Some((point, point.settings.queues?))) else {
        return Ok(());
    };
    let mut device = point.plan.transfer.device.clone();
    device.queues = None;
    let codecs = point.plan.transfer.codecs();
    for accelerator in accelerators::choose(&device, codecs, &|words| console::warn(words))? {
        let has = accelerator.capabilities().queues;
        if accelerators::is_a_device(&*accelerator) && has < wanted {
            let accelerator = accelerator.name().to_owned();
            return Err(PlanError::TooManyQueues { wanted, accelerator, has }.into());
        }
    }
    Ok(())
}
