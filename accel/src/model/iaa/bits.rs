//! Bits in deflate's order: the first bit of a byte is its lowest.

/// Reads bits of a slice.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The first byte that is not in `held`.
    next: usize,
    /// The next bits, the first lowest; whatever is above `count` is zero.
    held: u64,
    count: u32,
}

/// There are not as many bits left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndOfInput;

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, held: 0, count: 0 }
    }

    /// Holds at least 48 bits after this, or all that are left.
    #[inline]
    pub(super) fn refill(&mut self) {
        if self.count >= 48 {
            return;
        }
        if let Some(eight) = self.bytes.get(self.next..).and_then(<[u8]>::first_chunk::<8>) {
            // As many whole bytes as there is room for.
            let bits = (63 - self.count) & !7;
            self.held |= (u64::from_le_bytes(*eight) & !(u64::MAX << bits)) << self.count;
            self.next += (bits / 8) as usize;
            self.count += bits;
        } else {
            while let (true, Some(&byte)) = (self.count <= 56, self.bytes.get(self.next)) {
                self.held |= u64::from(byte) << self.count;
                self.next += 1;
                self.count += 8;
            }
        }
    }

    /// The bits that are held, zeroes above them.
    #[inline]
    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    /// Drops bits that are held.
    #[inline]
    pub(super) fn drop_held(&mut self, bits: u32) -> Result<(), EndOfInput> {
        self.count = self.count.checked_sub(bits).ok_or(EndOfInput)?;
        self.held >>= bits;
        Ok(())
    }

    /// The next bits, at most 16 of them, all held.
    #[inline]
    pub(super) fn take_held(&mut self, bits: u32) -> Result<u16, EndOfInput> {
        let [low, high, ..] = (self.held & !(u64::MAX << bits)).to_le_bytes();
        self.drop_held(bits)?;
        Ok(u16::from_le_bytes([low, high]))
    }

    /// The next bits, at most 16 of them.
    pub(super) fn take(&mut self, bits: u32) -> Result<u16, EndOfInput> {
        self.refill();
        self.take_held(bits)
    }

    /// Goes on at the next whole byte.
    pub(super) fn align(&mut self) {
        let partial = self.count % 8;
        self.held >>= partial;
        self.count -= partial;
    }

    /// The next whole bytes, at most so many; the reader is aligned.
    pub(super) fn take_bytes(&mut self, most: usize) -> &'a [u8] {
        self.next -= (self.count / 8) as usize;
        self.count = 0;
        self.held = 0;
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let bytes = &rest[..most.min(rest.len())];
        self.next += bytes.len();
        bytes
    }

    /// The number of all bits.
    pub(super) const fn end(&self) -> u64 {
        self.bytes.len() as u64 * 8
    }

    /// The number of bits before the next one.
    pub(super) const fn position(&self) -> u64 {
        self.next as u64 * 8 - self.count as u64
    }
}

/// Writes bits to a vector, up to a limit.
#[derive(Debug)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that are not in `bytes` yet, the first lowest.
    held: u64,
    count: u32,
    most_bytes: usize,
}

/// The output is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl BitWriter {
    pub(super) const fn new(most_bytes: usize) -> Self {
        Self { bytes: Vec::new(), held: 0, count: 0, most_bytes }
    }

    /// Writes the lowest `count` bits of `bits`, 48 or fewer, whose others are zero.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, count: u32) -> Result<(), TooLong> {
        self.held |= bits << self.count;
        self.count += count;
        let whole = (self.count / 8) as usize;
        self.bytes.extend_from_slice(&self.held.to_le_bytes()[..whole]);
        // Fewer than 64: there are 7 before the put at most.
        self.held >>= 8 * whole;
        self.count %= 8;
        if self.bytes.len() > self.most_bytes { Err(TooLong) } else { Ok(()) }
    }

    /// Goes on at the next whole byte.
    pub(super) fn align(&mut self) -> Result<(), TooLong> {
        self.put(0, (8 - self.count) % 8)
    }

    /// How many bits a partial last byte has; 0 if there is none.
    pub(super) const fn partial_bits(&self) -> u32 {
        self.count
    }

    /// What was written, in whole bytes, and no more than the limit.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.most_bytes);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_are_read_as_they_were_written(parts in prop::collection::vec((any::<u16>(), 0..=16_u32), 0..300)) {
            let parts: Vec<(u16, u32)> =
                parts.into_iter().map(|(value, bits)| (value & !u16::MAX.checked_shl(bits).unwrap_or(0), bits)).collect();
            let mut writer = BitWriter::new(1000);
            for (value, bits) in &parts {
                writer.put((*value).into(), *bits).unwrap();
            }
            writer.align().unwrap();
            let bytes = writer.into_bytes();
            let mut reader = BitReader::new(&bytes);
            let mut position = 0;
            for (value, bits) in &parts {
                prop_assert_eq!(reader.take(*bits), Ok(*value));
                position += u64::from(*bits);
                prop_assert_eq!(reader.position(), position);
            }
            prop_assert_eq!(bytes.len() as u64, position.div_ceil(8));
            reader.align();
            prop_assert_eq!(reader.take(1), Err(EndOfInput));
        }
    }

    #[test]
    fn whole_bytes_follow_bits() {
        let bytes: Vec<u8> = (0..40).collect();
        let mut reader = BitReader::new(&bytes);
        assert_eq!(reader.take(3), Ok(0));
        reader.align();
        assert_eq!(reader.take_bytes(20), &bytes[1..21]);
        assert_eq!(reader.take(8), Ok(21));
        assert_eq!(reader.take_bytes(100), &bytes[22..]);
        assert_eq!(reader.position(), 320);
    }

    #[test]
    fn a_writer_stops_at_its_limit() {
        let mut writer = BitWriter::new(2);
        assert_eq!(writer.put(0xffff, 16), Ok(()));
        assert_eq!(writer.put(1, 1), Ok(()), "a bit more is held back");
        assert_eq!(writer.align(), Err(TooLong));
        assert_eq!(writer.into_bytes(), [0xff, 0xff]);
    }
}
