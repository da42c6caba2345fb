//! A payload into guest pages: what is posted, and what is made of the records.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;

use super::slot::{Piece, Records, Refusal, Slot, Stage};
use super::work::DsaWork;
use crate::checksum::ChecksumKind;
use crate::codec::delta::WORD_BYTES;
use crate::idxd::work::Outbox;
use crate::method::Method;
use crate::queue::Failure;
use crate::request::Request;
use crate::run::{Content, Run, Segment};
use crate::units::PageCount;

impl DsaWork {
    /// Posts what brings the payload to guest memory, and the CRCs of what deltas make if they fit the same batch.
    ///
    /// Deltas and raw pages may be written twice without harm, so that whoever takes the request after a failure begins
    /// anew.
    pub(super) fn begin_decode(
        &self,
        request: &Request,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
    ) {
        slot.pieces.clear();
        slot.stage = Stage::Places;
        if let Err(refusal) = self.post_places(request, slot, outbox) {
            outbox.clear();
            slot.stage = Stage::Refused(refusal);
            return;
        }
        if request.checksum_kind != ChecksumKind::Crc32c {
            return;
        }
        let places = outbox.len();
        let crcs = slot.pieces.iter().filter(|piece| !piece.raw).count();
        if places == 0 {
            self.post_crcs(slot, outbox, DescriptorFlags::empty());
            slot.stage = Stage::Crcs;
        } else if crcs > 0 && places + crcs <= self.max_batch {
            self.post_crcs(slot, outbox, DescriptorFlags::FENCE);
            slot.stage = Stage::PlacesAndCrcs { second: places };
        }
    }

    fn post_places(
        &self,
        request: &Request,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
    ) -> Result<(), Refusal> {
        let with_crc = request.checksum_kind == ChecksumKind::Crc32c;
        let payload = request.payload.bytes();
        let mut memory = Memory::new(self, &request.runs);
        let mut from = 0;
        for (index, segment) in request.segments.iter().enumerate() {
            let until = from + segment.bytes as usize;
            let encoded = payload.get(from..until).ok_or(Refusal::Coverage)?;
            let source = request.payload.address().0 + from as u64;
            match segment.method {
                Method::Raw if encoded.len() == segment.pages.as_usize() * self.page_bytes => {
                    self.post_raw(slot, outbox, &mut memory, segment, source, with_crc)?;
                }
                Method::Delta if self.applies_delta && is_delta(segment, self.page_bytes) => {
                    let (address, _) = memory.take(1).ok_or(Refusal::Coverage)?;
                    self.post_delta(slot, outbox, address, source, encoded);
                }
                _ => return Err(Refusal::Segment { segment: index }),
            }
            from = until;
        }
        let covered = memory.take(1).is_none() && from == payload.len();
        covered.then_some(()).ok_or(Refusal::Coverage)
    }

    fn post_raw(
        &self,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
        memory: &mut Memory<'_>,
        segment: &Segment,
        source: u64,
        with_crc: bool,
    ) -> Result<(), Refusal> {
        let (mut left, mut source) = (segment.pages.0, source);
        while left > 0 {
            let (address, pages) = memory.take(left).ok_or(Refusal::Coverage)?;
            let bytes = self.bytes_of(pages);
            slot.pieces.push(Piece { address, pages, raw: true, descriptor: outbox.len(), crc: 0 });
            outbox.post(self.templates.place(source, address, bytes, with_crc));
            source += u64::from(bytes);
            left -= pages;
        }
        Ok(())
    }

    /// A delta of no bytes takes no descriptor, but a CRC.
    fn post_delta(
        &self,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
        address: u64,
        source: u64,
        record: &[u8],
    ) {
        if let Ok(delta_bytes @ 1..) = u32::try_from(record.len()) {
            let aligned = if source.is_multiple_of(WORD_BYTES as u64) {
                source
            } else {
                // Every delta is one piece at least of the pages, so there is a private page for each.
                let room = &mut slot.private[outbox.len()];
                room[..record.len()].copy_from_slice(record);
                room.address().0
            };
            outbox.post(self.templates.apply_delta(aligned, delta_bytes, address));
        }
        match slot.pieces.last_mut() {
            Some(last)
                if !last.raw
                    && last.address + u64::from(self.bytes_of(last.pages)) == address
                    && last.pages < self.max_transfer_pages =>
            {
                last.pages += 1;
            }
            _ => slot.pieces.push(Piece { address, pages: 1, raw: false, descriptor: 0, crc: 0 }),
        }
    }

