//! Guest pages into a payload, by the library.

use std::sync::Arc;

use pageferry_bindings::qatzip::session::{Work, bound};

use super::frame::{self, Block, MAX_BLOCK_BYTES};
use super::memory::Memory;
use super::sessions::{By, Sessions};
use super::tally::Tally;
use super::{Opening, failed};
use crate::method::Method;
use crate::private_copies::{PrivateCopies, Shrunk};
use crate::queue::{Failure, OpenError};
use crate::request::Request;
use crate::run::{Segment, length, push_segment};
use crate::units::PageCount;

/// What one worker encodes with.
pub(super) struct Encoder {
    copies: PrivateCopies<Memory>,
    pieces: Pieces,
}

/// A request's pages, piece by piece.
struct Pieces {
    deflate: Sessions,
    lz4: Option<Sessions>,
    /// Longer than a piece: what the library is to compress into must not be too short.
    output: Memory,
    /// The most that hardware does at once, which is more than a page.
    hardware_buffer_bytes: usize,
    page_bytes: usize,
    tally: Arc<Tally>,
}

impl Encoder {
    pub(super) fn new(opening: &Opening<'_>) -> Result<Self, OpenError> {
        let ram = &opening.attachment.ram;
        let max_pages = opening.attachment.max_pages.as_usize();
        let bytes = ram.page_size().bytes_of(opening.attachment.max_pages);
        let hardware_buffer_bytes = opening.hardware_buffer_bytes as usize;
        let longest = bytes.min(hardware_buffer_bytes);
        let pieces = Pieces {
            deflate: opening.sessions(Work::Deflate)?,
            lz4: opening.lz4.then(|| opening.sessions(Work::Lz4)).transpose()?,
            output: opening.memory(bound(longest, opening.hardware_buffer_bytes))?,
            hardware_buffer_bytes,
            page_bytes: ram.page_size().bytes(),
            tally: Arc::clone(opening.tally),
        };
        let copies = opening.memory(bytes)?;
        let copies = PrivateCopies::new(Arc::clone(ram), opening.detect_zero, copies, max_pages);
        Ok(Self { copies, pieces })
    }

    pub(super) fn encode(&mut self, request: &mut Request) -> Result<(), Failure> {
        let Self { copies, pieces } = self;
        copies.encode(request, |copies, request| match request.method {
            Method::Zero | Method::Raw => Ok(Shrunk::No),
            Method::Deflate | Method::Lz4 => pieces.encode(copies, request),
            Method::Zstd | Method::Xbzrle | Method::Delta => {
                Err(failed(format!("it does not encode {}", request.method)))
            }
        })
    }
}

impl Pieces {
    /// A segment for each piece, raw ones where they do not shrink.
    fn encode(&mut self, copies: &[u8], request: &mut Request) -> Result<Shrunk, Failure> {
        let Self { hardware_buffer_bytes, page_bytes, .. } = *self;
        let most = if request.method == Method::Lz4 { MAX_BLOCK_BYTES } else { hardware_buffer_bytes };
        let (mut filled, mut did_not_shrink, mut by) = (0, 0, By::Hardware);
        for pages in copies.chunks(most) {
            let (encoded, by_whom) =
                if request.method == Method::Lz4 { self.lz4(pages)? } else { self.deflate(pages)? };
            if by_whom == By::Software {
                by = By::Software;
            }
            let (method, bytes) = match encoded {
                Some(encoded) if encoded.len() < pages.len() => (request.method, encoded),
                _ => (Method::Raw, pages),
            };
            let count = PageCount(length(pages.len() / page_bytes));
            did_not_shrink += if method == Method::Raw { count.0 } else { 0 };
            request.payload.buffer()[filled..filled + bytes.len()].copy_from_slice(bytes);
            push_segment(&mut request.segments, Segment { method, pages: count, bytes: length(bytes.len()) });
            filled += bytes.len();
        }
        self.tally.count(by);
        // Copies for a device are counted; those for software are what every codec works on.
        if by == By::Hardware {
            request.detours.copied = request.data_pages().0;
        }
        request.detours.did_not_shrink = did_not_shrink;
        request.payload.set_filled(filled);
        Ok(if filled < copies.len() { Shrunk::Yes } else { Shrunk::No })
    }

    /// A stream of some pages, and who made it.
    fn deflate(&mut self, pages: &[u8]) -> Result<(Option<&[u8]>, By), Failure> {
        let (done, by) = self.deflate.compress(pages, &mut self.output).map_err(failed)?;
        if done.consumed != pages.len() {
            return Err(failed(format!("it compressed {} bytes of {}", done.consumed, pages.len())));
        }
        Ok((Some(&self.output[..done.produced]), by))
    }

    /// A block of some pages, unless it is a stored one, and who made it.
    fn lz4(&mut self, pages: &[u8]) -> Result<(Option<&[u8]>, By), Failure> {
        let Some(sessions) = &mut self.lz4 else {
            return Err(failed("this version of it has no lz4"));
        };
        let (done, by) = sessions.compress(pages, &mut self.output).map_err(failed)?;
        match frame::single_block(&self.output[..done.produced]).filter(|_| done.consumed == pages.len()) {
            Some(Block::Lz4(block)) => Ok((Some(block), by)),
            Some(Block::Stored) => Ok((None, by)),
            None => Err(failed("it made no LZ4 frame of one block")),
        }
    }
}
