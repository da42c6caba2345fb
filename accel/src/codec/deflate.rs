//! Raw deflate (RFC 1951), by ISA-L where it is installed, and by what is built in elsewhere: libdeflate encodes, but for
//! the small window, which it does not have and zlib-rs does; zlib-rs decodes, since it tells where a stream ended.
//!
//! All make streams that any inflater reads, QAT and IAA among them; IAA only with [`Window::Kib4`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use pageferry_bindings::isal;

use super::{DecodeError, DoesNotFit};
use crate::method::Method;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walker;

/// How far back a match may reach, which bounds what a decoder must remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// 4 KiB: all that IAA can decode.
    Kib4,
    /// 32 KiB: the most that RFC 1951 allows.
    Kib32,
}

impl Window {
    /// The largest of at most `2^bits` bytes; of the two, the small one if there is none.
    #[must_use]
    pub const fn within(bits: u8) -> Self {
        if bits < Self::Kib32.bits() { Self::Kib4 } else { Self::Kib32 }
    }

    /// Base-2 logarithm of the window in bytes.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Kib4 => 12,
            Self::Kib32 => 15,
        }
    }
}

/// The level that moves most pages a second of those that shrink guest memory enough.
///
/// Measured with ISA-L 2.30 on the 27046 non-zero pages of a Redis guest of 128 MiB, 63 a request, on a core of AMD
/// Zen 5: 4.9 µs a page to encode and 4.2 µs to decode, ratio 2.88, or 2.81 with the window of 4 KiB. Level 0 takes
/// 4.3 and 3.1 µs for 2.48, level 3 8.6 and 4.0 µs for 2.92. Without ISA-L it is 14.8 and 5.0 µs for 2.98 by libdeflate,
/// and 20 µs for 2.80 with the window of 4 KiB by zlib-rs. The benchmark `codecs` measures it again.
pub const DEFAULT_LEVEL: u32 = 1;

/// The highest level: levels are ISA-L's, 0 to 3, from fast to small.
pub const MAX_LEVEL: u32 = 3;

/// A deflate level that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deflate has levels 0 to {MAX_LEVEL}; level {level} was asked")]
pub struct UnknownLevel {
    /// The level asked for.
    pub level: u32,
}

/// What does the work of [`Deflate`] and [`Inflate`].
#[derive(Clone, Debug)]
pub enum Library {
    /// Intel's ISA-L, loaded at run time.
    Isal(Arc<isal::Isal>),
    /// libdeflate and zlib-rs, which are built in.
    BuiltIn,
}

impl Library {
    /// ISA-L if it is installed and answers rightly, else what is built in. Looked for once in a process.
    #[must_use]
    pub fn preferred() -> Self {
        match isal() {
            Ok(isal) => Self::Isal(Arc::clone(isal)),
            Err(_) => Self::BuiltIn,
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isal(isal) => match isal.version() {
                Some(version) => write!(f, "ISA-L {version}"),
                None => write!(f, "ISA-L"),
            },
            Self::BuiltIn => write!(f, "libdeflate"),
        }
    }
}

/// The name of the preferred library, for reports: `ISA-L 2.30` or `libdeflate`.
#[must_use]
pub fn library() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| Library::preferred().to_string())
}

/// Why ISA-L is not used, for reports; `None` if it is.
#[must_use]
pub fn why_not_isal() -> Option<&'static IsalRefused> {
    isal().as_ref().err()
}

/// Why ISA-L is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsalRefused {
    /// It could not be loaded.
    #[error(transparent)]
    Load(#[from] isal::LoadError),
    /// It does not read what the built-in libraries write, or they not what it writes.
    #[error(
        "{} and the built-in libraries do not read each other's deflate streams; ISA-L is not used",
        isal::SONAME
    )]
    Incompatible,
}

/// A deflate encoder: allocated once, used for any number of requests.
pub struct Deflate(Encoder);

enum Encoder {
    Isal(isal::Compressor),
    Libdeflate(libdeflater::Compressor),
    ZlibRs(Compress),
}

impl fmt::Debug for Deflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deflate")
            .field(match &self.0 {
                Encoder::Isal(_) => &"ISA-L",
                Encoder::Libdeflate(_) => &"libdeflate",
                Encoder::ZlibRs(_) => &"zlib-rs",
            })
            .finish()
    }
}

