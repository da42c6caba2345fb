//! The tables of BAR 0: configurations of work queues and groups, and permissions of interrupts
//! (`drivers/dma/idxd/registers.h`).

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::bits::{field, field8, field32, with_field};

/// The configuration of a work queue (WQCFG). Entries are
/// [`configuration_stride`](super::registers::QueueCapabilities::configuration_stride) bytes apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QueueConfiguration {
    /// How many descriptors it holds.
    pub size: u16,
    /// Reserved.
    pub reserved: u16,
    /// Of a shared queue: how many descriptors it takes from limited portals.
    pub threshold: u16,
    /// Reserved.
    pub reserved2: u16,
    /// Mode, priority and PASID.
    pub control: QueueControl,
    /// The largest transfer and the largest batch.
    pub limits: QueueLimits,
    /// The handle of the occupancy interrupt in bits 15:0, which table it is in, in bit 16.
    pub occupancy_interrupt: u32,
    /// The occupancy at which it is raised in bits 15:0, bit 16 enables it.
    pub occupancy_limit: u32,
    /// How the queue is; read-only.
    pub status: QueueStatus,
    /// Reserved.
    pub reserved3: u32,
}

impl QueueConfiguration {
    /// The size of an entry without operation configuration.
    pub const BYTES: usize = 32;
    /// Where in an entry [`status`](Self::status) is.
    pub const STATUS_OFFSET: u64 = 24;
}

/// The third word of [`QueueConfiguration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct QueueControl(pub u32);

bitflags! {
    impl QueueControl: u32 {
        /// One submitter, which counts; otherwise shared.
        const DEDICATED = 1 << 0;
        /// Descriptors may ask to wait for page faults.
        const BLOCK_ON_FAULT = 1 << 1;
        /// Addresses are not translated by the function.
        const ATS_DISABLE = 1 << 2;
        /// Page faults are not reported to the host.
        const PRS_DISABLE = 1 << 3;
        /// The PASID counts.
        const PASID_ENABLE = 1 << 28;
        /// Descriptors are privileged.
        const PRIVILEGED = 1 << 29;
        /// What else the word says; see the methods.
        const _ = !0;
    }
}

impl QueueControl {
    /// The priority: 1 to 15.
    #[must_use]
    pub const fn priority(self) -> u8 {
        field8(self.0 as u64, 4, 4)
    }

    /// The same with a priority.
    #[must_use]
    pub const fn with_priority(self, priority: u8) -> Self {
        Self(field32(with_field(self.0 as u64, 4, 4, priority as u64), 0, 32))
    }

    /// The PASID.
    #[must_use]
    pub const fn pasid(self) -> u32 {
        field32(self.0 as u64, 8, 20)
    }

    /// The same with a PASID, which [`PASID_ENABLE`](Self::PASID_ENABLE) makes count.
    #[must_use]
    pub const fn with_pasid(self, pasid: u32) -> Self {
        Self(field32(with_field(self.0 as u64, 8, 20, pasid as u64), 0, 32))
    }
}

/// The fourth word of [`QueueConfiguration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct QueueLimits(pub u32);

impl QueueLimits {
    /// Transfers of at most `1 << transfer_shift` bytes (5 bits), batches of at most `1 << batch_shift` (4 bits).
    #[must_use]
    pub const fn new(transfer_shift: u8, batch_shift: u8) -> Self {
        let transfer = with_field(0, 0, 5, transfer_shift as u64);
        Self(field32(with_field(transfer, 5, 4, batch_shift as u64), 0, 32))
    }

    /// The binary logarithm of the largest transfer in bytes.
    #[must_use]
    pub const fn max_transfer_shift(self) -> u8 {
        field8(self.0 as u64, 0, 5)
    }

    /// The binary logarithm of the largest batch.
    #[must_use]
    pub const fn max_batch_shift(self) -> u8 {
        field8(self.0 as u64, 5, 4)
    }
}

