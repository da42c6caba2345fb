//! LZ4: one block a request. A block tells neither its own length nor that of what it holds: the frame does.

use lz4::block::{CompressionMode, compress_to_buffer, decompress_to_buffer};

use super::{DecodeError, DoesNotFit};
use crate::method::Method;

/// An LZ4 encoder.
///
/// Measured as [`super::zstd::DEFAULT_LEVEL`] was: 3.0 µs a page to encode and 0.7 µs to decode, ratio 2.30.
#[derive(Debug, Default)]
pub struct Lz4(());

impl Lz4 {
    /// An encoder; LZ4 keeps its table on the stack.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// Writes `input` as one LZ4 block to the start of `output` and returns its length. Allocates nothing unless it
    /// fails.
    ///
    /// # Errors
    /// [`DoesNotFit`] if the block is longer than `output`, whose bytes are then unspecified.
    pub fn encode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, DoesNotFit> {
        compress_to_buffer(input, Some(CompressionMode::DEFAULT), false, output).map_err(|_| DoesNotFit)
    }
}

/// An LZ4 decoder.
#[derive(Debug, Default)]
pub struct Unlz4(());

impl Unlz4 {
    /// A decoder; it keeps nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// Decodes `input`, all of it, to exactly `output`. Allocates nothing unless it fails.
    ///
    /// The input may come from anyone: nothing is read or written outside the two slices.
    ///
    /// # Errors
    /// [`DecodeError`] if `input` is not one block of `output.len()` bytes.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), DecodeError> {
        let expected = output.len();
        let corrupt = DecodeError::Corrupt {
            method: Method::Lz4,
            detail: "not an LZ4 block of at most the announced length",
        };
        let length = i32::try_from(expected).map_err(|_| corrupt)?;
        let produced = decompress_to_buffer(input, Some(length), output).map_err(|_| corrupt)?;
        if produced != expected {
            return Err(DecodeError::TooShort { method: Method::Lz4, expected, produced });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::laws::{self, any_input, mixed_pages};

    proptest! {
        #![proptest_config(laws::config())]

        #[test]
        fn decoding_undoes_encoding(input in any_input()) {
            laws::decoding_undoes_encoding(
                &input,
                |input, output| Lz4::new().encode(input, output),
                |input, output| Unlz4::new().decode(input, output),
            )?;
        }

        #[test]
        fn a_broken_payload_is_an_error(input in any_input(), damage in laws::any_damage()) {
            laws::a_broken_payload_is_an_error(
                &input,
                &damage,
                |input, output| Lz4::new().encode(input, output),
                |input, output| Unlz4::new().decode(input, output),
            )?;
        }
    }

    #[test]
    fn an_output_that_is_too_short_is_refused() {
        let input = mixed_pages(63);
        let mut output = vec![0; input.len()];
        let length = Lz4::new().encode(&input, &mut output).unwrap();
        assert_eq!(Lz4::new().encode(&input, &mut output[..length - 1]), Err(DoesNotFit));
    }

    #[test]
    fn a_match_before_the_first_byte_is_refused() {
        // One literal, then a match of 4 bytes at distance 9.
        let hostile = [0x10, b'a', 9, 0, 0x50, 1, 2, 3, 4, 5];
        assert!(Unlz4::new().decode(&hostile, &mut [0; 10]).is_err());
    }
}
