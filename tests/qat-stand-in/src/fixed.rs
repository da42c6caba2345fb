//! Deflate with the fixed codes of RFC 1951 (3.2.6), and stored blocks (3.2.4).

use std::ops::Range;

const HASH_BITS: u32 = 12;
const WINDOW: usize = 32 << 10;
const LONGEST: usize = 258;
const SHORTEST: usize = 4;
const END_OF_BLOCK: u16 = 256;
const MOST_STORED: usize = 65535;

/// RFC 1951, 3.2.5: the lengths from which codes 257 on go, and how many more bits tell which.
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The same for distances.
const DISTANCES: [(u16, u8); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

/// A stream of one block with fixed codes.
pub(crate) fn deflate(input: &[u8], output: &mut Vec<u8>) {
    let mut bits = Bits { output, held: 0, count: 0 };
    bits.put(0b011, 3);
    let mut last = [usize::MAX; 1 << HASH_BITS];
    let mut at = 0;
    while at < input.len() {
        let found = candidate(input, at, &mut last).map(|from| (from, common(input, from, at)));
        match found {
            Some((from, length)) if length >= SHORTEST => {
                bits.copy(length, at - from);
                at += length;
            }
            _ => {
                bits.symbol(u16::from(input[at]));
                at += 1;
            }
        }
    }
    bits.symbol(END_OF_BLOCK);
    bits.finish();
}

/// A stream of stored blocks.
pub(crate) fn store(input: &[u8], output: &mut Vec<u8>) {
    let blocks = input.chunks(MOST_STORED);
    let last = blocks.len().saturating_sub(1);
    for (index, block) in blocks.enumerate() {
        let bytes = u16::try_from(block.len()).unwrap_or(u16::MAX);
        output.push(u8::from(index == last));
        output.extend_from_slice(&bytes.to_le_bytes());
        output.extend_from_slice(&(!bytes).to_le_bytes());
        output.extend_from_slice(block);
    }
}

/// Where bytes like those at `at` were last seen, within the window.
fn candidate(input: &[u8], at: usize, last: &mut [usize]) -> Option<usize> {
    let four = input.get(at..at + SHORTEST)?.first_chunk::<4>()?;
    let hash = u32::from_le_bytes(*four).wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS);
    let seen = std::mem::replace(&mut last[hash as usize], at);
    (seen != usize::MAX && at - seen <= WINDOW).then_some(seen)
}

fn common(input: &[u8], from: usize, at: usize) -> usize {
    let most = LONGEST.min(input.len() - at);
    let Range { start, end } = at..at + most;
    input[from..].iter().zip(&input[start..end]).take_while(|(one, other)| one == other).count()
}

/// Bits, the lowest first.
struct Bits<'a> {
    output: &'a mut Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits<'_> {
    fn put(&mut self, bits: u16, count: u32) {
        self.held |= u64::from(bits) << self.count;
        self.count += count;
        while self.count >= 8 {
            self.output.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// Codes are packed from their highest bit on.
    fn code(&mut self, code: u16, bits: u32) {
        self.put(code.reverse_bits() >> (16 - bits), bits);
    }

    fn symbol(&mut self, symbol: u16) {
        match symbol {
            0..=143 => self.code(0x30 + symbol, 8),
            144..=255 => self.code(0x190 + (symbol - 144), 9),
            256..=279 => self.code(symbol - 256, 7),
            _ => self.code(0xc0 + (symbol - 280), 8),
        }
    }

    fn copy(&mut self, length: usize, distance: usize) {
        let (index, more, bits) = place(&LENGTHS, length);
        self.symbol(257 + index);
        self.put(more, bits);
        let (index, more, bits) = place(&DISTANCES, distance);
        self.code(index, 5);
        self.put(more, bits);
    }

    fn finish(mut self) {
        let rest = (8 - self.count % 8) % 8;
        self.put(0, rest);
    }
}

/// Which entry of a table a value is in, and by how much it is more, in how many bits.
fn place(table: &[(u16, u8)], value: usize) -> (u16, u16, u32) {
    let value = u16::try_from(value).unwrap_or(u16::MAX);
    let index = table.partition_point(|(from, _)| *from <= value) - 1;
    let (from, bits) = table[index];
    (u16::try_from(index).unwrap_or(0), value - from, u32::from(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflated(stream: &[u8], bytes: usize) -> Vec<u8> {
        let mut output = vec![0; bytes];
        let got = libdeflater::Decompressor::new().deflate_decompress(stream, &mut output).expect("a stream");
        assert_eq!(got, bytes);
        output
    }

    #[test]
    fn libdeflate_reads_what_was_deflated_and_what_was_stored() {
        let inputs = [
            vec![],
            b"a".to_vec(),
            vec![7; 70_000],
            (0..100_000_u32).map(|n| n.wrapping_mul(n >> 3).to_le_bytes()[1]).collect(),
            b"the same again and again, the same again and again, to the end of all".repeat(900),
        ];
        for input in inputs {
            let mut output = Vec::new();
            deflate(&input, &mut output);
            assert_eq!(inflated(&output, input.len()), input);
            assert_eq!(output[0] & 7, 0b011, "one block, of fixed codes");
            if !input.is_empty() {
                output.clear();
                store(&input, &mut output);
                assert_eq!(inflated(&output, input.len()), input);
            }
        }
    }
}
