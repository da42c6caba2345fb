//! Sets of checksum kinds, as the handshake states them.

use std::fmt;

use pageferry_accel::checksum::ChecksumKind;

/// Which checksums a peer can compute: bit n is the kind with number n in the frame format.
///
/// [`ChecksumKind::None`] needs no ability and is never a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumSet(u32);

impl ChecksumSet {
    const KINDS: [ChecksumKind; 2] = [ChecksumKind::Crc32, ChecksumKind::Crc32c];

    /// Every kind of this version.
    #[must_use]
    pub fn all() -> Self {
        Self::of(&Self::KINDS)
    }

    /// The set of `kinds`.
    #[must_use]
    pub fn of(kinds: &[ChecksumKind]) -> Self {
        let known = kinds.iter().filter(|kind| Self::KINDS.contains(kind));
        Self(known.fold(0, |bits, kind| bits | 1 << kind.to_wire()))
    }

    /// The kinds of a peer's bits; numbers that this version does not know are left out.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::all().0)
    }

    /// Bit n is the kind with number n.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What both sets hold.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: ChecksumKind) -> bool {
        self.0 & 1 << kind.to_wire() != 0
    }

    /// Whether there is no checksum in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for ChecksumSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.contains(ChecksumKind::Crc32), self.contains(ChecksumKind::Crc32c)) {
            (true, true) => "CRC-32, CRC-32C",
            (true, false) => "CRC-32",
            (false, true) => "CRC-32C",
            (false, false) => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_drops_numbers_it_does_not_know() {
        assert_eq!(ChecksumSet::from_bits(u32::MAX), ChecksumSet::all());
        assert_eq!(ChecksumSet::of(&[ChecksumKind::None]), ChecksumSet::default());
        assert_eq!(ChecksumSet::of(&[ChecksumKind::Crc32c]).bits(), 4);
    }
}
