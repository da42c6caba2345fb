//! A payload into guest pages, on one worker.

use std::sync::Arc;

use crate::codec::deflate::Inflate;
use crate::codec::lz4::Unlz4;
use crate::codec::zstd::Unzstd;
use crate::codec::{DecodeError, delta, xbzrle};
use crate::dma::Block;
use crate::guest::GuestRam;
use crate::method::Method;
use crate::private_pages::{Piece, PrivatePages};
use crate::queue::Failure;
use crate::request::Request;

/// The decoders of one worker and the private pages they decode into.
pub(super) struct Decoder {
    pages: PrivatePages<Block>,
    codecs: Codecs,
}

struct Codecs {
    ram: Arc<GuestRam>,
    inflate: Inflate,
    unzstd: Unzstd,
    unlz4: Unlz4,
}

impl Decoder {
    /// `pages` is as long as a payload.
    pub(super) fn new(ram: &Arc<GuestRam>, pages: Block) -> Self {
        let codecs = Codecs {
            ram: Arc::clone(ram),
            inflate: Inflate::new(),
            unzstd: Unzstd::new(),
            unlz4: Unlz4::new(),
        };
        Self { pages: PrivatePages::new(Arc::clone(ram), pages), codecs }
    }

    /// Decodes every segment, checks the checksum, and only then writes to guest memory.
    pub(super) fn decode(&mut self, request: &Request) -> Result<(), Failure> {
        let Self { pages, codecs } = self;
        pages.decode(request, |piece| {
            let (index, method) = (piece.index, piece.method);
            codecs.decode(piece).map_err(|source| Failure::Corrupt { segment: index, method, source })
        })
    }
}

impl Codecs {
    fn decode(&mut self, piece: Piece<'_>) -> Result<(), DecodeError> {
        let Piece { method, encoded, output, last_page, .. } = piece;
        if let Some(page) = last_page.filter(|_| method.needs_baseline()) {
            self.ram.copy_out(page, output);
        }
        match method {
            // Neither is for a codec: private pages see to both.
            Method::Zero | Method::Raw => {}
            Method::Deflate => self.inflate.decode(encoded, output)?,
            Method::Zstd => self.unzstd.decode(encoded, output)?,
            Method::Lz4 => self.unlz4.decode(encoded, output)?,
            Method::Xbzrle => xbzrle::decode(encoded, output)?,
            Method::Delta => delta::decode(encoded, output)?,
        }
        Ok(())
    }
}
