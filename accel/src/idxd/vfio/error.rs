//! Why a function could not be brought up, in words, with what can be done about it.

use std::io;
use std::time::Duration;

use pageferry_bindings::idxd::command::CommandError;
use pageferry_bindings::idxd::registers::{DeviceState, ResetNeeded};
use pageferry_bindings::idxd::tables::QueueState;

use crate::queue::OpenError;

/// A step that a function refused.
#[derive(Debug, thiserror::Error)]
#[error("{function}: cannot {attempted}: {cause}; {}", .cause.remedy())]
pub struct FunctionError {
    /// The function.
    pub function: String,
    /// What was attempted.
    pub attempted: String,
    /// What came back.
    pub cause: Cause,
}

/// What a function answered, or did not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// Another device.
    #[error("it is PCI device {vendor:04x}:{device:04x}")]
    NotIdxd {
        /// Whose device.
        vendor: u16,
        /// Which.
        device: u16,
    },
    /// The registers, or the portals, that it says it has are not all in its BAR.
    #[error("BAR {bar} has {bytes:#x} bytes where {needed:#x} are needed")]
    BarTooSmall {
        /// 0 of registers, 2 of portals.
        bar: u8,
        /// Its length.
        bytes: u64,
        /// The least that would do.
        needed: u64,
    },
    /// All bits of a register are ones: nothing answers on the bus.
    #[error("its registers read as all ones")]
    Absent,
    /// Its configuration cannot be written.
    #[error("its configuration is read-only (GENCAP bit 31 is 0)")]
    ReadOnly,
    /// It has no way to work.
    #[error("it states {queues} work queues of {total_size} descriptors, {groups} groups, {engines} engines")]
    Nothing {
        /// Work queues.
        queues: u8,
        /// The descriptors of all of them.
        total_size: u16,
        /// Groups.
        groups: u8,
        /// Engines.
        engines: u8,
    },
    /// More queues were asked for than it has, or than it has descriptors for.
    #[error("{wanted} work queues are asked for where there are {there}")]
    TooManyQueues {
        /// In the settings.
        wanted: u8,
        /// In the device.
        there: u8,
    },
    /// The way to the function failed.
    #[error("{0}")]
    Transport(#[from] io::Error),
    /// A command ended with an error.
    #[error("command error {0}")]
    Command(CommandError),
    /// A command did not end.
    #[error("the command has not ended after {waited:?} and {polls} looks at it")]
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
        /// How often its status was read.
        polls: u32,
    },
    /// The reset did not disable it.
    #[error("the device is {state:?} after its reset (reset needed: {needed:?})")]
    NotDisabled {
        /// Its state.
        state: DeviceState,
        /// What it asks for, if it halted.
        needed: ResetNeeded,
    },
    /// Enabling a queue did not enable it.
    #[error("the work queue is {0:?} afterwards")]
    NotEnabled(QueueState),
    /// Its queues are open already.
    #[error("its queues are open already")]
    Open,
}

impl Cause {
    /// What can be done about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotIdxd { .. } => {
                "name a DSA (8086:0b25, 11fb, 1212) or an IAA (8086:0cfe, 1216); lspci -nn lists them"
            }
            Self::BarTooSmall { .. } => {
                "pass the whole function through, with its BARs as the hardware has them"
            }
            Self::Absent => "the function is off the bus or asleep: look at dmesg, then remove and rescan it",
            Self::ReadOnly => {
                "have whoever owns the function configure its queues, and use the kernel's idxd driver"
            }
            Self::Nothing { .. } => "reset the function; if it says so again, its firmware is at fault",
            Self::TooManyQueues { .. } => "ask for fewer queues",
            Self::Transport(_) => {
                "see that the function is still there and bound to vfio-pci, or that its model runs"
            }
            Self::Command(error) => remedy(*error),
            Self::TimedOut { .. } | Self::NotDisabled { .. } => {
                "reset the function: echo 1 > /sys/bus/pci/devices/ADDRESS/reset"
            }
            Self::NotEnabled(_) => "look for a software error in dmesg, reset the function and try again",
            Self::Open => "drop the queues that are open first",
        }
    }

    /// The same with the function and what was attempted.
    pub(super) fn of(self, function: &str, attempted: impl Into<String>) -> FunctionError {
        FunctionError { function: function.to_owned(), attempted: attempted.into(), cause: self }
    }
}

fn remedy(error: CommandError) -> &'static str {
    match error {
        CommandError::BUS_MASTER_OFF => "let the function master the bus: setpci -s ADDRESS COMMAND=6:6",
        CommandError::HARDWARE => "reset the function, and look at dmesg for machine checks",
        CommandError::BAD_COMMAND => "the function is of a version that this driver does not know",
        CommandError::BAD_INTERRUPT | CommandError::NO_HANDLE => "open it without interrupts",
        CommandError::QUEUE_MODE => "the function has no dedicated queues: use the kernel's idxd driver",
        CommandError::DEVICE_ENABLED | CommandError::QUEUE_ENABLED => {
            "somebody else drives the function: end them, and reset it"
        }
        _ => "ask for fewer queues; if it fails still, reset the function",
    }
}

impl From<FunctionError> for OpenError {
    fn from(error: FunctionError) -> Self {
        let FunctionError { function, attempted, cause } = error;
        let (reason, remedy) = (cause.to_string(), cause.remedy().to_owned());
        Self::Device { device: function, attempted, reason, remedy }
    }
}
