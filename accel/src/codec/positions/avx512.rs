//! Positions by the byte compression of AVX-512 VBMI2: a word at a time, without a loop over its bits.

use std::arch::x86_64::{
    __m256i, __m512i, _mm512_add_epi16, _mm512_castsi512_si256, _mm512_cvtepu8_epi16,
    _mm512_extracti64x4_epi64, _mm512_maskz_compress_epi8, _mm512_set1_epi16, _mm512_storeu_epi16,
};

use super::{MARGIN, Positions};

/// The numbers of the 64 bits of a word.
static BIT_NUMBERS: [u8; MARGIN] = {
    let mut numbers = [0; MARGIN];
    let mut bit = 0;
    while bit < MARGIN {
        numbers[bit] = bit.to_le_bytes()[0];
        bit += 1;
    }
    numbers
};

/// Positions that one 512-bit store writes.
const LANES: usize = 32;

impl Positions<'_> {
    /// As [`append`](Self::append).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    pub(in super::super) fn append_avx512(&mut self, bits: u64, base: u16) {
        // SAFETY: both types are 64 bytes without padding or invalid values.
        let numbers: __m512i = unsafe { std::mem::transmute(BIT_NUMBERS) };
        let compressed = _mm512_maskz_compress_epi8(bits, numbers);
        let added = bits.count_ones() as usize;
        let slots = self.margin().as_mut_ptr().cast::<i16>();
        let low = widen(_mm512_castsi512_si256(compressed), base);
        // SAFETY: `margin` lends 64 slots of 16 bits; this writes the first 32.
        unsafe { _mm512_storeu_epi16(slots, low) };
        if added > LANES {
            let high = widen(_mm512_extracti64x4_epi64::<1>(compressed), base);
            // SAFETY: as above; this writes the last 32.
            unsafe { _mm512_storeu_epi16(slots.add(LANES), high) };
        }
        self.len += added;
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn widen(numbers: __m256i, base: u16) -> __m512i {
    _mm512_add_epi16(_mm512_cvtepu8_epi16(numbers), _mm512_set1_epi16(base.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::super::Slots;
    use super::*;

    #[test]
    fn compression_finds_what_the_portable_list_finds() {
        if !(is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vbmi2")) {
            return;
        }
        for bits in [0, 1, 1 << 63, 0xffff_ffff, 0x1_ffff_ffff, u64::MAX, 0x8001_4002_2004_1008] {
            let (mut portable_slots, mut slots) =
                (Slots::<{ 64 + MARGIN }>::new(), Slots::<{ 64 + MARGIN }>::new());
            let (mut portable, mut compressed) = (portable_slots.list(), slots.list());
            portable.append(bits, 65_472);
            // SAFETY: the features were detected above; popcnt is older than either.
            unsafe { compressed.append_avx512(bits, 65_472) };
            assert_eq!(compressed.into_slice(), portable.into_slice(), "bits {bits:#x}");
        }
    }
}
