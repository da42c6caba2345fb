//! Arm with NEON.

use std::arch::aarch64::{
    uint32x2_t, vaddv_u8, vand_u8, vceqq_u64, vcombine_u16, vcombine_u32, vld1_u8, vld1q_u8, vmovn_u16,
    vmovn_u32, vmovn_u64, vmvn_u8, vreinterpretq_u64_u8,
};

use super::EncodeFn;
use super::entries::{STRIDE_BYTES, encode_with};
use crate::codec::DoesNotFit;

/// The bit that each word of a 64-byte line has in the map.
static BIT_OF_WORD: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// The implementation, if this CPU can run it.
pub(super) fn detect() -> Option<EncodeFn> {
    std::arch::is_aarch64_feature_detected!("neon").then_some(encode)
}

/// Reached through [`detect`] alone.
fn encode(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    // SAFETY: `detect` hands this function out only where NEON is present.
    unsafe { encode_neon(old, new, out) }
}

#[target_feature(enable = "neon")]
fn encode_neon(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    encode_with(old, new, out, |old, new| differences(old, new), |list, bits, base| list.append(bits, base))
}

/// Bit `i` is set if word `i` differs.
#[inline]
#[target_feature(enable = "neon")]
fn differences(old: &[u8; STRIDE_BYTES], new: &[u8; STRIDE_BYTES]) -> u64 {
    let lines = old.as_chunks::<64>().0.iter().zip(new.as_chunks::<64>().0);
    let mut bits = [0; 8];
    for (bits, (old, new)) in bits.iter_mut().zip(lines) {
        *bits = changed_words(old, new);
    }
    u64::from_le_bytes(bits)
}

/// Bit `i` is set if word `i` of a line differs.
#[inline]
#[target_feature(enable = "neon")]
fn changed_words(old: &[u8; 64], new: &[u8; 64]) -> u8 {
    let equal = |vector: usize| equal_words(&old[vector * 16..], &new[vector * 16..]);
    let first = vmovn_u32(vcombine_u32(equal(0), equal(1)));
    let last = vmovn_u32(vcombine_u32(equal(2), equal(3)));
    let equal = vmovn_u16(vcombine_u16(first, last));
    // SAFETY: the array has the 8 bytes that are loaded; the load needs no alignment.
    let bits = unsafe { vld1_u8(BIT_OF_WORD.as_ptr()) };
    vaddv_u8(vand_u8(vmvn_u8(equal), bits))
}

/// For each of two words all ones if they are equal, otherwise 0.
#[inline]
#[target_feature(enable = "neon")]
fn equal_words(old: &[u8], new: &[u8]) -> uint32x2_t {
    let (old, new) = (&old[..16], &new[..16]);
    // SAFETY: both slices have the 16 bytes that are loaded; the load needs no alignment.
    let (old, new) = unsafe { (vld1q_u8(old.as_ptr()), vld1q_u8(new.as_ptr())) };
    vmovn_u64(vceqq_u64(vreinterpretq_u64_u8(old), vreinterpretq_u64_u8(new)))
}
