//! What a deflate block begins with, as bits that a device writes in front of the first token.

use pageferry_bindings::idxd::aecs::{DISTANCE_CODES as DISTANCES, LITERAL_LENGTH_CODES as LITERALS};

use super::huffman;

/// How many bytes the output accumulator of a compression AECS has.
pub(super) const ACCUMULATOR_BYTES: usize = 256;

/// The first bits of a stream, first one lowest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    bytes: [u8; ACCUMULATOR_BYTES],
    bits: u32,
}

/// Puts bits in a row, the first one lowest in the first byte.
struct Writer {
    bytes: [u8; ACCUMULATOR_BYTES],
    /// Bytes that are written.
    written: usize,
    /// Bits that are not, fewer than 32.
    pending: u64,
    pending_bits: u32,
}

/// The one and only block of a stream brings its codes (BFINAL 1, BTYPE 10).
const FINAL_DYNAMIC: u32 = 0b101;

/// The fewest literal and length codes that a block may state.
const MIN_LITERALS: usize = 257;
/// The fewest code-length codes that a block may state.
const MIN_CODE_LENGTHS: usize = 4;
/// The longest code of a code length.
const MAX_LENGTH: u8 = 7;

/// The code lengths of the code-length code come in this order (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Lengths that a block states, or what is repeated: symbols of the code-length alphabet.
const REPEAT_LAST: u8 = 16;
const REPEAT_ZERO: u8 = 17;
const REPEAT_ZERO_LONG: u8 = 18;

/// A symbol of the code-length alphabet and the bits behind it.
#[derive(Clone, Copy, Default)]
struct Token {
    symbol: u8,
    extra: u8,
}

impl Header {
    /// The header of a block of codes with these lengths.
    ///
    /// Whatever the lengths are, it fits: of m symbols of the code-length alphabet (at most 19) the more frequent ones
    /// have the shorter codes, so a token takes on average at most what its symbols do, and a complete code of at most 7
    /// bits and 19 symbols has at most 118 bits in sum (lengths 1, 2, 3 and sixteen times 7). 316 lengths without
    /// repetitions hence take at most 316 x 118 / 19 = 1963 bits; a repetition stands for at least three lengths, and its
    /// extra bits (at most 7) are less than the two lengths it spares, at 6.2 bits each. With 74 bits in front that is 2037
    /// of 2048.
    pub(super) fn dynamic(literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) -> Self {
        let literals = stated(literals, MIN_LITERALS);
        let distances = stated(distances, 1);
        let mut tokens = [Token::default(); LITERALS + DISTANCES];
        let tokens = tokenize(literals, distances, &mut tokens);

        let mut counts = [0; ORDER.len()];
        for token in tokens {
            counts[usize::from(token.symbol)] += 1;
        }
        let lengths = huffman::lengths(&counts, MAX_LENGTH);
        let codes = huffman::codes(&lengths);
        let last = ORDER.iter().rposition(|&symbol| lengths[symbol] > 0).map_or(0, |last| last + 1);
        let order = &ORDER[..last.max(MIN_CODE_LENGTHS)];

        let mut header = Writer::new();
        header.push(FINAL_DYNAMIC, 3);
        header.push(number(literals.len() - MIN_LITERALS), 5);
        header.push(number(distances.len() - 1), 5);
        header.push(number(order.len() - MIN_CODE_LENGTHS), 4);
        for &symbol in order {
            header.push(lengths[symbol].into(), 3);
        }
        for &Token { symbol, extra } in tokens {
            let length = lengths[usize::from(symbol)];
            // A code travels with its first bit first, a number with its lowest.
            let code = codes[usize::from(symbol)].reverse_bits() >> (16 - u32::from(length));
            header.push(u32::from(code) | u32::from(extra) << length, length + extra_bits(symbol));
        }
        header.finish()
    }

    /// The bits, in bytes; those behind the last are 0.
    pub(super) fn bytes(&self) -> &[u8; ACCUMULATOR_BYTES] {
        &self.bytes
    }

    /// How many bits there are.
    pub(super) fn bits(&self) -> u32 {
        self.bits
    }
}

impl Writer {
    const UNIT_BITS: u32 = 32;

    fn new() -> Self {
        Self { bytes: [0; ACCUMULATOR_BYTES], written: 0, pending: 0, pending_bits: 0 }
    }

