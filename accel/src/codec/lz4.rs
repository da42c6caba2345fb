//! LZ4: one block a request. A block tells neither its own length nor that of what it holds: the frame does.

use lz4::block::{CompressionMode, compress_to_buffer, decompress_to_buffer};

use super::{DecodeError, DoesNotFit};
use crate::method::Method;

/// An LZ4 encoder.
#[derive(Debug, Default)]
pub struct Lz4(());

impl Lz4 {
    /// An encoder; LZ4 keeps its table on the stack.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }

    /// Writes `input` as one LZ4 block to the start of `output` and returns its length. Allocates nothing.
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

    /// Decodes `input`, all of it, to exactly `output`. Allocates nothing.
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