impl Deflate {
    /// An encoder by the preferred library.
    ///
    /// # Errors
    /// [`UnknownLevel`] if `level` is above [`MAX_LEVEL`].
    pub fn new(level: u32, window: Window) -> Result<Self, UnknownLevel> {
        Self::by(&Library::preferred(), level, window)
    }

    /// An encoder by a given library.
    ///
    /// # Errors
    /// [`UnknownLevel`] if `level` is above [`MAX_LEVEL`].
    pub fn by(library: &Library, level: u32, window: Window) -> Result<Self, UnknownLevel> {
        if level > MAX_LEVEL {
            return Err(UnknownLevel { level });
        }
        let encoder = match library {
            Library::Isal(isal) => Encoder::Isal(
                isal::Compressor::new(Arc::clone(isal), level, window.bits().into())
                    .map_err(|_| UnknownLevel { level })?,
            ),
            Library::BuiltIn => built_in(level, window),
        };
        Ok(Self(encoder))
    }

    /// Writes `input` as one deflate stream to the start of `output` and returns its length. Allocates nothing.
    ///
    /// # Errors
    /// [`DoesNotFit`] if the stream is longer than `output`, whose bytes are then unspecified.
    pub fn encode(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, DoesNotFit> {
        match &mut self.0 {
            Encoder::Isal(compressor) => {
                compressor.compress(input, output).map_err(|isal::Overflow| DoesNotFit)
            }
            Encoder::Libdeflate(compressor) => {
                compressor.deflate_compress(input, output).map_err(|_| DoesNotFit)
            }
            Encoder::ZlibRs(compress) => {
                compress.reset();
                match compress.compress(input, output, FlushCompress::Finish) {
                    Ok(Status::StreamEnd) => usize::try_from(compress.total_out()).map_err(|_| DoesNotFit),
                    _ => Err(DoesNotFit),
                }
            }
        }
    }
}

/// The fastest encoder that is built in and has the window.
fn built_in(level: u32, window: Window) -> Encoder {
    match window {
        Window::Kib32 => {
            // Its levels begin with 1, as zlib's do, and all that are asked for here exist.
            let level = libdeflater::CompressionLvl::new(level_of_libdeflate(level)).unwrap_or_default();
            Encoder::Libdeflate(libdeflater::Compressor::new(level))
        }
        Window::Kib4 => {
            let level = Compression::new(level_of_zlib_rs(level));
            Encoder::ZlibRs(Compress::new_with_window_bits(level, false, window.bits()))
        }
    }
}

/// The level of libdeflate that comes nearest to one of ISA-L's. Its level 0 does not compress.
const fn level_of_libdeflate(level: u32) -> i32 {
    match level {
        0 | 1 => 1,
        2 => 3,
        _ => 6,
    }
}

/// The level of zlib-rs that comes nearest to one of ISA-L's.
///
/// Its level 0 does not compress. Its level 1 cannot be used again after a stream that did not fit: in release 0.6.8
/// the reset leaves the old block open, and the next stream is wrong or panics.
const fn level_of_zlib_rs(level: u32) -> u32 {
    match level {
        0 | 1 => 2,
        2 => 3,
        _ => 6,
    }
}

/// A deflate decoder: allocated once, used for any number of requests.
#[derive(Debug)]
pub struct Inflate(Decoder);

#[derive(Debug)]
enum Decoder {
    Isal(isal::Decompressor),
    ZlibRs(Decompress),
}

impl Default for Inflate {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflate {
    /// A decoder by the preferred library.
    #[must_use]
    pub fn new() -> Self {
        Self::by(&Library::preferred())
    }

    /// A decoder by a given library.
    #[must_use]
    pub fn by(library: &Library) -> Self {
        Self(match library {
            Library::Isal(isal) => Decoder::Isal(isal::Decompressor::new(Arc::clone(isal))),
            Library::BuiltIn => Decoder::ZlibRs(Decompress::new(false)),
        })
    }

