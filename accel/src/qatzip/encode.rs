//! Guest pages into a payload, by the library.

use std::sync::Arc;

use pageferry_bindings::qatzip::session::{Session, Work, bound};

use super::frame::{self, Block, MAX_BLOCK_BYTES};
use super::memory::Memory;
use super::tally::Tally;
use super::{Opening, failed};
use crate::method::Method;
use crate::private_copies::{PrivateCopies, Shrunk, one_segment};
use crate::queue::{Failure, OpenError};
use crate::request::Request;
use crate::run::{Segment, length, push_segment};
use crate::units::PageCount;

/// What one worker encodes with.
pub(super) struct Encoder {
    copies: PrivateCopies<Memory>,
    sessions: Sessions,
}

struct Sessions {
    deflate: Session,
    lz4: Option<Session>,
    /// Longer than a payload: what the library is to compress into must not be too short.
    output: Memory,
    page_bytes: usize,
    tally: Arc<Tally>,
}

impl Encoder {
    pub(super) fn new(opening: &Opening<'_>) -> Result<Self, OpenError> {
        let ram = &opening.attachment.ram;
        let max_pages = opening.attachment.max_pages.as_usize();
        let bytes = ram.page_size().bytes_of(opening.attachment.max_pages);
        let sessions = Sessions {
            deflate: opening.session(Work::Deflate)?,
            lz4: opening.lz4.then(|| opening.session(Work::Lz4)).transpose()?,
            output: opening.memory(bound(bytes, opening.hardware_buffer_bytes))?,
            page_bytes: ram.page_size().bytes(),
            tally: Arc::clone(opening.tally),
        };
        let copies = opening.memory(bytes)?;
        let copies = PrivateCopies::new(Arc::clone(ram), opening.detect_zero, copies, max_pages);
        Ok(Self { copies, sessions })
    }

    pub(super) fn encode(&mut self, request: &mut Request) -> Result<(), Failure> {
        let Self { copies, sessions } = self;
        copies.encode(request, |copies, request| match request.method {
            Method::Zero | Method::Raw => Ok(Shrunk::No),
            Method::Deflate => sessions.deflate(copies, request),
            Method::Lz4 => sessions.lz4(copies, request),
            Method::Zstd | Method::Xbzrle | Method::Delta => {
                Err(failed(format!("it does not encode {}", request.method)))
            }
        })
    }
}

impl Sessions {
    /// One segment for the whole request.
    fn deflate(&mut self, copies: &[u8], request: &mut Request) -> Result<Shrunk, Failure> {
        let done = self.deflate.compress(copies, &mut self.output).map_err(failed)?;
        if done.consumed != copies.len() {
            return Err(failed(format!("it compressed {} bytes of {}", done.consumed, copies.len())));
        }
        self.count(request, done.by_hardware);
        let encoded = Some(done.produced).filter(|&produced| produced < copies.len());
        if let Some(encoded) = encoded {
            request.payload.buffer()[..encoded].copy_from_slice(&self.output[..encoded]);
        }
        Ok(one_segment(request, encoded))
    }

    /// A segment for as many pages as a block takes, raw ones where they do not shrink.
    fn lz4(&mut self, copies: &[u8], request: &mut Request) -> Result<Shrunk, Failure> {
        let Some(session) = &mut self.lz4 else {
            return Err(failed("this version of it has no lz4"));
        };
        let (mut filled, mut did_not_shrink, mut by_hardware) = (0, 0, true);
        for pages in copies.chunks(MAX_BLOCK_BYTES) {
            let done = session.compress(pages, &mut self.output).map_err(failed)?;
            by_hardware &= done.by_hardware;
            let block = frame::single_block(&self.output[..done.produced])
                .filter(|_| done.consumed == pages.len())
                .ok_or_else(|| failed("it made no LZ4 frame of one block"))?;
            let (method, bytes) = match block {
                Block::Lz4(block) if block.len() < pages.len() => (Method::Lz4, block),
                Block::Lz4(_) | Block::Stored => (Method::Raw, pages),
            };
            let count = PageCount(length(pages.len() / self.page_bytes));
            did_not_shrink += if method == Method::Raw { count.0 } else { 0 };
            request.payload.buffer()[filled..filled + bytes.len()].copy_from_slice(bytes);
            push_segment(&mut request.segments, Segment { method, pages: count, bytes: length(bytes.len()) });
            filled += bytes.len();
        }
        self.count(request, by_hardware);
        request.detours.did_not_shrink = did_not_shrink;
        request.payload.set_filled(filled);
        Ok(if filled < copies.len() { Shrunk::Yes } else { Shrunk::No })
    }

    /// Copies for a device are counted; those for software are what every codec works on.
    fn count(&self, request: &mut Request, by_hardware: bool) {
        self.tally.count(by_hardware);
        if by_hardware {
            request.detours.copied = request.data_pages().0;
        }
    }
}
