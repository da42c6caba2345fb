//! Completion records: what a device writes when it is done.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The record of a DSA operation, aligned to 32 bytes (`struct dsa_completion_record`).
///
/// Software makes the status zero before it submits; the device writes the whole record, the status visibly last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct DsaCompletion {
    /// A [`super::status::DsaStatus`] in bits 6:0; bit 7 says that a fault was on a write.
    pub status: u8,
    /// Of comparisons 0 equal, 1 different; of create-delta also 2 overflow; of a move 1 if it ran backwards.
    pub result: u8,
    /// Bit 0: the fault address is not valid; bits 3:1: which operand faulted.
    pub fault_info: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes done, or descriptors of a batch.
    pub bytes_completed: u32,
    /// The address that faulted.
    pub fault_address: u64,
    /// The flags that are not valid (status 0x11), the length of a delta record, or a CRC.
    pub value: u32,
    /// Tags of DIF operations, else reserved.
    pub reserved2: [u8; 12],
}

/// The record of an IAA operation, aligned to 64 bytes (`struct iax_completion_record`, and
/// `hw_completion_record_api.h` of QPL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct IaaCompletion {
    /// A [`super::status::IaaStatus`] in bits 6:0; bit 7 says that a fault was on a write.
    pub status: u8,
    /// An [`super::status::AnalyticsError`], if the status is 0x0a.
    pub error_code: u8,
    /// Bit 0: the fault address is not valid; bits 3:1: which operand faulted.
    pub fault_info: u8,
    /// Zero.
    pub reserved: u8,
    /// Source bytes consumed.
    pub bytes_completed: u32,
    /// The address that faulted.
    pub fault_address: u64,
    /// The flags that are not valid (status 0x11).
    pub invalid_flags: u32,
    /// Zero.
    pub reserved2: u32,
    /// Bytes written to the destination, a partial last one included.
    pub output_bytes: u32,
    /// Valid bits in the last byte; 0 if it is full.
    pub output_bits: u8,
    /// Zero.
    pub reserved3: u8,
    /// The exclusive or of the 16-bit words of the uncompressed data.
    pub xor_checksum: u16,
    /// CRC-32 of the uncompressed data, or CRC-32C if that flag was set.
    pub crc: u32,
    /// The smallest or first element of an aggregate.
    pub min_or_first: u32,
    /// The largest or last element; the low half of a CRC64.
    pub max_or_last: u32,
    /// The sum; the high half of a CRC64.
    pub sum: u32,
    /// Zero.
    pub reserved4: [u8; 16],
}

/// The bit of a status byte that says that a fault was on a write.
pub const WRITE_FAULT: u8 = 0x80;
