//! `accelbench recv`: the other end of `send`, and of `run`.

use std::io::Write;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::address::Listener;
use crate::destination;
use crate::error::Error;
use crate::export;
use crate::host::Host;
use crate::outcome::{Outcome, Report, SCHEMA};
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
    let listener = Listener::bind(&plan.listen)?;
    let mut warnings = announce(plan, &listener)?;
    warnings.iter().for_each(console::warn);
    let warn = |words: &str| console::warn(words);
    let migrated = destination::receive(&listener, &plan.device, plan.memory, &warn)?;
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
    let report = Report { schema: SCHEMA, host, config: json!(plan), results: outcomes, warnings, summary };
    let delivered = export::deliver(&report, &plan.output);
    verdict?;
    delivered
}

/// Says where it listens: to `run` on stdout, to people on stderr, with what they should know.
fn announce(plan: &RecvPlan, listener: &Listener) -> Result<Vec<String>, Error> {
    let address = listener.address();
    if plan.for_run {
        let mut out = console::out();
        writeln!(out, "{address}").and_then(|()| out.flush()).map_err(Error::Print)?;
        return Ok(Vec::new());
    }
    console::say(format_args!("listening at {address} for a guest of at most {}", plan.memory.max));
    Ok(if address.leaves_the_machine() { vec![warnings::NOT_ENCRYPTED.to_owned()] } else { Vec::new() })
}
