//! Guest pages into a payload: pieces of runs, each compressed on its own from where it is to where it goes.

use pageferry_bindings::idxd::aecs::{CompressAecs, Histogram};
use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::{CompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::{AnalyticsError, IaaStatus};

use super::IaaWork;
use super::phase::{Outcome, Phase, succeeded};
use super::piece::{Encoded, Piece};
use super::tables::{Codes, Pass};
use super::verify::Question;
use crate::checksum::ChecksumKind;
use crate::dma::Block;
use crate::idxd::work::Outbox;
use crate::method::Method;
use crate::request::{Detours, Request};
use crate::run::{Content, Run, Segment, length, push_segment};
use crate::units::PageCount;

/// Where pieces are not cut any shorter, since each has a header and an empty history of its own.
const MIN_PIECE_PAGES: u32 = 4;

/// What is kept of a request while it is encoded.
pub(super) struct Encoding {
    pub(super) codes: Codes,
    stage: Stage,
    /// The request's runs, with the zero pages apart.
    runs: Vec<Run>,
    pieces: Vec<Piece>,
    detours: Detours,
}

/// What the device is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Count,
    Compress,
    Verify,
}

impl Encoding {
    /// Room for requests of `max_pages` pages; `codes` is as long as [`Codes::BYTES`].
    pub(super) fn new(codes: Block, max_pages: usize) -> Self {
        Self {
            codes: Codes::new(codes),
            stage: Stage::Compress,
            runs: Vec::with_capacity(max_pages),
            pieces: Vec::with_capacity(max_pages),
            detours: Detours::default(),
        }
    }
}

impl IaaWork {
    /// Cuts the request into pieces and posts the first pass over them. A request without data has none.
    ///
    /// # Errors
    /// If this request is none for this device.
    pub(super) fn begin_encoding(
        &self,
        request: &Request,
        encoding: &mut Encoding,
        scratch: &Block,
        phase: &mut Phase,
        outbox: &mut Outbox<IaaCompletion>,
    ) -> Result<(), String> {
        if request.method != Method::Deflate {
            return Err(format!("it encodes by deflate alone; {} was asked for", request.method));
        }
        encoding.detours = Detours::default();
        encoding.stage = Stage::Compress;
        self.cut(request, encoding)?;
        if encoding.pieces.is_empty() {
            return Ok(());
        }
        match self.tables.prepare(&mut encoding.codes) {
            Pass::Count => {
                encoding.stage = Stage::Count;
                self.post_counting(encoding, scratch, phase, outbox);
            }
            Pass::Compress => self.post_compression(request, encoding, phase, outbox),
        }
        Ok(())
    }

    /// Looks at a pass; posts the next one and says so, or completes the request.
    ///
    /// # Errors
    /// What the device could not do, in words. The request is as it was then.
    pub(super) fn advance_encoding(
        &self,
        request: &mut Request,
        encoding: &mut Encoding,
        scratch: &Block,
        phase: &mut Phase,
        outbox: &mut Outbox<IaaCompletion>,
    ) -> Result<bool, String> {
        let Encoding { codes, pieces, stage, detours, .. } = encoding;
        let payload = &mut request.payload;
        let (mut choice, mut software) = (self.choice(), self.software());
        let is_over =
            phase.settle(outbox, &mut choice, detours, |part, outcome| match (*stage, outcome) {
                (Stage::Count, Outcome::Record(record)) => succeeded(record),
                (Stage::Compress, Outcome::Record(record)) => self.compressed(&mut pieces[part], record),
                (Stage::Count | Stage::Compress, Outcome::LeftToCpu) => {
                    self.compress(&mut pieces[part], payload, &mut software);
                    Ok(())
                }
                (Stage::Verify, outcome) => {
                    let (piece, question) = Question::of(part);
                    match outcome {
                        Outcome::Record(record) => self.verified(&pieces[piece], question, record),
                        Outcome::LeftToCpu => self.verify_by_software(&pieces[piece], payload, &mut software),
                    }
                }
            })?;
        if !is_over {
            return Ok(true);
        }
        phase.next(outbox);
        if *stage == Stage::Count {
            match pieces.iter().filter(|piece| !piece.by_software).count() {
                0 => self.tables.give_up(codes),
                counted => self.tables.learn(codes, &sum(scratch, pieces), counted),
            }
            *stage = Stage::Compress;
            self.post_compression(request, encoding, phase, outbox);
        } else if *stage == Stage::Compress && self.config.verify {
            *stage = Stage::Verify;
            self.post_verification(request, pieces, scratch, phase, outbox);
        }
        if outbox.len() > 0 {
            return Ok(true);
        }
        self.complete(request, encoding);
        Ok(false)
    }

