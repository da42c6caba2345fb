//! Commands: what a device is told through CMD, and what it answers in CMDSTATUS.

use std::fmt;

use super::bits::{field8, field16, field32, with_field};

/// A value of CMD: operand in bits 19:0, command in bits 24:20, bit 31 asks for an interrupt when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Command(pub u32);

/// A command by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandNumber(pub u8);

impl CommandNumber {
    /// Enables the device.
    pub const ENABLE_DEVICE: Self = Self(1);
    /// Ends all work and disables the device.
    pub const DISABLE_DEVICE: Self = Self(2);
    /// Completes when all work has.
    pub const DRAIN_ALL: Self = Self(3);
    /// Ends all work without completing it.
    pub const ABORT_ALL: Self = Self(4);
    /// Makes the device as new.
    pub const RESET_DEVICE: Self = Self(5);
    /// Enables the work queue that the operand numbers.
    pub const ENABLE_QUEUE: Self = Self(6);
    /// Disables work queues, [`Command::queue_mask`].
    pub const DISABLE_QUEUE: Self = Self(7);
    /// Completes when the work of queues has, [`Command::queue_mask`].
    pub const DRAIN_QUEUE: Self = Self(8);
    /// Ends the work of queues without completing it, [`Command::queue_mask`].
    pub const ABORT_QUEUE: Self = Self(9);
    /// Makes work queues as new, [`Command::queue_mask`].
    pub const RESET_QUEUE: Self = Self(10);
    /// Completes when the work of a PASID has.
    pub const DRAIN_PASID: Self = Self(11);
    /// Ends the work of a PASID without completing it.
    pub const ABORT_PASID: Self = Self(12);
    /// Gives the handle of an interrupt.
    pub const REQUEST_INTERRUPT: Self = Self(13);
    /// Takes it back.
    pub const RELEASE_INTERRUPT: Self = Self(14);
}

impl Command {
    /// The bit of CMD that asks for an interrupt.
    const INTERRUPT: u32 = 1 << 31;
    /// The bits of CMD that are the operand.
    const OPERAND: u32 = 0xf_ffff;

    /// A command with an operand of 20 bits.
    #[must_use]
    pub const fn new(number: CommandNumber, operand: u32) -> Self {
        let operand = operand & Self::OPERAND;
        Self(field32(with_field(operand as u64, 20, 5, number.0 as u64), 0, 32))
    }

    /// The operand that names one work queue where a command takes several: a bit of 16, and which 16.
    #[must_use]
    pub const fn queue_mask(queue: u8) -> u32 {
        1 << (queue % 16) | ((queue / 16) as u32) << 16
    }

    /// The same command, which raises an interrupt when it is done.
    #[must_use]
    pub const fn with_interrupt(self) -> Self {
        Self(self.0 | Self::INTERRUPT)
    }

    /// The command.
    #[must_use]
    pub const fn number(self) -> CommandNumber {
        CommandNumber(field8(self.0 as u64, 20, 5))
    }

    /// The operand.
    #[must_use]
    pub const fn operand(self) -> u32 {
        self.0 & Self::OPERAND
    }

    /// Whether it raises an interrupt when it is done.
    #[must_use]
    pub const fn raises_interrupt(self) -> bool {
        self.0 & Self::INTERRUPT != 0
    }
}

/// A value of CMDSTATUS: error in bits 7:0, result in bits 23:8, bit 31 while the command is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CommandStatus(pub u32);

impl CommandStatus {
    /// The bit that says that a command is being carried out.
    pub const ACTIVE: u32 = 1 << 31;

    /// A command that is done, with this outcome.
    #[must_use]
    pub const fn done(error: CommandError, result: u16) -> Self {
        Self(error.0 as u32 | (result as u32) << 8)
    }

    /// Whether the command is still being carried out.
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }

    /// What went wrong; valid once it is not active.
    #[must_use]
    pub const fn error(self) -> CommandError {
        CommandError(field8(self.0 as u64, 0, 8))
    }

    /// What the command gives: an interrupt handle.
    #[must_use]
    pub const fn result(self) -> u16 {
        field16(self.0 as u64, 8, 16)
    }
}

/// Why a command failed, 0 if it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandError(pub u8);

