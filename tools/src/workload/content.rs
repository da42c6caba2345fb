//! What pages hold.

use super::items;
use super::noise::Noise;

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Zeros,
    Ones,
    /// 64-bit numbers that count up.
    Sequence,
    Random,
    /// Lines of a log.
    Text,
    /// Structures of a kernel or a heap: pointers into a few arenas, counters, flags, and room in between.
    Structures,
    /// A few small objects in a page that is zero otherwise.
    Sparse,
    /// What a program writes into its objects: counters, pointers, short values.
    Objects,
    /// Items of a key-value store, with random values.
    Items,
}

impl Content {
    /// The kinds of `mixed` memory: which one has a share, of a hundred. Measured to shrink by about 2.8 by deflate at
    /// level 1, which is what the memory of a busy server was seen to do.
    pub(super) fn of_share(share: u64) -> Self {
        match share {
            0..20 => Self::Zeros,
            20..40 => Self::Text,
            40..76 => Self::Structures,
            76..90 => Self::Sparse,
            _ => Self::Random,
        }
    }

    /// Writes content number `number`, which is the page's own, over all of `bytes`.
    pub(super) fn fill(self, number: u64, noise: &mut Noise, bytes: &mut [u8]) {
        match self {
            Self::Zeros => bytes.fill(0),
            Self::Ones => bytes.fill(1),
            Self::Sequence => sequence(number, bytes),
            Self::Random => noise.fill(bytes),
            Self::Text => text(noise, bytes),
            Self::Structures => structures(noise, bytes),
            Self::Sparse => sparse(noise, bytes),
            Self::Objects => words(bytes, |_| object_word(noise)),
            Self::Items => items::set(number.wrapping_mul(bytes.len() as u64), noise, bytes),
        }
    }
}

/// Where the structures' pointers point to: a heap, a kernel's direct map, a library.
const ARENAS: [u64; 4] =
    [0x0000_7f3a_5c00_0000, 0xffff_8881_0240_0000, 0x0000_55d0_9e8c_0000, 0xffff_ffff_8120_0000];

/// The words of a log, the more frequent the nearer to the beginning.
const VOCABULARY: [&str; 48] = [
    "the",
    "INFO",
    "request",
    "from",
    "to",
    "in",
    "connection",
    "id=",
    "user",
    "for",
    "accepted",
    "client",
    "cache",
    "GET",
    "/api/v1/",
    "status=200",
    "WARN",
    "latency",
    "ms",
    "bytes",
    "session",
    "closed",
    "timeout",
    "retry",
    "database",
    "query",
    "rows",
    "commit",
    "worker",
    "started",
    "finished",
    "key",
    "value",
    "expired",
    "replica",
    "offset",
    "ERROR",
    "checkpoint",
    "index",
    "memory",
    "snapshot",
    "lease",
    "token",
    "shard",
    "queue",
    "flush",
    "merge",
    "heartbeat",
];

/// Eight bytes at a time; what is left over at the end is the beginning of a word.
fn words(bytes: &mut [u8], mut word: impl FnMut(usize) -> u64) {
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&word(index).to_le_bytes()[..chunk.len()]);
    }
}

fn sequence(number: u64, bytes: &mut [u8]) {
    let first = number.wrapping_mul(bytes.len().div_ceil(8) as u64);
    words(bytes, |index| first.wrapping_add(index as u64));
}

fn text(noise: &mut Noise, bytes: &mut [u8]) {
    let mut room = bytes;
    let mut word_of_line = 0;
    while !room.is_empty() {
        if word_of_line == 0 {
            let (hour, minute, second) = (noise.below(24), noise.below(60), noise.below(60));
            let stamp = format!(
                "2024-03-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z ",
                noise.below(28) + 1,
                noise.below(1000)
            );
            room = put(room, stamp.as_bytes());
        }
        // The smaller of two draws makes early words frequent.
        let word = noise.index(VOCABULARY.len()).min(noise.index(VOCABULARY.len()));
        room = put(room, VOCABULARY[word].as_bytes());
        if noise.below(5) == 0 {
            room = put(room, format!("{:x}", noise.below(1 << 24)).as_bytes());
        }
        word_of_line = (word_of_line + 1) % 12;
        room = put(room, if word_of_line == 0 { b"\n" } else { b" " });
    }
}

/// Copies as much as there is room for, and returns the room behind it.
fn put<'a>(room: &'a mut [u8], text: &[u8]) -> &'a mut [u8] {
    let length = room.len().min(text.len());
    let (here, rest) = room.split_at_mut(length);
    here.copy_from_slice(&text[..length]);
    rest
}

/// A structure of 12 words: what its fields are, all structures of a page have in common.
fn structures(noise: &mut Noise, bytes: &mut [u8]) {
    let arena = ARENAS[noise.index(ARENAS.len())];
    let table = arena + (noise.below(1 << 8) << 12);
    let mut next = arena + (noise.below(1 << 20) << 6);
    words(bytes, |index| match index % 12 {
        // Linked to its neighbours, mostly.
        0 => {
            next += if noise.below(8) == 0 { noise.below(1 << 12) << 6 } else { 96 };
            next
        }
        1 => next.wrapping_sub(192),
        2 => table,
        3 => noise.below(4),
        4 => noise.below(1 << 12),
        5 => arena + (noise.below(1 << 16) << 4),
        6 => 0x0000_0001_0000_0000 | noise.below(64),
        8 => noise.below(1 << 20),
        _ => 0,
    });
}

fn sparse(noise: &mut Noise, bytes: &mut [u8]) {
    bytes.fill(0);
    for _ in 0..4 + noise.below(12) {
        let start = noise.index(bytes.len() / 8) * 8;
        let end = bytes.len().min(start + 8 + 8 * noise.index(4));
        words(&mut bytes[start..end], |_| object_word(noise));
    }
}

fn object_word(noise: &mut Noise) -> u64 {
    match noise.below(8) {
        0..3 => noise.below(1 << 16),
        3..6 => ARENAS[noise.index(ARENAS.len())] + (noise.below(1 << 20) << 4),
        6 => noise.next_u64(),
        _ => 0,
    }
}