    /// Cuts the runs where zero pages are, and where they are too long to keep all engines busy.
    fn cut(&self, request: &Request, encoding: &mut Encoding) -> Result<(), String> {
        let Encoding { runs, pieces, .. } = encoding;
        runs.clear();
        pieces.clear();
        let longest = self.piece_pages(request.pages());
        let mut offset = 0;
        for &run in &request.runs {
            let from = runs.len();
            match self.config.detect_zero {
                true => self.ram.part_zeros(run, runs),
                false => runs.push(run),
            }
            for run in runs[from..].iter().filter(|run| run.content == Content::Data) {
                let count = run.count.0;
                let number = count.div_ceil(longest);
                for index in 0..number {
                    // As even as it gets.
                    let (from, to) = (count * index / number, count * (index + 1) / number);
                    let (first, pages) = (run.first.offset(from.into()), PageCount(to - from));
                    let source = self.ram.contiguous(first, pages).ok_or_else(|| {
                        format!("pages {first} to {} are not in one piece of memory", run.end())
                    })?;
                    pieces.push(Piece { first, pages, source, offset, encoded: None, by_software: false });
                    offset += self.page_size.bytes_of(pages);
                }
            }
        }
        Ok(())
    }

    /// The most pages of a piece, of a request of as many.
    fn piece_pages(&self, pages: PageCount) -> u32 {
        pages.0.div_ceil(self.engines).max(MIN_PIECE_PAGES).min(self.max_pages_at_once)
    }

    fn post_counting(
        &self,
        encoding: &Encoding,
        histograms: &Block,
        phase: &mut Phase,
        outbox: &mut Outbox<IaaCompletion>,
    ) {
        for (index, piece) in encoding.pieces.iter().enumerate() {
            let operands =
                IaaOperands { max_destination_bytes: length(Histogram::BYTES), ..IaaOperands::default() };
            let descriptor = Descriptor {
                source: piece.source.0,
                destination: histograms.address().offset(index * Histogram::BYTES).0,
                bytes: length(self.page_size.bytes_of(piece.pages)),
                operation_flags: CompressFlags::STATISTICS.bits(),
                ..Descriptor::new(Opcode::COMPRESS, self.flags)
            };
            phase.post(outbox, index, descriptor.with_operands(&operands));
        }
    }

    fn post_compression(
        &self,
        request: &Request,
        encoding: &Encoding,
        phase: &mut Phase,
        outbox: &mut Outbox<IaaCompletion>,
    ) {
        let end = CompressFlags::FLUSH_OUTPUT | CompressFlags::END_OF_BLOCK;
        for (index, piece) in encoding.pieces.iter().enumerate().filter(|(_, piece)| !piece.by_software) {
            let bytes = length(self.page_size.bytes_of(piece.pages));
            let operands = IaaOperands {
                source2: encoding.codes.address().0,
                source2_bytes: length(CompressAecs::BYTES),
                // As long as the pages themselves would be no gain.
                max_destination_bytes: bytes - 1,
                ..IaaOperands::default()
            };
            let descriptor = Descriptor {
                source: piece.source.0,
                destination: request.payload.address().offset(piece.offset).0,
                bytes,
                operation_flags: end.bits(),
                ..Descriptor::new(Opcode::COMPRESS, self.flags | DescriptorFlags::READ_AECS)
            };
            phase.post(outbox, index, descriptor.with_operands(&operands));
        }
    }

