//! Arm with NEON.

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vgetq_lane_u64, vld1q_u8, vmvnq_u8, vpaddq_u8, vreinterpretq_u64_u8,
};

use super::EncodeFn;
use super::runs::{WORD_BYTES, encode_with};
use crate::codec::DoesNotFit;

/// The bit that each byte of a vector has in the map: one byte of the map for eight of the vector.
static BIT_OF_BYTE: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

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

/// Bit `i` is set if byte `i` differs.
#[inline]
#[target_feature(enable = "neon")]
fn differences(old: &[u8; WORD_BYTES], new: &[u8; WORD_BYTES]) -> u64 {
    let quarter = |quarter: usize| changed_bits(&old[quarter * 16..], &new[quarter * 16..]);
    // Adding neighbours three times brings the eight bits of each map byte together, in the order of the bytes.
    let pairs = [vpaddq_u8(quarter(0), quarter(1)), vpaddq_u8(quarter(2), quarter(3))];
    let fours = vpaddq_u8(pairs[0], pairs[1]);
    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(fours, fours)))
}

/// For each of 16 bytes its bit of the map if it differs, otherwise 0.
#[inline]
#[target_feature(enable = "neon")]
fn changed_bits(old: &[u8], new: &[u8]) -> uint8x16_t {
    let (old, new) = (&old[..16], &new[..16]);
    // SAFETY: all three slices have the 16 bytes that are loaded; the load needs no alignment.
    let (old, new, bits) =
        unsafe { (vld1q_u8(old.as_ptr()), vld1q_u8(new.as_ptr()), vld1q_u8(BIT_OF_BYTE.as_ptr())) };
    vandq_u8(vmvnq_u8(vceqq_u8(old, new)), bits)
}
