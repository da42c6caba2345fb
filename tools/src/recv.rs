//! `accelbench recv`: the other end of `send`, and of `run`.

use std::io::Write;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use pageferry_engine::transport::Address;
use serde_json::json;

use crate::address::Listener;
use crate::destination;
use crate::error::Error;
use crate::export;
use crate::host::Host;
use crate::outcome::{Kind, Outcome, Report, SCHEMA};
use crate::plan::RecvPlan;
use crate::{console, summary, warnings};

/// Receives one migration, and delivers the report unless `run` started this process.
///
/// # Errors
/// [`Error`] if the migration failed, or memory differed after it.
pub(crate) fn recv(plan: &RecvPlan) -> Result<(), Error> {
    if plan.for_run {
        // Should the parent have died before, the address below finds no reader; should the kernel refuse, the
        // connection that closes ends this process.
        let _ = prctl::set_pdeathsig(Signal::SIGTERM);
    }
    let security = plan.security.security.clone();
    let mut listener = Listener::bind(&plan.listen, security, plan.device.timeout.0)?;
    announce(plan, listener.address())?;
    let mut warnings = plan.security.warnings.clone();
    warnings.iter().for_each(console::warn);
    let warn = |words: &str| console::warn(words);
    let migrated = destination::receive(&mut listener, &plan.device, plan.memory, &warn)?;
    drop(listener);
    let verdict = migrated.verdict.clone().unwrap_or(Ok(()));
    if plan.for_run {
        return Ok(verdict?);
    }
    let outcomes: Vec<_> = Outcome::of(&[migrated], false).into_iter().collect();
    if cfg!(debug_assertions) {
        warnings.push(warnings::DEBUG_BUILD.to_owned());
    }
    let host = Host::this();
    let summary = summary::of_recv(&outcomes, plan.device.workers, &host);
    let report = Report {
        schema: SCHEMA,
        kind: Kind::Recv,
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

/// Says where it listens: to `run` on stdout, to people on stderr.
fn announce(plan: &RecvPlan, address: &Address) -> Result<(), Error> {
    if plan.for_run {
        let mut out = console::out();
        writeln!(out, "{address}").and_then(|()| out.flush()).map_err(Error::Print)?;
        return Ok(());
    }
    console::say(format_args!("listening at {address} for a guest of at most {}", plan.memory.max));
    Ok(())
}
