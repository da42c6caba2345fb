//! Status codes of completion records.

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
