//! A request on its way through an instance, whichever way it goes: operations posted, and what came of them taken.

use super::decode::Decoding;
use super::encode::Encoding;
use super::slot::Slot;
use super::work::Work;
use crate::queue::Failure;
use crate::refusal::Refusal;
use crate::request::{Direction, Request};

/// What is kept of a request on its way.
pub(super) struct Way {
    encoding: Encoding,
    decoding: Decoding,
}

impl Way {
    /// Room for requests of `max_pages` pages.
    pub(super) fn new(max_pages: usize) -> Self {
        Self { encoding: Encoding::new(max_pages), decoding: Decoding::new(max_pages) }
    }

    /// Posts what the request needs to `slot`. The request stays as it is: the device may yet refuse everything.
    ///
    /// # Errors
    /// If this request is none for this device.
    pub(super) fn begin(&mut self, work: &Work, request: &Request, slot: &mut Slot) -> Result<(), String> {
        match request.direction {
            Direction::Encode => work.begin_encoding(request, &mut self.encoding, slot),
            Direction::Decode => work.begin_decoding(request, &mut self.decoding, slot),
        }
    }

    /// Completes the request by what came of its operations.
    ///
    /// # Errors
    /// Why it failed; it is as it was then.
    pub(super) fn complete(
        &mut self,
        work: &Work,
        request: &mut Request,
        slot: &mut Slot,
    ) -> Result<(), Failure> {
        let completed = match request.direction {
            Direction::Encode => {
                work.complete_encoding(request, &mut self.encoding, slot).map_err(Refusal::Device)
            }
            Direction::Decode => work.complete_decoding(request, &self.decoding, slot),
        };
        completed.map_err(|refusal| refusal.of(work.started.name()))
    }

    /// Whether the device has to do with the request's payload.
    pub(super) fn is_in_payload(&self, direction: Direction) -> bool {
        match direction {
            Direction::Encode => self.encoding.is_in_payload(),
            Direction::Decode => self.decoding.is_in_payload(),
        }
    }

    /// Whether the device may write to guest memory.
    pub(super) fn writes_guest_memory(&self, direction: Direction) -> bool {
        direction == Direction::Decode && self.decoding.is_in_guest_memory()
    }
}