impl CommandError {
    /// It did not fail.
    pub const NONE: Self = Self(0x00);
    /// No such command.
    pub const BAD_COMMAND: Self = Self(0x01);
    /// No such work queue.
    pub const BAD_QUEUE: Self = Self(0x02);
    /// A hardware error.
    pub const HARDWARE: Self = Self(0x03);
    /// The device is enabled already.
    pub const DEVICE_ENABLED: Self = Self(0x10);
    /// The device's configuration.
    pub const CONFIGURATION: Self = Self(0x11);
    /// The function may not read memory.
    pub const BUS_MASTER_OFF: Self = Self(0x12);
    /// PASID settings that are not valid.
    pub const BAD_PASID: Self = Self(0x13);
    /// The queues together are larger than there is room.
    pub const QUEUE_SIZES: Self = Self(0x14);
    /// The first of four errors of a group's configuration.
    pub const GROUP_CONFIGURATION: Self = Self(0x15);
    /// The second.
    pub const GROUP_CONFIGURATION_2: Self = Self(0x16);
    /// The third.
    pub const GROUP_CONFIGURATION_3: Self = Self(0x17);
    /// The fourth.
    pub const GROUP_CONFIGURATION_4: Self = Self(0x18);
    /// A queue was to be enabled on a device that is not.
    pub const DEVICE_OFF: Self = Self(0x20);
    /// The queue is enabled already.
    pub const QUEUE_ENABLED: Self = Self(0x21);
    /// The queue's size.
    pub const QUEUE_SIZE: Self = Self(0x22);
    /// The queue's priority.
    pub const QUEUE_PRIORITY: Self = Self(0x23);
    /// The queue's mode.
    pub const QUEUE_MODE: Self = Self(0x24);
    /// The queue's block-on-fault.
    pub const QUEUE_BLOCK_ON_FAULT: Self = Self(0x25);
    /// The queue's PASID.
    pub const QUEUE_PASID: Self = Self(0x26);
    /// The queue's largest batch.
    pub const QUEUE_MAX_BATCH: Self = Self(0x27);
    /// The queue's largest transfer.
    pub const QUEUE_MAX_TRANSFER: Self = Self(0x28);
    /// The device was to be disabled and is not enabled.
    pub const DEVICE_NOT_ENABLED: Self = Self(0x31);
    /// A command for queues, of a device or a queue that is not enabled.
    pub const QUEUE_NOT_ENABLED: Self = Self(0x32);
    /// No such interrupt.
    pub const BAD_INTERRUPT: Self = Self(0x41);
    /// No handle is left.
    pub const NO_HANDLE: Self = Self(0x42);

    /// What it says, in words.
    fn words(self) -> &'static str {
        match self {
            Self::NONE => "no error",
            Self::BAD_COMMAND => "no such command",
            Self::BAD_QUEUE => "no such work queue",
            Self::HARDWARE => "hardware error",
            Self::DEVICE_ENABLED => "the device is enabled already",
            Self::CONFIGURATION => "the device's configuration is not valid",
            Self::BUS_MASTER_OFF => "bus mastering is off",
            Self::BAD_PASID => "the device's PASID settings are not valid",
            Self::QUEUE_SIZES => "the work queues together are larger than the device",
            Self::GROUP_CONFIGURATION
            | Self::GROUP_CONFIGURATION_2
            | Self::GROUP_CONFIGURATION_3
            | Self::GROUP_CONFIGURATION_4 => "a group's configuration is not valid",
            Self::DEVICE_OFF => "the device is not enabled",
            Self::QUEUE_ENABLED => "the work queue is enabled already",
            Self::QUEUE_SIZE => "the work queue's size is not valid",
            Self::QUEUE_PRIORITY => "the work queue's priority is not valid",
            Self::QUEUE_MODE => "the work queue's mode is not valid",
            Self::QUEUE_BLOCK_ON_FAULT => "the work queue's block-on-fault is not valid",
            Self::QUEUE_PASID => "the work queue's PASID settings are not valid",
            Self::QUEUE_MAX_BATCH => "the work queue's largest batch is not valid",
            Self::QUEUE_MAX_TRANSFER => "the work queue's largest transfer is not valid",
            Self::DEVICE_NOT_ENABLED => "the device is not enabled, so it cannot be disabled",
            Self::QUEUE_NOT_ENABLED => "the device or the work queue is not enabled",
            Self::BAD_INTERRUPT => "no such interrupt",
            Self::NO_HANDLE => "no interrupt handle is left",
            _ => "a code that the documents do not name",
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}: {}", self.0, self.words())
    }
}
