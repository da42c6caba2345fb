//! `accelbench send`: one migration to `accelbench recv`.

use serde_json::json;

use crate::error::Error;
use crate::export;
use crate::host::Host;
use crate::measure::Neighbours;
use crate::outcome::{Kind, Outcome, Report, SCHEMA};
use crate::plan::SendPlan;
use crate::progress::Progress;
use crate::source::Source;
use crate::{address, console, summary, warnings};

/// Migrates, and delivers the report.
///
/// # Errors
/// [`Error`] if the migration failed, or memory differed after it.
pub(crate) fn send(plan: &SendPlan) -> Result<(), Error> {
    let transfer = &plan.transfer;
    let [method] = &plan.methods;
    let mut warnings = warnings::before(transfer, &plan.methods);
    plan.security.warnings.iter().for_each(console::warn);
    warnings.extend_from_slice(&plan.security.warnings);
    let neighbours = Neighbours::watch();
    let source = Source::new(transfer)?;
    let progress = Progress::new(1);
    progress.part(method.to_string());
    progress.say("preparing memory");
    let dirty = source.prepare()?;
    let security = plan.security.security.clone();
    let connections = address::connect(&plan.to, security, transfer.connections, transfer.device.timeout.0)?;
    let migrated = source.migrate(dirty, method, connections, &progress)?;
    drop(progress);
    let verdict = migrated.verdict.clone().unwrap_or(Ok(()));
    let outcomes: Vec<_> = Outcome::of(&[migrated], false).into_iter().collect();
    warnings.extend(warnings::after(transfer, &outcomes, neighbours.cpus()));
    let host = Host::this();
    let summary = summary::of_send(plan, &outcomes, &host);
    let report = Report {
        schema: SCHEMA,
        kind: Kind::Send,
        host,
        config: json!(plan),
        results: outcomes,
        warnings,
        summary,
    };
    let delivered = export::deliver(&report, &plan.output);
    verdict?;
    delivered
}
