//! Guest pages into a payload: all runs of a request as one scatter list, from where they are to where they go.

use pageferry_bindings::qat::cpa::{MAX_BUFFERS, TRUE};
use pageferry_bindings::qat::dc::{OpData, ReqStatus, Results};

use super::operation::{Answer, outcome};
use super::slot::{Place, Slot, Unreachable};
use super::work::Work;
use crate::checksum::ChecksumKind;
use crate::method::Method;
use crate::request::{Detours, Request};
use crate::run::{Content, DataPages, Run, Segment, length, push_segment};
use crate::units::PageCount;

/// What is kept of a request while it is encoded.
pub(super) struct Encoding {
    /// The request's runs, with the zero pages apart.
    runs: Vec<Run>,
    pieces: Vec<Piece>,
    /// Whether the pages were copied for the device.
    copied: bool,
    /// Whether the device writes straight into the payload.
    in_payload: bool,
}

/// What one operation compresses. There is one, unless the runs are more than a list holds.
#[derive(Clone, Copy, Debug)]
struct Piece {
    pages: PageCount,
    /// How many bytes of pages are before it: where its part of the payload begins, so that any piece fits.
    offset: usize,
}

/// What QAT computes of what it compresses.
const CHECKSUM: ChecksumKind = ChecksumKind::Crc32;

impl Encoding {
    /// Room for requests of `max_pages` pages.
    pub(super) fn new(max_pages: usize) -> Self {
        let (runs, pieces) = (Vec::with_capacity(max_pages), Vec::with_capacity(max_pages));
        Self { runs, pieces, copied: false, in_payload: false }
    }

    /// Whether the device may write to the payload.
    pub(super) fn is_in_payload(&self) -> bool {
        self.in_payload
    }
}

impl Work {
    /// Posts what compresses the request. A request without data has nothing posted.
    ///
    /// # Errors
    /// If this request is none for this device.
    pub(super) fn begin_encoding(
        &self,
        request: &Request,
        encoding: &mut Encoding,
        slot: &mut Slot,
    ) -> Result<(), String> {
        if request.method != Method::Deflate {
            return Err(format!("it encodes by deflate alone; {} was asked for", request.method));
        }
        self.part(request, &mut encoding.runs);
        encoding.pieces.clear();
        encoding.copied = false;
        let pages = encoding.runs.iter().filter(|run| run.content == Content::Data).map(|run| run.count.0);
        let bytes = self.page_size.bytes_of(PageCount(pages.sum()));
        let reach = self.started.reach();
        encoding.in_payload = reach.contiguous(request.payload.address(), bytes) == bytes;
        if self.post_in_place(request, encoding, slot).is_err() {
            slot.clear();
            encoding.pieces.clear();
            encoding.copied = true;
            self.post_copies(request, encoding, slot, bytes).map_err(|Unreachable| {
                "it does not reach the request's pages or its payload, and has no room to copy them to"
                    .to_owned()
            })?;
        }
        Ok(())
    }

    /// The request's runs, with the zero pages apart.
    fn part(&self, request: &Request, runs: &mut Vec<Run>) {
        runs.clear();
        match self.detect_zero {
            true => request.runs.iter().for_each(|&run| self.ram.part_zeros(run, runs)),
            false => runs.extend_from_slice(&request.runs),
        }
    }

    /// Has the device read the pages where they are, a buffer a run.
    fn post_in_place(
        &self,
        request: &Request,
        encoding: &mut Encoding,
        slot: &mut Slot,
    ) -> Result<(), Unreachable> {
        let page_bytes = self.page_size.bytes();
        let mut piece = Piece { pages: PageCount(0), offset: 0 };
        for at in 0..encoding.runs.len() {
            let run = encoding.runs[at];
            if run.content == Content::Zero {
                continue;
            }
            let mut from = self.ram.contiguous(run.first, run.count).ok_or(Unreachable)?;
            let mut left = self.page_size.bytes_of(run.count);
            while left > 0 {
                // Whole pages, so that pieces are made of such.
                let here = self.started.reach().contiguous(from, left) / page_bytes * page_bytes;
                if here == 0 {
                    return Err(Unreachable);
                }
                if slot.listed() + 1 == MAX_BUFFERS as usize {
                    piece = self.post_piece(request, encoding, slot, piece)?;
                }
                slot.push(self.started.reach(), from, here)?;
                piece.pages += PageCount(length(here / page_bytes));
                (from, left) = (from.offset(here), left - here);
            }
        }
        if piece.pages.0 > 0 {
            self.post_piece(request, encoding, slot, piece)?;
        }
        Ok(())
    }

    /// Has the device read copies of the pages, which are private then.
    fn post_copies(
        &self,
        request: &Request,
        encoding: &mut Encoding,
        slot: &mut Slot,
        bytes: usize,
    ) -> Result<(), Unreachable> {
        slot.push_place(Place::Input, 0, bytes)?;
        let data =
            encoding.runs.iter().filter(|run| run.content == Content::Data).flat_map(|run| run.pages());
        for (page, into) in data.zip(slot.place(Place::Input).chunks_exact_mut(self.page_size.bytes())) {
            self.ram.copy_out(page, into);
        }
        let pages = PageCount(length(bytes / self.page_size.bytes()));
        self.post_piece(request, encoding, slot, Piece { pages, offset: 0 }).map(drop)
    }

