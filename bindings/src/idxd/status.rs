//! Status codes of completion records.

use std::fmt;

/// The status of a DSA operation: bits 6:0 of byte 0 (`enum dsa_completion_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DsaStatus(pub u8);

/// The status of an IAA operation (`enum iax_completion_status`, and QPL `hw_status.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IaaStatus(pub u8);

/// What an IAA could not make of its input, if its status is [`IaaStatus::ANALYTICS_ERROR`] (QPL `hw_status.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnalyticsError(pub u8);

impl DsaStatus {
    /// Not completed.
    pub const NONE: Self = Self(0x00);
    /// Success.
    pub const SUCCESS: Self = Self(0x01);
    /// Success, and the result is not the one that was expected.
    pub const PREDICATE_FALSE: Self = Self(0x02);
    /// A page fault stopped it part of the way.
    pub const PAGE_FAULT: Self = Self(0x03);
    /// A page request was answered with "invalid".
    pub const PAGE_REQUEST_INVALID: Self = Self(0x04);
    /// At least one member of the batch did not succeed.
    pub const BATCH_FAILED: Self = Self(0x05);
    /// A page fault on the batch's list.
    pub const BATCH_PAGE_FAULT: Self = Self(0x06);
    /// Apply-delta: offsets do not increase.
    pub const DELTA_OFFSET_ORDER: Self = Self(0x07);
    /// Apply-delta: an offset beyond the transfer size.
    pub const DELTA_OFFSET_RANGE: Self = Self(0x08);
    /// The operation is not there.
    pub const BAD_OPCODE: Self = Self(0x10);
    /// A flag is not valid.
    pub const BAD_FLAGS: Self = Self(0x11);
    /// A reserved field is not zero.
    pub const RESERVED_FIELD: Self = Self(0x12);
    /// The transfer size is out of range.
    pub const BAD_SIZE: Self = Self(0x13);
    /// The number of descriptors is out of range.
    pub const BAD_COUNT: Self = Self(0x14);
    /// The size of a delta record is out of range.
    pub const BAD_DELTA_SIZE: Self = Self(0x15);
    /// Buffers overlap.
    pub const OVERLAP: Self = Self(0x16);
    /// The destinations of a dualcast differ in bits 11:0.
    pub const DUALCAST_ALIGNMENT: Self = Self(0x17);
    /// The list of a batch is misaligned.
    pub const LIST_MISALIGNED: Self = Self(0x18);
    /// No such interrupt handle.
    pub const BAD_INTERRUPT: Self = Self(0x19);
    /// A page fault on the completion record.
    pub const COMPLETION_PAGE_FAULT: Self = Self(0x1a);
    /// The completion record is misaligned.
    pub const COMPLETION_MISALIGNED: Self = Self(0x1b);
    /// An address or a size is misaligned.
    pub const MISALIGNED: Self = Self(0x1c);
    /// A hardware error.
    pub const HARDWARE_ERROR: Self = Self(0x20);
    /// A hardware error at the readback of the destination.
    pub const READBACK_ERROR: Self = Self(0x21);
    /// An address could not be translated.
    pub const TRANSLATION_ERROR: Self = Self(0x22);
}

impl IaaStatus {
    /// Not completed.
    pub const NONE: Self = Self(0x00);
    /// Success.
    pub const SUCCESS: Self = Self(0x01);
    /// A page fault: nothing of the work is usable (missing from the kernel's header).
    pub const PAGE_FAULT: Self = Self(0x03);
    /// A page request was answered with "invalid".
    pub const PAGE_REQUEST_INVALID: Self = Self(0x04);
    /// See [`AnalyticsError`].
    pub const ANALYTICS_ERROR: Self = Self(0x0a);
    /// The output of a decompression did not fit.
    pub const OUTPUT_OVERFLOW: Self = Self(0x0b);
    /// The operation is not there.
    pub const BAD_OPCODE: Self = Self(0x10);
    /// A flag is not valid.
    pub const BAD_FLAGS: Self = Self(0x11);
    /// A reserved field is not zero.
    pub const RESERVED_FIELD: Self = Self(0x12);
    /// The transfer size is out of range.
    pub const BAD_SIZE: Self = Self(0x13);
    /// Buffers overlap.
    pub const OVERLAP: Self = Self(0x16);
    /// No such interrupt handle.
    pub const BAD_INTERRUPT: Self = Self(0x19);
    /// A page fault on the completion record.
    pub const COMPLETION_PAGE_FAULT: Self = Self(0x1a);
    /// The completion record is misaligned.
    pub const COMPLETION_MISALIGNED: Self = Self(0x1b);
    /// An address or a size is misaligned.
    pub const MISALIGNED: Self = Self(0x1c);
    /// A hardware error.
    pub const HARDWARE_ERROR: Self = Self(0x20);
    /// A hardware error at the readback of the destination.
    pub const READBACK_ERROR: Self = Self(0x21);
    /// An address could not be translated.
    pub const TRANSLATION_ERROR: Self = Self(0x22);
    /// It took too long.
    pub const WATCHDOG: Self = Self(0x24);
    /// A flag of compression or decompression is not valid.
    pub const BAD_OPERATION_FLAGS: Self = Self(0x30);
    /// The input size is not valid.
    pub const BAD_INPUT_SIZE: Self = Self(0x32);
}

