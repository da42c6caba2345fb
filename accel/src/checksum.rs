//! The checksum of the bytes that were encoded: what ties a page at the source to the same page at the destination.

use crc_fast::{CrcAlgorithm, Digest};

use crate::units::PageCount;

/// CRC-32 of gzip and IEEE 802.3: what QAT and IAA report of their input.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iso_hdlc(bytes)
}

/// CRC-32C of RFC 3720: what DSA reports.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

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

    /// The checksum of `bytes`; 0 if the kind is none.
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::None => 0,
            Self::Crc32 => crc32(bytes),
            Self::Crc32c => crc32c(bytes),
        }
    }

    /// The checksum of some bytes whose checksum is `before`, and then `bytes`. That of no bytes is 0.
    #[must_use]
    pub fn update(self, before: u32, bytes: &[u8]) -> u32 {
        let Some(algorithm) = self.algorithm() else { return 0 };
        // Both CRCs start from all ones and end by inverting, so a checksum is its register, inverted.
        let mut digest = Digest::new_with_init_state(algorithm, (!before).into());
        digest.update(bytes);
        low_half(digest.finalize())
    }

    /// The checksum of two byte strings in a row, given the checksum of each and the length of the second.
    #[must_use]
    pub fn combine(self, first: u32, second: u32, second_bytes: u64) -> u32 {
        let Some(algorithm) = self.algorithm() else { return 0 };
        low_half(crc_fast::checksum_combine(algorithm, first.into(), second.into(), second_bytes))
    }

    const fn algorithm(self) -> Option<CrcAlgorithm> {
        match self {
            Self::None => None,
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        }
    }
}

/// Joins the checksums of whole pages, as devices report them, to that of all of them.
///
/// Appending bytes to what has a CRC multiplies the CRC by a power of x that depends on their number alone, which is a
/// linear map; it is kept as a table a byte of the CRC.
#[derive(Clone, Debug)]
pub struct PageCrc {
    past_a_page: Box<[[u32; 256]; 4]>,
}

impl PageCrc {
    /// For pages of `page_bytes`.
    #[must_use]
    pub fn new(kind: ChecksumKind, page_bytes: usize) -> Self {
        // Of each bit, and then, the map being linear, of each value of a byte from one with a bit less.
        let past_a_page = |bit: u32| kind.combine(1 << bit, 0, page_bytes as u64);
        let mut tables = Box::new([[0; 256]; 4]);
        for (first_bit, table) in (0..).step_by(8).zip(tables.iter_mut()) {
            for bit in 0..8 {
                let (known, new) = table.split_at_mut(1 << bit);
                let of_bit = past_a_page(first_bit + bit);
                new.iter_mut().zip(known).for_each(|(new, known)| *new = *known ^ of_bit);
            }
        }
        Self { past_a_page: tables }
    }

    /// The checksum of what has `before` with the next `pages` pages, whose own is `next`, behind it.
    #[must_use]
    pub fn append(&self, before: u32, next: u32, pages: PageCount) -> u32 {
        (0..pages.0).fold(before, |crc, _| self.past_a_page(crc)) ^ next
    }

    fn past_a_page(&self, crc: u32) -> u32 {
        let bytes = crc.to_le_bytes().into_iter().zip(self.past_a_page.iter());
        bytes.fold(0, |sum, (byte, table)| sum ^ table[usize::from(byte)])
    }
}

/// A 32-bit CRC comes in 64 bits whose upper half is 0.
fn low_half(crc: u64) -> u32 {
    u32::try_from(crc & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksums_are_those_of_the_catalogue() {
        // "Catalogue of parametrised CRC algorithms": check values of CRC-32/ISO-HDLC and CRC-32/ISCSI.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// The definition, bit by bit; both polynomials are reflected.
    fn by_definition(polynomial: u32, bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { polynomial } else { 0 })
        })
    }

    proptest! {
        #[test]
        fn a_checksum_follows_its_definition(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(crc32(&bytes), by_definition(0xedb8_8320, &bytes));
            prop_assert_eq!(crc32c(&bytes), by_definition(0x82f6_3b78, &bytes));
        }

        #[test]
        fn checksums_of_pages_join_to_that_of_all(bytes in prop::collection::vec(any::<u8>(), 7 * 512), cut in 0..=7_u32) {
            let (first, second) = bytes.split_at(cut as usize * 512);
            for kind in [ChecksumKind::Crc32, ChecksumKind::Crc32c] {
                let join = PageCrc::new(kind, 512);
                let joined = join.append(kind.of(first), kind.of(second), PageCount(7 - cut));
                prop_assert_eq!(joined, kind.of(&bytes));
            }
        }

        #[test]
        fn parts_combine_to_the_checksum_of_the_whole(
            bytes in prop::collection::vec(any::<u8>(), 0..5000),
            cut in any::<prop::sample::Index>(),
        ) {
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            for kind in [ChecksumKind::None, ChecksumKind::Crc32, ChecksumKind::Crc32c] {
                let whole = kind.of(&bytes);
                let second_bytes = u64::try_from(second.len()).unwrap();
                prop_assert_eq!(kind.combine(kind.of(first), kind.of(second), second_bytes), whole);
                prop_assert_eq!(kind.update(kind.update(0, first), second), whole);
            }
        }
    }
}
