//! ISA-L (`libisal.so.2`): Intel's deflate in assembly, loaded at run time and never linked.
//!
//! Only the stateless calls are used: one request in, one complete raw deflate stream (RFC 1951) out.
//! The library keeps no state of its own between calls and allocates nothing; everything it needs lies in
//! the structures of [`layout`], which a [`Compressor`] or [`Decompressor`] allocates once.
//!
//! Versions: the structures are the same, field by field, in releases 2.30.0, 2.31, 2.32 and the development
//! branch after it, and the soname `libisal.so.2` has stood for them since. A library that breaks that promise
//! is refused when it is loaded, by the trial in [`Isal::load_from`].

pub mod layout;
mod trial;
mod version;

use std::ffi::{OsStr, c_int};
use std::ptr;
use std::sync::Arc;

use layout::{InflateState, LEVEL_BUFFER_BYTES, SMALL_WINDOW_LEVEL_BUFFER_BYTES, ZStream};
use libloading::Library;

/// The name by which the dynamic linker finds the library (Debian package `libisal2`).
pub const SONAME: &str = "libisal.so.2";

/// Why ISA-L cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The dynamic linker did not find or accept the file.
    #[error(
        "{name} was not found: install the Debian package libisal2, or go on with the slower built-in deflate"
    )]
    NotFound {
        /// The name or path that was tried.
        name: String,
        /// What the dynamic linker said.
        source: libloading::Error,
    },
    /// The file is a library, but not this one.
    #[error("{name} has no function {symbol}: it is not ISA-L, or not version 2 of it")]
    MissingSymbol {
        /// The name or path that was loaded.
        name: String,
        /// The function that was looked for.
        symbol: &'static str,
        /// What the dynamic linker said.
        source: libloading::Error,
    },
    /// The library answered wrongly when it was tried on a known buffer.
    #[error(
        "{name} failed its trial ({detail}): its structures or its behaviour differ from ISA-L 2.30; it is not used"
    )]
    Trial {
        /// The name or path that was loaded.
        name: String,
        /// What went wrong.
        detail: &'static str,
    },
}

/// A compression level or window the library does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "ISA-L has levels 0 to 3 and windows of 2^9 to 2^15 bytes; level {level}, window 2^{window_bits} was asked"
)]
pub struct Unsupported {
    /// The level asked for.
    pub level: u32,
    /// Base-2 logarithm of the window asked for.
    pub window_bits: u16,
}

/// The compressed form is longer than the output, or the input longer than 4 GiB.
#[derive(Debug, thiserror::Error)]
#[error("the compressed form does not fit the output")]
pub struct Overflow;

/// How a decompression ended that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// The input ended inside the stream.
    #[error("the stream ends early")]
    EndOfInput,
    /// The stream holds more than the output.
    #[error("the stream is longer than the output")]
    OutputFull,
    /// A block header that RFC 1951 does not allow.
    #[error("invalid block header")]
    InvalidBlock,
    /// A code that stands for nothing.
    #[error("invalid symbol")]
    InvalidSymbol,
    /// A match that reaches back before the first byte.
    #[error("a match reaches back before the first byte")]
    InvalidLookback,
    /// A status that no release documents.
    #[error("status {0}")]
    Other(i32),
}

type DeflateFn = unsafe extern "C" fn(*mut ZStream) -> c_int;
type DeflateInitFn = unsafe extern "C" fn(*mut ZStream);
type InflateFn = unsafe extern "C" fn(*mut InflateState) -> c_int;
type InflateInitFn = unsafe extern "C" fn(*mut InflateState);

/// The loaded library.
#[derive(Debug)]
pub struct Isal {
    deflate_stateless_init: DeflateInitFn,
    deflate_stateless: DeflateFn,
    inflate_init: InflateInitFn,
    inflate_stateless: InflateFn,
    version: Option<String>,
    // Keeps the code mapped for as long as the function pointers above can be called.
    _library: Library,
}