impl AnalyticsError {
    /// A distance of 0, or of more than 4096.
    pub const BAD_DISTANCE: Self = Self(17);
    /// The compressed output did not fit; what was written is of no use.
    pub const COMPRESS_OVERFLOW: Self = Self(25);
}

impl fmt::Display for DsaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            0x00 => "not completed",
            0x01 => "success",
            0x02 => "success, but the result is not the expected one",
            0x03 => "page fault",
            0x04 => "page fault that the system could not resolve",
            0x05 => "a member of the batch did not succeed",
            0x06 => "page fault on the batch's list",
            0x07 => "offsets of the delta record do not increase",
            0x08 => "an offset of the delta record is beyond the transfer size",
            0x09 => "data integrity error",
            0x10 => "operation not supported",
            0x11 => "invalid flag",
            0x12 => "reserved field is not zero",
            0x13 => "transfer size out of range",
            0x14 => "number of descriptors out of range",
            0x15 => "size of the delta record out of range",
            0x16 => "buffers overlap",
            0x17 => "destinations differ in their low 12 bits",
            0x18 => "batch list misaligned",
            0x1d => "privileged descriptor in a shared queue",
            0x1e => "bad traffic class",
            0x1f => "page fault on a drain's readback address",
            code => shared_words(code),
        };
        write!(f, "status {:#04x}: {words}", self.0)
    }
}

impl fmt::Display for IaaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            0x00 => "not completed",
            0x01 => "success",
            0x03 => "page fault",
            0x04 => "page fault that the system could not resolve",
            0x0a => "the data is not valid, or the output did not fit",
            0x0b => "output does not fit",
            0x10 => "operation not supported",
            0x11 => "invalid flag",
            0x12 => "reserved field is not zero",
            0x13 => "size out of range",
            0x16 => "buffers overlap",
            0x23 => "page request timed out",
            0x24 => "watchdog expired",
            0x28 => "PASID error",
            0x29..=0x2e => "inter-domain error",
            0x30 => "invalid compression or decompression flag",
            0x31 => "invalid filter flag",
            0x32 => "invalid input size",
            0x33 => "invalid number of elements",
            0x34 => "invalid width of source 1",
            0x35 => "invalid inverted output",
            code => shared_words(code),
        };
        write!(f, "status {:#04x}: {words}", self.0)
    }
}

/// What means the same on both devices.
fn shared_words(code: u8) -> &'static str {
    match code {
        0x19 => "invalid interrupt handle",
        0x1a => "page fault on the completion record",
        0x1b => "completion record misaligned",
        0x1c => "address or size misaligned",
        0x20 => "hardware error",
        0x21 => "hardware error at the readback of the destination",
        0x22 => "address translation error",
        _ => "a code that the documents do not name",
    }
}

impl fmt::Display for AnalyticsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            1 => "header too big",
            2 => "undefined code-length code",
            3 => "the first literal or length code is a repeat",
            4 => "the first distance code is a repeat",
            5 => "no literal or length codes",
            6 => "wrong number of literal and length codes",
            7 => "wrong number of distance codes",
            8 => "bad lengths of code-length codes",
            9 => "bad lengths of literal and length codes",
            10 => "bad lengths of distance codes",
            11 => "bad literal or length code in the data",
            12 => "bad distance code in the data",
            13 => "invalid block type",
            14 => "the two lengths of a stored block do not agree",
            15 => "no end-of-block symbol at the end",
            16 => "bad length code",
            17 => "a distance of 0, or beyond the window of 4096 bytes",
            18 => "reference before the start of the data",
            19 => "timeout",
            20 => "run-length error",
            21 => "width too small",
            22 => "AECS error",
            23 => "source 1 too small",
            24 => "source 2 too small",
            25 => "output does not fit",
            26 => "distance spans mini-blocks",
            27 => "length spans mini-blocks",
            28 => "invalid block size",
            29 => "zero-compressed data does not verify",
            30 => "invalid Huffman code",
            31 => "invalid run-length width",
            32 => "too few elements",
            34 => "bad header of zero-compressed data",
            35 => "too many literal and length codes",
            36 => "too many distance codes",
            _ => "a code that the documents do not name",
        };
        write!(f, "analytics error {:#04x}: {words}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_shown_in_hex_and_in_words() {
        assert_eq!(DsaStatus::BAD_OPCODE.to_string(), "status 0x10: operation not supported");
        assert_eq!(DsaStatus(0x1b).to_string(), "status 0x1b: completion record misaligned");
        assert_eq!(IaaStatus(0x1b).to_string(), "status 0x1b: completion record misaligned");
        assert_eq!(IaaStatus::WATCHDOG.to_string(), "status 0x24: watchdog expired");
        assert_eq!(IaaStatus(0x05).to_string(), "status 0x05: a code that the documents do not name");
        assert_eq!(
            AnalyticsError::COMPRESS_OVERFLOW.to_string(),
            "analytics error 0x19: output does not fit"
        );
    }
}
