//! The structures of `qatzip.h`, and the values that are used in them.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::ptr;

/// What the library keeps of a session (`QzSession_T`).
#[derive(Debug)]
#[repr(C)]
pub struct RawSession {
    /// A [`QzStatus`](super::status::QzStatus): whether there is hardware for it.
    pub hardware_status: c_long,
    /// The last call's.
    pub thread_status: c_int,
    /// The library's own; null until the session is set up.
    pub internal: *mut c_void,
    /// Bytes that went into hardware requests.
    pub total_in: c_ulong,
    /// Bytes that came out of them.
    pub total_out: c_ulong,
}

impl Default for RawSession {
    fn default() -> Self {
        Self { hardware_status: 0, thread_status: 0, internal: ptr::null_mut(), total_in: 0, total_out: 0 }
    }
}

/// What every kind of session is told (`QzSessionParamsCommon_T`), and all that one of LZ4 is (`QzSessionParamsLZ4_T`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CommonParameters {
    /// One of [`direction`].
    pub direction: c_int,
    /// 1 to 9; to 12 where hardware does the work.
    pub level: u32,
    /// One of [`algorithm`].
    pub algorithm: u8,
    /// Forks of a thread; not looked at.
    pub max_forks: u32,
    /// 1 if software may do what hardware does not.
    pub software_backup: u8,
    /// The size of the pieces that a request is cut into: a power of two within [`HARDWARE_BUFFER_BYTES`].
    pub hardware_buffer_bytes: u32,
    /// The same for the streaming calls.
    pub stream_buffer_bytes: u32,
    /// Less input than this goes to software.
    pub input_threshold_bytes: u32,
    /// With more pieces than this, another thread submits them.
    pub request_threshold: u32,
    /// How many calls pass before a device that failed is tried again.
    pub wait_threshold: u32,
    /// One of [`polling`].
    pub polling: c_int,
    /// 1 to give a request to whichever of hardware and software has answered sooner.
    pub latency_sensitive: u32,
}

/// Of deflate (`QzSessionParamsDeflate_T`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DeflateParameters {
    /// What every kind has.
    pub common: CommonParameters,
    /// One of [`huffman`].
    pub huffman: c_int,
    /// One of [`format`](mod@format).
    pub format: c_int,
}

/// Of deflate, from 1.3 on (`QzSessionParamsDeflateExt_T`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ExtendedDeflateParameters {
    /// What every version has.
    pub deflate: DeflateParameters,
    /// 1 to stop where a stream ends, and not to go on with what follows it.
    pub stop_at_stream_end: u8,
    /// 1 for the header and footer of zlib.
    pub zlib_format: u8,
}

/// Zeroes behind a structure, for fields that a release may append.
#[derive(Debug)]
#[repr(C)]
pub struct WithRoom<T> {
    /// The structure.
    pub inner: T,
    room: [u64; 16],
}

impl<T> WithRoom<T> {
    /// Behind `inner`.
    pub const fn new(inner: T) -> Self {
        Self { inner, room: [0; 16] }
    }
}

/// `QzDirection_T`.
pub mod direction {
    /// Compression and decompression.
    pub const BOTH: i32 = 2;
}

/// `comp_algorithm`.
pub mod algorithm {
    /// RFC 1951.
    pub const DEFLATE: u8 = 8;
    /// LZ4 frames.
    pub const LZ4: u8 = b'4';
}

/// `QzHuffmanHdr_T`.
pub mod huffman {
    /// Codes made for the data.
    pub const DYNAMIC: i32 = 0;
}

/// `QzDataFormat_T`.
pub mod format {
    /// Deflate without anything around it.
    pub const RAW: i32 = 3;
}

/// `QzPollingMode_T`.
pub mod polling {
    /// Sleeping between looks.
    pub const PERIODIC: i32 = 0;
}

/// `PinMem_T`, as `qzMalloc` takes it.
pub mod memory {
    /// That devices reach.
    pub const PINNED: i32 = 1;
    /// On the node of the CPU that asks.
    pub const ANY_NODE: i32 = -1;
}

/// `QzLogLevel_T`.
pub mod log {
    /// Nothing is written to the process's own streams.
    pub const NONE: i32 = 0;
}

/// What `hardware_buffer_bytes` may be.
pub const HARDWARE_BUFFER_BYTES: std::ops::RangeInclusive<u32> = 1 << 10..=512 << 10;

/// What `level` may be if software is to do it too, which stops with an error above.
pub const LEVELS: std::ops::RangeInclusive<u32> = 1..=9;

/// `strm_buff_sz` that is never used.
pub const STREAM_BUFFER_BYTES: u32 = 64 << 10;

/// `input_sz_thrshold` as the library sets it: a page is above.
pub const INPUT_THRESHOLD_BYTES: u32 = 1 << 10;

/// The least that `input_sz_thrshold` may be.
pub const LEAST_INPUT_THRESHOLD_BYTES: u32 = 128;

/// `req_cnt_thrshold` as the library sets it.
pub const REQUEST_THRESHOLD: u32 = 32;

/// `wait_cnt_thrshold` as the library sets it.
pub const WAIT_THRESHOLD: u32 = 8;

/// `max_forks` as the library sets it.
pub const MAX_FORKS: u32 = 3;
