//! Data compression (`cpa_dc.h`): sessions, operations, results, capabilities.

use std::ffi::c_void;
use std::fmt;

use super::cpa::{CpaBoolean, CpaStatus};

/// A session, in pinned memory of the caller's (`CpaDcSessionHandle`).
pub type SessionHandle = *mut c_void;

/// Told that an operation is over, with its tag (`CpaDcCallbackFn`).
pub type CallbackFn = extern "C" fn(*mut c_void, CpaStatus);

/// What a session is for (`CpaDcSessionSetupData`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SessionSetup {
    /// 1 to 12; parts of the fourth generation have three, which 1, 6 and 9 stand for.
    pub level: u32,
    /// One of [`algorithm`].
    pub algorithm: u32,
    /// One of [`huffman`].
    pub huffman: u32,
    /// 0: the codes are as `huffman` says.
    pub auto_select_best: u32,
    /// One of [`direction`].
    pub direction: u32,
    /// One of [`state`].
    pub state: u32,
    /// One of [`window`].
    pub window: u32,
    /// Of LZ4s.
    pub min_match: u32,
    /// Of LZ4.
    pub lz4_block_max_size: u32,
    /// Of LZ4.
    pub lz4_block_checksum: CpaBoolean,
    /// Of LZ4.
    pub lz4_block_independence: CpaBoolean,
    /// One of [`checksum`].
    pub checksum: u32,
    /// Of LZ4.
    pub accumulate_xxhash: CpaBoolean,
}

/// `CpaDcCompType`.
pub mod algorithm {
    /// RFC 1951.
    pub const DEFLATE: u32 = 3;
}

/// `CpaDcHuffType`.
pub mod huffman {
    /// The fixed codes of RFC 1951.
    pub const STATIC: u32 = 0;
    /// Codes made for the data.
    pub const FULL_DYNAMIC: u32 = 2;
}

/// `CpaDcSessionDir`.
pub mod direction {
    /// Compression.
    pub const COMPRESS: u32 = 0;
    /// Decompression.
    pub const DECOMPRESS: u32 = 1;
}

/// `CpaDcSessionState`.
pub mod state {
    /// Every operation stands alone.
    pub const STATELESS: u32 = 1;
}

/// `CpaDcCompWindowSize`.
pub mod window {
    /// 32 KiB; 0 is 4 KiB.
    pub const KIB_32: u32 = 3;
}

/// `CpaDcChecksum`.
pub mod checksum {
    /// The CRC-32 of RFC 1952.
    pub const CRC32: u32 = 1;
}

/// `CpaDcFlush`.
pub mod flush {
    /// The operation ends its stream.
    pub const FINAL: u32 = 1;
}

/// How one operation is to be done (`CpaDcOpData`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OpData {
    /// One of [`flush`].
    pub flush: u32,
    /// Decompress what was compressed, and compare. Parts of the fourth generation refuse to do without.
    pub verify: CpaBoolean,
    /// Store the input where that fails.
    pub recover: CpaBoolean,
    /// Checksums over all of the path; needs `crc_data`.
    pub integrity_check: CpaBoolean,
    /// Whether the device compares them.
    pub verify_integrity: CpaBoolean,
    /// Their size.
    pub integrity_size: u32,
    /// Bytes of the input to pass over.
    pub input_skip: SkipData,
    /// Bytes of the output to pass over.
    pub output_skip: SkipData,
    /// `CpaCrcData`, or nothing.
    pub crc_data: *mut c_void,
}

/// `CpaDcSkipData`: all zero for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SkipData {
    /// 0: nothing is skipped.
    pub mode: u32,
    /// Bytes skipped at a time.
    pub bytes: u32,
    /// Bytes between.
    pub stride: u32,
    /// Where it begins.
    pub first: u32,
}