impl Isal {
    /// Loads the library from where the dynamic linker finds it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load() -> Result<Arc<Self>, LoadError> {
        Self::load_from(OsStr::new(SONAME))
    }

    /// Loads the library by a name or path, and tries it on a known buffer at every level.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load_from(name: &OsStr) -> Result<Arc<Self>, LoadError> {
        let shown = || name.to_string_lossy().into_owned();
        // SAFETY: ISA-L's only initialisers are the linker's choice of functions by CPU, which have no
        // precondition. That the name stands for ISA-L is the caller's, and the system's, word.
        let library =
            unsafe { Library::new(name) }.map_err(|source| LoadError::NotFound { name: shown(), source })?;
        macro_rules! function {
            ($symbol:literal) => {{
                // SAFETY: igzip_lib.h declares the function with the type of the field it is kept in.
                *unsafe { library.get($symbol) }.map_err(|source| LoadError::MissingSymbol {
                    name: shown(),
                    symbol: $symbol,
                    source,
                })?
            }};
        }
        let deflate_stateless = function!("isal_deflate_stateless");
        let isal = Arc::new(Self {
            deflate_stateless_init: function!("isal_deflate_stateless_init"),
            deflate_stateless,
            inflate_init: function!("isal_inflate_init"),
            inflate_stateless: function!("isal_inflate_stateless"),
            version: version::version_of(&library, deflate_stateless),
            _library: library,
        });
        trial::run(&isal).map_err(|detail| LoadError::Trial { name: shown(), detail })?;
        Ok(isal)
    }

    /// The release, as `2.30`, if the library or the name of its file tells.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// A compression context: allocated once, used for any number of requests.
#[derive(Debug)]
pub struct Compressor {
    isal: Arc<Isal>,
    stream: Box<Guarded<ZStream>>,
    level: u32,
    window_bits: u16,
    level_buffer: Vec<u8>,
}

impl Compressor {
    /// A context for one level (0 to 3) and a window of `2^window_bits` bytes (9 to 15): no match reaches
    /// further back than the window.
    ///
    /// # Errors
    /// [`Unsupported`] if the library has no such level or window.
    pub fn new(isal: Arc<Isal>, level: u32, window_bits: u16) -> Result<Self, Unsupported> {
        let level_buffers = match window_bits {
            ..13 => SMALL_WINDOW_LEVEL_BUFFER_BYTES,
            _ => LEVEL_BUFFER_BYTES,
        };
        let level_buffer_bytes = usize::try_from(level)
            .ok()
            .and_then(|level| level_buffers.get(level))
            .filter(|_| (MIN_WINDOW_BITS..=MAX_WINDOW_BITS).contains(&window_bits))
            .ok_or(Unsupported { level, window_bits })?;
        Ok(Self {
            isal,
            stream: Guarded::zeroed(),
            level_buffer: vec![0; *level_buffer_bytes],
            level,
            window_bits,
        })
    }

    /// Writes `input` as one complete raw deflate stream to the start of `output` and returns its length.
    /// Allocates nothing.
    ///
    /// # Errors
    /// [`Overflow`] if the stream does not fit; what `output` then holds is unspecified.
    pub fn compress(&mut self, input: &[u8], output: &mut [u8]) -> Result<usize, Overflow> {
        let avail_in = u32::try_from(input.len()).map_err(|_| Overflow)?;
        let avail_out = u32::try_from(output.len()).unwrap_or(u32::MAX);
        let stream = &mut self.stream.inner;
        // SAFETY: the stream is a whole, zeroed isal_zstream; the call sets fields and reads none.
        unsafe { (self.isal.deflate_stateless_init)(stream) };
        stream.next_in = input.as_ptr().cast_mut();
        stream.avail_in = avail_in;
        stream.next_out = output.as_mut_ptr();
        stream.avail_out = avail_out;
        stream.level = self.level;
        (stream.level_buf, stream.level_buf_size) = match self.level {
            0 => (ptr::null_mut(), 0),
            _ => (
                self.level_buffer.as_mut_ptr(),
                u32::try_from(self.level_buffer.len()).map_err(|_| Overflow)?,
            ),
        };
        stream.end_of_stream = 1;
        stream.hist_bits = self.window_bits;
        // SAFETY: next_in and next_out point to avail_in readable and avail_out writable bytes, borrowed
        // for the call; the library does not write through next_in. level_buf is as long as stated. The
        // library keeps the pointers in the stream after the call but follows none before they are set anew.
        let status = unsafe { (self.isal.deflate_stateless)(stream) };
        if status != layout::COMP_OK {
            return Err(Overflow);
        }
        Some(widen(stream.total_out)).filter(|produced| *produced <= output.len()).ok_or(Overflow)
    }
}

