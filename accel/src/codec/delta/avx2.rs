//! x86 with AVX2, BMI1 and POPCNT.

use std::arch::x86_64::{_mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_loadu_si256, _mm256_movemask_pd};

use super::EncodeFn;
use super::entries::{STRIDE_BYTES, encode_with};
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

/// Bit `i` is set if word `i` differs.
#[inline]
#[target_feature(enable = "avx2")]
fn differences(old: &[u8; STRIDE_BYTES], new: &[u8; STRIDE_BYTES]) -> u64 {
    let vectors = old.as_chunks::<32>().0.iter().zip(new.as_chunks::<32>().0);
    let equal = vectors.enumerate().fold(0, |bits, (vector, (old, new))| {
        // SAFETY: the arrays have the 32 bytes that are loaded; the load needs no alignment.
        let (old, new) =
            unsafe { (_mm256_loadu_si256(old.as_ptr().cast()), _mm256_loadu_si256(new.as_ptr().cast())) };
        let words = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(old, new)));
        bits | u64::from(words.cast_unsigned()) << (4 * vector)
    });
    !equal
}
