//! Bringing a function up: reset, configure, map, enable, in the order of DPDK's driver (`drivers/dma/idxd/idxd_pci.c`).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use pageferry_bindings::idxd::command::CommandNumber;
use pageferry_bindings::idxd::registers::{
    CMDCAP, DeviceState, GENCFG, GeneralCapabilities, GeneralConfiguration, PORTAL_STRIDE, PORTAL_UNLIMITED,
};
use pageferry_bindings::idxd::tables::{GroupConfiguration, QueueConfiguration, QueueState};

use super::error::{Cause, FunctionError};
use super::plan::Plan;
use super::session::Session;
use crate::dma::DmaRange;
use crate::idxd::device::Interrupt;
use crate::idxd::portal::Portal;

/// A queue of a function that is up.
pub(super) struct Raised {
    pub(super) portal: Box<dyn Portal>,
    pub(super) interrupt: Option<Interrupt>,
}

/// Brings the function up: the queues of `plan` take descriptors afterwards, and reach `memory`.
///
/// What fails half way is put down by the end of the session.
pub(super) fn bring_up(
    session: &Arc<Session>,
    plan: &Plan,
    memory: &[DmaRange],
    interrupts: bool,
) -> Result<Vec<Raised>, FunctionError> {
    let steps = Steps { session };
    steps.step("reset the device", || steps.reset())?;
    steps.step("configure its groups and queues", || steps.configure(plan, interrupts))?;
    for range in memory {
        let attempted = format!("let it reach {} bytes at {}", range.bytes, range.host);
        steps.step(&attempted, || Ok(session.map(range)?))?;
    }
    let count = u8::try_from(plan.queues.len()).unwrap_or(u8::MAX);
    let interrupts = (0..count)
        .map(|queue| interrupts.then(|| steps.interrupt(queue)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    session.will_be_enabled();
    steps.step("enable the device", || session.run(CommandNumber::ENABLE_DEVICE, 0).map(drop))?;
    let raised = (0..count).zip(interrupts).map(|(queue, interrupt)| {
        steps.step(&format!("enable work queue {queue}"), || enable(session, queue))?;
        let offset = u64::from(queue) * PORTAL_STRIDE + PORTAL_UNLIMITED;
        let attempted = format!("reach the portal of work queue {queue}");
        let portal = steps.step(&attempted, || Ok(session.function.portal(offset)?))?;
        Ok(Raised { portal, interrupt })
    });
    raised.collect()
}

/// Enables a queue and sees that it is. The device is enabled.
fn enable(session: &Session, queue: u8) -> Result<(), Cause> {
    session.run(CommandNumber::ENABLE_QUEUE, queue.into())?;
    match session.registers().queue_state(&session.facts, queue)? {
        QueueState::Enabled => Ok(()),
        state => Err(Cause::NotEnabled(state)),
    }
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

struct Steps<'a> {
    session: &'a Session,
}

impl Steps<'_> {
    fn step<T>(&self, attempted: &str, step: impl FnOnce() -> Result<T, Cause>) -> Result<T, FunctionError> {
        step().map_err(|cause| cause.of(self.session.function.name(), attempted))
    }

    fn reset(&self) -> Result<(), Cause> {
        self.session.run(CommandNumber::RESET_DEVICE, 0)?;
        let status = self.session.registers().general_status()?;
        match status.state() {
            DeviceState::Disabled => Ok(()),
            state => Err(Cause::NotDisabled { state, needed: status.reset_needed() }),
        }
    }

    /// Writes all groups and queues, also those that are not used.
    fn configure(&self, plan: &Plan, interrupts: bool) -> Result<(), Cause> {
        let (facts, registers) = (&self.session.facts, self.session.registers());
        for group in 0..facts.groups.groups() {
            let unused = GroupConfiguration::default();
            let configuration = plan.groups.get(usize::from(group)).unwrap_or(&unused);
            registers.write(facts.group_configuration(group), configuration, 8)?;
        }
        for queue in 0..facts.queues.queues() {
            let unused = QueueConfiguration::default();
            let configuration = plan.queues.get(usize::from(queue)).unwrap_or(&unused);
            write_queue(self.session, queue, configuration)?;
        }
        if interrupts {
            // Descriptors from here are not privileged, and have no PASID that a permission could name.
            let general =
                GeneralConfiguration(registers.read32(GENCFG)?) | GeneralConfiguration::USER_INTERRUPTS;
            registers.write32(GENCFG, general.bits())?;
        }
        Ok(())
    }

    /// The interrupt of a queue: vector 0 is the device's own.
    fn interrupt(&self, queue: u8) -> Result<Interrupt, FunctionError> {
        let vector = u16::from(queue) + 1;
        let attempted = format!("enable interrupt vector {vector}");
        self.step(&attempted, || {
            let event: OwnedFd = self.session.function.interrupt(vector)?;
            Ok(Interrupt { handle: self.handle(vector)?, event })
        })
    }

    /// What descriptors name the vector by: the vector, unless the device gives out handles.
    fn handle(&self, vector: u16) -> Result<u16, Cause> {
        let listed = self.session.facts.general.contains(GeneralCapabilities::COMMAND_CAPABILITY);
        let commands = if listed { self.session.registers().read32(CMDCAP)? } else { 0 };
        if commands >> CommandNumber::REQUEST_INTERRUPT.0 & 1 == 0 {
            return Ok(vector);
        }
        self.session.run(CommandNumber::REQUEST_INTERRUPT, vector.into())
    }
}