impl OpData {
    /// A whole stream in one operation, verified or not.
    #[must_use]
    pub const fn whole(verify: CpaBoolean) -> Self {
        const NONE: SkipData = SkipData { mode: 0, bytes: 0, stride: 0, first: 0 };
        Self {
            flush: flush::FINAL,
            verify,
            recover: super::cpa::FALSE,
            integrity_check: super::cpa::FALSE,
            verify_integrity: super::cpa::FALSE,
            integrity_size: 0,
            input_skip: NONE,
            output_skip: NONE,
            crc_data: std::ptr::null_mut(),
        }
    }
}

/// What an operation came to (`CpaDcRqResults`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Results {
    /// A [`ReqStatus`].
    pub status: i32,
    /// Bytes written.
    pub produced: u32,
    /// Bytes read.
    pub consumed: u32,
    /// The checksum of what is not compressed; before, what it begins from: 0.
    pub checksum: u32,
    /// Of decompression: whether the stream ended.
    pub end_of_last_block: CpaBoolean,
    /// Of compression: whether it was stored.
    pub stored: CpaBoolean,
}

/// The status in the results of an operation (`CpaDcReqStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReqStatus(pub i32);

impl ReqStatus {
    /// Done.
    pub const OK: Self = Self(0);
    /// The output was too short.
    pub const OVERFLOW: Self = Self(-11);
    /// The device must be reset.
    pub const FATAL: Self = Self(-13);
    /// The stream ended early; success for deflate on parts of the fourth generation.
    pub const INCOMPLETE_FILE: Self = Self(-15);
    /// What was compressed did not decompress to the same.
    pub const VERIFY: Self = Self(-18);

    /// Whether the stream, and not the device, is at fault.
    #[must_use]
    pub const fn blames_the_stream(self) -> bool {
        matches!(self.0, -10..=-1 | -15 | -19)
    }
}

impl fmt::Display for ReqStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "ok",
            -1 => "bad block type",
            -2 => "bad length of a stored block",
            -3 => "too many codes",
            -4 => "incomplete code lengths",
            -5 | -6 => "bad repetition of code lengths",
            -7 | -8 => "bad literal, length or distance codes",
            -9 => "invalid code",
            -10 => "distance too far",
            -11 => "overflow",
            -12 => "soft error",
            -13 => "fatal error",
            -14 => "submitted too often",
            -15 => "incomplete stream",
            -16 => "watchdog",
            -17 => "endpoint error",
            -18 => "verification failed",
            -19 => "empty dynamic block",
            -20 => "integrity checksum wrong",
            -27 => "parity error",
            _ => "error",
        };
        write!(f, "{name} ({})", self.0)
    }
}

/// What an instance can do (`CpaDcInstanceCapabilities`); booleans but for the fields that say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Capabilities {
    /// LZS, LZSS, eLZS, and deflate with state.
    pub others: [u32; 14],
    /// Stateless deflate.
    pub stateless_deflate_compression: CpaBoolean,
    /// Stateless inflate.
    pub stateless_deflate_decompression: CpaBoolean,
    /// LZ4 and LZ4s.
    pub others2: [u32; 4],
    /// The CRC-32 of RFC 1952.
    pub crc32: CpaBoolean,
    /// Adler-32, XXH32.
    pub others3: [u32; 2],
    /// Codes made for the data.
    pub dynamic_huffman: CpaBoolean,
    /// Whether those need intermediate buffers.
    pub dynamic_huffman_needs_buffers: CpaBoolean,
    /// Precompiled codes, the choice of codes by the device.
    pub others4: [u32; 2],
    /// Windows that it compresses with.
    pub window_mask_compression: u8,
    /// Windows that it decompresses.
    pub window_mask_decompression: u8,
    /// Nothing.
    pub padding: [u8; 2],
    /// Internal memory for codes.
    pub internal_huffman_memory: u32,
    /// Whether a stream's end is reported.
    pub end_of_last_block: CpaBoolean,
    /// Parity errors, packing.
    pub others5: [u32; 2],
    /// Compress and verify.
    pub verify: CpaBoolean,
    /// Whether it cannot be done without.
    pub verify_strict: CpaBoolean,
    /// Whether the input is stored where it fails.
    pub recover: CpaBoolean,
    /// Integrity checksums, chaining.
    pub others6: [u32; 3],
}
