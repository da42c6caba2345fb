//! What a receiver has done so far, for other threads to look at.

use std::sync::Arc;

use super::crossing::Crossing;
use super::{ReceiveError, ReceiveReport};
use crate::dirty::PackedPages;

/// A look at a receiver from another thread. Its queues stay open while there is one.
#[derive(Clone)]
pub struct ReceiveWatch(pub(super) Arc<Crossing>);

/// What a source need not send again that takes up a broken migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// So many rounds have ended here, whether or not the source got the report on the last.
    pub rounds: u32,
    /// Pages of the round that broke off which are in place, verified.
    pub pages: PackedPages,
}

impl Confirmed {
    /// Whether no page came at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.rounds == 0 && self.pages.is_empty()
    }
}

impl ReceiveWatch {
    /// Everything that arrived in rounds that ended.
    #[must_use]
    pub fn report(&self) -> ReceiveReport {
        self.0.report()
    }

    /// Ends the receiver: its [`run`](super::Receiver::run) fails with [`ReceiveError::Stopped`], and the source is told.
    pub fn stop(&self) {
        self.0.fail(ReceiveError::Stopped);
    }

    /// What is in place, of a receiver that has ended. `None` if a device has not answered yet and may still write to guest
    /// memory: nothing must be sent to it any more.
    #[must_use]
    pub fn confirmed(&self) -> Option<Confirmed> {
        self.0.confirmed()
    }
}
