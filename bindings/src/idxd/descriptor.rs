//! The work descriptor: 64 bytes that say what a device is to do.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::flags::DescriptorFlags;
use super::opcode::Opcode;

/// A work descriptor, as DSA and IAA take it (`struct dsa_hw_desc` and `iax_hw_desc` of `include/uapi/linux/idxd.h`).
///
/// It is written to a portal as one 64-byte store, or lies in a batch list, aligned to 64 bytes. What an operation does
/// not use must be zero, or the device answers with status 0x12.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Descriptor {
    /// PASID in bits 19:0, privilege in bit 31. Zero from user space: ENQCMD fills it in, and a dedicated queue uses the
    /// PASID of its configuration.
    pub pasid_and_privilege: u32,
    /// Flags in bits 23:0, the operation in bits 31:24.
    pub flags_and_opcode: u32,
    /// Where the completion record goes: aligned to 32 bytes for DSA, to 64 for IAA.
    pub completion_address: u64,
    /// Source 1; the readback address of a drain, the low half of a fill's pattern, the list of a batch.
    pub source: u64,
    /// Destination; source 2 of a comparison, the pattern of a compare-pattern.
    pub destination: u64,
    /// Transfer size in bytes; the number of descriptors of a batch.
    pub bytes: u32,
    /// Which interrupt to raise, if one is asked for.
    pub interrupt_handle: u16,
    /// Reserved for DSA; for IAA the flags of compression, decompression or CRC64.
    pub operation_flags: u16,
    /// What else the operation takes: one of [`super::operands`].
    pub operands: [u8; Self::OPERAND_BYTES],
}

impl Descriptor {
    /// The size of a descriptor.
    pub const BYTES: usize = 64;
    /// The size of the part that depends on the operation.
    pub const OPERAND_BYTES: usize = 24;

    /// The operation.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        Opcode((self.flags_and_opcode >> 24).to_le_bytes()[0])
    }

    /// The flags.
    #[must_use]
    pub const fn flags(&self) -> DescriptorFlags {
        DescriptorFlags::from_bits_retain(self.flags_and_opcode & 0x00ff_ffff)
    }

    /// A descriptor of this operation with these flags, everything else zero.
    #[must_use]
    pub fn new(opcode: Opcode, flags: DescriptorFlags) -> Self {
        let flags_and_opcode = u32::from(opcode.0) << 24 | flags.bits();
        Self { flags_and_opcode, ..Self::default() }
    }

    /// The same with these operands behind byte 40.
    #[must_use]
    pub fn with_operands<T: IntoBytes + Immutable>(mut self, operands: &T) -> Self {
        const { assert!(size_of::<T>() == Self::OPERAND_BYTES) };
        self.operands.copy_from_slice(operands.as_bytes());
        self
    }

    /// The operands behind byte 40, read as those of an operation.
    #[must_use]
    pub fn operands<T: FromBytes + IntoBytes>(&self) -> T {
        const { assert!(size_of::<T>() == Self::OPERAND_BYTES) };
        let mut operands = T::new_zeroed();
        operands.as_mut_bytes().copy_from_slice(&self.operands);
        operands
    }
}