    /// Appends the lowest `bits` bits of `value`, at most 16; those above are 0.
    fn push(&mut self, value: u32, bits: u8) {
        self.pending |= u64::from(value) << self.pending_bits;
        self.pending_bits += u32::from(bits);
        if self.pending_bits >= Self::UNIT_BITS {
            self.write_unit();
            self.pending >>= Self::UNIT_BITS;
            self.pending_bits -= Self::UNIT_BITS;
        }
    }

    fn finish(mut self) -> Header {
        let bits = number(self.written * 8) + self.pending_bits;
        if self.pending_bits > 0 {
            self.write_unit();
        }
        Header { bytes: self.bytes, bits }
    }

    fn write_unit(&mut self) {
        let unit = &self.pending.to_le_bytes()[..4];
        self.bytes[self.written..self.written + 4].copy_from_slice(unit);
        self.written += 4;
    }
}

/// The lengths without zeros at the end, `least` of them or more.
fn stated(lengths: &[u8], least: usize) -> &[u8] {
    let last = lengths.iter().rposition(|&length| length > 0).map_or(0, |last| last + 1);
    &lengths[..last.max(least)]
}

/// The lengths of both alphabets, repetitions taken together, though none from the one into the other: RFC 1951 has them,
/// an IAA does not decode them (QPL's tests of its hardware path: a code length code that straddles is an error).
fn tokenize<'a>(
    literals: &[u8],
    distances: &[u8],
    tokens: &'a mut [Token; LITERALS + DISTANCES],
) -> &'a [Token] {
    let mut count = 0;
    let mut push = |symbol, extra| {
        tokens[count] = Token { symbol, extra };
        count += 1;
    };
    let same = |before: &u8, after: &u8| before == after;
    for same in literals.chunk_by(same).chain(distances.chunk_by(same)) {
        let mut left = same.len();
        if same[0] > 0 {
            push(same[0], 0);
            left -= 1;
        }
        while left > 0 {
            let (symbol, least, most) = match (same[0], left) {
                (length, 1 | 2) => (length, 1, 1),
                (0, 3..=10) => (REPEAT_ZERO, 3, 10),
                (0, _) => (REPEAT_ZERO_LONG, 11, 138),
                _ => (REPEAT_LAST, 3, 6),
            };
            let repeated = left.min(most);
            push(symbol, u8::try_from(repeated - least).unwrap_or(u8::MAX));
            left -= repeated;
        }
    }
    &tokens[..count]
}

