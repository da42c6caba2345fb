//! Eventfds, which count interrupts.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A new eventfd that nobody waits for in reading it.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: creates a file descriptor, and touches nothing else.
    let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was opened just above and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(event) })
}
