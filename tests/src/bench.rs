//! Queues by hand: what they are opened with, requests for them, and what comes back.

use std::sync::Arc;
use std::thread;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::dma::Arena;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::queue::{Accelerator, Attachment, Completion, Queue};
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};

use crate::single::payload;

/// What queues work with, and requests for them.
pub struct Bench {
    /// What they were opened with.
    pub attachment: Attachment,
}

impl Bench {
    /// For requests of at most `max_pages` pages of `ram`, more payloads than any test has.
    ///
    /// # Panics
    /// If the system has no memory for them.
    #[must_use]
    pub fn new(ram: &Arc<GuestRam>, max_pages: PageCount) -> Self {
        Self::with_payloads(ram, max_pages, 256)
    }

    /// For as many payloads, those of the queues' own among them.
    ///
    /// # Panics
    /// If the system has no memory for them.
    #[must_use]
    pub fn with_payloads(ram: &Arc<GuestRam>, max_pages: PageCount, payloads: usize) -> Self {
        let bytes = ram.page_size().bytes_of(max_pages);
        let attachment = Attachment {
            ram: Arc::clone(ram),
            doorbell: Arc::new(Doorbell::default()),
            max_pages,
            payloads: Arc::new(Arena::new(payloads, bytes).expect("memory for payloads")),
            baselines: None,
            deflate_window: Window::Kib32,
        };
        Self { attachment }
    }

    /// An accelerator's first queue.
    ///
    /// # Panics
    /// If it does not open.
    #[must_use]
    pub fn open(&self, accelerator: &dyn Accelerator) -> Box<dyn Queue> {
        accelerator.open(&self.attachment).expect("an instance that opens").remove(0)
    }

    /// An empty request.
    ///
    /// # Panics
    /// If the system has no memory for it.
    #[must_use]
    pub fn request(&self) -> Box<Request> {
        let buffer = self.attachment.buffer().expect("memory for a payload");
        Box::new(Request::new(self.attachment.max_pages, buffer))
    }

    /// To deflate `pages` pages from `first` on.
    #[must_use]
    pub fn encode(&self, first: u64, pages: u32) -> Box<Request> {
        let mut request = self.request();
        request.method = Method::Deflate;
        request.runs.push(Run::data(PageIndex(first), PageCount(pages)));
        request
    }

    /// To decode what `sent` has, as it arrives: the payload in one piece.
    #[must_use]
    pub fn decode(&self, sent: &Request) -> Box<Request> {
        let mut request = self.request();
        (request.direction, request.method) = (Direction::Decode, sent.method);
        request.runs.extend_from_slice(&sent.runs);
        request.segments.extend_from_slice(&sent.segments);
        (request.checksum_kind, request.checksum) = (sent.checksum_kind, sent.checksum);
        let payload = payload(sent);
        request.payload.buffer()[..payload.len()].copy_from_slice(&payload);
        request.payload.set_filled(payload.len());
        request
    }
}

/// Polls until so many requests came back.
#[must_use]
pub fn completed(queue: &dyn Queue, requests: usize) -> Vec<Completion> {
    let mut completions = Vec::new();
    while completions.len() < requests {
        queue.poll(&mut completions);
        thread::yield_now();
    }
    completions
}

/// Submits a request until it is taken; what comes back meanwhile is appended.
pub fn submit(queue: &dyn Queue, mut request: Box<Request>, completions: &mut Vec<Completion>) {
    while let Err(refused) = queue.submit(request) {
        request = refused.request;
        queue.poll(completions);
        thread::yield_now();
    }
}
