//! A payload into guest pages, on one worker.

use std::sync::Arc;

use crate::codec::deflate::Inflate;
use crate::codec::lz4::Unlz4;
use crate::codec::zstd::Unzstd;
use crate::codec::{DecodeError, delta, xbzrle};
use crate::dma::Block;
use crate::guest::GuestRam;
use crate::method::Method;
use crate::queue::Failure;
use crate::request::Request;
use crate::run::{Content, Run, Segment};
use crate::units::PageIndex;

/// The decoders of one worker and the private pages they decode into.
///
/// Nothing reaches guest memory before the checksum of all the request's pages was seen to hold.
pub(super) struct Decoder {
    ram: Arc<GuestRam>,
    pages: Block,
    inflate: Inflate,
    unzstd: Unzstd,
    unlz4: Unlz4,
}

impl Decoder {
    /// `pages` is as long as a payload.
    pub(super) fn new(ram: Arc<GuestRam>, pages: Block) -> Self {
        Self { pages, inflate: Inflate::new(), unzstd: Unzstd::new(), unlz4: Unlz4::new(), ram }
    }

    /// Decodes every segment, checks the checksum, and only then writes to guest memory.
    ///
    /// The tables of the request were checked when its frame was read: segments cover the data pages exactly and have
    /// the payload's length in sum.
    pub(super) fn decode(&mut self, request: &mut Request) -> Result<(), Failure> {
        let bytes = self.ram.page_size().bytes_of(request.data_pages());
        match *request.segments {
            // Raw bytes need no decoding: they change places with the private pages.
            [Segment { method: Method::Raw, .. }] => {
                verify(request, request.payload.bytes())?;
                request.payload.swap_buffer(&mut self.pages);
            }
            _ => {
                self.decode_segments(request)?;
                verify(request, &self.pages[..bytes])?;
            }
        }
        self.write_pages(&request.runs);
        Ok(())
    }

    fn decode_segments(&mut self, request: &Request) -> Result<(), Failure> {
        let page_bytes = self.ram.page_size().bytes();
        let mut data_pages =
            request.runs.iter().filter(|run| run.content == Content::Data).flat_map(|run| run.pages());
        let (mut from, mut to) = (0, 0);
        for (index, &segment) in request.segments.iter().enumerate() {
            let encoded = &request.payload.bytes()[from..from + segment.bytes as usize];
            let pages = to..to + segment.pages.as_usize() * page_bytes;
            (from, to) = (from + encoded.len(), pages.end);
            let first = data_pages.nth(segment.pages.as_usize() - 1);
            self.decode_segment(segment.method, encoded, pages, first)
                .map_err(|source| Failure::Corrupt { segment: index, method: segment.method, source })?;
        }
        Ok(())
    }

    /// `page` is the segment's last page: the only one where the method needs to know it.
    fn decode_segment(
        &mut self,
        method: Method,
        encoded: &[u8],
        pages: std::ops::Range<usize>,
        page: Option<PageIndex>,
    ) -> Result<(), DecodeError> {
        let output = &mut self.pages[pages];
        if let Some(page) = page.filter(|_| method.needs_baseline()) {
            self.ram.copy_out(page, output);
        }
        match method {
            Method::Zero => output.fill(0),
            Method::Raw => output.copy_from_slice(encoded),
            Method::Deflate => self.inflate.decode(encoded, output)?,
            Method::Zstd => self.unzstd.decode(encoded, output)?,
            Method::Lz4 => self.unlz4.decode(encoded, output)?,
            Method::Xbzrle => xbzrle::decode(encoded, output)?,
            Method::Delta => delta::decode(encoded, output)?,
        }
        Ok(())
    }

    fn write_pages(&self, runs: &[Run]) {
        let mut data = self.pages.chunks_exact(self.ram.page_size().bytes());
        for (page, content) in runs.iter().flat_map(|run| run.pages().map(|page| (page, run.content))) {
            match content {
                Content::Zero => self.ram.clear(page),
                Content::Data => data.next().into_iter().for_each(|bytes| self.ram.copy_in(page, bytes)),
            }
        }
    }
}

fn verify(request: &Request, pages: &[u8]) -> Result<(), Failure> {
    let computed = request.checksum_kind.of(pages);
    if computed == request.checksum {
        Ok(())
    } else {
        Err(Failure::ChecksumMismatch { stated: request.checksum, computed })
    }
}
