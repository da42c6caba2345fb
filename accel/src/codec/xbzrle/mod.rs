//! QEMU's XBZRLE: the bytes that changed, run by run.
//!
//! An encoding is a sequence of pairs: the length of a run of equal bytes, then the length of a run of changed
//! bytes and those bytes of the new page. Lengths are unsigned LEB128. The equal bytes after the last changed one
//! are left out, so equal pages encode to nothing. A single equal byte ends a changed run. Only the first equal
//! run may have length 0, when the first byte of the page changed.
//!
//! Source: QEMU `docs/devel/migration/main.rst` (formerly `docs/xbzrle.txt`), `migration/xbzrle.c` and
//! `uleb128_encode_small` of `util/cutils.c`. What differs here:
//! - QEMU writes lengths up to 16383, in one or two bytes, and cannot encode a longer run. Pages of 16 and 64 KiB
//!   have longer runs; they take a third byte, as LEB128 goes on. Pages of 4 KiB encode byte for byte as in QEMU.
//! - QEMU gives up as soon as fewer than two bytes are left in the output at the start of any run, the omitted
//!   last one included. Here an encoding overflows exactly if it is longer than the output.
//! - [`decode`] also refuses lengths padded with zero bits (`81 00` for 1), which no encoder writes.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod decode;
mod length;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod portable;
mod runs;

use std::sync::OnceLock;

pub use decode::{DecodeError, decode};

use super::DoesNotFit;
pub use super::EncodeFn;

/// The largest page that [`encode`] takes, in bytes: 64 KiB.
pub const MAX_PAGE_BYTES: usize = 64 << 10;

/// Encodes what turns `old` into `new` and returns how many bytes of `out` that took: 0 if the pages are equal.
///
/// Bytes of `out` behind the encoding are unspecified, as is all of `out` after an error.
///
/// # Errors
/// [`DoesNotFit`] if the encoding is longer than `out`. It is never longer than 3/2 of the page and 2 bytes.
///
/// # Panics
/// If `old` and `new` differ in length or are larger than [`MAX_PAGE_BYTES`].
pub fn encode(old: &[u8], new: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    static BEST: OnceLock<EncodeFn> = OnceLock::new();
    BEST.get_or_init(best)(old, new, out)
}

/// The implementations of [`encode`] that this CPU can run, by name, the one in use first and the portable one
/// last. All give the same bytes and the same errors.
pub fn implementations() -> Vec<(&'static str, EncodeFn)> {
    candidates().into_iter().flatten().collect()
}

fn best() -> EncodeFn {
    candidates().into_iter().flatten().map(|(_, encode)| encode).next().unwrap_or(portable::encode)
}

#[cfg(target_arch = "x86_64")]
fn candidates() -> [Option<(&'static str, EncodeFn)>; 3] {
    [
        avx512::detect().map(|encode| ("avx512", encode)),
        avx2::detect().map(|encode| ("avx2", encode)),
        Some(("portable", portable::encode)),
    ]
}

#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
fn candidates() -> [Option<(&'static str, EncodeFn)>; 2] {
    [neon::detect().map(|encode| ("neon", encode)), Some(("portable", portable::encode))]
}

#[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little"))))]
fn candidates() -> [Option<(&'static str, EncodeFn)>; 1] {
    [Some(("portable", portable::encode))]
}
