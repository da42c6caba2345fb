//! x86 with AVX2, BMI1 and POPCNT.

use std::arch::x86_64::{_mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8};

use super::EncodeFn;
use super::runs::{WORD_BYTES, encode_with};
use crate::codec::DoesNotFit;

/// The implementation, if this CPU can run it.
pub(super) fn detect() -> Option<EncodeFn> {
    let able = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("popcnt");
    able.then_some(encode)
}

/// Reached through [`detect`] alone.
fn encode(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    // SAFETY: `detect` hands this function out only where the features are present.
    unsafe { encode_avx2(old, new, out) }
}

#[target_feature(enable = "avx2,bmi1,popcnt")]
fn encode_avx2(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    encode_with(old, new, out, |old, new| differences(old, new), |list, bits, base| list.append(bits, base))
}

/// Bit `i` is set if byte `i` differs.
#[inline]
#[target_feature(enable = "avx2")]
fn differences(old: &[u8; WORD_BYTES], new: &[u8; WORD_BYTES]) -> u64 {
    let equal = |half: usize| {
        let old = old[half * 32..].as_ptr().cast();
        let new = new[half * 32..].as_ptr().cast();
        // SAFETY: the arrays have 64 bytes, of which either half is 32; the load needs no alignment.
        let (old, new) = unsafe { (_mm256_loadu_si256(old), _mm256_loadu_si256(new)) };
        u64::from(_mm256_movemask_epi8(_mm256_cmpeq_epi8(old, new)).cast_unsigned())
    };
    !(equal(0) | equal(1) << 32)
}
