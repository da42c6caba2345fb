//! What an instance makes of a request: operations posted, and what came of them taken.

use std::sync::Arc;

use super::decode::{Decoding, Refusal};
use super::encode::Encoding;
use super::instance::Started;
use super::slot::Slot;
use crate::checksum::{ChecksumKind, PageCrc};
use crate::guest::GuestRam;
use crate::queue::Failure;
use crate::request::{Direction, Request};
use crate::units::PageSize;

/// What the instance is used for, for one sender or receiver.
pub(super) struct Work {
    pub(super) started: Arc<Started>,
    pub(super) ram: Arc<GuestRam>,
    pub(super) page_size: PageSize,
    pub(super) detect_zero: bool,
    pub(super) crc32: PageCrc,
}

/// What is kept of a request on its way, whichever way it goes.
pub(super) struct Way {
    encoding: Encoding,
    decoding: Decoding,
}

impl Way {
    /// Room for requests of `max_pages` pages.
    pub(super) fn new(max_pages: usize) -> Self {
        Self { encoding: Encoding::new(max_pages), decoding: Decoding::new(max_pages) }
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

impl Work {
    pub(super) fn new(started: Arc<Started>, ram: &Arc<GuestRam>, detect_zero: bool) -> Self {
        let page_size = ram.page_size();
        let crc32 = PageCrc::new(ChecksumKind::Crc32, page_size.bytes());
        Self { started, ram: Arc::clone(ram), page_size, detect_zero, crc32 }
    }

    /// Posts what the request needs to `slot`. The request stays as it is: the device may yet refuse everything.
    ///
    /// # Errors
    /// If this request is none for this device.
    pub(super) fn begin(&self, request: &Request, way: &mut Way, slot: &mut Slot) -> Result<(), String> {
        match request.direction {
            Direction::Encode => self.begin_encoding(request, &mut way.encoding, slot),
            Direction::Decode => self.begin_decoding(request, &mut way.decoding, slot),
        }
    }

    /// Completes the request by what came of its operations.
    ///
    /// # Errors
    /// Why it failed; it is as it was then.
    pub(super) fn complete(
        &self,
        request: &mut Request,
        way: &mut Way,
        slot: &mut Slot,
    ) -> Result<(), Failure> {
        let completed = match request.direction {
            Direction::Encode => {
                self.complete_encoding(request, &mut way.encoding, slot).map_err(Refusal::Device)
            }
            Direction::Decode => self.complete_decoding(request, &way.decoding, slot),
        };
        completed.map_err(|refusal| match refusal {
            Refusal::Device(status) => self.failed(status),
            Refusal::Request(failure) => failure,
        })
    }

    /// A failure of the instance's.
    pub(super) fn failed(&self, status: impl Into<String>) -> Failure {
        Failure::Device { device: Arc::clone(self.started.name()), status: status.into() }
    }
}
