//! A payload into guest pages, by the library.

use std::sync::Arc;

use pageferry_bindings::qatzip::memory::Pinned;
use pageferry_bindings::qatzip::session::{Session, Work};

use super::memory::Memory;
use super::tally::Tally;
use super::{Opening, failed};
use crate::method::Method;
use crate::private_pages::{Piece, PrivatePages};
use crate::queue::{Failure, OpenError};
use crate::request::Request;

/// What one worker decodes with.
pub(super) struct Decoder {
    pages: PrivatePages<Memory>,
    inflate: Inflate,
    tally: Arc<Tally>,
}

struct Inflate {
    /// `None` if the library does not tell where a stream ends.
    session: Option<Session>,
    /// Where a payload is copied to for devices to reach it, where there is such memory; else the library copies it.
    input: Option<Pinned>,
}

impl Decoder {
    pub(super) fn new(opening: &Opening<'_>) -> Result<Self, OpenError> {
        let ram = &opening.attachment.ram;
        let bytes = ram.page_size().bytes_of(opening.attachment.max_pages);
        let session = opening.inflate.then(|| opening.session(Work::Inflate)).transpose()?;
        let inflate = Inflate { session, input: Pinned::new(opening.library, bytes) };
        let pages = PrivatePages::new(Arc::clone(ram), opening.memory(bytes)?);
        Ok(Self { pages, inflate, tally: Arc::clone(opening.tally) })
    }

    pub(super) fn decode(&mut self, request: &mut Request) -> Result<(), Failure> {
        let Self { pages, inflate, tally } = self;
        let mut by_hardware = None;
        pages.decode(request, |piece| {
            let hardware = inflate.decode(piece)?;
            by_hardware = Some(by_hardware.unwrap_or(true) && hardware);
            Ok(())
        })?;
        if let Some(by_hardware) = by_hardware {
            tally.count(by_hardware);
            if by_hardware {
                request.detours.copied = request.data_pages().0;
            }
        }
        Ok(())
    }
}

impl Inflate {
    /// Decodes a segment, and says whether hardware did.
    fn decode(&mut self, piece: Piece<'_>) -> Result<bool, Failure> {
        let Piece { index, method, encoded, output, .. } = piece;
        let (Method::Deflate, Some(session)) = (method, &mut self.session) else {
            return Err(failed(format!("it does not decode {method}")));
        };
        let input = match &mut self.input {
            Some(input) => {
                input[..encoded.len()].copy_from_slice(encoded);
                &input[..encoded.len()]
            }
            None => encoded,
        };
        let done = session
            .decompress(input, output)
            .map_err(|status| failed(format!("segment {index} does not decode: {status}")))?;
        if done.ended && done.consumed == input.len() && done.produced == output.len() {
            return Ok(done.by_hardware);
        }
        Err(failed(format!(
            "segment {index} decodes to {} bytes of {} from {} of {}{}",
            done.produced,
            output.len(),
            done.consumed,
            input.len(),
            if done.ended { "" } else { ", and its stream does not end" }
        )))
    }
}
