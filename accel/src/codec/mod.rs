//! The software codecs: what a CPU queue runs, and the oracle of every device path.
//!
//! A codec sees private copies only, never live guest memory (see [`crate::guest`]).

pub mod deflate;
pub mod delta;
#[cfg(test)]
mod laws;
pub mod lz4;
mod positions;
pub mod xbzrle;
pub mod zstd;

use crate::method::Method;

/// The encoded form is longer than the output: the pages do not shrink enough to be worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the encoded pages do not fit the output; send them raw")]
pub struct DoesNotFit;

/// The signature of a delta method's encoder, and of each of its implementations: what turns `old` into `new`, and how
/// many bytes of the output that took.
pub type EncodeFn = fn(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit>;

/// A payload that cannot be decoded to what its frame says it holds.
///
/// The peer that sent it is at fault, or the way from there; what the output then holds is unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload breaks the rules of its method.
    #[error("the {method} payload is corrupt: {detail}")]
    Corrupt {
        /// The method by which it was to be decoded.
        method: Method,
        /// What the decoder found.
        detail: &'static str,
    },
    /// The payload holds fewer bytes than the frame says.
    #[error("the {method} payload decodes to {produced} bytes where {expected} were announced")]
    TooShort {
        /// The method by which it was to be decoded.
        method: Method,
        /// Bytes that were announced.
        expected: usize,
        /// Bytes that it held.
        produced: usize,
    },
    /// The payload holds more bytes than the frame says.
    #[error("the {method} payload decodes to more than the {expected} bytes that were announced")]
    TooLong {
        /// The method by which it was to be decoded.
        method: Method,
        /// Bytes that were announced.
        expected: usize,
    },
    /// The payload goes on after its end.
    #[error("the {method} payload ends {left} bytes before its announced length")]
    TrailingBytes {
        /// The method by which it was to be decoded.
        method: Method,
        /// Bytes behind its end.
        left: usize,
    },
    /// The XBZRLE encoding of a page breaks its rules.
    #[error(transparent)]
    Xbzrle(#[from] xbzrle::DecodeError),
    /// The delta record of a page breaks its rules.
    #[error(transparent)]
    Delta(#[from] delta::DecodeError),
}