/// A decompression context: allocated once, used for any number of requests.
#[derive(Debug)]
pub struct Decompressor {
    isal: Arc<Isal>,
    state: Box<Guarded<InflateState>>,
}

/// How much a decompression read and wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inflated {
    /// Bytes of input up to the end of the stream.
    pub consumed: usize,
    /// Bytes of output written.
    pub produced: usize,
}

impl Decompressor {
    /// A context; raw deflate has no parameters for a reader.
    #[must_use]
    pub fn new(isal: Arc<Isal>) -> Self {
        Self { isal, state: Guarded::zeroed() }
    }

    /// Reads one raw deflate stream from the start of `input` and writes what it holds to the start of
    /// `output`. Allocates nothing.
    ///
    /// The input may come from anyone: the library reads `input` and writes `output` within their lengths, and
    /// refuses matches that reach back before the first byte of `output`.
    ///
    /// # Errors
    /// See [`InflateError`]; what `output` then holds is unspecified.
    pub fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<Inflated, InflateError> {
        let avail_in = u32::try_from(input.len()).map_err(|_| InflateError::EndOfInput)?;
        let avail_out = u32::try_from(output.len()).map_err(|_| InflateError::OutputFull)?;
        let state = &mut self.state.inner;
        // SAFETY: the state is a whole, zeroed inflate_state; the call sets fields and reads none.
        unsafe { (self.isal.inflate_init)(state) };
        state.next_in = input.as_ptr().cast_mut();
        state.avail_in = avail_in;
        state.next_out = output.as_mut_ptr();
        state.avail_out = avail_out;
        // SAFETY: as in `compress`.
        let status = unsafe { (self.isal.inflate_stateless)(state) };
        match status {
            layout::DECOMP_OK => Ok(Inflated {
                consumed: input.len().saturating_sub(widen(state.avail_in)),
                produced: output.len().saturating_sub(widen(state.avail_out)),
            }),
            layout::END_INPUT => Err(InflateError::EndOfInput),
            layout::OUT_OVERFLOW => Err(InflateError::OutputFull),
            layout::INVALID_BLOCK => Err(InflateError::InvalidBlock),
            layout::INVALID_SYMBOL => Err(InflateError::InvalidSymbol),
            layout::INVALID_LOOKBACK => Err(InflateError::InvalidLookback),
            other => Err(InflateError::Other(other)),
        }
    }
}

// SAFETY: the pointers inside a context are set before each call and followed only during it, and ISA-L keeps no
// state by thread.
unsafe impl Send for Compressor {}
// SAFETY: as above.
unsafe impl Send for Decompressor {}

