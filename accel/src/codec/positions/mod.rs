//! The positions of the set bits of a difference map, in ascending order.
//!
//! Both delta codecs compare in words of 64 bits, one bit per byte or per 8-byte word, and then need the
//! numbers of the bits that are set. Asking bit by bit costs a mispredicted branch per word when changes are
//! scattered; a list that is written without asking how much of it counts does not.

#[cfg(target_arch = "x86_64")]
mod avx512;

use std::mem::MaybeUninit;

/// How many slots an append may write, whatever it adds: one per bit of a word.
pub(super) const MARGIN: usize = u64::BITS as usize;

/// Slots that an append writes without asking how many bits are set.
const UNASKED: usize = 4;

/// A list of positions with room for `CAPACITY`, of which the last [`MARGIN`] are never reached by its length.
pub(super) struct Positions<const CAPACITY: usize> {
    /// The first `len` slots are initialized.
    slots: [MaybeUninit<u16>; CAPACITY],
    len: usize,
}

impl<const CAPACITY: usize> Positions<CAPACITY> {
    /// An empty list.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { slots: [const { MaybeUninit::uninit() }; CAPACITY], len: 0 }
    }

    /// Empties the list.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The positions appended since the last [`clear`](Self::clear).
    #[inline(always)]
    pub(super) fn as_slice(&self) -> &[u16] {
        let filled = &self.slots[..self.len];
        // SAFETY: every append keeps the invariant of `slots`: it initializes each slot it adds to `len`, and
        // `MaybeUninit<u16>` has the layout of `u16`.
        unsafe { std::slice::from_raw_parts(filled.as_ptr().cast(), filled.len()) }
    }

    /// Appends `base` plus the number of each set bit of `bits`, lowest first.
    ///
    /// # Panics
    /// If fewer than [`MARGIN`] slots are left: the owner chose too small a `CAPACITY`.
    #[inline(always)]
    pub(super) fn append(&mut self, mut bits: u64, base: u16) {
        let added = bits.count_ones() as usize;
        let slots = self.margin();
        let (unasked, rest) = slots.split_at_mut(UNASKED);
        for slot in unasked {
            bits = take_lowest(bits, base, slot);
        }
        for slot in &mut rest[..added.saturating_sub(UNASKED)] {
            bits = take_lowest(bits, base, slot);
        }
        self.len += added;
    }

    /// The [`MARGIN`] slots behind the list.
    #[inline(always)]
    fn margin(&mut self) -> &mut [MaybeUninit<u16>; MARGIN] {
        self.slots[self.len..].first_chunk_mut().expect("CAPACITY leaves a margin behind every position")
    }
}

/// Writes the position of the lowest set bit, or one nobody reads if none is set, and returns the other bits.
#[inline(always)]
fn take_lowest(bits: u64, base: u16, slot: &mut MaybeUninit<u16>) -> u64 {
    let number = u16::try_from(bits.trailing_zeros()).expect("a bit number is at most 64");
    slot.write(base.wrapping_add(number));
    bits & bits.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_the_numbers_of_the_set_bits_in_order() {
        for bits in [0, 1, 1 << 63, 0b1011, 0xf0f0, u64::MAX, 0x8000_0001_0000_0001] {
            let expected: Vec<u16> =
                (0..64).filter(|bit| bits >> bit & 1 == 1).map(|bit| 100 + bit).collect();
            let mut positions = Positions::<{ 64 + MARGIN }>::new();
            positions.append(bits, 100);
            assert_eq!(positions.as_slice(), expected, "bits {bits:#x}");
        }
    }

    #[test]
    fn appends_follow_one_another_until_the_list_is_cleared() {
        let mut positions = Positions::<{ 128 + MARGIN }>::new();
        positions.append(u64::MAX, 0);
        positions.append(0, 64);
        positions.append(1 << 5, 128);
        assert_eq!(positions.as_slice().len(), 65);
        assert_eq!(positions.as_slice()[63..], [63, 133]);
        positions.clear();
        assert!(positions.as_slice().is_empty());
    }
}
