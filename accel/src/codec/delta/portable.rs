//! Any CPU, eight bytes at a time: the oracle of the other implementations.

use super::WORD_BYTES;
use super::entries::{STRIDE_BYTES, encode_with};
use crate::codec::DoesNotFit;

pub(super) fn encode(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    encode_with(old, new, out, differences, |list, bits, base| list.append(bits, base))
}

/// Bit `i` is set if word `i` differs.
fn differences(old: &[u8; STRIDE_BYTES], new: &[u8; STRIDE_BYTES]) -> u64 {
    let words = old.as_chunks::<WORD_BYTES>().0.iter().zip(new.as_chunks::<WORD_BYTES>().0);
    words.enumerate().fold(0, |bits, (word, (old, new))| bits | u64::from(old != new) << word)
}
