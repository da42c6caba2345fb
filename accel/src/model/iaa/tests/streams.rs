//! Streams made by hand, bit by bit.

use pageferry_bindings::idxd::aecs::HuffmanCode;

/// Bits in deflate's order.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    pub(super) bytes: Vec<u8>,
    /// How many bits there are.
    pub(super) len: u32,
}

impl Bits {
    /// The lowest bits of a number, lowest first.
    pub(super) fn put(&mut self, value: u32, bits: u32) -> &mut Self {
        for place in 0..bits {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= u8::from(value >> place & 1 == 1) << (self.len % 8);
            self.len += 1;
        }
        self
    }

    /// Zeroes up to the next whole byte.
    pub(super) fn align(&mut self) -> &mut Self {
        self.put(0, (8 - self.len % 8) % 8)
    }

    /// A code, highest bit first.
    pub(super) fn code(&mut self, code: HuffmanCode) -> &mut Self {
        for place in (0..code.length).rev() {
            self.put(u32::from(code.bits >> place & 1), 1);
        }
        self
    }

    /// A literal or length symbol of the fixed code.
    pub(super) fn fixed(&mut self, symbol: u16) -> &mut Self {
        let (bits, length) = match symbol {
            0..144 => (0x30 + symbol, 8),
            144..256 => (0x190 + symbol - 144, 9),
            256..280 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        self.code(HuffmanCode { bits, length })
    }

    /// A distance symbol of the fixed code.
    pub(super) fn fixed_distance(&mut self, symbol: u16) -> &mut Self {
        self.code(HuffmanCode { bits: symbol, length: 5 })
    }

    /// A stored block.
    pub(super) fn stored(&mut self, is_final: bool, bytes: &[u8]) -> &mut Self {
        let length = u16::try_from(bytes.len()).unwrap();
        self.put(is_final.into(), 1).put(0, 2).align();
        self.put(length.into(), 16).put((!length).into(), 16);
        for byte in bytes {
            self.put((*byte).into(), 8);
        }
        self
    }
}
