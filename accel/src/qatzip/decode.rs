//! A payload into guest pages, by the library.

use std::sync::Arc;

use pageferry_bindings::qatzip::memory::Pinned;
use pageferry_bindings::qatzip::session::Work;

use super::memory::Memory;
use super::sessions::{By, Sessions};
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
    sessions: Option<Sessions>,
    /// Where a payload is copied to for devices to reach it, where there is such memory; else the library copies it.
    input: Option<Pinned>,
}

impl Decoder {
    pub(super) fn new(opening: &Opening<'_>) -> Result<Self, OpenError> {
        let ram = &opening.attachment.ram;
        let bytes = ram.page_size().bytes_of(opening.attachment.max_pages);
        let sessions = opening.inflate.then(|| opening.sessions(Work::Inflate)).transpose()?;
        let inflate = Inflate { sessions, input: Pinned::new(opening.library, bytes) };
        let pages = PrivatePages::new(Arc::clone(ram), opening.memory(bytes)?);
        Ok(Self { pages, inflate, tally: Arc::clone(opening.tally) })
    }

    pub(super) fn decode(&mut self, request: &mut Request) -> Result<(), Failure> {
        let Self { pages, inflate, tally } = self;
        let mut by = None;
        pages.decode(request, |piece| {
            let by_whom = inflate.decode(piece)?;
            if by != Some(By::Software) {
                by = Some(by_whom);
            }
            Ok(())
        })?;
        if let Some(by) = by {
            tally.count(by);
            if by == By::Hardware {
                request.detours.copied = request.data_pages().0;
            }
        }
        Ok(())
    }
}

impl Inflate {
    /// Decodes a segment, and says who did.
    fn decode(&mut self, piece: Piece<'_>) -> Result<By, Failure> {
        let Piece { index, method, encoded, output, .. } = piece;
        let (Method::Deflate, Some(sessions)) = (method, &mut self.sessions) else {
            return Err(failed(format!("it does not decode {method}")));
        };
        let input = match &mut self.input {
            Some(input) => {
                input[..encoded.len()].copy_from_slice(encoded);
                &input[..encoded.len()]
            }
            None => encoded,
        };
        let (done, by) = sessions
            .decompress(input, output)
            .map_err(|status| failed(format!("segment {index} does not decode: {status}")))?;
        if done.ended && done.consumed == input.len() && done.produced == output.len() {
            return Ok(by);
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
