//! Guest pages into a payload, on one worker.

use std::sync::Arc;

use super::CpuConfig;
use crate::baseline::Baseline;
use crate::codec::deflate::{Deflate, Window};
use crate::codec::lz4::Lz4;
use crate::codec::zstd::Zstd;
use crate::codec::{EncodeFn, delta, xbzrle};
use crate::dma::Block;
use crate::method::Method;
use crate::private_copies::{PrivateCopies, Shrunk, by_page, one_segment};
use crate::queue::{Attachment, Failure};
use crate::request::{Detours, Request};
use crate::run::{Content, Segment, length, push_segment};
use crate::units::PageCount;

/// The codecs of one worker and the private copies they work on.
pub(super) struct Encoder {
    copies: PrivateCopies<Block>,
    codecs: Codecs,
}

struct Codecs {
    page_bytes: usize,
    deflate: Deflate,
    zstd: Zstd,
    lz4: Lz4,
}

impl Encoder {
    /// `copies` is as long as a payload.
    pub(super) fn new(config: CpuConfig, attachment: &Attachment, copies: Block) -> Result<Self, String> {
        let Attachment { ram, max_pages, deflate_window, .. } = attachment;
        let window = Window::within(config.deflate_window.bits().min(deflate_window.bits()));
        let codecs = Codecs {
            page_bytes: ram.page_size().bytes(),
            deflate: Deflate::new(config.deflate_level, window).map_err(|error| error.to_string())?,
            zstd: Zstd::new(config.zstd_level).map_err(|error| error.to_string())?,
            lz4: Lz4::new(),
        };
        let copies = PrivateCopies::new(Arc::clone(ram), config.detect_zero, copies, max_pages.as_usize());
        Ok(Self { copies, codecs })
    }

    /// Encodes by the method that was asked for; pages that would not shrink by it are sent raw, so this never fails.
    pub(super) fn encode(&mut self, request: &mut Request) -> Result<(), Failure> {
        let Self { copies, codecs } = self;
        copies.encode(request, |copies, request| Ok(codecs.encode(copies, request)))
    }
}

impl Codecs {
    fn encode(&mut self, copies: &[u8], request: &mut Request) -> Shrunk {
        match request.method {
            Method::Zero | Method::Raw => Shrunk::No,
            Method::Xbzrle => self.encode_pages(copies, request, xbzrle::encode),
            Method::Delta => self.encode_pages(copies, request, delta::encode),
            Method::Deflate | Method::Zstd | Method::Lz4 => self.encode_whole(copies, request),
        }
    }

    /// One segment for the whole request.
    fn encode_whole(&mut self, copies: &[u8], request: &mut Request) -> Shrunk {
        // One byte less than raw, or it is no gain.
        let output = &mut request.payload.buffer()[..copies.len() - 1];
        let encoded = match request.method {
            Method::Deflate => self.deflate.encode(copies, output),
            Method::Zstd => self.zstd.encode(copies, output),
            _ => self.lz4.encode(copies, output),
        };
        one_segment(request, encoded.ok())
    }

    /// A segment a page, raw ones where there is no baseline or it does not help. Says whether any page shrank.
    fn encode_pages(&self, copies: &[u8], request: &mut Request, encode: EncodeFn) -> Shrunk {
        let page_bytes = self.page_bytes;
        let Request { method, runs, baselines, segments, payload, detours, .. } = request;
        let pages = copies.chunks_exact(page_bytes);
        if baselines.iter().flatten().all(|baseline| baseline.exact().is_none()) {
            detours.no_baseline = length(pages.len());
            return Shrunk::No;
        }
        let mut filled = 0;
        for (page, (_, baseline)) in pages.zip(by_page(runs, baselines).filter(has_data)) {
            let output = &mut payload.buffer()[filled..filled + page_bytes];
            let shrunk = encode_page(page, baseline.as_ref(), &mut output[..page_bytes - 1], encode, detours);
            let (method, encoded) = shrunk.map_or((Method::Raw, page_bytes), |encoded| (*method, encoded));
            if method == Method::Raw {
                output.copy_from_slice(page);
            }
            push_segment(segments, Segment { method, pages: PageCount::ONE, bytes: length(encoded) });
            filled += encoded;
        }
        payload.set_filled(filled);
        if filled < copies.len() { Shrunk::Yes } else { Shrunk::No }
    }
}

fn has_data((content, _): &(Content, &mut Option<Baseline>)) -> bool {
    *content == Content::Data
}

fn encode_page(
    page: &[u8],
    baseline: Option<&Baseline>,
    output: &mut [u8],
    encode: EncodeFn,
    detours: &mut Detours,
) -> Option<usize> {
    let Some(old) = baseline.and_then(Baseline::exact) else {
        detours.no_baseline += 1;
        return None;
    };
    let encoded = encode(old, page, output).ok();
    detours.overflow += u32::from(encoded.is_none());
    encoded
}
