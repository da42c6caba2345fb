//! Whole descriptors, against software codecs as the oracle.

mod bench;
mod compress;
mod decompress;
mod refusals;
mod streams;
mod tables;

use proptest::prelude::*;

/// Inputs of every sort: bytes at random, of few values, repeated, and zero.
pub(super) fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u8>(), 1..3000_usize).prop_map(|(byte, bytes)| vec![byte; bytes]),
        prop::collection::vec(any::<u8>(), 1..600),
        (prop::collection::vec(b'a'..b'f', 1..40), 1..60_usize).prop_map(|(word, times)| word.repeat(times)),
        prop::collection::vec(prop::sample::select(&b"page run of the guest"[..]), 1..2000),
    ];
    prop::collection::vec(piece, 1..12).prop_map(|pieces| pieces.concat())
}

/// Bytes that do not shrink.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    // Marsaglia's xorshift.
    let words = std::iter::successors(Some(0x9e37_79b9_u32), |state| {
        let state = state ^ (state << 13);
        let state = state ^ (state >> 17);
        Some(state ^ (state << 5))
    });
    words.flat_map(u32::to_le_bytes).take(bytes).collect()
}

/// Bytes that shrink as text does.
pub(super) fn text(bytes: usize) -> Vec<u8> {
    const WORDS: [&[u8]; 8] =
        [b"page ", b"of ", b"the ", b"guest ", b"is ", b"dirty\n", b"and clean, ", b"run "];
    noise(bytes).iter().flat_map(|byte| WORDS[usize::from(byte % 8)]).copied().take(bytes).collect()
}

/// Each sort of input at sizes from a byte to 256 KiB.
pub(super) fn sizes_and_sorts() -> impl Iterator<Item = Vec<u8>> {
    const SIZES: [usize; 9] = [1, 2, 3, 5, 255, 4096, 4097, 65_537, 256 << 10];
    SIZES.into_iter().flat_map(|bytes| [noise(bytes), text(bytes), vec![0; bytes]])
}