/// A length that fits memory fits `usize`.
fn widen(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

const MIN_WINDOW_BITS: u16 = 9;
const MAX_WINDOW_BITS: u16 = 15;

/// A structure of the library with known bytes behind it: a library whose structure is longer than ours shows
/// itself by writing there.
#[derive(Debug)]
#[repr(C)]
struct Guarded<T> {
    inner: T,
    guard: [u8; GUARD_BYTES],
}

/// More than any field that a release might append.
const GUARD_BYTES: usize = 4096;
const GUARD: u8 = 0xa5;

impl<T: layout::AllZeroes> Guarded<T> {
    fn zeroed() -> Box<Self> {
        let mut guarded = Box::<Self>::new_uninit();
        // SAFETY: the pointer is to one Self, which `T: AllZeroes` lets consist of zeroes.
        unsafe {
            ptr::write_bytes(guarded.as_mut_ptr(), 0, 1);
            (*guarded.as_mut_ptr()).guard = [GUARD; GUARD_BYTES];
            guarded.assume_init()
        }
    }
}

impl<T> Guarded<T> {
    fn is_intact(&self) -> bool {
        self.guard.iter().all(|byte| *byte == GUARD)
    }
}

#[cfg(test)]
mod tests {
    use super::layout::MAX_LEVEL;
    use super::trial::trial_input;
    use super::*;

    #[test]
    fn an_absent_library_is_an_error_that_names_the_package() {
        let error = Isal::load_from(OsStr::new("libisal-that-is-not-there.so.2")).unwrap_err();
        assert!(matches!(error, LoadError::NotFound { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("libisal-that-is-not-there.so.2 was not found") && text.contains("libisal2"),
            "{text}"
        );
    }

    #[test]
    fn another_library_is_refused_by_the_function_it_lacks() {
        let error = Isal::load_from(OsStr::new("libc.so.6")).unwrap_err();
        assert!(matches!(error, LoadError::MissingSymbol { .. }), "{error:?}");
    }

    #[test]
    fn a_level_or_window_it_has_not_is_refused() {
        let Some(isal) = installed() else { return };
        for (level, window_bits) in [(4, 15), (1, 16), (1, 8), (u32::MAX, 12)] {
            assert!(
                Compressor::new(Arc::clone(&isal), level, window_bits).is_err(),
                "level {level}, window {window_bits}"
            );
        }
    }

    #[test]
    fn an_output_that_is_too_short_is_an_error_at_every_length() {
        let Some(isal) = installed() else { return };
        let input = &trial_input()[..8192];
        for level in 0..=MAX_LEVEL {
            let mut compressor = Compressor::new(Arc::clone(&isal), level, 15).unwrap();
            let mut encoded = vec![0; input.len() + 64];
            let length = compressor.compress(input, &mut encoded).unwrap();
            for room in 0..length {
                // A guard behind the room shows a write past it.
                encoded[room..].fill(GUARD);
                let outcome = compressor.compress(input, &mut encoded[..room]);
                assert!(outcome.is_err(), "level {level}, {room} of {length} bytes");
                assert!(encoded[room..].iter().all(|byte| *byte == GUARD));
            }
        }
    }

    #[test]
    fn a_broken_stream_is_an_error_and_never_a_write_past_the_output() {
        let Some(isal) = installed() else { return };
        let input = &trial_input()[..8192];
        let mut encoded = vec![0; input.len()];
        let length =
            Compressor::new(Arc::clone(&isal), 1, 15).unwrap().compress(input, &mut encoded).unwrap();
        let mut decompressor = Decompressor::new(isal);
        let mut output = vec![0; input.len() + 64];
        for bit in 0..length * 8 {
            let mut broken = encoded[..length].to_vec();
            broken[bit / 8] ^= 1 << (bit % 8);
            output[input.len()..].fill(GUARD);
            // A flipped bit may still be a stream, of other bytes: only the bounds are certain.
            let _ = decompressor.decompress(&broken, &mut output[..input.len()]);
            assert!(output[input.len()..].iter().all(|byte| *byte == GUARD), "bit {bit}");
        }
        assert_eq!(
            decompressor.decompress(&encoded[..length / 2], &mut output),
            Err(InflateError::EndOfInput)
        );
        assert_eq!(
            decompressor.decompress(&encoded[..length], &mut output[..100]),
            Err(InflateError::OutputFull)
        );
    }

    /// The library, where it is installed; the tests of what it does are void elsewhere.
    fn installed() -> Option<Arc<Isal>> {
        match Isal::load() {
            Ok(isal) => Some(isal),
            Err(LoadError::NotFound { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }
}
