//! Private copies of guest pages, for accelerators that do not read guest memory themselves.

use std::iter::repeat_n;
use std::ops::DerefMut;
use std::sync::Arc;

use crate::baseline::Baseline;
use crate::checksum::{self, ChecksumKind};
use crate::dma::Block;
use crate::guest::GuestRam;
use crate::method::Method;
use crate::queue::Failure;
use crate::request::{Payload, Request};
use crate::run::{Content, Run, Segment, length, push_page};

/// Memory that copies are taken into, as long as a payload.
pub(crate) trait CopyMemory: DerefMut<Target = [u8]> {
    /// Makes its first `bytes` bytes the payload; what it holds then is unspecified.
    fn become_payload(&mut self, payload: &mut Payload, bytes: usize);
}

impl CopyMemory for Block {
    /// Without another copy.
    fn become_payload(&mut self, payload: &mut Payload, bytes: usize) {
        payload.swap_buffer(self);
        payload.set_filled(bytes);
    }
}

/// The copies of one request's pages, and where they are taken.
///
/// They stay with the worker, not with the request: they are still in its CPU's cache when the next request comes.
pub(crate) struct PrivateCopies<M> {
    ram: Arc<GuestRam>,
    detect_zero: bool,
    memory: M,
    runs: Vec<Run>,
}

impl<M: CopyMemory> PrivateCopies<M> {
    /// `max_pages` is what a request has at most.
    pub(crate) fn new(ram: Arc<GuestRam>, detect_zero: bool, memory: M, max_pages: usize) -> Self {
        Self { ram, detect_zero, memory, runs: Vec::with_capacity(max_pages) }
    }

    /// Encodes a request: `shrink` makes payload and segments of the copies, or says that they are to be sent raw.
    ///
    /// # Errors
    /// What `shrink` says; the request's runs and baselines are then as they were.
    pub(crate) fn encode(
        &mut self,
        request: &mut Request,
        shrink: impl FnOnce(&[u8], &mut Request) -> Result<Shrunk, Failure>,
    ) -> Result<(), Failure> {
        let bytes = self.take(request);
        request.segments.clear();
        if bytes == 0 {
            request.method = Method::Zero;
            request.checksum_kind = ChecksumKind::None;
            self.note_copies(request);
            return Ok(());
        }
        request.checksum_kind = ChecksumKind::Crc32c;
        request.checksum = checksum::crc32c(&self.memory[..bytes]);
        let shrunk = shrink(&self.memory[..bytes], request).inspect_err(|_| {
            std::mem::swap(&mut self.runs, &mut request.runs);
            request.segments.clear();
        })?;
        // Before the copies become the payload.
        self.note_copies(request);
        if shrunk == Shrunk::No {
            self.send_raw(request, bytes);
        }
        Ok(())
    }

    /// Copies every page that is not zero out of guest memory, marks those that are, and says how many bytes that was.
    /// The runs that the request came with are kept.
    fn take(&mut self, request: &mut Request) -> usize {
        let page_bytes = self.ram.page_size().bytes();
        let mut filled = 0;
        self.runs.clear();
        for page in request.runs.iter().flat_map(|run| run.pages()) {
            if self.detect_zero && self.ram.is_zero(page) {
                push_page(&mut self.runs, page, Content::Zero);
            } else {
                push_page(&mut self.runs, page, Content::Data);
                self.ram.copy_out(page, &mut self.memory[filled..filled + page_bytes]);
                filled += page_bytes;
            }
        }
        std::mem::swap(&mut self.runs, &mut request.runs);
        filled
    }

    fn note_copies(&self, request: &mut Request) {
        request.note_copied_pages(self.memory.chunks_exact(self.ram.page_size().bytes()));
    }

    fn send_raw(&mut self, request: &mut Request, bytes: usize) {
        self.memory.become_payload(&mut request.payload, bytes);
        request.segments.clear();
        let (pages, bytes) = (request.data_pages(), length(bytes));
        request.segments.push(Segment { method: Method::Raw, pages, bytes });
    }
}

/// Whether a request's pages take fewer bytes than they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shrunk {
    /// The payload and its segments are in place.
    Yes,
    /// They are to be sent raw.
    No,
}

/// One segment for the whole request, `encoded` bytes long where it is shorter than its pages, which is counted.
pub(crate) fn one_segment(request: &mut Request, encoded: Option<usize>) -> Shrunk {
    let pages = request.data_pages();
    let Some(encoded) = encoded else {
        request.detours.did_not_shrink = pages.0;
        return Shrunk::No;
    };
    request.payload.set_filled(encoded);
    request.segments.push(Segment { method: request.method, pages, bytes: length(encoded) });
    Shrunk::Yes
}

/// What became of every page, with its baseline; nothing where no baselines are kept.
pub(crate) fn by_page<'a>(
    runs: &'a [Run],
    baselines: &'a mut [Option<Baseline>],
) -> impl Iterator<Item = (Content, &'a mut Option<Baseline>)> {
    runs.iter().flat_map(|run| repeat_n(run.content, run.count.as_usize())).zip(baselines)
}
