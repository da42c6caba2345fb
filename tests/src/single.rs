//! One accelerator at work on one guest, a request at a time.

use std::sync::Arc;
use std::thread;

use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::codec::deflate::Window;
use pageferry_accel::dma::Arena;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::queue::{Accelerator, Attachment, Completion, Failure, OpenError, Queue};
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::Run;
use pageferry_accel::units::PageCount;

/// The first queue of an accelerator, and the guest that it works on.
pub struct Single {
    attachment: Attachment,
    baselines: BaselineCache,
    queues: Vec<Box<dyn Queue>>,
    turn: usize,
}

impl Single {
    /// Opens `accelerator` for requests of at most `max_pages` pages of `ram`, with a baseline for every page.
    ///
    /// # Errors
    /// What the accelerator says.
    ///
    /// # Panics
    /// If the system has no memory for it.
    pub fn open(
        accelerator: &dyn Accelerator,
        ram: &Arc<GuestRam>,
        max_pages: PageCount,
    ) -> Result<Self, OpenError> {
        let bytes = usize::try_from(ram.bytes()).unwrap_or(usize::MAX);
        let baselines = BaselineCache::new(ram, bytes).expect("memory for baselines");
        let payload_bytes = ram.page_size().bytes_of(max_pages);
        let attachment = Attachment {
            ram: Arc::clone(ram),
            doorbell: Arc::new(Doorbell::default()),
            max_pages,
            payloads: Arc::new(Arena::new(64, payload_bytes).expect("memory for payloads")),
            baselines: Some(Arc::clone(baselines.arena())),
            deflate_window: Window::Kib32,
        };
        let queues = accelerator.open(&attachment)?;
        Ok(Self { attachment, baselines, queues, turn: 0 })
    }

    /// Encodes the pages of `runs`; what was asked of the queue, and what came of it.
    ///
    /// # Panics
    /// If an idle queue refuses the request.
    pub fn encode(&mut self, method: Method, runs: &[Run]) -> (Box<Request>, Result<(), Failure>) {
        let mut request = self.request();
        request.method = method;
        request.runs.extend_from_slice(runs);
        let pages = runs.iter().flat_map(|run| run.pages());
        request.baselines.extend(pages.map(|page| self.baselines.take(page)));
        let Completion { mut request, result } = self.run(request);
        request.baselines.drain(..).flatten().for_each(|baseline| self.baselines.give_back(baseline));
        (request, result)
    }

    /// Encodes each of `runs` as a request of its own, all of them in flight at once, spread over the queues. What came of them,
    /// in the order in which they completed.
    ///
    /// # Panics
    /// If the queues do not hold as many.
    pub fn encode_at_once(&mut self, method: Method, runs: &[Run]) -> Vec<Completion> {
        for (run, queue) in runs.iter().zip(self.queues.iter().cycle()) {
            let mut request = self.request();
            request.method = method;
            request.runs.push(*run);
            queue.submit(request).unwrap_or_else(|refused| panic!("a queue is {:?}", refused.reason));
        }
        let mut completions = Vec::new();
        while completions.len() < runs.len() {
            self.queues.iter().for_each(|queue| queue.poll(&mut completions));
            thread::yield_now();
        }
        completions
    }

    /// Decodes what a request of the other end brought, as it arrives: the payload in one piece.
    ///
    /// # Errors
    /// Why it failed.
    ///
    /// # Panics
    /// If an idle queue refuses the request.
    pub fn decode(&mut self, sent: &Request) -> Result<(), Failure> {
        let mut request = self.request();
        request.direction = Direction::Decode;
        request.method = sent.method;
        request.runs.extend_from_slice(&sent.runs);
        request.segments.extend_from_slice(&sent.segments);
        (request.checksum_kind, request.checksum) = (sent.checksum_kind, sent.checksum);
        let payload = payload(sent);
        request.payload.buffer()[..payload.len()].copy_from_slice(&payload);
        request.payload.set_filled(payload.len());
        self.run(request).result
    }

    fn request(&self) -> Box<Request> {
        // A device reaches the first ones only; whoever works on copies takes any.
        let buffer = self.attachment.buffer().expect("memory for a payload");
        Box::new(Request::new(self.attachment.max_pages, buffer))
    }

    fn run(&mut self, request: Box<Request>) -> Completion {
        let queue = &self.queues[self.turn % self.queues.len()];
        self.turn += 1;
        queue.submit(request).expect("an idle queue has room");
        let mut completions = Vec::new();
        while completions.is_empty() {
            queue.poll(&mut completions);
            thread::yield_now();
        }
        completions.remove(0)
    }
}

/// A payload in one piece.
#[must_use]
pub fn payload(request: &Request) -> Vec<u8> {
    request.payload.slices().collect::<Vec<_>>().concat()
}
