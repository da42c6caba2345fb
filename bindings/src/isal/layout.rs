//! The structures and constants of ISA-L's deflate, as `igzip_lib.h` declares them.
//!
//! Source: `include/igzip_lib.h` of release 2.30.0 (<https://github.com/intel/isa-l>), default build: window 32 KiB,
//! no longer Huffman tables. The numbers in the tests below are what a C compiler says of that header on
//! `x86_64` Linux, and of the headers of 2.32.1 and of the development branch, which agree.
//!
//! The fields that a caller sets or reads are typed; what only the library touches is bytes of the right
//! length and alignment.

use std::ffi::c_int;

/// `COMP_OK`: compression succeeded.
pub const COMP_OK: c_int = 0;
/// `ISAL_DECOMP_OK`: decompression reached the end of the stream.
pub const DECOMP_OK: c_int = 0;
/// `ISAL_END_INPUT`: the input ended inside the stream.
pub const END_INPUT: c_int = 1;
/// `ISAL_OUT_OVERFLOW`: the output ended inside the stream.
pub const OUT_OVERFLOW: c_int = 2;
/// `ISAL_INVALID_BLOCK`: invalid block header.
pub const INVALID_BLOCK: c_int = -1;
/// `ISAL_INVALID_SYMBOL`: a code without a symbol.
pub const INVALID_SYMBOL: c_int = -2;
/// `ISAL_INVALID_LOOKBACK`: a match that reaches back before the output.
pub const INVALID_LOOKBACK: c_int = -3;

/// `ISAL_DEF_MAX_LEVEL`.
pub const MAX_LEVEL: u32 = 3;

/// The work memory of each level for windows of 8 KiB and more: `ISAL_DEF_LVLx_LARGE`, room for 64 Ki tokens between
/// two sets of Huffman codes.
pub const LEVEL_BUFFER_BYTES: [usize; 4] = [0, 282_624, 331_776, 348_160];

/// The same for smaller windows: `ISAL_DEF_LVLx_MEDIUM`, room for 32 Ki tokens.
///
/// On a request of 63 pages it is 3% slower and makes 0.8% less of the bytes, which a small window cannot spare.
pub const SMALL_WINDOW_LEVEL_BUFFER_BYTES: [usize; 4] = [0, 151_552, 200_704, 217_088];

/// `struct isal_zstream`: a compression and its state.
#[derive(Debug)]
#[repr(C)]
pub struct ZStream {
    /// Next byte to read.
    pub next_in: *mut u8,
    /// Bytes to read from there.
    pub avail_in: u32,
    /// Bytes read so far.
    pub total_in: u32,
    /// Next byte to write.
    pub next_out: *mut u8,
    /// Bytes that may be written from there.
    pub avail_out: u32,
    /// Bytes written so far.
    pub total_out: u32,
    /// Huffman codes of level 0; set to the built-in ones by the init call.
    pub hufftables: *mut u8,
    /// 0 to [`MAX_LEVEL`].
    pub level: u32,
    /// Length of `level_buf` in bytes.
    pub level_buf_size: u32,
    /// Work memory of the levels above 0.
    pub level_buf: *mut u8,
    /// Non-zero: this input is the last.
    pub end_of_stream: u16,
    /// 0 is no flush.
    pub flush: u16,
    /// 0 is raw deflate.
    pub gzip_flag: u16,
    /// Base-2 logarithm of how far back a match may reach; 0 is 15.
    pub hist_bits: u16,
    internal_state: [u64; 82_320 / 8],
}

