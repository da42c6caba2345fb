//! The length of a run: unsigned LEB128 of one to three bytes.

/// The bytes of a run's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    /// The bytes, first in the lowest bits, zero behind the last.
    pub(super) bytes: u64,
    /// How many there are.
    pub(super) count: usize,
}

/// Why a length cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The bytes end before the length does.
    Truncated,
    /// More than three bytes, or the last of several is zero.
    Overlong,
}

impl Length {
    /// The encoding of `value`, which must be below 2^21. Whether it takes one byte or two costs no branch, as
    /// either is as likely; three are rare.
    #[inline(always)]
    pub(super) fn encode(value: usize) -> Self {
        if value >= 1 << 14 {
            return Self::encode_long(value as u64);
        }
        let second = value >= 1 << 7;
        let value = value as u64;
        // The bits from the eighth on move up by one, which adding them does, and make room for the flag.
        Self { bytes: value + (value & !0x7f) + (u64::from(second) << 7), count: 1 + usize::from(second) }
    }

    #[cold]
    fn encode_long(value: u64) -> Self {
        let [first, second, third] = [value & 0x7f, value >> 7 & 0x7f, value >> 14 & 0x7f];
        Self { bytes: first | 0x80 | (second | 0x80) << 8 | third << 16, count: 3 }
    }
}

/// Reads a length from the front of `bytes`: its value and how many bytes it took.
#[inline(always)]
pub(super) fn read(bytes: &[u8]) -> Result<(usize, usize), Unreadable> {
    match *bytes {
        [first @ 0..=0x7f, ..] => Ok((usize::from(first), 1)),
        [_, 0, ..] | [_, 0x80..=0xff, 0 | 0x80..=0xff, ..] => Err(Unreadable::Overlong),
        [first, second @ 0..=0x7f, ..] => Ok((septet(first) | septet(second) << 7, 2)),
        [first, second, third, ..] => Ok((septet(first) | septet(second) << 7 | septet(third) << 14, 3)),
        _ => Err(Unreadable::Truncated),
    }
}

fn septet(byte: u8) -> usize {
    usize::from(byte & 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_of_a_64_kib_page_reads_back_from_its_bytes() {
        for value in 0..=65_536 {
            let length = Length::encode(value);
            let bytes = length.bytes.to_le_bytes();
            assert_eq!(read(&bytes[..length.count]), Ok((value, length.count)));
            assert!(bytes[length.count..].iter().all(|&byte| byte == 0), "{value} spills into {bytes:x?}");
        }
    }

    #[test]
    fn lengths_take_two_bytes_from_128_and_three_from_16384() {
        assert_eq!(Length::encode(127), Length { bytes: 0x7f, count: 1 });
        assert_eq!(Length::encode(128), Length { bytes: 0x0180, count: 2 });
        assert_eq!(Length::encode(16_383), Length { bytes: 0x7fff, count: 2 });
        assert_eq!(Length::encode(16_384), Length { bytes: 0x01_8080, count: 3 });
        assert_eq!(Length::encode(65_536), Length { bytes: 0x04_8080, count: 3 });
    }

    #[test]
    fn a_length_that_ends_early_is_truncated() {
        for bytes in [&[][..], &[0x80], &[0xff, 0xff]] {
            assert_eq!(read(bytes), Err(Unreadable::Truncated), "{bytes:x?}");
        }
    }

    #[test]
    fn a_length_of_four_bytes_or_padded_with_zero_bits_is_overlong() {
        for bytes in [&[0x81, 0x00][..], &[0x80, 0x80, 0x00], &[0x80, 0x80, 0x80, 0x01], &[0xff, 0xff, 0xff]]
        {
            assert_eq!(read(bytes), Err(Unreadable::Overlong), "{bytes:x?}");
        }
    }
}