/// The seventh word of [`QueueConfiguration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct QueueStatus(pub u32);

/// How a work queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueState {
    /// It takes nothing.
    Disabled,
    /// It takes descriptors.
    Enabled,
    /// It ends what it has.
    Busy,
    /// A value that has no meaning.
    Reserved,
}

impl QueueStatus {
    /// Of a queue in this state that holds so many descriptors.
    #[must_use]
    pub const fn new(state: QueueState, occupancy: u16) -> Self {
        let state = match state {
            QueueState::Disabled => 0,
            QueueState::Enabled => 1,
            QueueState::Busy => 2,
            QueueState::Reserved => 3,
        };
        Self(state << 30 | occupancy as u32)
    }

    /// The state, bits 31:30.
    #[must_use]
    pub const fn state(self) -> QueueState {
        match self.0 >> 30 {
            0 => QueueState::Disabled,
            1 => QueueState::Enabled,
            2 => QueueState::Busy,
            _ => QueueState::Reserved,
        }
    }

    /// How many descriptors it holds, where the device says so.
    #[must_use]
    pub const fn occupancy(self) -> u16 {
        super::bits::field16(self.0 as u64, 0, 16)
    }
}

/// The configuration of a group (GRPCFG). Entries are 64 bytes apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GroupConfiguration {
    /// Its work queues, a bit each.
    pub queues: [u64; 4],
    /// Its engines, a bit each.
    pub engines: u64,
    /// Traffic classes and read buffers.
    pub flags: GroupFlags,
    /// Reserved.
    pub reserved: [u64; 2],
}

impl GroupConfiguration {
    /// The size of an entry.
    pub const BYTES: usize = 64;
}

/// The sixth word of [`GroupConfiguration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GroupFlags(pub u64);

impl GroupFlags {
    /// Both traffic classes 1, as versions up to 2 want them; all else as after reset.
    pub const CLASSES_1: Self = Self(0x9);

    /// Traffic class A.
    #[must_use]
    pub const fn traffic_class_a(self) -> u8 {
        field8(self.0, 0, 3)
    }

    /// Traffic class B.
    #[must_use]
    pub const fn traffic_class_b(self) -> u8 {
        field8(self.0, 3, 3)
    }

    /// Whether the device's limit of read buffers applies.
    #[must_use]
    pub const fn uses_read_buffer_limit(self) -> bool {
        field(self.0, 7, 1) == 1
    }

    /// How many read buffers are this group's alone.
    #[must_use]
    pub const fn read_buffers_reserved(self) -> u8 {
        field8(self.0, 8, 8)
    }

    /// How many read buffers it may use.
    #[must_use]
    pub const fn read_buffers_allowed(self) -> u8 {
        field8(self.0, 20, 8)
    }

    /// How descriptors may progress, a code.
    #[must_use]
    pub const fn descriptor_progress_limit(self) -> u8 {
        field8(self.0, 32, 2)
    }

    /// How batches may progress, a code.
    #[must_use]
    pub const fn batch_progress_limit(self) -> u8 {
        field8(self.0, 36, 2)
    }
}

/// Who may raise an MSI-X interrupt. Entries are 8 bytes apart, one a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct InterruptPermission(pub u64);

bitflags! {
    impl InterruptPermission: u64 {
        /// The entry is not looked at.
        const IGNORE = 1 << 2;
        /// The PASID must be this one.
        const PASID_ENABLE = 1 << 3;
        /// What else the entry says; see the methods.
        const _ = !0;
    }
}

impl InterruptPermission {
    /// The PASID.
    #[must_use]
    pub const fn pasid(self) -> u32 {
        field32(self.0, 12, 20)
    }

    /// The same with a PASID, which [`PASID_ENABLE`](Self::PASID_ENABLE) makes count.
    #[must_use]
    pub const fn with_pasid(self, pasid: u32) -> Self {
        Self(with_field(self.0, 12, 20, pasid as u64))
    }
}
