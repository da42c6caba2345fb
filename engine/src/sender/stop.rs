//! How a sender is ended from another thread.

use std::net::Shutdown;
use std::sync::{Arc, OnceLock};

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::pool::Pool;

use crate::connection::Interrupt;

/// Ends a sender from another thread. Its calls, whatever they wait for, then fail with [`SendError::Stopped`].
///
/// [`SendError::Stopped`]: super::SendError::Stopped
#[derive(Clone)]
pub struct Stop(Arc<Stopping>);

struct Stopping {
    reason: OnceLock<String>,
    pool: Arc<Pool>,
    doorbell: Arc<Doorbell>,
    interrupts: Vec<Interrupt>,
}

impl Stop {
    pub(super) fn new(pool: Arc<Pool>, doorbell: Arc<Doorbell>, interrupts: Vec<Interrupt>) -> Self {
        Self(Arc::new(Stopping { reason: OnceLock::new(), pool, doorbell, interrupts }))
    }

    /// Asks the sender to end. It sends what it has begun to send, tells the destination why, and closes; that takes as
    /// long as the destination takes to read it.
    pub fn ask(&self, reason: &str) {
        // Whoever asked first has given the reason.
        let _ = self.0.reason.set(reason.to_owned());
        self.0.pool.close();
        self.0.doorbell.ring();
        self.shut(Shutdown::Read);
    }

    /// Ends it at once, in the middle of a frame if need be: a destination that reads nothing is not waited for.
    pub fn force(&self) {
        self.shut(Shutdown::Both);
    }

    /// Why it was asked to end, if it was.
    pub(super) fn reason(&self) -> Option<&str> {
        self.0.reason.get().map(String::as_str)
    }

    fn shut(&self, half: Shutdown) {
        self.0.interrupts.iter().for_each(|interrupt| interrupt(half));
    }
}
