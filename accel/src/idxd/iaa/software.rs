//! What the CPU does of a request in the device's place, where a page fault is not worth another try.

use super::IaaWork;
use super::encode::CHECKSUM;
use super::piece::{Encoded, Piece};
use crate::codec::deflate::{DEFAULT_LEVEL, Deflate, Inflate, Window};
use crate::request::Payload;
use crate::run::length;

/// Codecs of a queue, and private pages for them to work on.
pub(super) struct Software {
    /// Without one nothing shrinks.
    deflate: Option<Deflate>,
    inflate: Inflate,
    pages: Box<[u8]>,
}

impl Software {
    /// For pieces of up to as many bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            deflate: Deflate::new(DEFAULT_LEVEL, Window::Kib4).ok(),
            inflate: Inflate::new(),
            pages: vec![0; max_bytes].into_boxed_slice(),
        }
    }

    /// Decodes to `pages`, all of them.
    ///
    /// # Errors
    /// What is wrong with the stream.
    pub(super) fn inflate(&mut self, encoded: &[u8], pages: &mut [u8]) -> Result<(), String> {
        self.inflate.decode(encoded, pages).map_err(|error| error.to_string())
    }
}

impl IaaWork {
    /// Compresses a piece to its part of the payload, from a copy, since what it is of changes meanwhile.
    pub(super) fn compress(&self, piece: &mut Piece, payload: &mut Payload, software: &mut Software) {
        let bytes = self.page_size.bytes_of(piece.pages);
        let pages = &mut software.pages[..bytes];
        self.copy_out(piece, pages);
        let part = &mut payload.buffer()[piece.offset..piece.offset + bytes - 1];
        let encoded = software.deflate.as_mut().and_then(|deflate| deflate.encode(pages, part).ok());
        piece.encoded = encoded.map(|encoded| Encoded { bytes: length(encoded), crc: CHECKSUM.of(pages) });
        piece.by_software = true;
    }

    /// Decodes what the device made of a piece.
    ///
    /// # Errors
    /// Which piece is not what it should be, and how it differs.
    pub(super) fn verify_by_software(
        &self,
        piece: &Piece,
        payload: &mut Payload,
        software: &mut Software,
    ) -> Result<(), String> {
        let Some(Encoded { bytes, crc }) = piece.encoded else { return Ok(()) };
        let Software { inflate, pages, .. } = software;
        let pages = &mut pages[..self.page_size.bytes_of(piece.pages)];
        let encoded = &payload.buffer()[piece.offset..piece.offset + bytes as usize];
        inflate.decode(encoded, pages).map_err(|error| piece.differs(format_args!("is wrong: {error}")))?;
        let decoded = CHECKSUM.of(pages);
        if decoded != crc {
            return Err(piece.has_checksum(decoded, crc));
        }
        Ok(())
    }
}
