//! Ends a process that hangs.

use std::io::{Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Aborts the process unless it is dropped within a time that no machine needs: a test that hangs fails, and says where.
#[must_use]
pub struct Watchdog {
    _leash: Sender<()>,
}

const LIMIT: Duration = Duration::from_secs(240);

impl Watchdog {
    /// Watches `what`.
    pub fn over(what: impl Into<String>) -> Self {
        let (leash, held) = channel();
        let what = what.into();
        thread::spawn(move || {
            if held.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                // Not by a macro, whose output a test harness keeps to itself and an abort would lose.
                let _ = writeln!(stderr(), "{what} hangs: no end after {LIMIT:?}");
                std::process::abort();
            }
        });
        Self { _leash: leash }
    }
}
