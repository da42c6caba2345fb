//! Registers of BAR 0, the portals of BAR 2, and the functions that have them.
//!
//! Offsets and bits are those of `drivers/dma/idxd/registers.h`; registers are read and written in whole 4- or 8-byte
//! words.

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::bits::{field, field8, field16};

/// VERSION, 32 bits: 0x100, 0x200 or 0x300.
pub const VERSION: u64 = 0x00;
/// GENCAP, 64 bits: [`GeneralCapabilities`].
pub const GENCAP: u64 = 0x10;
/// WQCAP, 64 bits: [`QueueCapabilities`].
pub const WQCAP: u64 = 0x20;
/// GRPCAP, 64 bits: [`GroupCapabilities`].
pub const GRPCAP: u64 = 0x30;
/// ENGCAP, 64 bits: [`EngineCapabilities`].
pub const ENGCAP: u64 = 0x38;
/// OPCAP, 256 bits: [`super::opcode::OpcodeSet`].
pub const OPCAP: u64 = 0x40;
/// Where the tables are, 128 bits: [`TableOffsets`].
pub const TABLE_OFFSETS: u64 = 0x60;
/// GENCFG, 32 bits: [`GeneralConfiguration`].
pub const GENCFG: u64 = 0x80;
/// GENCTRL, 32 bits: [`GeneralControl`].
pub const GENCTRL: u64 = 0x88;
/// GENSTATUS, 32 bits: [`GeneralStatus`].
pub const GENSTATUS: u64 = 0x90;
/// INTCAUSE, 32 bits: [`InterruptCause`]; writing a one clears it.
pub const INTCAUSE: u64 = 0x98;
/// CMD, 32 bits: [`super::command::Command`].
pub const CMD: u64 = 0xa0;
/// CMDSTATUS, 32 bits: [`super::command::CommandStatus`].
pub const CMDSTATUS: u64 = 0xa8;
/// CMDCAP, 32 bits, a bit a command; there if [`GeneralCapabilities::COMMAND_CAPABILITY`] is set.
pub const CMDCAP: u64 = 0xb0;
/// SWERR, 256 bits: [`SoftwareError`].
pub const SWERR: u64 = 0xc0;
/// EVLCFG, 128 bits: where the event log is. Of version 2.
pub const EVLCFG: u64 = 0xe0;
/// EVLSTATUS, 64 bits: head and tail of the event log. Of version 2.
pub const EVLSTATUS: u64 = 0xf0;
/// IAACAP, 64 bits, of an IAA of version 2; DSACAP0 of a DSA of version 3.
pub const IAACAP: u64 = 0x180;

/// The first version: Sapphire Rapids.
pub const VERSION_1: u32 = 0x100;
/// The version with event log, operation configuration and cipher operations.
pub const VERSION_2: u32 = 0x200;

/// The bytes of BAR 2 that one work queue has: four pages.
pub const PORTAL_STRIDE: u64 = 0x4000;
/// The bytes of one portal page, at any multiple of 64 of which descriptors are taken.
pub const PORTAL_PAGE: u64 = 0x1000;
/// The page of a work queue that takes descriptors while the queue has room.
pub const PORTAL_UNLIMITED: u64 = 0x0000;
/// The page of a work queue that, if it is shared, takes descriptors up to its threshold; what the kernel maps.
pub const PORTAL_LIMITED: u64 = 0x1000;

/// Intel.
pub const VENDOR: u16 = 0x8086;
/// DSA functions: Sapphire Rapids, Granite Rapids D, Diamond Rapids (`drivers/dma/idxd/init.c`).
pub const DSA_DEVICES: [u16; 3] = [0x0b25, 0x11fb, 0x1212];
/// IAA functions: Sapphire Rapids, Diamond Rapids (`drivers/dma/idxd/init.c`).
pub const IAA_DEVICES: [u16; 2] = [0x0cfe, 0x1216];

/// What the device can do (GENCAP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GeneralCapabilities(pub u64);

bitflags! {
    impl GeneralCapabilities: u64 {
        /// Descriptors may ask to wait for page faults.
        const BLOCK_ON_FAULT = 1 << 0;
        /// Copies may overlap.
        const OVERLAP_COPY = 1 << 1;
        /// Destinations may be hinted into the cache or to memory.
        const CACHE_CONTROL_MEMORY = 1 << 2;
        /// Cache flushes may be hinted.
        const CACHE_CONTROL_CACHE = 1 << 3;
        /// CMDCAP is there.
        const COMMAND_CAPABILITY = 1 << 4;
        /// Destinations may be read back.
        const DESTINATION_READBACK = 1 << 8;
        /// Drains may read back.
        const DRAIN_READBACK = 1 << 9;
        /// A batch may go on after a failing member.
        const BATCH_CONTINUATION = 1 << 15;
        /// Queues, groups and engines can be configured; otherwise somebody did it for good.
        const CONFIGURABLE = 1 << 31;
        /// IAA: decompression (QPL).
        const DECOMPRESSION = 1 << 40;
        /// IAA: indices into compressed streams (QPL).
        const INDEXING = 1 << 41;
        /// What else the register says; see the methods.
        const _ = !0;
    }
}

