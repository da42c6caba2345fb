//! What to compress with: the codes of a request, and when those of an earlier one do.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pageferry_bindings::idxd::aecs::{
    CompressAecs, DISTANCE_CODES, Histogram, HuffmanCode, LITERAL_LENGTH_CODES,
};
use zerocopy::IntoBytes;

use super::header::Header;
use super::huffman;
use crate::dma::{Block, HostAddress};

/// Which codes an IAA compresses with. Whichever it is, every piece is a deflate stream of its own, header and all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Huffman {
    /// The fixed ones of RFC 1951: one pass, and the largest result.
    Fixed,
    /// Each request's own: a pass that counts, and one that compresses.
    Dynamic,
    /// Those of an earlier request for as long as they pay: nearly always one pass, and nearly as small as by the
    /// request's own.
    #[default]
    Canned,
}

/// Over how many requests after a change the share is measured that later ones are held against.
const SETTLING: u32 = 16;

/// Codes are made anew after as many requests, whatever they are worth.
const LIFETIME: u32 = 512;

/// Codes are made anew once what comes out, as a share of what goes in, is as many times what it was at first.
const TOLERANCE: f64 = 1.125;

/// How much more a symbol that was counted once weighs than one that was not counted at all.
const COUNTED: u32 = 16;

/// The distance codes that a window of 4 KiB has need of (RFC 1951, 3.2.5).
const DISTANCES_IN_WINDOW: usize = 24;

const END_OF_BLOCK: usize = 256;

/// The codes that the queues of one accelerator share.
pub(super) struct Tables {
    huffman: Huffman,
    canned: Mutex<Canned>,
}

/// The configuration of the compressions of one request, in memory of its slot.
pub(super) struct Codes {
    memory: Block,
    /// Which of the shared codes these are.
    generation: u64,
    /// Whether the codes that this request makes are those that the next ones get.
    teaches: bool,
}

/// What a request does first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It counts symbols, for codes of its own.
    Count,
    /// It has codes.
    Compress,
}

/// The codes of an earlier request, and how they do.
struct Canned {
    codes: CompressAecs,
    /// The number of these codes; [`FIXED`] until there are any.
    generation: u64,
    /// Whether a request makes new ones just now.
    learning: bool,
    /// How many requests they compressed.
    requests: u32,
    /// What came out of what went in: the mean over the first [`SETTLING`] requests.
    first: f64,
    /// The same over the last ones, older ones counting less and less.
    recent: f64,
}

/// The generation of the fixed codes, which are there before anything else is.
const FIXED: u64 = 0;
/// The generation of codes that only one request has.
const OWN: u64 = u64::MAX;

impl Tables {
    pub(super) fn new(huffman: Huffman) -> Self {
        Self { huffman, canned: Mutex::new(Canned::new()) }
    }

    /// Sees to it that `codes` are those that the next request is to be compressed with, or says that it has to count.
    pub(super) fn prepare(&self, codes: &mut Codes) -> Pass {
        match self.huffman {
            Huffman::Fixed => Pass::Compress,
            Huffman::Dynamic => Pass::Count,
            Huffman::Canned => {
                let mut canned = self.lock();
                if canned.due() {
                    canned.learning = true;
                    codes.teaches = true;
                    return Pass::Count;
                }
                if codes.generation != canned.generation {
                    codes.set(&canned.codes, canned.generation);
                }
                Pass::Compress
            }
        }
    }

    /// Makes codes of what was counted in `pieces` pieces, for this request or the next ones too.
    pub(super) fn learn(&self, codes: &mut Codes, counts: &Histogram, pieces: usize) {
        let made = codes_for(counts, pieces);
        let generation = if std::mem::take(&mut codes.teaches) { self.lock().replace(&made) } else { OWN };
        codes.set(&made, generation);
    }

    /// Takes note that a request of `raw` bytes became `encoded` bytes.
    pub(super) fn observe(&self, codes: &Codes, raw: usize, encoded: usize) {
        if self.huffman == Huffman::Canned {
            self.lock().observe(codes.generation, encoded as f64 / raw as f64);
        }
    }

