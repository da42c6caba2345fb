//! What a function says of itself in its registers: what it can do, checked before anything relies on it, and how its
//! queues are.

use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};
use pageferry_bindings::idxd::registers::{
    self, EngineCapabilities, GeneralCapabilities, GroupCapabilities, QueueCapabilities, TableOffsets,
};
use pageferry_bindings::idxd::tables::{GroupConfiguration, QueueConfiguration, QueueState, QueueStatus};

use super::error::{Cause, FunctionError};
use super::registers::Registers;
use crate::idxd::device::Kind;
use crate::idxd::function::Function;

/// What a function can do, from its PCI numbers and its registers.
#[derive(Clone, Copy, Debug)]
pub struct FunctionFacts {
    /// DSA or IAA.
    pub kind: Kind,
    /// VERSION: 0x100, 0x200, 0x300.
    pub version: u32,
    /// GENCAP.
    pub general: GeneralCapabilities,
    /// WQCAP.
    pub queues: QueueCapabilities,
    /// GRPCAP.
    pub groups: GroupCapabilities,
    /// ENGCAP.
    pub engines: EngineCapabilities,
    /// OPCAP.
    pub opcodes: OpcodeSet,
    /// Where the tables are.
    pub tables: TableOffsets,
}

/// The registers that every version has end before this.
const FIXED_REGISTERS: u64 = 0x1000;

impl FunctionFacts {
    /// Reads and checks them. Nothing is written to the function.
    ///
    /// # Errors
    /// [`FunctionError`], if it is another device, or one that cannot be used as it is.
    pub fn read(function: &dyn Function) -> Result<Self, FunctionError> {
        let refused = |cause: Cause, attempted: &str| cause.of(function.name(), attempted);
        let kind = kind(function)
            .map_err(|cause| refused(cause, "use it as a data streaming or analytics accelerator"))?;
        let facts =
            Self::registers(function, kind).map_err(|cause| refused(cause, "read what the device can do"))?;
        facts
            .check(function.bar_bytes())
            .map_err(|cause| refused(cause, "use what the device says it has"))?;
        Ok(facts)
    }

    fn registers(function: &dyn Function, kind: Kind) -> Result<Self, Cause> {
        at_least(0, function.bar_bytes().0, FIXED_REGISTERS)?;
        let registers = Registers(function);
        Ok(Self {
            kind,
            version: registers.status(registers::VERSION)?,
            general: GeneralCapabilities(registers.read64(registers::GENCAP)?),
            queues: QueueCapabilities(registers.read64(registers::WQCAP)?),
            groups: GroupCapabilities(registers.read64(registers::GRPCAP)?),
            engines: EngineCapabilities(registers.read64(registers::ENGCAP)?),
            opcodes: registers.read(registers::OPCAP)?,
            tables: registers.read(registers::TABLE_OFFSETS)?,
        })
    }

    fn check(&self, (registers, portals): (u64, u64)) -> Result<(), Cause> {
        let (queues, groups, engines) = (self.queues.queues(), self.groups.groups(), self.engines.engines());
        let total_size = self.queues.total_size();
        if [queues, groups, engines].contains(&0) || total_size == 0 {
            return Err(Cause::Nothing { queues, total_size, groups, engines });
        }
        if !self.general.contains(GeneralCapabilities::CONFIGURABLE) {
            return Err(Cause::ReadOnly);
        }
        let ends = [self.group_configuration(groups), self.queue_configuration(queues)];
        at_least(0, registers, ends.into_iter().fold(FIXED_REGISTERS, u64::max))?;
        at_least(2, portals, u64::from(queues) * registers::PORTAL_STRIDE)
    }

    /// The most queues that can be used at once.
    #[must_use]
    pub fn max_queues(&self) -> u8 {
        self.queues.queues().min(u8::try_from(self.queues.total_size()).unwrap_or(u8::MAX))
    }

    /// The binary logarithm of the largest batch, 0 where there are none.
    #[must_use]
    pub fn max_batch_shift(&self) -> u8 {
        if self.opcodes.has(Opcode::BATCH) { self.general.max_batch_shift() } else { 0 }
    }

    /// Where in BAR 0 a group's configuration begins.
    pub(super) fn group_configuration(&self, group: u8) -> u64 {
        self.tables.groups() + u64::from(group) * GroupConfiguration::BYTES as u64
    }

    /// Where in BAR 0 a queue's configuration begins.
    pub(super) fn queue_configuration(&self, queue: u8) -> u64 {
        self.tables.queues() + u64::from(queue) * self.queues.configuration_stride()
    }

    /// Where in a queue's configuration its operations are, if they can be configured.
    pub(super) fn operation_configuration(&self) -> Option<u64> {
        let there = self.queues.contains(QueueCapabilities::OPERATION_CONFIGURATION);
        (there && self.queues.configuration_stride() >= 64).then_some(32)
    }

    /// How a work queue is.
    pub(super) fn queue_state(&self, registers: Registers<'_>, queue: u8) -> Result<QueueState, Cause> {
        self.queue_status(registers, queue).map(QueueStatus::state)
    }

    /// Whether a work queue says that it holds no descriptors; engines may still have some. A device that does not tell
    /// has none that it says so of.
    pub(super) fn is_empty(&self, registers: Registers<'_>, queue: u8) -> Result<bool, Cause> {
        if !self.queues.contains(QueueCapabilities::OCCUPANCY) {
            return Ok(false);
        }
        self.queue_status(registers, queue).map(|status| status.occupancy() == 0)
    }

    fn queue_status(&self, registers: Registers<'_>, queue: u8) -> Result<QueueStatus, Cause> {
        let offset = self.queue_configuration(queue) + QueueConfiguration::STATUS_OFFSET;
        registers.status(offset).map(QueueStatus)
    }
}

fn kind(function: &dyn Function) -> Result<Kind, Cause> {
    let (vendor, device) = function.id();
    if vendor == registers::VENDOR && registers::DSA_DEVICES.contains(&device) {
        Ok(Kind::Dsa)
    } else if vendor == registers::VENDOR && registers::IAA_DEVICES.contains(&device) {
        Ok(Kind::Iaa)
    } else {
        Err(Cause::NotIdxd { vendor, device })
    }
}

fn at_least(bar: u8, bytes: u64, needed: u64) -> Result<(), Cause> {
    if bytes < needed { Err(Cause::BarTooSmall { bar, bytes, needed }) } else { Ok(()) }
}
