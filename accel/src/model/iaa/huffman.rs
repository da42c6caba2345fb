//! Huffman codes as a decoder needs them (RFC 1951, 3.2.2).

use super::bits::{BitReader, EndOfInput};

/// The longest code.
pub(super) const LONGEST_CODE: usize = 15;
/// Codes up to this length are looked up, longer ones are searched by length.
const FAST_BITS: usize = 10;
/// Enough for every alphabet of deflate.
const MOST_SYMBOLS: usize = 288;

/// A canonical code.
pub(super) struct Decoder {
    /// By the next bits: the symbol of the code they begin with, and above bit 12 its length; 0 if it is longer or none.
    fast: [u16; 1 << FAST_BITS],
    /// How many codes there are of each length.
    counts: [u16; LONGEST_CODE + 1],
    /// The symbols in the order of their codes.
    symbols: [u16; MOST_SYMBOLS],
}

/// More codes than there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oversubscribed;

/// Why no symbol could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSymbol {
    /// The input ends within a code.
    EndOfInput,
    /// No symbol has this code.
    Undefined,
}

impl From<EndOfInput> for NoSymbol {
    fn from(_: EndOfInput) -> Self {
        Self::EndOfInput
    }
}

impl Decoder {
    /// The code whose symbols have these lengths, at most [`LONGEST_CODE`]; 0 is no code. It may leave bits without a symbol.
    pub(super) fn new(lengths: &[u8]) -> Result<Self, Oversubscribed> {
        let mut counts = [0_u16; LONGEST_CODE + 1];
        for &length in lengths {
            counts[usize::from(length)] += 1;
        }
        counts[0] = 0;
        // The first code of each length, and where its symbol is.
        let (mut codes, mut places) = ([0_u32; LONGEST_CODE + 2], [0_u16; LONGEST_CODE + 2]);
        for length in 1..=LONGEST_CODE {
            let end = codes[length] + u32::from(counts[length]);
            if end > 1 << length {
                return Err(Oversubscribed);
            }
            codes[length + 1] = end << 1;
            places[length + 1] = places[length] + counts[length];
        }
        let mut decoder = Self { fast: [0; 1 << FAST_BITS], counts, symbols: [0; MOST_SYMBOLS] };
        for (symbol, &length) in (0_u16..).zip(lengths) {
            let length = usize::from(length);
            if length == 0 {
                continue;
            }
            decoder.symbols[usize::from(places[length])] = symbol;
            places[length] += 1;
            if length <= FAST_BITS {
                // The first bit of a code is its highest, and the first bit of the input the lowest.
                let reversed = (codes[length].reverse_bits() >> (32 - length)) as usize;
                let entry = symbol | u16::from(length.to_le_bytes()[0]) << 12;
                for place in (reversed..1 << FAST_BITS).step_by(1 << length) {
                    decoder.fast[place] = entry;
                }
            }
            codes[length] += 1;
        }
        Ok(decoder)
    }

    /// Reads a symbol. The reader holds 15 bits, or all that are left.
    #[inline]
    pub(super) fn symbol(&self, bits: &mut BitReader<'_>) -> Result<u16, NoSymbol> {
        let held = bits.held();
        let entry = self.fast[(held & ((1 << FAST_BITS) - 1)) as usize];
        if entry == 0 {
            return self.search(bits);
        }
        bits.drop_held(u32::from(entry >> 12))?;
        Ok(entry & 0xfff)
    }

    /// Reads a symbol a bit at a time.
    #[cold]
    fn search(&self, bits: &mut BitReader<'_>) -> Result<u16, NoSymbol> {
        let (mut code, mut first, mut place) = (0_u32, 0_u32, 0_u32);
        for length in 1..=LONGEST_CODE {
            code = code << 1 | u32::from(bits.take_held(1)?);
            let count = u32::from(self.counts[length]);
            if code - first < count {
                return Ok(self.symbols[(place + code - first) as usize]);
            }
            place += count;
            first = (first + count) << 1;
        }
        Err(NoSymbol::Undefined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::iaa::bits::BitWriter;

    #[test]
    fn the_code_of_the_rfc_is_read() {
        // RFC 1951, 3.2.2: lengths of A to H, and their codes.
        let decoder = Decoder::new(&[3, 3, 3, 3, 3, 2, 4, 4]).unwrap();
        let codes =
            [(0b010, 3), (0b011, 3), (0b100, 3), (0b101, 3), (0b110, 3), (0b00, 2), (0b1110, 4), (0b1111, 4)];
        let mut writer = BitWriter::new(10);
        for (code, bits) in codes {
            writer.put(u64::from(u32::reverse_bits(code) >> (32 - bits)), bits).unwrap();
        }
        writer.align().unwrap();
        let bytes = writer.into_bytes();
        let mut reader = BitReader::new(&bytes);
        reader.refill();
        for symbol in 0..8 {
            assert_eq!(decoder.symbol(&mut reader), Ok(symbol));
        }
    }

    #[test]
    fn long_codes_are_read_as_short_ones_and_what_is_no_code_is_undefined() {
        // One code of each length but the last: 0, 10, 110, and so on, and 15 ones are none.
        let lengths: Vec<u8> = (1..=15).collect();
        let decoder = Decoder::new(&lengths).unwrap();
        for symbol in 0..15_u16 {
            let ones = (1_u32 << symbol) - 1;
            let bytes = ones.to_le_bytes();
            let mut reader = BitReader::new(&bytes);
            reader.refill();
            assert_eq!(decoder.symbol(&mut reader), Ok(symbol));
            assert_eq!(reader.position(), u64::from(symbol) + 1);
        }
        let mut reader = BitReader::new(&[0xff, 0xff]);
        reader.refill();
        assert_eq!(decoder.symbol(&mut reader), Err(NoSymbol::Undefined));
        let mut reader = BitReader::new(&[0xff]);
        reader.refill();
        assert_eq!(decoder.symbol(&mut reader), Err(NoSymbol::EndOfInput));
    }

    #[test]
    fn a_code_may_be_incomplete_and_not_oversubscribed() {
        assert!(Decoder::new(&[0; 30]).is_ok());
        assert!(Decoder::new(&[0, 1]).is_ok());
        for lengths in [&[1, 1, 1][..], &[1, 2, 2, 15], &[2; 5], &[15; 288][..]] {
            assert_eq!(
                Decoder::new(lengths).err(),
                (lengths[0] != 15).then_some(Oversubscribed),
                "{lengths:?}"
            );
        }
    }
}
