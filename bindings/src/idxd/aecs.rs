//! The analytics engine's configuration and state (AECS): what an IAA compresses and decompresses with, and the
//! histogram that it counts (QPL `hw_aecs_api.h`).

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// How many literal and length codes deflate has.
pub const LITERAL_LENGTH_CODES: usize = 286;
/// How many distance codes deflate has.
pub const DISTANCE_CODES: usize = 30;

/// The configuration of a compression: source 2 of [`COMPRESS`](super::opcode::Opcode::COMPRESS).
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct CompressAecs {
    /// CRC of what came before; 0 at the beginning.
    pub crc: u32,
    /// Exclusive or of what came before, in bits 15:0; 0 at the beginning.
    pub xor_checksum: u32,
    /// Reserved.
    pub reserved: [u32; 5],
    /// How many bits of the accumulator go out before the first code.
    pub accumulator_bits: u32,
    /// Those bits, from the lowest of the first byte on: the header of the block.
    pub accumulator: [u8; 256],
    /// The codes of literals and lengths, [`HuffmanCode::encode`]d.
    pub literal_lengths: [u32; LITERAL_LENGTH_CODES],
    /// Reserved.
    pub reserved2: [u32; 2],
    /// The codes of distances, [`HuffmanCode::encode`]d.
    pub distances: [u32; DISTANCE_CODES],
    /// Reserved.
    pub reserved3: [u32; 2],
}

impl CompressAecs {
    /// The size of it.
    pub const BYTES: usize = 1568;

    /// No header and no codes.
    #[must_use]
    pub fn empty() -> Self {
        Self::new_zeroed()
    }

    /// A final block of fixed codes (RFC 1951, 3.2.6): the header's three bits, and the tables, as Linux's
    /// `iaa_crypto` gives them.
    #[must_use]
    pub fn fixed() -> Self {
        let mut aecs = Self::empty();
        // BFINAL, then BTYPE 01, lowest bit first.
        aecs.accumulator[0] = 0b011;
        aecs.accumulator_bits = 3;
        aecs.set_fixed_codes();
        aecs
    }

    /// Replaces the codes by the fixed ones of RFC 1951, 3.2.6.
    pub fn set_fixed_codes(&mut self) {
        // Symbols that begin a range, the code of the first, and the length of all.
        let ranges = [(0..144, 0x30, 8), (144..256, 0x190, 9), (256..280, 0, 7), (280..286, 0xc0, 8)];
        for (symbols, first, length) in ranges {
            for (bits, word) in (first..).zip(&mut self.literal_lengths[symbols]) {
                *word = HuffmanCode { bits, length }.encode();
            }
        }
        for (bits, word) in (0..).zip(&mut self.distances) {
            *word = HuffmanCode { bits, length: 5 }.encode();
        }
    }
}

/// A code of a [`CompressAecs`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HuffmanCode {
    /// The canonical code, its first bit the most significant one of `length`: not reversed as deflate writes it.
    pub bits: u16,
    /// How many bits it has, at most 15; 0 of a symbol that is not used.
    pub length: u8,
}

impl HuffmanCode {
    /// The word of the table: the code in bits 14:0, its length in bits 18:15.
    #[must_use]
    pub const fn encode(self) -> u32 {
        (self.bits & 0x7fff) as u32 | ((self.length & 0xf) as u32) << 15
    }

    /// What a word of the table says.
    #[must_use]
    pub const fn decode(word: u32) -> Self {
        let [low, high, ..] = (word & 0x7fff).to_le_bytes();
        Self { bits: u16::from_le_bytes([low, high]), length: (word >> 15 & 0xf).to_le_bytes()[0] }
    }
}

/// How often each symbol would be written: the destination of a compression with
/// [`STATISTICS`](super::flags::CompressFlags::STATISTICS).
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Histogram {
    /// Of literals and lengths.
    pub literal_lengths: [u32; LITERAL_LENGTH_CODES],
    /// Reserved.
    pub reserved: [u32; 2],
    /// Of distances.
    pub distances: [u32; DISTANCE_CODES],
    /// Reserved.
    pub reserved2: [u32; 2],
}