    /// The request will not make codes any more, if it was to.
    pub(super) fn give_up(&self, codes: &mut Codes) {
        if std::mem::take(&mut codes.teaches) {
            self.lock().learning = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Canned> {
        self.canned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Codes {
    /// How much memory they take.
    pub(super) const BYTES: usize = CompressAecs::BYTES;

    /// The fixed codes, in `memory`.
    pub(super) fn new(memory: Block) -> Self {
        let mut codes = Self { memory, generation: FIXED, teaches: false };
        codes.set(&CompressAecs::fixed(), FIXED);
        codes
    }

    /// Where the device finds them.
    pub(super) fn address(&self) -> HostAddress {
        self.memory.address()
    }

    fn set(&mut self, codes: &CompressAecs, generation: u64) {
        self.memory[..CompressAecs::BYTES].copy_from_slice(codes.as_bytes());
        self.generation = generation;
    }
}

impl Canned {
    fn new() -> Self {
        Self {
            codes: CompressAecs::fixed(),
            generation: FIXED,
            learning: false,
            requests: 0,
            first: 0.0,
            recent: 0.0,
        }
    }

    /// Whether the next request should make new ones.
    fn due(&self) -> bool {
        let worse = self.requests > SETTLING && self.recent > self.first * TOLERANCE;
        !self.learning && (self.generation == FIXED || worse || self.requests >= LIFETIME)
    }

    fn replace(&mut self, codes: &CompressAecs) -> u64 {
        let generation = self.generation + 1;
        *self = Self { codes: codes.clone(), generation, ..Self::new() };
        generation
    }

    /// A piece that did not shrink counts as long as it is, so codes that do not fit any more are soon seen.
    fn observe(&mut self, generation: u64, share: f64) {
        if generation != self.generation || generation == FIXED {
            return;
        }
        self.requests = self.requests.saturating_add(1);
        if self.requests <= SETTLING {
            self.first += (share - self.first) / f64::from(self.requests);
            self.recent = self.first;
        } else {
            self.recent += (share - self.recent) / f64::from(SETTLING);
        }
    }
}

/// The codes by which `pieces` blocks of these symbols are the smallest in sum.
///
/// Whatever may occur has a code: guest memory changes between the passes, and the next request has other symbols.
fn codes_for(counts: &Histogram, pieces: usize) -> CompressAecs {
    let mut counts = counts.clone();
    // Whether the device counts the end of a block is not known; each piece has one.
    let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
    counts.literal_lengths[END_OF_BLOCK] = counts.literal_lengths[END_OF_BLOCK].max(pieces);
    let weight = |count: u32| count.min(u32::MAX / COUNTED - 1) * COUNTED;
    let literal_weights: [u32; LITERAL_LENGTH_CODES] = counts.literal_lengths.map(|count| weight(count) + 1);
    let mut distance_weights: [u32; DISTANCE_CODES] = counts.distances.map(weight);
    distance_weights[..DISTANCES_IN_WINDOW].iter_mut().for_each(|weight| *weight += 1);

    let literals = huffman::lengths(&literal_weights, huffman::MAX_LENGTH);
    let distances = huffman::lengths(&distance_weights, huffman::MAX_LENGTH);
    let header = Header::dynamic(&literals, &distances);
    let mut codes = CompressAecs::empty();
    codes.accumulator = *header.bytes();
    codes.accumulator_bits = header.bits();
    codes.literal_lengths = words(&literals);
    codes.distances = words(&distances);

    let fixed = CompressAecs::fixed();
    if bits(&codes, &counts, pieces) < bits(&fixed, &counts, pieces) { codes } else { fixed }
}

/// Codes of these lengths as the device reads them.
fn words<const N: usize>(lengths: &[u8; N]) -> [u32; N] {
    let codes = huffman::codes(lengths);
    std::array::from_fn(|symbol| HuffmanCode { bits: codes[symbol], length: lengths[symbol] }.encode())
}

/// How many bits `pieces` blocks of these symbols take, but for what follows a length or distance.
fn bits(codes: &CompressAecs, counts: &Histogram, pieces: u32) -> u64 {
    let sum = |words: &[u32], counts: &[u32]| -> u64 {
        let bits = words.iter().zip(counts);
        bits.map(|(&word, &count)| u64::from(HuffmanCode::decode(word).length) * u64::from(count)).sum()
    };
    u64::from(codes.accumulator_bits) * u64::from(pieces)
        + sum(&codes.literal_lengths, &counts.literal_lengths)
        + sum(&codes.distances, &counts.distances)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromBytes, FromZeros};

    use super::*;
    use crate::codec::deflate::Inflate;

    fn codes() -> Codes {
        Codes::new(Block::alone(Codes::BYTES).unwrap())
    }

    fn aecs(codes: &Codes) -> CompressAecs {
        CompressAecs::read_from_bytes(&codes.memory[..CompressAecs::BYTES]).unwrap()
    }

    fn counts_of(literals: &[u8]) -> Histogram {
        let mut counts = Histogram::new_zeroed();
        literals.iter().for_each(|&byte| counts.literal_lengths[usize::from(byte)] += 1);
        counts
    }

    /// What a device that finds no matches writes.
    fn literals_by(codes: &CompressAecs, literals: &[u8]) -> Vec<u8> {
        let header = 0..codes.accumulator_bits as usize;
        let mut bits: Vec<bool> =
            header.map(|bit| codes.accumulator[bit / 8] >> (bit % 8) & 1 == 1).collect();
        for symbol in literals.iter().map(|&byte| usize::from(byte)).chain([END_OF_BLOCK]) {
            let HuffmanCode { bits: code, length } = HuffmanCode::decode(codes.literal_lengths[symbol]);
            assert!(length > 0, "symbol {symbol} has no code");
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.chunks(8)
            .map(|byte| byte.iter().rev().fold(0, |number, &bit| number << 1 | u8::from(bit)))
            .collect()
    }

    fn learn(tables: &Tables, codes: &mut Codes, literals: &[u8]) {
        assert_eq!(tables.prepare(codes), Pass::Count);
        tables.learn(codes, &counts_of(literals), 1);
    }

    #[test]
    fn fixed_codes_need_no_counting() {
        let (tables, mut codes) = (Tables::new(Huffman::Fixed), codes());
        assert_eq!(tables.prepare(&mut codes), Pass::Compress);
        assert_eq!(aecs(&codes), CompressAecs::fixed());
    }

    #[test]
    fn dynamic_codes_are_each_requests_own() {
        let (tables, mut codes) = (Tables::new(Huffman::Dynamic), codes());
        for text in [b"aaaaaaaaabbbbc".repeat(99), b"xyzzy".repeat(99)] {
            learn(&tables, &mut codes, &text);
            assert!(literals_by(&aecs(&codes), &text).len() < text.len() / 2);
        }
    }

    #[test]
    fn canned_codes_are_made_once_and_used_by_all() {
        let tables = Tables::new(Huffman::Canned);
        let (mut teacher, mut early, mut later) = (codes(), codes(), codes());
        assert_eq!(tables.prepare(&mut teacher), Pass::Count);
        assert_eq!(tables.prepare(&mut early), Pass::Compress);
        assert_eq!(aecs(&early), CompressAecs::fixed(), "there are none yet");
        tables.learn(&mut teacher, &counts_of(&b"page of text ".repeat(99)), 3);
        assert_eq!(tables.prepare(&mut later), Pass::Compress);
        assert_eq!(aecs(&later), aecs(&teacher));
        assert_ne!(aecs(&later), CompressAecs::fixed());
    }

    #[test]
    fn a_request_that_fails_leaves_the_learning_to_the_next() {
        let (tables, mut first, mut second) = (Tables::new(Huffman::Canned), codes(), codes());
        assert_eq!(tables.prepare(&mut first), Pass::Count);
        assert_eq!(tables.prepare(&mut second), Pass::Compress);
        tables.give_up(&mut second);
        assert_eq!(tables.prepare(&mut second), Pass::Compress, "it was not the one that learns");
        tables.give_up(&mut first);
        assert_eq!(tables.prepare(&mut second), Pass::Count);
    }

    /// How many requests get by with the codes of the first until they are made anew, if they shrink to these shares.
    fn requests_until_renewal(mut share: impl FnMut(u32) -> f64) -> u32 {
        let (tables, mut codes) = (Tables::new(Huffman::Canned), codes());
        learn(&tables, &mut codes, b"text");
        for request in 0.. {
            if tables.prepare(&mut codes) == Pass::Count {
                return request;
            }
            tables.lock().observe(codes.generation, share(request));
        }
        unreachable!("they are made anew some time")
    }

    #[test]
    fn codes_that_do_not_fit_any_more_are_made_anew() {
        assert_eq!(requests_until_renewal(|_| 0.4), LIFETIME);
        assert_eq!(requests_until_renewal(|request| if request % 2 == 0 { 0.3 } else { 0.5 }), LIFETIME);
        let renewed = requests_until_renewal(|request| if request < 100 { 0.4 } else { 0.6 });
        assert!((101..110).contains(&renewed), "after {renewed}");
        let renewed = requests_until_renewal(|request| if request < 100 { 0.4 } else { 1.0 });
        assert!((101..104).contains(&renewed), "after {renewed}");
    }

    #[test]
    fn what_other_codes_did_is_not_held_against_these() {
        let (tables, mut old, mut new) = (Tables::new(Huffman::Canned), codes(), codes());
        tables.observe(&old, 100, 99);
        learn(&tables, &mut new, b"text");
        for _ in 0..LIFETIME {
            tables.observe(&old, 100, 99);
        }
        assert_eq!(tables.prepare(&mut old), Pass::Compress);
    }

    #[test]
    fn a_header_that_costs_more_than_it_saves_is_left_out() {
        assert_eq!(codes_for(&counts_of(b"few"), 1), CompressAecs::fixed());
        let text = b"many a little makes a mickle ".repeat(20);
        assert_ne!(codes_for(&counts_of(&text), 1), CompressAecs::fixed());
        assert_eq!(codes_for(&counts_of(&text), 30), CompressAecs::fixed(), "thirty headers");
    }

    #[test]
    fn a_count_that_no_device_could_make_does_no_harm() {
        let mut counts = Histogram::new_zeroed();
        counts.literal_lengths = [u32::MAX; LITERAL_LENGTH_CODES];
        counts.distances[29] = u32::MAX;
        let codes = codes_for(&counts, usize::MAX);
        let mut decoded = [0; 3];
        Inflate::new().decode(&literals_by(&codes, b"abc"), &mut decoded).unwrap();
        assert_eq!(&decoded, b"abc");
    }

    proptest! {
        /// The guest wrote between the two passes, or this is another request altogether.
        #[test]
        fn codes_made_of_some_bytes_carry_any_others(
            counted in prop::collection::vec(0..20_u8, 0..5000),
            literals in prop::collection::vec(any::<u8>(), 0..3000),
            distances in prop::collection::vec(0..3000_u32, DISTANCES_IN_WINDOW),
        ) {
            let mut counts = counts_of(&counted);
            counts.distances[..DISTANCES_IN_WINDOW].copy_from_slice(&distances);
            let codes = codes_for(&counts, 1);
            prop_assert!(codes.literal_lengths.iter().all(|&word| word != 0));
            prop_assert!(codes.distances[..DISTANCES_IN_WINDOW].iter().all(|&word| word != 0));
            let mut decoded = vec![0; literals.len()];
            let stream = literals_by(&codes, &literals);
            prop_assert_eq!(Inflate::new().decode(&stream, &mut decoded), Ok(()));
            prop_assert_eq!(decoded, literals);
        }
    }
}