    /// Decodes `input`, all of it, to exactly `output`. Allocates nothing.
    ///
    /// The input may come from anyone: nothing is read or written outside the two slices, and a stream that would
    /// grow past `output` ends there.
    ///
    /// # Errors
    /// [`DecodeError`] if `input` is not one whole stream of `output.len()` bytes.
    pub fn decode(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), DecodeError> {
        let (consumed, produced) = match &mut self.0 {
            Decoder::Isal(decompressor) => inflate_by_isal(decompressor, input, output)?,
            Decoder::ZlibRs(decompress) => inflate_by_zlib_rs(decompress, input, output)?,
        };
        if produced != output.len() {
            return Err(DecodeError::TooShort { method: Method::Deflate, expected: output.len(), produced });
        }
        if consumed != input.len() {
            return Err(DecodeError::TrailingBytes {
                method: Method::Deflate,
                left: input.len().saturating_sub(consumed),
            });
        }
        Ok(())
    }
}

fn inflate_by_isal(
    decompressor: &mut isal::Decompressor,
    input: &[u8],
    output: &mut [u8],
) -> Result<(usize, usize), DecodeError> {
    let expected = output.len();
    match decompressor.decompress(input, output) {
        Ok(inflated) => Ok((inflated.consumed, inflated.produced)),
        Err(isal::InflateError::OutputFull) => Err(too_long(expected)),
        Err(isal::InflateError::EndOfInput) => Err(corrupt(ENDS_EARLY)),
        Err(isal::InflateError::InvalidLookback) => {
            Err(corrupt("a match reaches back before the first byte"))
        }
        Err(_) => Err(corrupt(NO_DEFLATE)),
    }
}

fn inflate_by_zlib_rs(
    decompress: &mut Decompress,
    input: &[u8],
    output: &mut [u8],
) -> Result<(usize, usize), DecodeError> {
    let expected = output.len();
    decompress.reset(false);
    let status =
        decompress.decompress(input, output, FlushDecompress::Finish).map_err(|_| corrupt(NO_DEFLATE))?;
    let count = |total: u64| usize::try_from(total).unwrap_or(usize::MAX);
    let (consumed, produced) = (count(decompress.total_in()), count(decompress.total_out()));
    match status {
        Status::StreamEnd => Ok((consumed, produced)),
        _ if produced == expected => Err(too_long(expected)),
        _ => Err(corrupt(ENDS_EARLY)),
    }
}

const ENDS_EARLY: &str = "the stream ends early";
const NO_DEFLATE: &str = "not a deflate stream";

fn corrupt(detail: &'static str) -> DecodeError {
    DecodeError::Corrupt { method: Method::Deflate, detail }
}

fn too_long(expected: usize) -> DecodeError {
    DecodeError::TooLong { method: Method::Deflate, expected }
}

/// ISA-L, once a process has found it and seen it agree with what is built in.
fn isal() -> &'static Result<Arc<isal::Isal>, IsalRefused> {
    static ISAL: OnceLock<Result<Arc<isal::Isal>, IsalRefused>> = OnceLock::new();
    ISAL.get_or_init(|| {
        let isal = isal::Isal::load()?;
        match agrees_with_built_in(&isal) {
            true => Ok(isal),
            false => Err(IsalRefused::Incompatible),
        }
    })
}

/// Whether each library decodes what the other encoded, at every level and window.
fn agrees_with_built_in(isal: &Arc<isal::Isal>) -> bool {
    let pages: Vec<u8> = (0..16 * 4096_u32)
        .map(|position| {
            // Squares by bytes: neither constant nor noise.
            let [low, high, ..] = (position.wrapping_mul(position) >> 4).to_le_bytes();
            if position & 64 == 0 { low } else { high }
        })
        .collect();
    let libraries = [Library::Isal(Arc::clone(isal)), Library::BuiltIn];
    let mut encoded = vec![0; 2 * pages.len()];
    let mut decoded = vec![0; pages.len()];
    (0..=MAX_LEVEL).all(|level| {
        [Window::Kib4, Window::Kib32].into_iter().all(|window| {
            libraries.iter().zip(libraries.iter().rev()).all(|(writer, reader)| {
                decoded.fill(0);
                Deflate::by(writer, level, window)
                    .ok()
                    .and_then(|mut deflate| deflate.encode(&pages, &mut encoded).ok())
                    .is_some_and(|length| {
                        Inflate::by(reader).decode(&encoded[..length], &mut decoded).is_ok()
                            && decoded == pages
                    })
            })
        })
    })
}
