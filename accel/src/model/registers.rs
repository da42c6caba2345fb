//! BAR 0: what registers and tables read as, and what writing them does.

use pageferry_bindings::idxd::command::{Command, CommandStatus};
use pageferry_bindings::idxd::registers::{self as at, DeviceState, QueueCapabilities, SoftwareError};
use pageferry_bindings::idxd::tables::{
    GroupConfiguration, InterruptPermission, QueueConfiguration, QueueState, QueueStatus,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::profile::Profile;

/// The length of BAR 0.
pub(super) const BYTES: u64 = 64 << 10;

/// The bits of each word of a queue's configuration that can be written.
const QUEUE_WORDS: [u32; 8] = [0xffff, 0xffff, 0x3fff_ffff, 0x1ff, 0x1_ffff, 0x1_ffff, 0, 0];

/// The registers that change.
#[derive(Debug)]
pub(super) struct Registers {
    pub state: DeviceState,
    pub general_configuration: u32,
    pub general_control: u32,
    pub interrupt_cause: u32,
    pub command_status: CommandStatus,
    pub error: SoftwareError,
    pub groups: Vec<GroupConfiguration>,
    pub queues: Vec<QueueConfiguration>,
    permissions: Vec<InterruptPermission>,
}

impl Registers {
    /// As after power-on.
    pub(super) fn new(profile: &Profile) -> Self {
        Self {
            state: DeviceState::Disabled,
            general_configuration: 0,
            general_control: 0,
            interrupt_cause: 0,
            command_status: CommandStatus::default(),
            error: SoftwareError::default(),
            groups: vec![GroupConfiguration::default(); profile.groups.into()],
            queues: vec![QueueConfiguration::default(); profile.queues.into()],
            permissions: vec![InterruptPermission::default(); profile.vectors.into()],
        }
    }

    pub(super) fn queue_state(&self, queue: usize) -> QueueState {
        self.queues[queue].status.state()
    }

    pub(super) fn set_queue_state(&mut self, queue: usize, state: QueueState) {
        self.queues[queue].status = QueueStatus::new(state, 0);
    }

    /// Reads the 32-bit word at `offset`; `occupancy` is how many descriptors each queue holds.
    pub(super) fn read(&self, profile: &Profile, occupancy: &[u16], offset: u64) -> u32 {
        let tables = tables(profile);
        if let Some((queue, word)) =
            entry(offset, tables.queues, self.queues.len(), QueueConfiguration::BYTES)
        {
            let mut configuration = self.queues[queue];
            configuration.status = QueueStatus::new(configuration.status.state(), occupancy[queue]);
            return word_of(&configuration, word);
        }
        if let Some((group, word)) =
            entry(offset, tables.groups, self.groups.len(), GroupConfiguration::BYTES)
        {
            return word_of(&self.groups[group], word);
        }
        if let Some((vector, word)) = entry(offset, tables.permissions, self.permissions.len(), 8) {
            return word_of(&self.permissions[vector], word);
        }
        let low_half = offset.is_multiple_of(8);
        let word = self.register(profile, offset & !7);
        let [low, high] = [word & u64::from(u32::MAX), word >> 32];
        u32::try_from(if low_half { low } else { high }).unwrap_or(0)
    }

    fn register(&self, profile: &Profile, offset: u64) -> u64 {
        let in_words = |words: &[u64], base: u64| {
            let index = usize::try_from((offset - base) / 8).unwrap_or(usize::MAX);
            words.get(index).copied().unwrap_or(0)
        };
        match offset {
            at::VERSION => profile.version.into(),
            at::GENCAP => profile.general.0,
            at::WQCAP => {
                let modes = QueueCapabilities::SHARED | QueueCapabilities::DEDICATED;
                let reports = QueueCapabilities::PRIORITY | QueueCapabilities::OCCUPANCY;
                (modes | reports).0 | u64::from(profile.total_size) | u64::from(profile.queues) << 16
            }
            at::GRPCAP => u64::from(profile.groups) | u64::from(profile.read_buffers) << 8,
            at::ENGCAP => profile.engines.into(),
            at::OPCAP..at::TABLE_OFFSETS => in_words(&profile.opcodes.0, at::OPCAP),
            at::TABLE_OFFSETS => {
                let tables = tables(profile);
                let unit = at::TableOffsets::UNIT;
                (tables.groups / unit) | (tables.queues / unit) << 16 | (tables.permissions / unit) << 32
            }
            at::GENCFG => self.general_configuration.into(),
            at::GENCTRL => self.general_control.into(),
            at::GENSTATUS => match self.state {
                DeviceState::Disabled => 0,
                DeviceState::Enabled => 1,
                DeviceState::Draining => 2,
                DeviceState::Halted => 3,
            },
            at::INTCAUSE => self.interrupt_cause.into(),
            at::CMDSTATUS => self.command_status.0.into(),
            at::SWERR..at::EVLCFG => in_words(&self.error_words(), at::SWERR),
            _ => 0,
        }
    }

    fn error_words(&self) -> [u64; 4] {
        zerocopy::transmute!(self.error)
    }

    /// Writes the 32-bit word at `offset`. Gives the command that this is, if it is one.
    pub(super) fn write(&mut self, profile: &Profile, offset: u64, value: u32) -> Option<Command> {
        let tables = tables(profile);
        if let Some((queue, word)) =
            entry(offset, tables.queues, self.queues.len(), QueueConfiguration::BYTES)
        {
            let open = self.queue_state(queue) == QueueState::Disabled
                && (word != 0 || self.state == DeviceState::Disabled);
            if open && word < 6 {
                set_word(&mut self.queues[queue], word, value & QUEUE_WORDS[word]);
            }
            return None;
        }
        if let Some((group, word)) =
            entry(offset, tables.groups, self.groups.len(), GroupConfiguration::BYTES)
        {
            if self.state == DeviceState::Disabled {
                set_word(&mut self.groups[group], word, value);
            }
            return None;
        }
        if let Some((vector, word)) = entry(offset, tables.permissions, self.permissions.len(), 8) {
            set_word(&mut self.permissions[vector], word, value);
            return None;
        }
        match offset {
            at::GENCFG if self.state == DeviceState::Disabled => self.general_configuration = value,
            at::GENCTRL => self.general_control = value & 7,
            at::INTCAUSE => self.interrupt_cause &= !value,
            at::CMD => return Some(Command(value)),
            at::SWERR => {
                self.error.what.0 &= !u64::from(value & 3);
                if self.error.what.0 & 1 == 0 {
                    self.error = SoftwareError::default();
                }
            }
            _ => {}
        }
        None
    }
}

/// Where the tables are, in bytes.
struct Tables {
    groups: u64,
    queues: u64,
    permissions: u64,
}

fn tables(profile: &Profile) -> Tables {
    let unit = at::TableOffsets::UNIT;
    // Behind the larger of the two; the MSI-X table itself is at 0x2000.
    let permissions = 0x1000;
    Tables {
        groups: u64::from(profile.group_table) * unit,
        queues: u64::from(profile.queue_table) * unit,
        permissions,
    }
}

/// Which entry of a table an offset is in, and which 32-bit word of it.
fn entry(offset: u64, start: u64, entries: usize, bytes: usize) -> Option<(usize, usize)> {
    let within = usize::try_from(offset.checked_sub(start)?).ok()?;
    (within < entries * bytes).then_some((within / bytes, within % bytes / 4))
}

fn word_of<T: IntoBytes + Immutable>(entry: &T, word: usize) -> u32 {
    let bytes = entry.as_bytes().as_chunks::<4>().0;
    u32::from_le_bytes(bytes[word])
}

fn set_word<T: IntoBytes + FromBytes>(entry: &mut T, word: usize, value: u32) {
    entry.as_mut_bytes().as_chunks_mut::<4>().0[word] = value.to_le_bytes();
}
