//! A request's way through one DSA queue.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::status::DsaStatus;

use super::DsaConfig;
use super::mend::{Mend, Trouble};
use super::slot::{Records, Slot, Stage};
use super::templates::Templates;
use crate::checksum::{ChecksumKind, PageCrc};
use crate::dma::Block;
use crate::idxd::choice::Choice;
use crate::idxd::device::QueueFacts;
use crate::idxd::work::{Outbox, Progress, Work};
use crate::queue::{Attachment, Failure};
use crate::request::{Direction, Request};

/// What one DSA queue makes of requests.
pub(crate) struct DsaWork {
    pub(super) attachment: Attachment,
    /// The queue, in messages.
    name: Arc<str>,
    pub(super) templates: Templates,
    pub(super) page_crc: PageCrc,
    pub(super) page_bytes: usize,
    pub(super) detect_zero: bool,
    pub(super) creates_delta: bool,
    pub(super) applies_delta: bool,
    /// The most descriptors that may be fenced, 1 without batches.
    pub(super) max_batch: usize,
    /// The most pages of one descriptor.
    pub(super) max_transfer_pages: u32,
    /// What its slots take theirs from.
    private: PrivatePages,
    /// What page faults cost on this queue.
    choice: Mutex<Choice>,
}

/// What a phase leads to.
enum Next {
    Copies,
    Second,
    Crcs,
    Done(Result<(), Failure>),
}

impl DsaWork {
    /// For a queue with these facts, whose transfers are at least a page.
    pub(super) fn new(
        facts: &QueueFacts,
        attachment: &Attachment,
        config: DsaConfig,
        private: PrivatePages,
    ) -> Self {
        let page_bytes = attachment.ram.page_size().bytes();
        let transfer_bytes = facts.max_transfer_bytes.min(u32::MAX.into());
        Self {
            attachment: attachment.clone(),
            name: facts.name.as_str().into(),
            templates: Templates::new(
                facts,
                u32::try_from(page_bytes).unwrap_or(u32::MAX),
                config.block_on_fault,
            ),
            page_crc: PageCrc::new(ChecksumKind::Crc32c, page_bytes),
            page_bytes,
            detect_zero: config.detect_zero,
            creates_delta: facts.opcodes.has(Opcode::CREATE_DELTA),
            applies_delta: facts.opcodes.has(Opcode::APPLY_DELTA),
            max_batch: facts.max_batch,
            max_transfer_pages: u32::try_from(transfer_bytes / page_bytes as u64).unwrap_or(1).max(1),
            private,
            choice: Mutex::default(),
        }
    }

    /// Sets what page faults are known to cost.
    #[cfg(test)]
    pub(super) fn prefer(&self, choice: Choice) {
        *self.choice.lock().unwrap_or_else(PoisonError::into_inner) = choice;
    }

    fn failed(&self, status: &dyn std::fmt::Display) -> Failure {
        Failure::Device { device: Arc::clone(&self.name), status: status.to_string() }
    }

    fn look(&self, request: &mut Request, slot: &mut Slot, records: Records<'_>) -> Next {
        let stage = slot.stage;
        match stage {
            Stage::ZeroTest if Self::mark_zeros(slot, records) => {
                Self::finish_zeros(request, slot);
                Next::Done(Ok(()))
            }
            Stage::ZeroTest => Next::Copies,
            Stage::Copies => {
                self.join_crcs(slot, records);
                Next::Second
            }
            Stage::CopiesAndSecond { second } => {
                self.join_crcs(slot, records);
                Next::Done(self.encoded(request, slot, records, second))
            }
            Stage::Second => Next::Done(self.encoded(request, slot, records, 0)),
            Stage::Places => {
                Self::note_place_crcs(slot, records);
                Next::Crcs
            }
            Stage::PlacesAndCrcs { second } => {
                Self::note_place_crcs(slot, records);
                Self::note_crcs(slot, records, second);
                Next::Done(self.finish_decode(request, slot))
            }
            Stage::Crcs => {
                Self::note_crcs(slot, records, 0);
                Next::Done(self.finish_decode(request, slot))
            }
            Stage::Refused(refusal) => Next::Done(Err(self.failed(&refusal))),
            Stage::Idle => Next::Done(Err(self.failed(&"a phase of no request"))),
        }
    }

    fn encoded(
        &self,
        request: &mut Request,
        slot: &mut Slot,
        records: Records<'_>,
        second: usize,
    ) -> Result<(), Failure> {
        self.finish_encode(request, slot, records, second).map_err(|bad| self.failed(&bad))
    }

