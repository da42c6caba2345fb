//! Zstandard (RFC 8878): one frame a request, without checksum, content size or dictionary.

use std::fmt;

use zstd_safe::{CCtx, CParameter, DCtx, ParamSwitch};

use super::{DecodeError, DoesNotFit};
use crate::method::Method;

/// The level that moves most pages a second of those that shrink guest memory enough.
///
/// Measured on the 27046 non-zero pages of a Redis guest of 128 MiB, 63 a request, on a core of AMD Zen 5: 4.2 µs a
/// page to encode and 1.9 µs to decode, ratio 2.82. zstd's own level 1 takes 4.8 and 2.0 µs for 2.97, level 2 6.3
/// and 2.1 µs for 3.04, level -1 4.3 and 1.4 µs for 2.69. The benchmark `codecs` measures it again.
pub const DEFAULT_LEVEL: i32 = 1;

/// How [`DEFAULT_LEVEL`] searches, in place of zstd's own level 1.
///
/// A hash table of 8192 entries stays in the first-level cache; matches of 7 bytes suit memory, which repeats in
/// words; every third position is tried. Literals are coded, which zstd would leave off at such a step.
const DEFAULT_SEARCH: [CParameter; 4] = [
    CParameter::HashLog(13),
    CParameter::MinMatch(7),
    CParameter::TargetLength(2),
    CParameter::LiteralCompressionMode(ParamSwitch::Enable),
];

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
    /// An encoder of one level: below 0 faster, above 0 smaller. [`DEFAULT_LEVEL`] is tuned for requests; the others
    /// are zstd's own, with matches up to 256 KiB back.
    ///
    /// # Errors
    /// [`UnknownLevel`] if zstd has no such level.
    pub fn new(level: i32) -> Result<Self, UnknownLevel> {
        if !(zstd_safe::min_c_level()..=zstd_safe::max_c_level()).contains(&level) {
            return Err(UnknownLevel { level });
        }
        let mut context = CCtx::create();
        let frame = [
            CParameter::CompressionLevel(level),
            CParameter::WindowLog(WINDOW_LOG),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
        ];
        let search = if level == DEFAULT_LEVEL { DEFAULT_SEARCH.as_slice() } else { &[] };
        for parameter in frame.iter().chain(search) {
            context.set_parameter(*parameter).map_err(|_| UnknownLevel { level })?;
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
        self.0.compress2(output, input).map_err(|_| DoesNotFit)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::laws::{self, any_input, mixed_pages};

    const LEVELS: [i32; 7] = [-7, -5, -1, 1, 2, 3, 9];

    proptest! {
        #![proptest_config(laws::config())]

        #[test]
        fn decoding_undoes_encoding_at_every_level(input in any_input(), level in prop::sample::select(&LEVELS)) {
            let (mut zstd, mut unzstd) = (Zstd::new(level).unwrap(), Unzstd::new());
            laws::decoding_undoes_encoding(
                &input,
                |input, output| zstd.encode(input, output),
                |input, output| unzstd.decode(input, output),
            )?;
        }

        #[test]
        fn a_broken_payload_is_an_error(input in any_input(), damage in laws::any_damage()) {
            let (mut zstd, mut unzstd) = (Zstd::new(DEFAULT_LEVEL).unwrap(), Unzstd::new());
            laws::a_broken_payload_is_an_error(
                &input,
                &damage,
                |input, output| zstd.encode(input, output),
                |input, output| unzstd.decode(input, output),
            )?;
        }

        #[test]
        fn noise_is_no_frame(noise in prop::collection::vec(any::<u8>(), 1..300)) {
            prop_assert!(Unzstd::new().decode(&noise, &mut [0; 4096]).is_err());
        }
    }

    #[test]
    fn an_output_that_is_too_short_does_not_spoil_the_next_request() {
        let input = mixed_pages(63);
        let mut zstd = Zstd::new(DEFAULT_LEVEL).unwrap();
        let mut output = vec![0; input.len()];
        let length = zstd.encode(&input, &mut output).unwrap();
        assert_eq!(zstd.encode(&input, &mut output[..length / 2]), Err(DoesNotFit));
        assert_eq!(zstd.encode(&input, &mut output), Ok(length));
    }

    #[test]
    fn an_encoder_and_a_decoder_keep_their_memory_from_request_to_request() {
        let input = mixed_pages(63);
        let mut output = vec![0; input.len()];
        for level in LEVELS {
            let (mut zstd, mut unzstd) = (Zstd::new(level).unwrap(), Unzstd::new());
            let at_first = (zstd.0.sizeof(), unzstd.0.sizeof());
            for pages in [63, 1, 40, 63] {
                let request = &input[..pages * 4096];
                let length = zstd.encode(request, &mut output).unwrap();
                unzstd.decode(&output[..length], &mut vec![0; request.len()]).unwrap();
            }
            assert_eq!((zstd.0.sizeof(), unzstd.0.sizeof()), at_first, "level {level}");
        }
    }

    #[test]
    fn a_level_that_zstd_has_not_is_refused() {
        let error = Zstd::new(23).unwrap_err();
        assert_eq!(error, UnknownLevel { level: 23 });
        assert!(error.to_string().contains("to 22"), "{error}");
    }
}
