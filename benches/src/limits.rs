//! What this machine's memory gives one core: the limit that a stage which reads pages is held against.

use std::hint::black_box;

use memmap2::{Advice, MmapMut};

use crate::clock::gb_per_s;

/// Memory that no cache holds, in huge pages where the system has them, as guest memory is.
///
/// # Panics
/// If there is not this much memory.
#[must_use]
pub fn cold_memory(bytes: usize) -> MmapMut {
    let mut memory = MmapMut::map_anon(bytes).expect("memory for a benchmark");
    // Advice alone: where the system has no huge pages, small ones do.
    let _ = memory.advise(Advice::HugePage);
    // Touched, so that it is there.
    memory.fill(1);
    memory
}

/// GB a second that one core reads from `memory`: the better of one stream and four.
#[must_use]
pub fn read_bandwidth(memory: &[u8]) -> f64 {
    let one = gb_per_s(memory.len(), || {
        black_box(sum(memory));
    });
    let quarter = memory.len() / 4;
    let four = gb_per_s(memory.len(), || {
        let streams = [0, 1, 2, 3].map(|stream| memory[stream * quarter..][..quarter].chunks_exact(4096));
        let [a, b, c, d] = streams;
        let sums = a.zip(b).zip(c.zip(d)).map(|((a, b), (c, d))| sum(a) ^ sum(b) ^ sum(c) ^ sum(d));
        black_box(sums.fold(0, u64::wrapping_add));
    });
    one.max(four)
}

/// GB a second of one input that one core gets through when it reads two side by side: the better of adding them up
/// and comparing them. They must be equal, or comparing would stop early.
#[must_use]
pub fn two_input_bandwidth(one: &[u8], other: &[u8]) -> f64 {
    let pages = || one.chunks_exact(4096).zip(other.chunks_exact(4096));
    let added = gb_per_s(one.len(), || {
        black_box(pages().map(|(one, other)| sum(one) ^ sum(other)).fold(0, u64::wrapping_add));
    });
    let compared = gb_per_s(one.len(), || {
        black_box(pages().all(|(one, other)| one == other));
    });
    added.max(compared)
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_ne_bytes(*word)))
}