    /// Posts the CRCs of what deltas made, and says whether there are any.
    pub(super) fn post_crcs(
        &self,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
        first_has: DescriptorFlags,
    ) -> bool {
        let mut flags = first_has.bits();
        let mut posted = 0;
        for piece in slot.pieces.iter_mut().filter(|piece| !piece.raw) {
            let descriptor = self.templates.crc(piece.address, self.bytes_of(piece.pages));
            let flags_and_opcode = descriptor.flags_and_opcode | flags;
            outbox.post(Descriptor { flags_and_opcode, ..descriptor });
            flags = 0;
            piece.descriptor = posted;
            posted += 1;
        }
        posted > 0
    }

    /// Takes the CRCs of what was copied from the records.
    pub(super) fn note_place_crcs(slot: &mut Slot, records: Records<'_>) {
        for piece in slot.pieces.iter_mut().filter(|piece| piece.raw) {
            piece.crc = records.get(piece.descriptor).value;
        }
    }

    /// Takes the CRCs of what deltas made from the records, the first of which is at `second`.
    pub(super) fn note_crcs(slot: &mut Slot, records: Records<'_>, second: usize) {
        for piece in slot.pieces.iter_mut().filter(|piece| !piece.raw) {
            piece.crc = records.get(second + piece.descriptor).value;
        }
    }

    /// Ends a request whose pages are all in guest memory.
    ///
    /// # Errors
    /// [`Failure::ChecksumMismatch`] if they are not those that were encoded.
    pub(super) fn finish_decode(&self, request: &mut Request, slot: &mut Slot) -> Result<(), Failure> {
        let computed = match request.checksum_kind {
            ChecksumKind::Crc32c => slot
                .pieces
                .iter()
                .fold(0, |checksum, piece| self.page_crc.append(checksum, piece.crc, PageCount(piece.pages))),
            kind => self.checksum_of_copies(kind, request, slot),
        };
        if computed != request.checksum {
            return Err(Failure::ChecksumMismatch { stated: request.checksum, computed });
        }
        let zeros = request.runs.iter().filter(|run| run.content == Content::Zero);
        zeros.flat_map(|run| run.pages()).for_each(|page| self.attachment.ram.clear(page));
        Ok(())
    }

    /// The checksum of a kind that the device does not compute, page by page from copies of the CPU's.
    fn checksum_of_copies(&self, kind: ChecksumKind, request: &mut Request, slot: &mut Slot) -> u32 {
        let Some(copy) = slot.private.first_mut().filter(|_| kind != ChecksumKind::None) else { return 0 };
        let mut checksum = 0;
        for page in request.runs.iter().filter(|run| run.content == Content::Data).flat_map(|run| run.pages())
        {
            self.attachment.ram.copy_out(page, copy);
            checksum = kind.update(checksum, copy);
            request.detours.copied += 1;
        }
        checksum
    }

    /// At most a transfer, so it fits.
    fn bytes_of(&self, pages: u32) -> u32 {
        u32::try_from(pages as usize * self.page_bytes).unwrap_or(u32::MAX)
    }
}

fn is_delta(segment: &Segment, page_bytes: usize) -> bool {
    segment.pages == PageCount::ONE && segment.bytes as usize <= page_bytes
}

/// The memory of a request's data pages, in order.
struct Memory<'a> {
    work: &'a DsaWork,
    runs: std::slice::Iter<'a, Run>,
    address: u64,
    left: u32,
}

impl<'a> Memory<'a> {
    fn new(work: &'a DsaWork, runs: &'a [Run]) -> Self {
        Self { work, runs: runs.iter(), address: 0, left: 0 }
    }

    /// The next `pages` pages, or as many of them as follow each other in memory and are one transfer.
    fn take(&mut self, pages: u32) -> Option<(u64, u32)> {
        if self.left == 0 {
            let run = self.runs.find(|run| run.content == Content::Data && run.count.0 > 0)?;
            self.address = self.work.attachment.ram.address(run.first).0;
            self.left = run.count.0;
        }
        let (address, taken) = (self.address, pages.min(self.left).min(self.work.max_transfer_pages));
        self.address += u64::from(taken) * self.work.page_bytes as u64;
        self.left -= taken;
        Some((address, taken))
    }
}
