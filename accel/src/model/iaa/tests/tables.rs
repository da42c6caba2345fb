//! Codes from a histogram, and the header of a block with them, as software makes them for the device.

use pageferry_bindings::idxd::aecs::{CompressAecs, Histogram, HuffmanCode};

use super::streams::Bits;

/// The longest code.
const MOST_BITS: usize = 15;

/// An AECS with a final block of dynamic codes for what was counted.
pub(super) fn dynamic(histogram: &Histogram) -> CompressAecs {
    let mut counts = histogram.literal_lengths;
    counts[256] = counts[256].max(1);
    let literals = lengths(&counts);
    let distances = lengths(&histogram.distances);
    let mut aecs = CompressAecs::empty();
    for (word, code) in aecs.literal_lengths.iter_mut().zip(codes(&literals)) {
        *word = code.encode();
    }
    for (word, code) in aecs.distances.iter_mut().zip(codes(&distances)) {
        *word = code.encode();
    }
    let header = header(true, &literals, &distances);
    aecs.accumulator_bits = header.len;
    aecs.accumulator[..header.bytes.len()].copy_from_slice(&header.bytes);
    aecs
}

/// Code lengths by the counts of symbols: roughly the information of each, made to fit.
///
/// Kraft's sum decides: lengths grow until there is room for all codes, and shrink until no room is left.
fn lengths(counts: &[u32]) -> Vec<u8> {
    let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    let mut lengths: Vec<u8> = counts
        .iter()
        .map(|&count| match u64::from(count) {
            0 => 0,
            count => u8::try_from((total / count).ilog2().clamp(1, 14)).unwrap(),
        })
        .collect();
    let taken = |lengths: &[u8]| -> u32 {
        lengths
            .iter()
            .filter(|length| **length > 0)
            .map(|length| 1_u32 << (MOST_BITS - usize::from(*length)))
            .sum()
    };
    while taken(&lengths) > 1 << MOST_BITS {
        let shortest = (0..lengths.len()).filter(|symbol| (1..15).contains(&lengths[*symbol]));
        let rarest = shortest.min_by_key(|symbol| (counts[*symbol], *symbol)).unwrap();
        lengths[rarest] += 1;
    }
    let room = |lengths: &[u8]| (1 << MOST_BITS) - taken(lengths);
    while let Some(longest) = (0..lengths.len())
        .filter(|symbol| lengths[*symbol] > 1 && 1 << (15 - lengths[*symbol]) <= room(&lengths))
        .max_by_key(|symbol| (lengths[*symbol], counts[*symbol], *symbol))
    {
        lengths[longest] -= 1;
    }
    if lengths.iter().all(|length| *length == 0) {
        // One distance code of one bit is how a block says that there are no matches.
        lengths[0] = 1;
    }
    lengths
}

/// Canonical codes (RFC 1951, 3.2.2).
pub(super) fn codes(lengths: &[u8]) -> Vec<HuffmanCode> {
    let mut codes = vec![HuffmanCode::default(); lengths.len()];
    let mut bits = 0;
    for length in 1..=15 {
        for symbol in (0..lengths.len()).filter(|symbol| lengths[*symbol] == length) {
            codes[symbol] = HuffmanCode { bits, length };
            bits += 1;
        }
        bits <<= 1;
    }
    codes
}

/// The header of a dynamic block with these codes: without repetitions, but for zeroes.
pub(super) fn header(is_final: bool, literals: &[u8], distances: &[u8]) -> Bits {
    let used = |lengths: &[u8], least: usize| {
        lengths.iter().rposition(|length| *length > 0).map_or(least, |last| (last + 1).max(least))
    };
    let (literals, distances) = (&literals[..used(literals, 257)], &distances[..used(distances, 1)]);
    let symbols: Vec<Vec<(usize, u32, u32)>> = vec![with_zero_runs(literals), with_zero_runs(distances)];
    header_of(is_final, literals.len(), distances.len(), &code_length_lengths(), &symbols.concat())
}

/// A code for code lengths that has all of them: 0 to 12 and the repetitions of zero in 4 bits, 13 to 16 in 6.
pub(super) fn code_length_lengths() -> [u8; 19] {
    let mut lengths = [4; 19];
    lengths[13..17].fill(6);
    lengths
}

/// The header of a dynamic block from its parts; of code-length symbols each is given with its extra bits and their number.
pub(super) fn header_of(
    is_final: bool,
    literals: usize,
    distances: usize,
    code_lengths: &[u8; 19],
    symbols: &[(usize, u32, u32)],
) -> Bits {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let number = |value: usize| u32::try_from(value).unwrap();
    let mut bits = Bits::default();
    bits.put(u32::from(is_final), 1).put(2, 2);
    bits.put(number(literals - 257), 5).put(number(distances - 1), 5).put(15, 4);
    for place in ORDER {
        bits.put(code_lengths[place].into(), 3);
    }
    let codes = codes(code_lengths);
    for &(symbol, extra, extra_bits) in symbols {
        bits.code(codes[symbol]).put(extra, extra_bits);
    }
    bits
}

/// Lengths as symbols of the code-length code, with zeroes run together.
fn with_zero_runs(lengths: &[u8]) -> Vec<(usize, u32, u32)> {
    let mut symbols = Vec::new();
    for run in lengths.chunk_by(|a, b| a == b) {
        let mut left = run.len();
        while run[0] == 0 && left >= 11 {
            let now = left.min(138);
            symbols.push((18, u32::try_from(now - 11).unwrap(), 7));
            left -= now;
        }
        symbols.extend(vec![(usize::from(run[0]), 0, 0); left]);
    }
    symbols
}
