//! The two checksums that a record carries, both of the uncompressed data.

use crate::checksum::ChecksumKind;

/// Both checksums of the bytes so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checksums {
    kind: ChecksumKind,
    /// The CRC.
    pub crc: u32,
    /// The exclusive or of all words of 16 bits, little-endian; an odd last byte is the low half of a word (QPL).
    pub xor: u16,
    /// Whether the next byte is the high half of a word.
    odd: bool,
}

impl Checksums {
    /// Goes on from the checksums of what came before.
    pub(super) const fn new(kind: ChecksumKind, crc: u32, xor: u16) -> Self {
        Self { kind, crc, xor, odd: false }
    }

    /// Adds the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.crc = self.kind.update(self.crc, bytes);
        let mut rest = bytes;
        if let (true, Some((&high, behind))) = (self.odd, rest.split_first()) {
            self.xor ^= u16::from(high) << 8;
            self.odd = false;
            rest = behind;
        }
        let (eights, rest) = rest.as_chunks::<8>();
        let wide = eights.iter().fold(0, |wide, eight| wide ^ u64::from_le_bytes(*eight));
        let (words, last) = rest.as_chunks::<2>();
        for word in wide.to_le_bytes().as_chunks::<2>().0.iter().chain(words) {
            self.xor ^= u16::from_le_bytes(*word);
        }
        if let Some(&low) = last.first() {
            self.xor ^= u16::from(low);
            self.odd = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::{crc32, crc32c};

    proptest! {
        #[test]
        fn checksums_in_pieces_are_those_of_the_whole_and_follow_their_definition(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let words = bytes.chunks(2).map(|word| u16::from(word[0]) | u16::from(*word.get(1).unwrap_or(&0)) << 8);
            let xor = words.fold(0, |xor, word| xor ^ word);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for (kind, crc) in [(ChecksumKind::Crc32, crc32(&bytes)), (ChecksumKind::Crc32c, crc32c(&bytes))] {
                let mut checksums = Checksums::new(kind, 0, 0);
                cuts.windows(2).for_each(|cut| checksums.update(&bytes[cut[0]..cut[1]]));
                prop_assert_eq!((checksums.crc, checksums.xor), (crc, xor));
            }
        }
    }
}