    fn compressed(&self, piece: &mut Piece, record: &IaaCompletion) -> Result<(), String> {
        if did_not_fit(record) {
            piece.encoded = None;
            return Ok(());
        }
        succeeded(record)?;
        let bytes = length(self.page_size.bytes_of(piece.pages));
        if record.bytes_completed != bytes {
            return Err(format!("it says that it compressed {} of {bytes} bytes", record.bytes_completed));
        }
        if !(1..bytes).contains(&record.output_bytes) {
            return Err(format!("it says that {bytes} bytes became {}", record.output_bytes));
        }
        piece.encoded = Some(Encoded { bytes: record.output_bytes, crc: record.crc });
        Ok(())
    }

    /// Puts the pieces together; those that did not shrink are copied by the CPU as they are now.
    fn complete(&self, request: &mut Request, encoding: &mut Encoding) {
        let Encoding { codes, runs, pieces, detours, .. } = encoding;
        let Request { segments, payload, .. } = request;
        segments.clear();
        payload.clear();
        let mut checksum = 0;
        for piece in &*pieces {
            let raw_bytes = self.page_size.bytes_of(piece.pages);
            let (method, bytes, crc) = match piece.encoded {
                Some(Encoded { bytes, crc }) => (Method::Deflate, bytes, crc),
                None => {
                    let raw = &mut payload.buffer()[piece.offset..piece.offset + raw_bytes];
                    self.copy_out(piece, raw);
                    detours.did_not_shrink += piece.pages.0;
                    (Method::Raw, length(raw_bytes), CHECKSUM.of(raw))
                }
            };
            push_segment(segments, Segment { method, pages: piece.pages, bytes });
            payload.place(piece.offset, bytes as usize);
            checksum = self.crc32.append(checksum, crc, piece.pages);
        }
        // What software did says nothing about the codes.
        if let Some(last) = pieces.last().filter(|_| pieces.iter().all(|piece| !piece.by_software)) {
            let raw = last.offset + self.page_size.bytes_of(last.pages);
            self.tables.observe(codes, raw, payload.len());
        }
        request.checksum = checksum;
        request.checksum_kind = if pieces.is_empty() { ChecksumKind::None } else { CHECKSUM };
        if pieces.is_empty() {
            request.method = Method::Zero;
        }
        request.detours = *detours;
        std::mem::swap(runs, &mut request.runs);
        request.note_unknown_pages();
    }

    pub(super) fn copy_out(&self, piece: &Piece, into: &mut [u8]) {
        let pages = Run::data(piece.first, piece.pages).pages();
        for (page, into) in pages.zip(into.chunks_exact_mut(self.page_size.bytes())) {
            self.ram.copy_out(page, into);
        }
    }
}

/// What an IAA computes of what it compresses, unless it is told otherwise.
pub(super) const CHECKSUM: ChecksumKind = ChecksumKind::Crc32;

fn did_not_fit(record: &IaaCompletion) -> bool {
    IaaStatus(record.status) == IaaStatus::ANALYTICS_ERROR
        && AnalyticsError(record.error_code) == AnalyticsError::COMPRESS_OVERFLOW
}

/// What the device counted in all pieces that it is to compress.
fn sum(histograms: &Block, pieces: &[Piece]) -> Histogram {
    let mut sum = [0_u32; Histogram::BYTES / 4];
    let histograms = histograms.chunks_exact(Histogram::BYTES).zip(pieces);
    for (histogram, _) in histograms.filter(|(_, piece)| !piece.by_software) {
        for (sum, count) in sum.iter_mut().zip(histogram.chunks_exact(4)) {
            let count = count.try_into().map(u32::from_le_bytes).unwrap_or_default();
            // Counts that wrap around make worse codes, not wrong ones.
            *sum = sum.wrapping_add(count);
        }
    }
    zerocopy::transmute!(sum)
}