impl GeneralCapabilities {
    /// How the event log is: 0 not there, else its entries have `32 << n` bytes.
    #[must_use]
    pub const fn event_log(self) -> u8 {
        field8(self.0, 13, 2)
    }

    /// The binary logarithm of the largest transfer in bytes.
    #[must_use]
    pub const fn max_transfer_shift(self) -> u8 {
        field8(self.0, 16, 5)
    }

    /// The binary logarithm of the largest batch; 0 if there are no batches.
    #[must_use]
    pub const fn max_batch_shift(self) -> u8 {
        field8(self.0, 21, 4)
    }

    /// How many interrupt message slots there are, in the register's unit.
    #[must_use]
    pub const fn interrupt_message_multiplier(self) -> u8 {
        field8(self.0, 25, 6)
    }
}

/// What work queues can do (WQCAP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueueCapabilities(pub u64);

bitflags! {
    impl QueueCapabilities: u64 {
        /// Queues can be shared.
        const SHARED = 1 << 48;
        /// Queues can be dedicated.
        const DEDICATED = 1 << 49;
        /// Address translation can be switched off a queue.
        const ATS_CONTROL = 1 << 50;
        /// Queues have priorities.
        const PRIORITY = 1 << 51;
        /// A queue's occupancy can be read.
        const OCCUPANCY = 1 << 52;
        /// A queue's occupancy can raise an interrupt.
        const OCCUPANCY_INTERRUPT = 1 << 53;
        /// Operations can be allowed by queue.
        const OPERATION_CONFIGURATION = 1 << 54;
        /// Page requests can be switched off a queue.
        const PRS_CONTROL = 1 << 55;
        /// What else the register says; see the methods.
        const _ = !0;
    }
}

impl QueueCapabilities {
    /// How many descriptors all queues hold together.
    #[must_use]
    pub const fn total_size(self) -> u16 {
        field16(self.0, 0, 16)
    }

    /// How many queues there are.
    #[must_use]
    pub const fn queues(self) -> u8 {
        field8(self.0, 16, 8)
    }

    /// How many bytes apart the entries of WQCFG are: 32 and up.
    #[must_use]
    pub const fn configuration_stride(self) -> u64 {
        32 << field(self.0, 24, 4)
    }
}

/// What groups can do (GRPCAP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GroupCapabilities(pub u64);

bitflags! {
    impl GroupCapabilities: u64 {
        /// Read buffers can be allotted to groups.
        const READ_BUFFER_CONTROL = 1 << 16;
        /// Read buffers can be limited.
        const READ_BUFFER_LIMIT = 1 << 17;
        /// Progress can be limited.
        const PROGRESS_LIMIT = 1 << 18;
        /// What else the register says; see the methods.
        const _ = !0;
    }
}

impl GroupCapabilities {
    /// How many groups there are.
    #[must_use]
    pub const fn groups(self) -> u8 {
        field8(self.0, 0, 8)
    }

    /// How many read buffers there are.
    #[must_use]
    pub const fn read_buffers(self) -> u8 {
        field8(self.0, 8, 8)
    }
}

/// What engines there are (ENGCAP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EngineCapabilities(pub u64);

impl EngineCapabilities {
    /// How many engines there are.
    #[must_use]
    pub const fn engines(self) -> u8 {
        field8(self.0, 0, 8)
    }
}

/// Where in BAR 0 the tables begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TableOffsets(pub [u64; 2]);

impl TableOffsets {
    /// What an offset of the register counts in, in bytes.
    pub const UNIT: u64 = 0x100;

    /// The group configurations, [`super::tables::GroupConfiguration`].
    #[must_use]
    pub const fn groups(self) -> u64 {
        field(self.0[0], 0, 16) * Self::UNIT
    }

    /// The work queue configurations, [`super::tables::QueueConfiguration`].
    #[must_use]
    pub const fn queues(self) -> u64 {
        field(self.0[0], 16, 16) * Self::UNIT
    }

    /// The MSI-X permissions, [`super::tables::InterruptPermission`].
    #[must_use]
    pub const fn interrupt_permissions(self) -> u64 {
        field(self.0[0], 32, 16) * Self::UNIT
    }

    /// The interrupt message store.
    #[must_use]
    pub const fn interrupt_messages(self) -> u64 {
        field(self.0[0], 48, 16) * Self::UNIT
    }

