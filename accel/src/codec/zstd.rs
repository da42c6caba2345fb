//! Zstandard (RFC 8878): one frame a request, without checksum, content size or dictionary.

use std::fmt;

use zstd_safe::{CCtx, CParameter, DCtx, ResetDirective};

use super::{DecodeError, DoesNotFit};
use crate::method::Method;

/// The level that moves most pages a second.
pub const DEFAULT_LEVEL: i32 = 1;

/// Base-2 logarithm of how far back a match may reach: a request of 63 pages of 4 KiB.
const WINDOW_LOG: u32 = 18;

/// A zstd level that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("zstd has levels {min} to {max}; level {level} was asked",
    min = zstd_safe::min_c_level(), max = zstd_safe::max_c_level())]
pub struct UnknownLevel {
    /// The level asked for.
    pub level: i32,
}

/// A zstd encoder: allocated once, used for any number of requests.
pub struct Zstd(CCtx<'static>);

impl Zstd {
    /// An encoder of one level: below 0 faster, above 0 smaller.
    ///
    /// # Errors
    /// [`UnknownLevel`] if zstd has no such level.
    pub fn new(level: i32) -> Result<Self, UnknownLevel> {
        if !(zstd_safe::min_c_level()..=zstd_safe::max_c_level()).contains(&level) {
            return Err(UnknownLevel { level });
        }
        let mut context = CCtx::create();
        let parameters = [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(WINDOW_LOG),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
        ];
        for parameter in parameters {
            context.set_parameter(parameter).map_err(|_| UnknownLevel { level })?;
        }
        let mut zstd = Self(context);
        zstd.reserve();
        Ok(zstd)
    }

    /// Writes `input` as one zstd frame to the start of `output` and returns its length.
    ///
    /// # Errors
    /// [`DoesNotFit`] if the frame is longer than `output`, whose bytes are then unspecified.
    pub fn encode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, DoesNotFit> {
        self.0.compress2(output, input).map_err(|_| {
            // A failed call leaves its frame half written.
            let _ = self.0.reset(ResetDirective::SessionOnly);
            DoesNotFit
        })
    }

    /// Lets zstd allocate its tables, which it does at the first request of a size.
    fn reserve(&mut self) {
        let largest = vec![0; 1 << WINDOW_LOG];
        let mut output = [0; 1024];
        let _ = self.encode(&largest, &mut output);
    }
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zstd").finish_non_exhaustive()
    }
}

/// A zstd decoder: allocated once, used for any number of requests.
pub struct Unzstd(DCtx<'static>);

impl Unzstd {
    /// A decoder of any level.
    #[must_use]
    pub fn new() -> Self {
        Self(DCtx::create())
    }

    /// Decodes `input`, all of it, to exactly `output`. Allocates nothing.
    ///
    /// The input may come from anyone: nothing is read or written outside the two slices, and a frame that would
    /// grow past `output` ends there.
    ///
    /// # Errors
    /// [`DecodeError`] if `input` is not whole frames that hold `output.len()` bytes.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), DecodeError> {
        let expected = output.len();
        let produced = self.0.decompress(output, input).map_err(|code| {
            let _ = self.0.reset(ResetDirective::SessionOnly);
            if code == DESTINATION_TOO_SMALL {
                return DecodeError::TooLong { method: Method::Zstd, expected };
            }
            DecodeError::Corrupt { method: Method::Zstd, detail: zstd_safe::get_error_name(code) }
        })?;
        if produced != expected {
            return Err(DecodeError::TooShort { method: Method::Zstd, expected, produced });
        }
        Ok(())
    }
}

/// `ZSTD_error_dstSize_tooSmall` of `zstd_errors.h`, as calls return it: negated in a `size_t`.
const DESTINATION_TOO_SMALL: usize = 0_usize.wrapping_sub(70);

impl Default for Unzstd {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Unzstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unzstd").finish_non_exhaustive()
    }
}
