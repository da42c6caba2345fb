//! Operations, and the registers that say which of them a device has.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An operation by its number (`enum dsa_opcode` and `enum iax_opcode` of `include/uapi/linux/idxd.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

impl Opcode {
    /// Nothing.
    pub const NOOP: Self = Self(0x00);
    /// DSA: a list of descriptors.
    pub const BATCH: Self = Self(0x01);
    /// Completes when all before it in its queue have.
    pub const DRAIN: Self = Self(0x02);
    /// Copies.
    pub const MEMORY_MOVE: Self = Self(0x03);
    /// DSA: repeats a pattern.
    pub const FILL: Self = Self(0x04);
    /// DSA: compares two sources.
    pub const COMPARE: Self = Self(0x05);
    /// DSA: compares a source with a pattern of 8 bytes.
    pub const COMPARE_PATTERN: Self = Self(0x06);
    /// DSA: the words that differ, as a delta record.
    pub const CREATE_DELTA: Self = Self(0x07);
    /// DSA: a delta record over its destination.
    pub const APPLY_DELTA: Self = Self(0x08);
    /// DSA: copies to two destinations.
    pub const DUALCAST: Self = Self(0x09);
    /// DSA: CRC-32C.
    pub const CRC_GENERATION: Self = Self(0x10);
    /// DSA: copies, with CRC-32C.
    pub const COPY_WITH_CRC: Self = Self(0x11);
    /// DSA: writes cache lines back.
    pub const CACHE_FLUSH: Self = Self(0x20);
    /// IAA: decompresses deflate.
    pub const DECOMPRESS: Self = Self(0x42);
    /// IAA: compresses, or counts symbols.
    pub const COMPRESS: Self = Self(0x43);
    /// IAA: CRC64.
    pub const CRC64: Self = Self(0x44);
}

/// The operations that a device, or a queue of it, has: OPCAP, BAR0 offset 0x40, a bit an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpcodeSet(pub [u64; 4]);

impl OpcodeSet {
    /// These operations.
    #[must_use]
    pub fn of(opcodes: &[Opcode]) -> Self {
        opcodes.iter().fold(Self::default(), |set, &opcode| set.with(opcode))
    }

    /// This and one more.
    #[must_use]
    pub fn with(mut self, opcode: Opcode) -> Self {
        self.0[usize::from(opcode.0 / 64)] |= 1 << (opcode.0 % 64);
        self
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(&self, opcode: Opcode) -> bool {
        self.0[usize::from(opcode.0 / 64)] >> (opcode.0 % 64) & 1 == 1
    }
}
