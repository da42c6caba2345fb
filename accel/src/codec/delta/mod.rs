//! DSA's delta records: the 8-byte words that changed, each with its place.
//!
//! A record is a sequence of entries of [`ENTRY_BYTES`], one for each changed word, in strictly increasing order:
//! a little-endian u16, the offset of the word from the start of the region in words, and the 8 bytes of the new
//! region. Equal regions have an empty record.
//!
//! Source: Intel DML `ref/create_delta.c` for the entry, its `validation.cpp` for the largest region; the DSA
//! specification's status codes for what the device refuses: 07 for offsets that do not increase, 08 for an
//! offset beyond the region, 15 for the size of a record.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod decode;
mod entries;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;
mod portable;

use std::sync::OnceLock;

pub use decode::{DecodeError, decode};

use super::DoesNotFit;
pub use super::EncodeFn;

/// The size of an entry in bytes.
pub const ENTRY_BYTES: usize = 10;

/// The size of a word in bytes.
pub const WORD_BYTES: usize = 8;

/// The largest region that [`encode`] takes, in bytes: 512 KiB, as many words as an offset can name.
pub const MAX_REGION_BYTES: usize = 512 << 10;

/// Writes the record that turns `old` into `new` and returns its size in bytes: 0 if the regions are equal.
///
/// Bytes of `out` behind the record are unspecified, as is all of `out` after an error.
///
/// # Errors
/// [`DoesNotFit`] if the record is longer than `out`. It is never longer than 5/4 of the region.
///
/// # Panics
/// If `old` and `new` differ in length, or their length is not a multiple of [`WORD_BYTES`] or above
/// [`MAX_REGION_BYTES`].
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