    /// The performance monitor.
    #[must_use]
    pub const fn performance(self) -> u64 {
        field(self.0[1], 0, 16) * Self::UNIT
    }
}

/// What applies to the whole device (GENCFG).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GeneralConfiguration(pub u32);

bitflags! {
    impl GeneralConfiguration: u32 {
        /// User-mode interrupts are allowed.
        const USER_INTERRUPTS = 1 << 12;
        /// The event log is on.
        const EVENT_LOG = 1 << 13;
        /// What else the register says; see the methods.
        const _ = !0;
    }
}

impl GeneralConfiguration {
    /// How many read buffers the groups that are limited share.
    #[must_use]
    pub const fn read_buffer_limit(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

bitflags! {
    /// What the device raises an interrupt for (GENCTRL).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct GeneralControl: u32 {
        /// A software error.
        const SOFTWARE_ERROR = 1 << 0;
        /// A halt.
        const HALT = 1 << 1;
        /// An entry of the event log.
        const EVENT_LOG = 1 << 2;
    }

    /// Why vector 0 was raised (INTCAUSE).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct InterruptCause: u32 {
        /// SWERR is valid.
        const SOFTWARE_ERROR = 1 << 0;
        /// A command completed.
        const COMMAND = 1 << 1;
        /// A queue fell below its occupancy limit.
        const OCCUPANCY = 1 << 2;
        /// A counter of the performance monitor ran over.
        const PERFORMANCE = 1 << 3;
        /// The device halted.
        const HALT = 1 << 4;
        /// An entry of the event log.
        const EVENT_LOG = 1 << 5;
        /// Interrupt handles were revoked.
        const HANDLES_REVOKED = 1 << 31;
    }
}

/// How the device is (GENSTATUS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GeneralStatus(pub u32);

/// Whether the device works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceState {
    /// It takes configuration, and no work.
    Disabled,
    /// It takes work.
    Enabled,
    /// It ends the work it has.
    Draining,
    /// It stopped for an error, and must be reset.
    Halted,
}

/// The reset that a device needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetNeeded {
    /// The reset command.
    Software,
    /// A function-level reset.
    Function,
    /// A warm reset of the machine.
    Warm,
    /// A cold reset of the machine.
    Cold,
}

impl GeneralStatus {
    /// The state, bits 1:0.
    #[must_use]
    pub const fn state(self) -> DeviceState {
        match self.0 & 3 {
            0 => DeviceState::Disabled,
            1 => DeviceState::Enabled,
            2 => DeviceState::Draining,
            _ => DeviceState::Halted,
        }
    }

    /// The reset that ends a halt, bits 3:2.
    #[must_use]
    pub const fn reset_needed(self) -> ResetNeeded {
        match self.0 >> 2 & 3 {
            0 => ResetNeeded::Software,
            1 => ResetNeeded::Function,
            2 => ResetNeeded::Warm,
            _ => ResetNeeded::Cold,
        }
    }
}

/// An error that no completion record could tell of (SWERR). Writing 3 to its first byte makes room for the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SoftwareError {
    /// Flags, code, queue, operation and PASID.
    pub what: SoftwareErrorWord,
    /// Which member of a batch.
    pub batch_index: u16,
    /// Reserved.
    pub reserved: u16,
    /// The flags that are not valid.
    pub invalid_flags: u32,
    /// The address that faulted.
    pub fault_address: u64,
    /// Reserved.
    pub reserved2: u64,
}

/// The first word of [`SoftwareError`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SoftwareErrorWord(pub u64);

bitflags! {
    impl SoftwareErrorWord: u64 {
        /// There is an error.
        const VALID = 1 << 0;
        /// There were more, which are lost.
        const OVERFLOW = 1 << 1;
        /// The fields of the descriptor are valid.
        const DESCRIPTOR_VALID = 1 << 2;
        /// The queue is valid.
        const QUEUE_VALID = 1 << 3;
        /// The descriptor was in a batch.
        const BATCH = 1 << 4;
        /// The fault was on a write.
        const WRITE_FAULT = 1 << 5;
        /// The descriptor was privileged.
        const PRIVILEGED = 1 << 6;
        /// What else the word says; see the methods.
        const _ = !0;
    }
}

impl SoftwareErrorWord {
    /// The code: that of a completion record, or one of the device's.
    #[must_use]
    pub const fn error(self) -> u8 {
        field8(self.0, 8, 8)
    }

    /// The queue.
    #[must_use]
    pub const fn queue(self) -> u8 {
        field8(self.0, 16, 8)
    }

    /// The operation.
    #[must_use]
    pub const fn opcode(self) -> super::opcode::Opcode {
        super::opcode::Opcode(field8(self.0, 32, 8))
    }

    /// The PASID.
    #[must_use]
    pub const fn pasid(self) -> u32 {
        super::bits::field32(self.0, 40, 20)
    }
}
