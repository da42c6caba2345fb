//! Private pages that a request is decoded into, for accelerators that do not write to guest memory themselves.

use std::ops::DerefMut;
use std::sync::Arc;

use crate::guest::GuestRam;
use crate::method::Method;
use crate::queue::Failure;
use crate::request::Request;
use crate::run::{Content, Run, Segment};
use crate::units::PageIndex;

/// Room for the pages of a request.
///
/// Nothing reaches guest memory before the checksum of all the request's pages was seen to hold.
pub(crate) struct PrivatePages<M> {
    ram: Arc<GuestRam>,
    memory: M,
}

/// A segment on its way from a payload into private pages.
pub(crate) struct Piece<'a> {
    /// Its place among the request's.
    pub(crate) index: usize,
    /// Its method.
    pub(crate) method: Method,
    /// Its part of the payload.
    pub(crate) encoded: &'a [u8],
    /// Its pages.
    pub(crate) output: &'a mut [u8],
    /// The last of them: the only one, where the method needs to know it.
    pub(crate) last_page: Option<PageIndex>,
}

impl<M: DerefMut<Target = [u8]>> PrivatePages<M> {
    /// `memory` is as long as a payload.
    pub(crate) fn new(ram: Arc<GuestRam>, memory: M) -> Self {
        Self { ram, memory }
    }

    /// Has `decode` decode every segment that is neither raw nor zero, checks the checksum, and only then writes to guest
    /// memory.
    ///
    /// The tables of the request were checked when its frame was read: segments cover the data pages exactly and have
    /// the payload's length in sum.
    pub(crate) fn decode(
        &mut self,
        request: &Request,
        decode: impl FnMut(Piece<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let data = match *request.segments {
            // Raw bytes need no decoding.
            [Segment { method: Method::Raw, .. }] => request.payload.bytes(),
            _ => {
                self.decode_segments(request, decode)?;
                &self.memory[..self.ram.page_size().bytes_of(request.data_pages())]
            }
        };
        verify(request, data)?;
        write_pages(&self.ram, &request.runs, data);
        Ok(())
    }

    fn decode_segments(
        &mut self,
        request: &Request,
        mut decode: impl FnMut(Piece<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let page_bytes = self.ram.page_size().bytes();
        let mut data_pages =
            request.runs.iter().filter(|run| run.content == Content::Data).flat_map(|run| run.pages());
        let (mut from, mut to) = (0, 0);
        for (index, &Segment { method, pages, bytes }) in request.segments.iter().enumerate() {
            let encoded = &request.payload.bytes()[from..from + bytes as usize];
            let output = &mut self.memory[to..to + pages.as_usize() * page_bytes];
            (from, to) = (from + encoded.len(), to + output.len());
            let last_page = data_pages.nth(pages.as_usize() - 1);
            match method {
                Method::Zero => output.fill(0),
                Method::Raw => output.copy_from_slice(encoded),
                _ => decode(Piece { index, method, encoded, output, last_page })?,
            }
        }
        Ok(())
    }
}

fn write_pages(ram: &GuestRam, runs: &[Run], data: &[u8]) {
    let mut data = data.chunks_exact(ram.page_size().bytes());
    for (page, content) in runs.iter().flat_map(|run| run.pages().map(|page| (page, run.content))) {
        match content {
            Content::Zero => ram.clear(page),
            Content::Data => data.next().into_iter().for_each(|bytes| ram.copy_in(page, bytes)),
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
