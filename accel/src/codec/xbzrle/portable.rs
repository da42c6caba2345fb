//! Any CPU, eight bytes at a time: the oracle of the other implementations.

use super::runs::{WORD_BYTES, encode_with};
use crate::codec::DoesNotFit;

pub(super) fn encode(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    encode_with(old, new, out, differences, |list, bits, base| list.append(bits, base))
}

/// Bit `i` is set if byte `i` differs.
fn differences(old: &[u8; WORD_BYTES], new: &[u8; WORD_BYTES]) -> u64 {
    if old == new {
        return 0;
    }
    let mut bits = [0; 8];
    for (bits, (old, new)) in bits.iter_mut().zip(old.as_chunks().0.iter().zip(new.as_chunks().0)) {
        *bits = nonzero_bytes(u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new));
    }
    u64::from_le_bytes(bits)
}

/// Bit `i` is set if byte `i` of `word` is not zero.
fn nonzero_bytes(word: u64) -> u8 {
    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    /// Multiplying brings the lowest bit of byte `i` to bit `56 + i`; no two products meet in a bit.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let high_bits = (((word & LOW_SEVEN) + LOW_SEVEN) | word) & !LOW_SEVEN;
    (high_bits >> 7).wrapping_mul(GATHER).to_le_bytes()[7]
}
