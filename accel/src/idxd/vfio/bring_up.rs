//! Bringing a function up: reset, map, configure, enable, in the order of DPDK's driver (`drivers/dma/idxd/idxd_pci.c`).

use std::os::fd::OwnedFd;

use pageferry_bindings::idxd::command::CommandNumber;
use pageferry_bindings::idxd::registers::{
    CMDCAP, DeviceState, GENCFG, GeneralCapabilities, GeneralConfiguration, PORTAL_STRIDE, PORTAL_UNLIMITED,
};
use pageferry_bindings::idxd::tables::{GroupConfiguration, QueueConfiguration, QueueState};

use super::error::{Cause, FunctionError};
use super::session::Session;
use crate::dma::DmaRange;
use crate::idxd::device::Interrupt;
use crate::idxd::portal::Portal;

/// A queue of a function that is up.
pub(super) struct Raised {
    pub(super) portal: Box<dyn Portal>,
    pub(super) interrupt: Option<Interrupt>,
}

/// Brings the function up: its queues take descriptors afterwards, and reach `memory`.
///
/// What fails half way is put down by the end of the session.
pub(super) fn bring_up(session: &Session, memory: &[DmaRange]) -> Result<Vec<Raised>, FunctionError> {
    step(session, "reset the device", || reset(session))?;
    for range in memory {
        let attempted = format!("let it reach {} bytes at {}", range.bytes, range.host);
        step(session, &attempted, || Ok(session.map(range)?))?;
    }
    let events = queues(session)
        .map(|queue| session.interrupts.then(|| event(session, queue)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let handles = start(session)?;
    session.handles().clone_from(&handles);
    let raised = queues(session).zip(events).zip(handles).map(|((queue, event), handle)| {
        let offset = u64::from(queue) * PORTAL_STRIDE + PORTAL_UNLIMITED;
        let attempted = format!("reach the portal of work queue {queue}");
        let portal = step(session, &attempted, || Ok(session.function.portal(offset)?))?;
        Ok(Raised { portal, interrupt: event.map(|event| Interrupt { handle, event }) })
    });
    raised.collect()
}

/// Configures and enables a device that was just reset, and gives what each queue names its interrupt by.
pub(super) fn start(session: &Session) -> Result<Vec<u16>, FunctionError> {
    step(session, "configure its groups and queues", || configure(session))?;
    let handles = queues(session)
        .map(|queue| step(session, "get an interrupt's handle", || handle(session, vector(queue))))
        .collect::<Result<Vec<_>, _>>()?;
    session.will_be_enabled();
    step(session, "enable the device", || session.run(CommandNumber::ENABLE_DEVICE, 0).map(drop))?;
    for queue in queues(session) {
        step(session, &format!("enable work queue {queue}"), || enable(session, queue))?;
    }
    Ok(handles)
}

/// Writes the configuration of a queue that is disabled.
pub(super) fn write_queue(
    session: &Session,
    queue: u8,
    configuration: &QueueConfiguration,
) -> Result<(), Cause> {
    let offset = session.facts.queue_configuration(queue);
    session.registers().write(offset, configuration, 4)?;
    if let Some(operations) = session.facts.operation_configuration() {
        session.registers().write(offset + operations, &session.facts.opcodes, 4)?;
    }
    Ok(())
}

fn queues(session: &Session) -> impl Iterator<Item = u8> {
    (0..).zip(&session.plan.queues).map(|(queue, _)| queue)
}

fn step<T>(
    session: &Session,
    attempted: &str,
    step: impl FnOnce() -> Result<T, Cause>,
) -> Result<T, FunctionError> {
    step().map_err(|cause| cause.of(session.function.name(), attempted))
}

fn reset(session: &Session) -> Result<(), Cause> {
    session.run(CommandNumber::RESET_DEVICE, 0)?;
    let status = session.registers().general_status()?;
    match status.state() {
        DeviceState::Disabled => Ok(()),
        state => Err(Cause::NotDisabled { state, needed: status.reset_needed() }),
    }
}

/// Writes all groups and queues, also those that are not used.
fn configure(session: &Session) -> Result<(), Cause> {
    let (facts, registers, plan) = (&session.facts, session.registers(), &session.plan);
    for group in 0..facts.groups.groups() {
        let unused = GroupConfiguration::default();
        let configuration = plan.groups.get(usize::from(group)).unwrap_or(&unused);
        registers.write(facts.group_configuration(group), configuration, 8)?;
    }
    for queue in 0..facts.queues.queues() {
        let unused = QueueConfiguration::default();
        let configuration = plan.queues.get(usize::from(queue)).unwrap_or(&unused);
        write_queue(session, queue, configuration)?;
    }
    if session.interrupts {
        // Descriptors from here are not privileged, and have no PASID that a permission could name.
        let general = GeneralConfiguration(registers.read32(GENCFG)?) | GeneralConfiguration::USER_INTERRUPTS;
        registers.write32(GENCFG, general.bits())?;
    }
    Ok(())
}

/// Enables a queue and sees that it is. The device is enabled.
fn enable(session: &Session, queue: u8) -> Result<(), Cause> {
    session.run(CommandNumber::ENABLE_QUEUE, queue.into())?;
    match session.facts.queue_state(session.registers(), queue)? {
        QueueState::Enabled => Ok(()),
        state => Err(Cause::NotEnabled(state)),
    }
}

/// The MSI-X vector of a queue: vector 0 is the device's own.
fn vector(queue: u8) -> u16 {
    u16::from(queue) + 1
}

fn event(session: &Session, queue: u8) -> Result<OwnedFd, FunctionError> {
    let attempted = format!("enable interrupt vector {}", vector(queue));
    step(session, &attempted, || Ok(session.function.interrupt(vector(queue))?))
}

/// What descriptors name a vector by: the vector, unless the device gives out handles.
fn handle(session: &Session, vector: u16) -> Result<u16, Cause> {
    let listed = session.facts.general.contains(GeneralCapabilities::COMMAND_CAPABILITY);
    let commands = if session.interrupts && listed { session.registers().read32(CMDCAP)? } else { 0 };
    if commands >> CommandNumber::REQUEST_INTERRUPT.0 & 1 == 0 {
        return Ok(vector);
    }
    session.run(CommandNumber::REQUEST_INTERRUPT, vector.into())
}