impl Histogram {
    /// The size of it.
    pub const BYTES: usize = 1280;
}

/// The state of a decompression: source 2 of [`DECOMPRESS`](super::opcode::Opcode::DECOMPRESS), where a stream goes on
/// from one descriptor to the next or has no header of its own. A stream that one descriptor decodes needs none.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(32))]
pub struct DecompressAecs {
    /// CRC of what came before; 0 at the beginning.
    pub crc: u32,
    /// Exclusive or of what came before, in bits 15:0; 0 at the beginning.
    pub xor_checksum: u32,
    /// The low parameter of a filter.
    pub filter_low: u32,
    /// The high parameter of a filter.
    pub filter_high: u32,
    /// The index of output modification.
    pub output_modifier_index: u32,
    /// How many bytes of output to drop.
    pub drop_output_bytes: u32,
    /// Reserved.
    pub reserved: [u8; 144],
    /// Output that is not yet a whole word.
    pub output_accumulator: [u8; 8],
    /// How many bits that is; bit 0 tells of the format.
    pub output_accumulator_bits: u32,
    /// Where the next index begins, in bits.
    pub index_bit_offset: u32,
    /// Input that was read and not yet decoded.
    pub input_queue: [u64; 32],
    /// How many bits of each word that is.
    pub input_queue_bits: [u8; 32],
    /// The entry of the end-of-block symbol.
    pub end_of_block: u32,
    /// How many bits of input to drop.
    pub drop_input_bits: u8,
    /// 0 the format of version 1; 1 that of an IAA whose IAACAP bit 0 is set.
    pub format: u8,
    /// Reserved.
    pub reserved2: [u8; 2],
    /// By groups of code lengths: the first index into the symbols.
    pub first_table_index: [u32; 5],
    /// By groups of code lengths: how many codes.
    pub number_of_codes: [u32; 5],
    /// By groups of code lengths: the first code.
    pub first_code: [u32; 5],
    /// By groups of code lengths: the first code of a length.
    pub first_length_code: [u32; 5],
    /// Reserved.
    pub reserved3: [u8; 248],
    /// Symbols of literals and lengths, in the order of their codes.
    pub literal_length_symbols: [u8; 268],
    /// Where the decoder is, in bits 3:0: [`ParserState`].
    pub parser_state: u16,
    /// The byte count of a stored block, and what else the decoder keeps.
    pub parser: [u8; 10],
    /// Symbols of distances and lengths.
    pub symbols: [u8; 144],
    /// Reserved.
    pub reserved4: [u8; 20],
    /// Where in the history the next byte goes, in bits 14:0; bit 15 once it wrapped.
    pub history_pointer: u16,
    /// Reserved.
    pub reserved5: [u8; 2],
    /// The last 4 KiB of output.
    pub history: [u8; 4096],
    /// Reserved.
    pub reserved6: [u8; 24],
}

impl DecompressAecs {
    /// The size of it.
    pub const BYTES: usize = 5376;
    /// The size of its short form, which has no history.
    pub const SHORT_BYTES: usize = 0x4e0;
}

/// Where a decompression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParserState(pub u8);

impl ParserState {
    /// At a literal or length of a block that is not the last.
    pub const TOKEN: Self = Self(0);
    /// At the header of a block.
    pub const BLOCK_HEADER: Self = Self(1);
    /// In a stored block that is not the last.
    pub const STORED: Self = Self(2);
    /// At a literal or length of the last block.
    pub const FINAL_TOKEN: Self = Self(4);
    /// In the last block, which is stored.
    pub const FINAL_STORED: Self = Self(6);
    /// Stopped by an end-of-block symbol.
    pub const STOPPED: Self = Self(8);
}
