//! Why the system does not tell which pages of a guest are written.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;

/// Why the system does not tell which pages are written. Whoever passes one on tells the kinds apart.
#[derive(Debug, thiserror::Error)]
pub enum TrackingError {
    /// The system refused.
    #[error("cannot {attempt}: {source}")]
    Io {
        /// What was tried, and on what.
        attempt: String,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel lacks what it takes.
    #[error("{what} is not there: {remedy}")]
    Unsupported {
        /// What is missing.
        what: String,
        /// What can be done instead.
        remedy: &'static str,
    },
    /// Writes were not noticed, and never will be.
    #[error("writes were missed: {how}; {remedy}")]
    Missed {
        /// What went wrong.
        how: String,
        /// What can be done instead.
        remedy: &'static str,
    },
}

impl TrackingError {
    /// The system's last error.
    pub(super) fn last(attempt: impl Into<String>) -> Self {
        Self::Io { attempt: attempt.into(), source: io::Error::last_os_error() }
    }
}

/// What this kernel calls its release: `6.18.2`.
pub(super) fn kernel_release() -> String {
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the kernel fills the structure that it is given, and every byte of it was initialised before.
    let names = unsafe {
        libc::uname(names.as_mut_ptr());
        names.assume_init()
    };
    // SAFETY: the kernel ends the name with a zero, and where it did not answer all is zero.
    unsafe { CStr::from_ptr(names.release.as_ptr()) }.to_string_lossy().into_owned()
}