/// How many bits follow the code of this symbol.
fn extra_bits(symbol: u8) -> u8 {
    match symbol {
        REPEAT_LAST => 2,
        REPEAT_ZERO => 3,
        REPEAT_ZERO_LONG => 7,
        _ => 0,
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::huffman::MAX_LENGTH;
    use super::*;
    use crate::codec::deflate::Inflate;

    const END_OF_BLOCK: usize = 256;

    /// A whole stream: header, bytes as literals, end of block.
    fn stream(header: &Header, lengths: &[u8; LITERALS], literals: &[u8]) -> Vec<u8> {
        let codes = huffman::codes(lengths);
        let mut bits: Vec<bool> =
            (0..header.bits() as usize).map(|bit| header.bytes()[bit / 8] >> (bit % 8) & 1 == 1).collect();
        let symbols = literals.iter().map(|&byte| usize::from(byte)).chain([END_OF_BLOCK]);
        for symbol in symbols {
            assert!(lengths[symbol] > 0, "symbol {symbol} has no code");
            bits.extend((0..lengths[symbol]).rev().map(|bit| codes[symbol] >> bit & 1 == 1));
        }
        bits.chunks(8)
            .map(|byte| byte.iter().rev().fold(0, |number, &bit| number << 1 | u8::from(bit)))
            .collect()
    }

    fn assert_decodes(header: &Header, lengths: &[u8; LITERALS], literals: &[u8]) {
        let mut decoded = vec![0; literals.len()];
        Inflate::new().decode(&stream(header, lengths, literals), &mut decoded).unwrap();
        assert_eq!(decoded, literals);
    }

    #[test]
    fn no_repetition_goes_from_one_alphabet_into_the_other() {
        for length in [0, 8] {
            let mut tokens = [Token { symbol: 0, extra: 0 }; LITERALS + DISTANCES];
            let (literals, distances) = ([length; 258], [length; 30]);
            let mut stated = 0;
            for token in tokenize(&literals, &distances, &mut tokens) {
                stated += match token.symbol {
                    REPEAT_LAST | REPEAT_ZERO => 3 + usize::from(token.extra),
                    REPEAT_ZERO_LONG => 11 + usize::from(token.extra),
                    _ => 1,
                };
                if stated >= literals.len() {
                    break;
                }
            }
            assert_eq!(stated, literals.len());
        }
    }

    #[test]
    fn lengths_that_hardly_repeat_fit_and_decode() {
        // Weights by which neighbours differ as much as they can: no stretch, and all lengths occur.
        let literals = huffman::lengths(&std::array::from_fn(|symbol| 1 << (symbol * 11 % 26)), MAX_LENGTH);
        let distances = huffman::lengths(&std::array::from_fn(|symbol| 1 << (symbol * 11 % 26)), MAX_LENGTH);
        let header = Header::dynamic(&literals, &distances);
        assert!(header.bits() > 800, "{} bits", header.bits());
        assert_decodes(&header, &literals, b"every length but few neighbours alike");
    }

    #[test]
    fn long_stretches_cost_next_to_nothing() {
        let mut weights = [1; LITERALS];
        weights[b'a' as usize] = 1000;
        let literals = huffman::lengths(&weights, MAX_LENGTH);
        let distances = huffman::lengths(&[1; DISTANCES], MAX_LENGTH);
        let header = Header::dynamic(&literals, &distances);
        assert!(header.bits() < 400, "{} bits", header.bits());
        assert_decodes(&header, &literals, &[b'a'; 100]);
    }

    #[test]
    fn a_block_without_distances_states_one_that_nobody_uses() {
        let mut weights = [0; LITERALS];
        weights[0] = 5;
        weights[END_OF_BLOCK] = 1;
        let literals = huffman::lengths(&weights, MAX_LENGTH);
        assert_decodes(&Header::dynamic(&literals, &[0; DISTANCES]), &literals, &[0; 9]);
    }

    /// Weights from even to absurdly skewed, with gaps, in stretches and one by one.
    fn any_weights<const N: usize>() -> impl Strategy<Value = [u32; N]> {
        let stretch = (prop_oneof![Just(0), 1..3_u32, (0..28_u32).prop_map(|shift| 1 << shift)], 1..20_usize);
        prop::collection::vec(prop_oneof![stretch.clone(), stretch.prop_map(|(weight, _)| (weight, 1))], 1..N)
            .prop_map(|stretches| {
                let flat = stretches.into_iter().flat_map(|(weight, times)| vec![weight; times]);
                let mut weights: Vec<u32> = flat.take(N).collect();
                weights.resize(N, 1);
                weights.try_into().expect("N of them")
            })
    }

    proptest! {
        #[test]
        fn any_codes_fit_and_decode(
            mut weights in any_weights::<LITERALS>(),
            distance_weights in any_weights::<DISTANCES>(),
            literals in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            for symbol in literals.iter().map(|&byte| usize::from(byte)).chain([END_OF_BLOCK, 0]) {
                weights[symbol] = weights[symbol].max(1);
            }
            let lengths = huffman::lengths(&weights, MAX_LENGTH);
            // One distance code alone is one that the RFC allows, and not every inflater.
            let mut distance_weights = distance_weights;
            distance_weights[0] = distance_weights[0].max(1);
            distance_weights[1] = distance_weights[1].max(1);
            let header = Header::dynamic(&lengths, &huffman::lengths(&distance_weights, MAX_LENGTH));
            prop_assert!(header.bits() as usize <= ACCUMULATOR_BYTES * 8);
            assert_decodes(&header, &lengths, &literals);
        }

        /// No prefix code has these lengths; the header has to hold them all the same.
        #[test]
        fn any_lengths_fit(
            literals in prop::collection::vec(0..=MAX_LENGTH, LITERALS),
            distances in prop::collection::vec(0..=MAX_LENGTH, DISTANCES),
            often in prop::collection::vec(0..=MAX_LENGTH, 3),
            share in 0..100_usize,
        ) {
            let skew = |(index, length): (usize, u8)| if index * 37 % 100 < share { often[index % 3] } else { length };
            let literals: Vec<u8> = literals.into_iter().enumerate().map(skew).collect();
            let header = Header::dynamic(
                &literals.try_into().expect("as many"),
                &distances.try_into().expect("as many"),
            );
            prop_assert!(header.bits() <= 2037, "{} bits", header.bits());
        }
    }
}