/// `struct inflate_state`: a decompression and its state.
#[derive(Debug)]
#[repr(C)]
pub struct InflateState {
    /// Next byte to write.
    pub next_out: *mut u8,
    /// Bytes that may be written from there.
    pub avail_out: u32,
    /// Bytes written so far.
    pub total_out: u32,
    /// Next byte to read.
    pub next_in: *mut u8,
    /// Bits read ahead.
    pub read_in: u64,
    /// Bytes to read from `next_in`.
    pub avail_in: u32,
    /// Number of bits read ahead.
    pub read_in_length: i32,
    lit_huff_code: [u8; 18_912],
    dist_huff_code: [u8; 2208],
    block_state: c_int,
    dict_length: u32,
    bfinal: u32,
    /// 0 is raw deflate.
    pub crc_flag: u32,
    /// Checksum of the output, if `crc_flag` asks for one.
    pub crc: u32,
    /// Base-2 logarithm of the window; the stateless call takes 0, the whole output.
    pub hist_bits: u32,
    internal_state: [u64; 66_184 / 8],
}

/// A structure for which all bytes zero is a value.
///
/// # Safety
/// Every field must be an integer, a raw pointer, or an array of such.
pub unsafe trait AllZeroes {}

// SAFETY: integers, raw pointers and arrays of integers only.
unsafe impl AllZeroes for ZStream {}
// SAFETY: integers, raw pointers and arrays of integers only.
unsafe impl AllZeroes for InflateState {}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    #[test]
    fn the_compression_stream_is_laid_out_as_in_c() {
        let layout = [
            ("size", size_of::<ZStream>(), 82_384),
            ("align", align_of::<ZStream>(), 8),
            ("next_in", offset_of!(ZStream, next_in), 0),
            ("avail_in", offset_of!(ZStream, avail_in), 8),
            ("total_in", offset_of!(ZStream, total_in), 12),
            ("next_out", offset_of!(ZStream, next_out), 16),
            ("avail_out", offset_of!(ZStream, avail_out), 24),
            ("total_out", offset_of!(ZStream, total_out), 28),
            ("hufftables", offset_of!(ZStream, hufftables), 32),
            ("level", offset_of!(ZStream, level), 40),
            ("level_buf_size", offset_of!(ZStream, level_buf_size), 44),
            ("level_buf", offset_of!(ZStream, level_buf), 48),
            ("end_of_stream", offset_of!(ZStream, end_of_stream), 56),
            ("flush", offset_of!(ZStream, flush), 58),
            ("gzip_flag", offset_of!(ZStream, gzip_flag), 60),
            ("hist_bits", offset_of!(ZStream, hist_bits), 62),
            ("internal_state", offset_of!(ZStream, internal_state), 64),
        ];
        for (field, ours, c) in layout {
            assert_eq!(ours, c, "{field}");
        }
    }

    #[test]
    fn the_inflate_state_is_laid_out_as_in_c() {
        let layout = [
            ("size", size_of::<InflateState>(), 87_368),
            ("align", align_of::<InflateState>(), 8),
            ("next_out", offset_of!(InflateState, next_out), 0),
            ("avail_out", offset_of!(InflateState, avail_out), 8),
            ("total_out", offset_of!(InflateState, total_out), 12),
            ("next_in", offset_of!(InflateState, next_in), 16),
            ("read_in", offset_of!(InflateState, read_in), 24),
            ("avail_in", offset_of!(InflateState, avail_in), 32),
            ("read_in_length", offset_of!(InflateState, read_in_length), 36),
            ("lit_huff_code", offset_of!(InflateState, lit_huff_code), 40),
            ("dist_huff_code", offset_of!(InflateState, dist_huff_code), 18_952),
            ("block_state", offset_of!(InflateState, block_state), 21_160),
            ("dict_length", offset_of!(InflateState, dict_length), 21_164),
            ("bfinal", offset_of!(InflateState, bfinal), 21_168),
            ("crc_flag", offset_of!(InflateState, crc_flag), 21_172),
            ("crc", offset_of!(InflateState, crc), 21_176),
            ("hist_bits", offset_of!(InflateState, hist_bits), 21_180),
            ("the rest", offset_of!(InflateState, internal_state), 21_184),
        ];
        for (field, ours, c) in layout {
            assert_eq!(ours, c, "{field}");
        }
    }
}
