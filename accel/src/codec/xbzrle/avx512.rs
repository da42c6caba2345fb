//! x86 with AVX-512 BW and VBMI2 (Intel since Ice Lake, AMD since Zen 4).

use std::arch::x86_64::{_mm512_cmpneq_epi8_mask, _mm512_loadu_si512};

use super::EncodeFn;
use super::runs::{WORD_BYTES, encode_with};
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
        |edges, bits, base| edges.append_avx512(bits, base),
    )
}

/// Bit `i` is set if byte `i` differs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn differences(old: &[u8; WORD_BYTES], new: &[u8; WORD_BYTES]) -> u64 {
    // SAFETY: the arrays have the 64 bytes that are loaded; the load needs no alignment.
    let (old, new) =
        unsafe { (_mm512_loadu_si512(old.as_ptr().cast()), _mm512_loadu_si512(new.as_ptr().cast())) };
    _mm512_cmpneq_epi8_mask(old, new)
}
