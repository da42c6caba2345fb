//! The trial of a library that was just loaded: is it ISA-L as [`super::layout`] describes it?

use std::sync::Arc;

use super::layout::MAX_LEVEL;
use super::{Compressor, Decompressor, Isal, MAX_WINDOW_BITS};

/// Compresses and decompresses a known buffer at each level.
pub(super) fn run(isal: &Arc<Isal>) -> Result<(), &'static str> {
    let input = trial_input();
    let mut encoded = vec![0; input.len()];
    let mut decoded = vec![0; input.len()];
    let mut decompressor = Decompressor::new(Arc::clone(isal));
    for level in 0..=MAX_LEVEL {
        for window_bits in [12, MAX_WINDOW_BITS] {
            let mut compressor =
                Compressor::new(Arc::clone(isal), level, window_bits).map_err(|_| "a level is missing")?;
            let length = compressor.compress(&input, &mut encoded).map_err(|_| "it could not compress")?;
            if !compressor.stream.is_intact() {
                return Err("it wrote past the end of isal_zstream");
            }
            if length > input.len() / 2 {
                return Err("what it compressed did not shrink");
            }
            let inflated = decompressor
                .decompress(&encoded[..length], &mut decoded)
                .map_err(|_| "it could not decompress what it compressed")?;
            if !decompressor.state.is_intact() {
                return Err("it wrote past the end of inflate_state");
            }
            if inflated.consumed != length || inflated.produced != input.len() || decoded != input {
                return Err("what it decompressed is not what it compressed");
            }
        }
    }
    Ok(())
}

/// Text-like bytes with matches near and far, longer than the largest window.
pub(super) fn trial_input() -> Vec<u8> {
    let mut state = 1_u32;
    (0..96 * 1024_usize)
        .map(|position| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = u8::try_from(state >> 29).unwrap_or(0);
            if position % 4096 < 2048 { 0 } else { b'a' + noise }
        })
        .collect()
}
