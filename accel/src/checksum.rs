//! The checksum of the bytes that were encoded: what ties a page at the source to the same page at the destination.

/// Which checksum a frame carries.
///
/// The numbers are those of the frame format (`engine/FORMAT.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ChecksumKind {
    /// No data, so nothing to check: every page of the frame is zero.
    None = 0,
    /// CRC-32 of gzip and IEEE 802.3: what QAT and IAA report of their input.
    Crc32 = 1,
    /// CRC-32C of RFC 3720: what DSA reports, and the fastest in software.
    Crc32c = 2,
}

impl ChecksumKind {
    /// The kind with this number in the frame format.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Crc32),
            2 => Some(Self::Crc32c),
            _ => None,
        }
    }

    /// The number of this kind in the frame format.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self as u8
    }
}
