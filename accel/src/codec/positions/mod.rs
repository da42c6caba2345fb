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

/// Where positions are kept: room for `CAPACITY`, of which a list never fills the last [`MARGIN`].
pub(super) struct Slots<const CAPACITY: usize>([MaybeUninit<u16>; CAPACITY]);

impl<const CAPACITY: usize> Slots<CAPACITY> {
    /// Slots that hold nothing.
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; CAPACITY])
    }

    /// An empty list in these slots.
    #[inline(always)]
    pub(super) fn list(&mut self) -> Positions<'_> {
        Positions { slots: &mut self.0, len: 0 }
    }
}

/// A list of positions. It borrows its slots so that its length stays in a register: beside the slots, in memory,
/// it would be the slowest step of every append.
pub(super) struct Positions<'a> {
    /// The first `len` slots are initialized.
    slots: &'a mut [MaybeUninit<u16>],
    len: usize,
}

impl<'a> Positions<'a> {
    /// The positions appended so far.
    #[inline(always)]
    pub(super) fn into_slice(self) -> &'a [u16] {
        let filled = &self.slots[..self.len];
        // SAFETY: every append keeps the invariant of `slots`: it initializes each slot it adds to `len`;
        // `MaybeUninit<u16>` has the layout of `u16`, and the slice borrows the slots as long as `self` did.
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
            let mut slots = Slots::<{ 64 + MARGIN }>::new();
            let mut positions = slots.list();
            positions.append(bits, 100);
            assert_eq!(positions.into_slice(), expected, "bits {bits:#x}");
        }
    }

    #[test]
    fn appends_follow_one_another_in_a_list_that_starts_empty() {
        let mut slots = Slots::<{ 128 + MARGIN }>::new();
        let mut positions = slots.list();
        positions.append(u64::MAX, 0);
        positions.append(0, 64);
        positions.append(1 << 5, 128);
        let positions = positions.into_slice();
        assert_eq!(positions.len(), 65);
        assert_eq!(positions[63..], [63, 133]);
        assert!(slots.list().into_slice().is_empty());
    }
}
