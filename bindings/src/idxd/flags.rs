//! Flags of descriptors.

use bitflags::bitflags;

bitflags! {
    /// The 24 flags of every descriptor (`IDXD_OP_FLAG_*` of `include/uapi/linux/idxd.h`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DescriptorFlags: u32 {
        /// In a batch: wait for all members before this one.
        const FENCE = 1 << 0;
        /// Wait while a page fault is handled, and go on.
        const BLOCK_ON_FAULT = 1 << 1;
        /// The address of the completion record is valid.
        const COMPLETION_ADDRESS_VALID = 1 << 2;
        /// Write a completion record also at success.
        const REQUEST_COMPLETION = 1 << 3;
        /// Raise an interrupt.
        const REQUEST_INTERRUPT = 1 << 4;
        /// Steering tag of the completion record.
        const COMPLETION_STEERING = 1 << 5;
        /// DSA: a result other than the one expected is status 2.
        const CHECK_RESULT = 1 << 7;
        /// Hint: leave what is written in the last-level cache.
        const CACHE_CONTROL = 1 << 8;
        /// Traffic class of address 1.
        const TRAFFIC_CLASS_1 = 1 << 9;
        /// Traffic class of address 2.
        const TRAFFIC_CLASS_2 = 1 << 10;
        /// Traffic class of address 3.
        const TRAFFIC_CLASS_3 = 1 << 11;
        /// Traffic class of the completion record.
        const COMPLETION_TRAFFIC_CLASS = 1 << 12;
        /// Write in order.
        const STRICT_ORDERING = 1 << 13;
        /// Read the destination back before completing.
        const DESTINATION_READBACK = 1 << 14;
        /// Steering tag of the destination.
        const DESTINATION_STEERING = 1 << 15;
        /// DSA, CRC: read the seed from memory. IAA: source 2 is an AECS, read it.
        const SEED_FROM_MEMORY = 1 << 16;
        /// IAA: source 2 is an AECS, read it. The same bit as [`Self::SEED_FROM_MEMORY`].
        const READ_AECS = 1 << 16;
        /// DSA, CRC: neither invert nor reflect seed and result. IAA: source 2 is a second input.
        const CRC_BYPASS_INVERSION = 1 << 17;
        /// DSA, CRC: do not reflect the data. IAA: write the AECS back.
        const CRC_BYPASS_REFLECTION = 1 << 18;
        /// IAA: write the AECS back. The same bit as [`Self::CRC_BYPASS_REFLECTION`].
        const WRITE_AECS = 1 << 18;
        /// IAA: write the AECS back only if the output overflowed.
        const WRITE_AECS_ON_OVERFLOW = 1 << 19;
        /// IAA: steering tag of source 2.
        const SOURCE2_STEERING = 1 << 20;
        /// IAA: the CRC is CRC-32C (RFC 3720) and not that of gzip.
        const CRC_RFC3720 = 1 << 21;
        /// IAA: which of two AECS is read; the other is written (Linux `iaa_crypto`, QPL).
        const AECS_TOGGLE = 1 << 22;
    }

    /// IAA compression flags, bytes 38 and 39 (QPL `hw_definitions.h`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct CompressFlags: u16 {
        /// Count symbols into the destination instead of compressing.
        const STATISTICS = 1 << 0;
        /// Write out a partial last byte.
        const FLUSH_OUTPUT = 1 << 1;
        /// End with an end-of-block symbol.
        const END_OF_BLOCK = 1 << 2;
        /// With [`Self::END_OF_BLOCK`] a final stored block, alone a stored block that is not final, after the symbol.
        const STORED_BLOCK = 1 << 3;
        /// No matches, literals alone.
        const LITERALS_ONLY = 1 << 4;
    }

    /// IAA decompression flags, bytes 38 and 39 (QPL `hw_definitions.h`; Linux names bits 2 and 3 the other way round).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct DecompressFlags: u16 {
        /// Decompress at all.
        const ENABLE = 1 << 0;
        /// Write out all output.
        const FLUSH_OUTPUT = 1 << 1;
        /// Stop after an end-of-block symbol.
        const STOP_ON_END = 1 << 2;
        /// An error if the stream does not end with an end-of-block symbol.
        const CHECK_FOR_END = 1 << 3;
        /// The two before are about the final block.
        const SELECT_FINAL = 1 << 4;
        /// Compute checksums, write nothing.
        const SUPPRESS_OUTPUT = 1 << 9;
    }
}
