//! x86 with AVX-512 BW and VBMI2 (Intel since Ice Lake, AMD since Zen 4).

use std::arch::x86_64::{_mm512_cmpneq_epi64_mask, _mm512_loadu_si512};

use super::EncodeFn;
use super::entries::{STRIDE_BYTES, encode_with};
use crate::codec::DoesNotFit;

/// The implementation, if this CPU can run it.
pub(super) fn detect() -> Option<EncodeFn> {
    let able = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("popcnt");
    able.then_some(encode)
}

/// Reached through [`detect`] alone.
fn encode(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    // SAFETY: `detect` hands this function out only where the features are present.
    unsafe { encode_avx512(old, new, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
fn encode_avx512(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    encode_with(
        old,
        new,
        out,
        |old, new| differences(old, new),
        |changed, bits, base| changed.append_avx512(bits, base),
    )
}

/// Bit `i` is set if word `i` differs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn differences(old: &[u8; STRIDE_BYTES], new: &[u8; STRIDE_BYTES]) -> u64 {
    let vectors = old.as_chunks::<64>().0.iter().zip(new.as_chunks::<64>().0);
    vectors.enumerate().fold(0, |bits, (vector, (old, new))| {
        // SAFETY: the arrays have the 64 bytes that are loaded; the load needs no alignment.
        let (old, new) =
            unsafe { (_mm512_loadu_si512(old.as_ptr().cast()), _mm512_loadu_si512(new.as_ptr().cast())) };
        bits | u64::from(_mm512_cmpneq_epi64_mask(old, new)) << (8 * vector)
    })
}
