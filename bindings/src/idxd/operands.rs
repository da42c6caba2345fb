//! The last 24 bytes of a descriptor, by operation. Offsets count from byte 40 of the descriptor.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Of compare and compare-pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CompareOperands {
    /// The result that counts as success if the check-result flag is set: 0 equal, 1 different.
    pub expected_result: u8,
    /// Zero.
    pub reserved: [u8; 23],
}

/// Of create-delta-record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateDeltaOperands {
    /// Where the record goes, aligned to 8 bytes.
    pub delta_address: u64,
    /// The most bytes that the record may have: at least 80, and a multiple of 10 to be safe.
    pub max_delta_bytes: u32,
    /// Zero.
    pub reserved: u32,
    /// Which results count as success if the check-result flag is set: bit 0 equal, bit 1 different, bit 2 overflow.
    pub expected_mask: u8,
    /// Zero.
    pub reserved2: [u8; 7],
}

/// Of apply-delta-record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ApplyDeltaOperands {
    /// The length of the record, a multiple of 10.
    pub delta_bytes: u32,
    /// Zero.
    pub reserved: [u8; 20],
}

/// Of CRC generation and copy with CRC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CrcOperands {
    /// The CRC of what came before, 0 at the beginning.
    pub seed: u32,
    /// Zero.
    pub reserved: u32,
    /// Where the seed is read from, if the flag for that is set; aligned to 4 bytes.
    pub seed_address: u64,
    /// Zero.
    pub reserved2: u64,
}

/// Of dualcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DualcastOperands {
    /// The second destination: bits 11:0 as those of the first.
    pub second_destination: u64,
    /// Zero.
    pub reserved: [u8; 16],
}

/// Of every IAA operation that has a second source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IaaOperands {
    /// Source 2: an AECS, aligned to 32 bytes, or a second input.
    pub source2: u64,
    /// The most bytes that may be written to the destination.
    pub max_destination_bytes: u32,
    /// The size of source 2.
    pub source2_bytes: u32,
    /// Filter flags; flags of the second kind for compression.
    pub filter_flags: u32,
    /// The number of elements of a filter.
    pub elements: u32,
}
