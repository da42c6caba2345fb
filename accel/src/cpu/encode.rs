//! Guest pages into a payload, on one worker.

use std::iter::repeat_n;
use std::sync::Arc;

use super::CpuConfig;
use crate::baseline::Baseline;
use crate::checksum::{self, ChecksumKind};
use crate::codec::deflate::{Deflate, Window};
use crate::codec::lz4::Lz4;
use crate::codec::zstd::Zstd;
use crate::codec::{EncodeFn, delta, xbzrle};
use crate::dma::Block;
use crate::guest::GuestRam;
use crate::method::Method;
use crate::queue::Attachment;
use crate::request::{Detours, Request};
use crate::run::{Content, Run, Segment, push_page, push_segment};
use crate::units::PageCount;

/// The codecs of one worker and the private copies they work on.
///
/// The copies stay with the worker, not with the request: they are still in this CPU's cache when the next request
/// comes.
pub(super) struct Encoder {
    ram: Arc<GuestRam>,
    detect_zero: bool,
    copies: Block,
    runs: Vec<Run>,
    deflate: Deflate,
    zstd: Zstd,
    lz4: Lz4,
}

impl Encoder {
    /// `copies` is as long as a payload.
    pub(super) fn new(config: CpuConfig, attachment: &Attachment, copies: Block) -> Result<Self, String> {
        let ram = Arc::clone(&attachment.ram);
        let window = Window::within(config.deflate_window.bits().min(attachment.deflate_window.bits()));
        Ok(Self {
            detect_zero: config.detect_zero,
            copies,
            runs: Vec::with_capacity(attachment.max_pages.as_usize()),
            deflate: Deflate::new(config.deflate_level, window).map_err(|error| error.to_string())?,
            zstd: Zstd::new(config.zstd_level).map_err(|error| error.to_string())?,
            lz4: Lz4::new(),
            ram,
        })
    }

    /// Encodes by the method that was asked for; pages that would not shrink by it are sent raw, so this never fails.
    pub(super) fn encode(&mut self, request: &mut Request) {
        let bytes = self.take_copies(request);
        request.segments.clear();
        if bytes == 0 {
            request.method = Method::Zero;
            request.checksum_kind = ChecksumKind::None;
            self.update_baselines(request);
            return;
        }
        request.checksum_kind = ChecksumKind::Crc32c;
        request.checksum = checksum::crc32c(&self.copies[..bytes]);
        let shrunk = match request.method {
            Method::Zero | Method::Raw => false,
            Method::Xbzrle => self.encode_pages(request, bytes, xbzrle::encode),
            Method::Delta => self.encode_pages(request, bytes, delta::encode),
            Method::Deflate | Method::Zstd | Method::Lz4 => self.encode_whole(request, bytes),
        };
        // Before the copies become the payload.
        self.update_baselines(request);
        if !shrunk {
            self.send_raw(request, bytes);
        }
    }

    /// Copies every page that is not zero out of guest memory, marks those that are, and says how many bytes that was.
    fn take_copies(&mut self, request: &mut Request) -> usize {
        let page_bytes = self.ram.page_size().bytes();
        let mut filled = 0;
        self.runs.clear();
        for page in request.runs.iter().flat_map(|run| run.pages()) {
            if self.detect_zero && self.ram.is_zero(page) {
                push_page(&mut self.runs, page, Content::Zero);
            } else {
                push_page(&mut self.runs, page, Content::Data);
                self.ram.copy_out(page, &mut self.copies[filled..filled + page_bytes]);
                filled += page_bytes;
            }
        }
        std::mem::swap(&mut self.runs, &mut request.runs);
        filled
    }

    /// One segment for the whole request.
    fn encode_whole(&mut self, request: &mut Request, bytes: usize) -> bool {
        let copies = &self.copies[..bytes];
        // One byte less than raw, or it is no gain.
        let output = &mut request.payload.buffer()[..bytes - 1];
        let encoded = match request.method {
            Method::Deflate => self.deflate.encode(copies, output),
            Method::Zstd => self.zstd.encode(copies, output),
            _ => self.lz4.encode(copies, output),
        };
        let pages = request.data_pages();
        let Ok(encoded) = encoded else {
            request.detours.did_not_shrink = pages.0;
            return false;
        };
        request.payload.set_filled(encoded);
        request.segments.push(Segment { method: request.method, pages, bytes: length(encoded) });
        true
    }

    /// A segment a page, raw ones where there is no baseline or it does not help. Says whether any page shrank.
    fn encode_pages(&self, request: &mut Request, bytes: usize, encode: EncodeFn) -> bool {
        let page_bytes = self.ram.page_size().bytes();
        let Request { method, runs, baselines, segments, payload, detours, .. } = request;
        let copies = self.copies[..bytes].chunks_exact(page_bytes);
        if baselines.iter().flatten().all(|baseline| baseline.exact().is_none()) {
            detours.no_baseline = length(copies.len());
            return false;
        }
        let mut filled = 0;
        for (page, (_, baseline)) in copies.zip(by_page(runs, baselines).filter(has_data)) {
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
        filled < bytes
    }

    /// What was copied is what the destination will have.
    fn update_baselines(&self, request: &mut Request) {
        let mut copies = self.copies.chunks_exact(self.ram.page_size().bytes());
        for (content, baseline) in by_page(&request.runs, &mut request.baselines) {
            match (content, baseline) {
                (Content::Zero, baseline) => baseline.iter_mut().for_each(Baseline::set_zero),
                (Content::Data, None) => drop(copies.next()),
                (Content::Data, Some(baseline)) => {
                    copies.next().into_iter().for_each(|page| baseline.set(page))
                }
            }
        }
    }

    /// The copies become the payload, without another copy.
    fn send_raw(&mut self, request: &mut Request, bytes: usize) {
        request.payload.swap_buffer(&mut self.copies);
        request.payload.set_filled(bytes);
        request.segments.clear();
        request.segments.push(Segment {
            method: Method::Raw,
            pages: request.data_pages(),
            bytes: length(bytes),
        });
    }
}

/// What became of every page, with its baseline; nothing where no baselines are kept.
fn by_page<'a>(
    runs: &'a [Run],
    baselines: &'a mut [Option<Baseline>],
) -> impl Iterator<Item = (Content, &'a mut Option<Baseline>)> {
    runs.iter().flat_map(|run| repeat_n(run.content, run.count.as_usize())).zip(baselines)
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

/// A length as the tables have it; a request is at most 64 MiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
