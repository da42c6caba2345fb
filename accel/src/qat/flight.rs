//! One request on its way through an instance: its operations, and how far the device is with them.

use std::sync::Arc;
use std::time::Instant;

use pageferry_bindings::qat::cpa::CpaStatus;

use super::events::Seen;
use super::instance::Started;
use super::operation::Answer;
use super::slot::Slot;
use super::way::Way;
use crate::dma::Block;
use crate::request::{Direction, Request};

/// A slot of a queue, with the request that is in it.
pub(super) struct Flight {
    pub(super) request: Option<Box<Request>>,
    pub(super) slot: Slot,
    pub(super) way: Way,
    /// How many operations the library has taken.
    taken: usize,
    /// How many of those are known to be over: all before the first that is not.
    over: usize,
    /// Why no more operations are handed over, if the request failed already.
    pub(super) failure: Option<String>,
    /// Whether an operation was ended by the library without a word of the device's.
    pub(super) abandoned: bool,
    /// When the device must have done with the request.
    pub(super) deadline: Instant,
    /// What the device may write to, or read, and the request has no more.
    pub(super) hostage: Option<Block>,
}

/// How an offer to the library ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// It has all operations that there are.
    Taken,
    /// Its ring is full.
    Full,
    /// The device is not there, or restarts.
    Gone,
}

impl Flight {
    /// An empty slot.
    pub(super) fn new(slot: Slot, way: Way) -> Self {
        Self {
            request: None,
            slot,
            way,
            taken: 0,
            over: 0,
            failure: None,
            abandoned: false,
            deadline: Instant::now(),
            hostage: None,
        }
    }

    /// Hands over what was posted and is not yet handed over.
    pub(super) fn offer(&mut self, started: &Arc<Started>, seen: Seen, direction: Direction) -> Offer {
        while self.failure.is_none() && !self.abandoned && self.taken < self.slot.operations() {
            // SAFETY: the operation is in the slot, which stays until it is answered or known to be over, and so does what its
            // lists name: guest memory and payloads by the attachment, the request's payload by this flight. The queue's lock
            // makes this the only thread.
            match unsafe { started.submit(seen, direction, self.slot.operation(self.taken)) } {
                CpaStatus::SUCCESS => self.taken += 1,
                CpaStatus::RETRY => return Offer::Full,
                CpaStatus::RESTARTING | CpaStatus::FAIL | CpaStatus::FATAL if self.taken == 0 => {
                    return Offer::Gone;
                }
                status => self.failure = Some(format!("it refuses an operation: {status}")),
            }
        }
        Offer::Taken
    }

    /// Whether the library has taken anything.
    pub(super) fn has_begun(&self) -> bool {
        self.taken > 0
    }

    /// Looks for answers, one operation further than the last that was there. Says whether all operations are over that ever
    /// will be handed over.
    pub(super) fn look(&mut self) -> bool {
        while self.over < self.taken {
            match self.slot.answer(self.over) {
                Answer::Pending => return false,
                Answer::Done { .. } => {}
                Answer::Abandoned => self.abandoned = true,
            }
            self.over += 1;
        }
        self.failure.is_some() || self.abandoned || self.taken == self.slot.operations()
    }

    /// Whether the device has nothing of it any more, whatever is still to be handed over.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.look();
        self.over == self.taken
    }

    /// Leaves the slot as new, with nothing in flight.
    pub(super) fn clear(&mut self) {
        self.slot.clear();
        (self.taken, self.over) = (0, 0);
        (self.failure, self.abandoned) = (None, false);
    }
}