    /// Posts the piece whose pages were pushed; the next one begins behind it.
    fn post_piece(
        &self,
        request: &Request,
        encoding: &mut Encoding,
        slot: &mut Slot,
        piece: Piece,
    ) -> Result<Piece, Unreachable> {
        let source = slot.end_list();
        let bytes = self.page_size.bytes_of(piece.pages);
        // As long as the pages themselves would be no gain.
        let room = bytes - 1;
        if encoding.in_payload {
            slot.push(self.started.reach(), request.payload.address().offset(piece.offset), room)?;
        } else {
            slot.push_place(Place::Output, piece.offset, room)?;
        }
        let destination = slot.end_list();
        slot.post(source, destination, OpData::whole(TRUE))?;
        encoding.pieces.push(piece);
        Ok(Piece { pages: PageCount(0), offset: piece.offset + bytes })
    }

    /// Makes the request's payload of what came; pieces that did not shrink are sent as they are.
    ///
    /// # Errors
    /// What the device could not do, in words. The request is as it was then.
    pub(super) fn complete_encoding(
        &self,
        request: &mut Request,
        encoding: &mut Encoding,
        slot: &mut Slot,
    ) -> Result<(), String> {
        for (index, piece) in encoding.pieces.iter().enumerate() {
            self.compressed(slot.answer(index), piece)?;
        }
        let (mut checksum, mut detours) = (0, Detours::default());
        request.segments.clear();
        request.payload.clear();
        let mut data = DataPages::new(&encoding.runs);
        for (index, piece) in encoding.pieces.iter().enumerate() {
            let (segment, crc) = match self.compressed(slot.answer(index), piece)? {
                Some(results) => self.take_compressed(request, encoding, slot, piece, results),
                None => {
                    detours.did_not_shrink += piece.pages.0;
                    self.take_raw(request, encoding, slot, piece, data.clone())
                }
            };
            data.take(piece.pages, drop);
            request.payload.place(piece.offset, segment.bytes as usize);
            push_segment(&mut request.segments, segment);
            checksum = self.crc32.append(checksum, crc, piece.pages);
        }
        request.checksum = checksum;
        request.checksum_kind = if encoding.pieces.is_empty() { ChecksumKind::None } else { CHECKSUM };
        if encoding.pieces.is_empty() {
            request.method = Method::Zero;
        }
        std::mem::swap(&mut encoding.runs, &mut request.runs);
        if encoding.copied {
            detours.copied = request.data_pages().0;
            request.note_copied_pages(slot.place(Place::Input).chunks_exact(self.page_size.bytes()));
        } else {
            request.note_unknown_pages();
        }
        request.detours = detours;
        Ok(())
    }

    /// What the device made of a piece; nothing if it did not shrink.
    fn compressed(&self, answer: Answer, piece: &Piece) -> Result<Option<Results>, String> {
        let Answer::Done { status, results } = answer else {
            return Err("it gave no results".to_owned());
        };
        let results = match outcome(status, results) {
            Ok(results) => results,
            Err(failed) if failed.said == ReqStatus::OVERFLOW => return Ok(None),
            Err(failed) => return Err(failed.to_string()),
        };
        let bytes = length(self.page_size.bytes_of(piece.pages));
        if results.consumed != bytes {
            return Err(format!("it says that it compressed {} of {bytes} bytes", results.consumed));
        }
        if !(1..bytes).contains(&results.produced) {
            return Err(format!("it says that {bytes} bytes became {}", results.produced));
        }
        Ok(Some(results))
    }

    fn take_compressed(
        &self,
        request: &mut Request,
        encoding: &Encoding,
        slot: &mut Slot,
        piece: &Piece,
        results: Results,
    ) -> (Segment, u32) {
        if !encoding.in_payload {
            let bytes = piece.offset..piece.offset + results.produced as usize;
            request.payload.buffer()[bytes.clone()].copy_from_slice(&slot.place(Place::Output)[bytes]);
        }
        let segment = Segment { method: Method::Deflate, pages: piece.pages, bytes: results.produced };
        (segment, results.checksum)
    }

    /// The pages of a piece, as they were copied for the device or, if they were not, as they are now.
    fn take_raw(
        &self,
        request: &mut Request,
        encoding: &Encoding,
        slot: &mut Slot,
        piece: &Piece,
        mut data: DataPages<'_>,
    ) -> (Segment, u32) {
        let bytes = self.page_size.bytes_of(piece.pages);
        let raw = &mut request.payload.buffer()[piece.offset..piece.offset + bytes];
        if encoding.copied {
            raw.copy_from_slice(&slot.place(Place::Input)[piece.offset..piece.offset + bytes]);
        } else {
            let mut into = raw.chunks_exact_mut(self.page_size.bytes());
            data.take(piece.pages, |run| {
                run.pages().zip(&mut into).for_each(|(page, into)| self.ram.copy_out(page, into));
            });
        }
        (Segment { method: Method::Raw, pages: piece.pages, bytes: length(bytes) }, CHECKSUM.of(raw))
    }
}