    /// Takes the records of a phase that went through, and says what comes next; `None` if the phase goes on.
    fn records(
        &self,
        request: &mut Request,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
    ) -> Result<Option<Next>, Trouble> {
        if !slot.mend.is_active() && went_through(outbox) {
            return Ok(Some(self.look(request, slot, Records::Device(outbox))));
        }
        let barrier = slot.stage.barrier();
        // SAFETY: the phase has completed, so the device is done with it; all of it was composed here, of guest memory
        // that the attachment keeps, of what the request holds, and of the slot's own.
        let complete = unsafe { slot.mend.go_on(outbox, barrier, &self.choice, &mut request.detours) }?;
        if !complete {
            return Ok(None);
        }
        let records = slot.mend.take_records();
        let next = self.look(request, slot, Records::Mended(&records));
        slot.mend.give_back(records);
        Ok(Some(next))
    }
}

fn went_through(outbox: &Outbox<DsaCompletion>) -> bool {
    (0..outbox.len()).all(|index| outbox.record(index).status == DsaStatus::SUCCESS.0)
}

impl Work for DsaWork {
    type Record = DsaCompletion;
    type Slot = Slot;

    fn max_descriptors(&self) -> usize {
        2 * self.attachment.max_pages.as_usize()
    }

    /// The page of zeros.
    fn slot_bytes(&self) -> usize {
        self.page_bytes
    }

    fn slot(&self, memory: Block) -> Slot {
        let pages = self.attachment.max_pages.as_usize();
        Slot {
            stage: Stage::Idle,
            pages: Vec::with_capacity(pages),
            // As many were made as there are slots.
            private: self.private.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default(),
            zero_page: memory,
            runs: Vec::with_capacity(pages),
            pieces: Vec::with_capacity(pages),
            checksum: 0,
            mend: Mend::new(self.max_descriptors(), self.page_bytes),
        }
    }

    fn begin(&self, request: &Request, slot: &mut Slot, outbox: &mut Outbox<DsaCompletion>) {
        outbox.clear();
        match request.direction {
            Direction::Encode => self.begin_encode(request, slot, outbox),
            Direction::Decode => self.begin_decode(request, slot, outbox),
        }
    }

    fn advance(
        &self,
        request: &mut Request,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
    ) -> Progress {
        let next = match self.records(request, slot, outbox) {
            Ok(None) => return Progress::Posted,
            Ok(Some(next)) => next,
            Err(trouble) => Next::Done(Err(self.failed(&trouble))),
        };
        outbox.clear();
        let result = match next {
            Next::Done(result) => result,
            Next::Copies => {
                self.post_copies(request, slot, outbox);
                return Progress::Posted;
            }
            Next::Second => {
                if self.post_second(request, slot, outbox, DescriptorFlags::empty()) {
                    slot.stage = Stage::Second;
                    return Progress::Posted;
                }
                self.encoded(request, slot, Records::Mended(&[]), 0)
            }
            Next::Crcs => {
                if request.checksum_kind == ChecksumKind::Crc32c
                    && self.post_crcs(slot, outbox, DescriptorFlags::empty())
                {
                    slot.stage = Stage::Crcs;
                    return Progress::Posted;
                }
                self.finish_decode(request, slot)
            }
        };
        self.abandon(slot);
        Progress::Done(result)
    }

    fn abandon(&self, slot: &mut Slot) {
        slot.stage = Stage::Idle;
        slot.mend.clear();
    }
}

/// Pages that go from one slot to the baselines and from there to any other queue's: a slot's pages for every slot, in
/// memory that all queues reach.
pub(super) type PrivatePages = Arc<Mutex<Vec<Vec<Block>>>>;

/// Private pages for so many slots.
pub(super) fn private_pages(attachment: &Attachment, slots: usize) -> io::Result<PrivatePages> {
    let page_bytes = attachment.ram.page_size().bytes();
    let pages = || {
        let mut rest = attachment.buffer()?;
        let mut pages = Vec::with_capacity(attachment.max_pages.as_usize());
        for _ in 0..attachment.max_pages.0 {
            let (page, behind) = rest.split(page_bytes);
            pages.push(page);
            rest = behind;
        }
        Ok(pages)
    };
    Ok(Arc::new(Mutex::new((0..slots).map(|_| pages()).collect::<io::Result<_>>()?)))
}
