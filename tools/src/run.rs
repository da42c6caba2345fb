//! `accelbench run`: every method in turn, against a destination of its own.

use std::env;
use std::path::Path;

use pageferry_engine::transport::Security;
use serde_json::json;

use crate::address;
use crate::digest::Difference;
use crate::error::Error;
use crate::export;
use crate::host::{self, Host};
use crate::interrupt::Cleanup;
use crate::measure::Neighbours;
use crate::methods::MethodMix;
use crate::outcome::{Kind, Outcome, Report, SCHEMA};
use crate::peer::Peer;
use crate::plan::RunPlan;
use crate::progress::Progress;
use crate::quantity::ByteSize;
use crate::source::{Migrated, Source};
use crate::summary;
use crate::warnings;

/// Measures, and delivers the report, of what was finished if not all could be.
///
/// # Errors
/// [`Error`] if a migration failed, or memory differed after one.
pub(crate) fn run(plan: &RunPlan) -> Result<(), Error> {
    let mut warnings = warnings::before(&plan.transfer, &plan.methods);
    let mut outcomes = Vec::new();
    let neighbours = Neighbours::watch();
    let progress = Progress::new(migrations(plan));
    let measured = measure(plan, "", &progress, &mut outcomes);
    drop(progress);
    if outcomes.is_empty() {
        return measured;
    }
    warnings.extend(warnings::after(&plan.transfer, &outcomes, neighbours.cpus()));
    let host = Host::this();
    let report = Report {
        schema: SCHEMA,
        kind: Kind::Run,
        config: json!(plan),
        summary: summary::of_run(plan, &outcomes, &host),
        host,
        results: outcomes,
        warnings,
    };
    let delivered = export::deliver(&report, &plan.output);
    measured.and(delivered)
}

/// How many migrations a plan has: parts of its progress.
pub(crate) fn migrations(plan: &RunPlan) -> usize {
    plan.methods.len() * plan.runs as usize
}

/// Measures all methods of a plan, and adds what came of each. What is shown meanwhile begins with `label`.
///
/// # Errors
/// [`Error`] if a migration failed, or memory differed after one; what was finished before is among the outcomes.
pub(crate) fn measure(
    plan: &RunPlan,
    label: &str,
    progress: &Progress,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), Error> {
    enough_memory(plan)?;
    let source = Source::new(&plan.transfer)?;
    let (folder, _cleanup) = folder()?;
    for method in &plan.methods {
        let mut migrated = Vec::new();
        for run in 1..=plan.runs {
            let several = if plan.runs > 1 { format!(", run {run} of {}", plan.runs) } else { String::new() };
            progress.part(format!("{label}{method}{several}"));
            let one = once(plan, &source, method, &folder, progress)?;
            let difference = difference(&one);
            migrated.push(one);
            if let Some(difference) = difference {
                outcomes.extend(Outcome::of(&migrated, plan.in_process));
                return Err(difference.into());
            }
            progress.part_done();
        }
        outcomes.extend(Outcome::of(&migrated, plan.in_process));
    }
    Ok(())
}

/// One migration, as `accelbench send` does it, to a destination that is started for it.
fn once(
    plan: &RunPlan,
    source: &Source<'_>,
    method: &MethodMix,
    folder: &Path,
    progress: &Progress,
) -> Result<Migrated, Error> {
    progress.say("preparing memory");
    let dirty = source.prepare()?;
    let peer = Peer::start(plan, folder)?;
    let transfer = &plan.transfer;
    let connections =
        address::connect(peer.address(), Security::Plain, transfer.connections, transfer.device.timeout.0);
    let migrated =
        connections.map_err(Error::from).and_then(|all| source.migrate(dirty, method, all, progress));
    match migrated {
        Ok(migrated) => peer.finish().map(|()| migrated),
        Err(error) => Err(peer.abandon(error)),
    }
}

/// The first difference of memory, which is an error only when the report is out.
fn difference(migrated: &Migrated) -> Option<Difference> {
    migrated.verdict.clone().and_then(Result::err)
}

/// A private folder for sockets, which goes with the second value.
fn folder() -> Result<(std::path::PathBuf, Cleanup), Error> {
    let made = tempfile::Builder::new().prefix("accelbench-").tempdir();
    let made =
        made.map_err(|source| Error::Folder { folder: env::temp_dir().display().to_string(), source })?;
    let path = made.keep();
    Ok((path.clone(), Cleanup::directory(path)))
}

/// Both ends' memory is filled; a machine that has not as much would swap, or kill.
fn enough_memory(plan: &RunPlan) -> Result<(), Error> {
    let transfer = &plan.transfer;
    let deltas = plan.methods.iter().any(MethodMix::needs_baseline);
    let cache = if deltas { transfer.baseline_cache.0.min(transfer.input.bytes()) } else { 0 };
    let needed = ByteSize(transfer.input.bytes().saturating_mul(2).saturating_add(cache));
    match host::available_memory().map(ByteSize) {
        Some(available) if needed > available => Err(Error::Memory { needed, available }),
        _ => Ok(()),
    }
}
