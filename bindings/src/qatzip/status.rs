//! What the library's calls answer.

use std::ffi::c_long;
use std::fmt;

/// A return code (`QZ_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct QzStatus(pub i32);

impl QzStatus {
    /// Done.
    pub const OK: Self = Self(0);
    /// Done before; no error.
    pub const DUPLICATE: Self = Self(1);
    /// No hardware: software does the work.
    pub const NO_HW: Self = Self(11);
    /// A parameter is wrong.
    pub const PARAMS: Self = Self(-1);
    /// An error without a name.
    pub const FAIL: Self = Self(-2);
    /// The destination is too short.
    pub const BUF_ERROR: Self = Self(-3);
    /// The input is no such stream.
    pub const DATA_ERROR: Self = Self(-4);
    /// The library has no such function, or a device cannot do it.
    pub const NOT_SUPPORTED: Self = Self(-200);
    /// No hardware, and software is not allowed.
    pub const NOSW_NO_HW: Self = Self(-101);
    /// No instance is free that could do it, and software is not allowed.
    pub const NOSW_NO_INSTANCE: Self = Self(-103);

    /// Whether the library, or this session, goes on in software.
    #[must_use]
    pub const fn means_software(self) -> bool {
        matches!(self.0, 2 | 11..=14)
    }

    /// Whether it is an error: software in its place is none.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 0 || matches!(self.0, 15 | 16 | 100)
    }

    /// The status in a field of the width that `hw_session_stat` has.
    #[must_use]
    pub fn from_wide(status: c_long) -> Self {
        Self(i32::try_from(status).unwrap_or(Self::FAIL.0))
    }
}

impl fmt::Display for QzStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "ok",
            1 => "done before",
            2 => "software was made to do it",
            11 | -101 => "no QAT device",
            12 | -102 => "no memory driver",
            13 | -103 => "no instance of a QAT device is free",
            14 | -104 => "no memory that devices reach",
            15 => "no memory for the destination",
            16 | -116 => "format not supported",
            100 => "not initialised",
            -1 => "invalid parameter",
            -2 => "failed",
            -3 => "destination too short",
            -4 => "not a valid stream",
            -5 => "timed out",
            -100 => "integrity check failed",
            -105 => "no software for it",
            -117 => "post-processing failed",
            -118 => "metadata too long",
            -119 => "out of range",
            -200 => "not supported",
            _ => "unknown status",
        };
        write!(f, "{name} ({})", self.0)
    }
}
