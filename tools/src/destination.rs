//! The destination's end: one migration, received into memory of its own and compared.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pageferry_accel::guest::GuestRam;
use pageferry_engine::connection::Connection;
use pageferry_engine::receiver::Incoming;

use crate::accelerators;
use crate::address::{AddressError, Listener};
use crate::codecs::Codecs;
use crate::device::DevicePlan;
use crate::digest::{self, Difference};
use crate::error::Error;
use crate::exchange::{self, Closed, Closing, Compared};
use crate::figures::{DestinationFigures, SourceFigures};
use crate::measure::Stopwatch;
use crate::memory;
use crate::plan::MemoryPlan;
use crate::source::Migrated;
use crate::trace::Trace;

/// Receives one migration, and compares the two memories afterwards.
///
/// Connections that offer no migration are reported to `warn` and dropped.
///
/// # Errors
/// [`Error`] if the migration failed. Memories that differ are none, but a verdict.
pub(crate) fn receive(
    listener: &mut Listener,
    device: &DevicePlan,
    plan: MemoryPlan,
    warn: &dyn Fn(&str),
) -> Result<Migrated, Error> {
    let accelerators = accelerators::choose(device, Codecs::default(), warn)?;
    let incoming = gather(listener, device.timeout.0, warn)?;
    let ram = match memory::allocate(incoming.offer(), plan, device.memory(), warn) {
        Ok(ram) => ram,
        Err(refused) => {
            incoming.refuse(&refused.to_string());
            return Err(refused.into());
        }
    };
    let mut watch = Stopwatch::new();
    watch.run();
    let receiver = incoming.accept(Arc::clone(&ram), &accelerators)?;
    let (report, mut connections) = receiver.run()?;
    watch.hold();
    let figures = DestinationFigures::new(watch.measured(), &report);
    let first = connections.first_mut().ok_or(Error::NoConnection)?;
    let (source, verdict) = close(&ram, figures.clone(), first)?;
    Ok(Migrated {
        accelerator: device.accelerators.to_string(),
        provenance: accelerators::provenance(&accelerators),
        source,
        destination: figures,
        verdict,
        trace: Trace::default(),
    })
}

/// Waits for the first connection for ever, and for the others of the same migration for as long as the timeout is.
fn gather(listener: &mut Listener, timeout: Duration, warn: &dyn Fn(&str)) -> Result<Incoming, Error> {
    let mut incoming = loop {
        match Incoming::begin(listener.accept(warn)?) {
            Ok(incoming) => break incoming,
            Err(error) => warn(&format!("a connection was dropped: {error}")),
        }
    };
    let (begun, expected) = (Instant::now(), usize::from(incoming.offer().channels));
    while incoming.missing() > 0 {
        let patience = timeout.saturating_sub(begun.elapsed());
        let Some(connection) = listener.accept_within(patience, warn)? else {
            let missing = incoming.missing();
            incoming.refuse(&format!("{missing} of {expected} connections did not come"));
            let (address, seconds) = (listener.address().clone(), timeout.as_secs_f64());
            return Err(AddressError::Missing { address, missing, expected, seconds }.into());
        };
        if let Err(error) = incoming.join(connection) {
            warn(&format!("a connection was dropped: {error}"));
        }
    }
    Ok(incoming)
}

/// The exchange after the migration.
fn close(
    ram: &GuestRam,
    figures: DestinationFigures,
    connection: &mut Connection,
) -> Result<(SourceFigures, Option<Result<(), Difference>>), Error> {
    let max = exchange::max_bytes(ram);
    let Closing { verify, figures: source } = exchange::read(connection, max)?;
    if !verify {
        exchange::write(connection, &Closed { figures, digests: None })?;
        return Ok((source, None));
    }
    let here = digest::of_guest(ram);
    exchange::write(connection, &Closed { figures, digests: Some(here.clone()) })?;
    let Compared { digests: there } = exchange::read(connection, max)?;
    Ok((source, Some(digest::compare(ram, &here, &there))))
}
