//! IAA: deflate with a window of 4 KiB, on Intel's in-memory analytics accelerator.
//!
//! It has no scatter list and, on Sapphire Rapids, no batches: a request becomes pieces of contiguous pages, one
//! descriptor each, all of them in flight at once. What a piece becomes is plain RFC 1951, header and all, and a segment
//! of the frame.

mod decode;
mod encode;
mod header;
mod huffman;
mod phase;
mod piece;
mod software;
mod tables;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pageferry_bindings::idxd::aecs::Histogram;
use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;

use super::choice::Choice;
use super::device::{Device, QueueFacts};
use super::fitness::{self, unfit};
use super::queue::{self, QueueSettings};
use super::work::{Outbox, Progress, Work};
use crate::checksum::{ChecksumKind, PageCrc};
use crate::codec::deflate::Window;
use crate::dma::Block;
use crate::guest::GuestRam;
use crate::method::{Method, MethodSet};
use crate::queue::{Accelerator, Attachment, Capabilities, Failure, OpenError, Provenance, Queue};
use crate::refusal::Refusal;
use crate::request::{Direction, Request};
use crate::run::length;
use crate::units::PageSize;
use decode::Decoding;
use encode::Encoding;
use phase::Phase;
use software::Software;
pub use tables::Huffman;
use tables::{Codes, Tables};
use verify::Question;

/// What an IAA is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IaaConfig {
    /// Which codes it compresses with.
    pub huffman: Huffman,
    /// Whether the device decodes what it compressed before that is sent, so that what it did wrong goes to another
    /// accelerator and not to the destination.
    pub verify: bool,
    /// Whether the CPU looks for zero pages before the device sees any.
    pub detect_zero: bool,
    /// How many requests each queue holds.
    pub requests: usize,
    /// How long the device may take for one.
    pub deadline: Duration,
    /// Whether the device is asked to leave what it writes in the cache: an encoded payload is read next, to be sent.
    pub cache_control: bool,
    /// Whether an engine waits where it meets a page fault. If not, the whole piece is touched by the CPU and submitted
    /// again, one time more where an engine would wait for page after page, or done by the CPU: whichever was quicker so
    /// far.
    pub block_on_fault: bool,
}

impl Default for IaaConfig {
    fn default() -> Self {
        let QueueSettings { requests, deadline } = QueueSettings::default();
        Self {
            huffman: Huffman::default(),
            verify: true,
            detect_zero: true,
            requests,
            deadline,
            cache_control: true,
            block_on_fault: false,
        }
    }
}

/// An IAA as an accelerator.
pub struct Iaa {
    device: Arc<dyn Device>,
    config: IaaConfig,
}

impl Iaa {
    /// Uses `device`, which is opened when the accelerator is.
    ///
    /// # Errors
    /// If it has no queues, or one that does not compress and decompress: a DSA, for one.
    pub fn new(device: Arc<dyn Device>, config: IaaConfig) -> Result<Self, OpenError> {
        let attempted = "use it for deflate";
        for facts in fitness::queues(&*device, attempted)? {
            for (opcode, name) in [(Opcode::COMPRESS, "compress"), (Opcode::DECOMPRESS, "decompress")] {
                if !facts.opcodes.has(opcode) {
                    let reason = format!("its operations do not include {name} ({:#04x})", opcode.0);
                    let remedy = "use an IAA (iax), or allow the operation in the work queue's op_config";
                    return Err(unfit(&facts.name, attempted, &reason, remedy));
                }
            }
        }
        Ok(Self { device, config: IaaConfig { requests: config.requests.max(1), ..config } })
    }
}

impl Accelerator for Iaa {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            encode: MethodSet::of(&[Method::Zero, Method::Deflate]),
            decode: MethodSet::of(&[Method::Zero, Method::Raw, Method::Deflate]),
            deflate_window_bits: Window::Kib4.bits(),
            encode_window_bits: Window::Kib4.bits(),
            queues: self.device.queues().len(),
            depth: self.config.requests,
            memory: self.device.memory(),
        }
    }

    fn provenance(&self) -> Provenance {
        self.device.provenance()
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        fitness::check_pages(&self.device.queues(), attachment.ram.page_size())?;
        let settings = QueueSettings { requests: self.config.requests, deadline: self.config.deadline };
        let tables = Arc::new(Tables::new(self.config.huffman));
        let work = |facts: &QueueFacts| IaaWork::new(self.config, facts, attachment, Arc::clone(&tables));
        queue::open(&*self.device, attachment, settings, work)
    }
}

/// What one queue of an IAA makes of requests.
struct IaaWork {
    /// The queue's, in messages.
    name: Arc<str>,
    config: IaaConfig,
    ram: Arc<GuestRam>,
    page_size: PageSize,
    max_pages: usize,
    /// How many pages one descriptor can have.
    max_pages_at_once: u32,
    engines: u32,
    /// Of every descriptor.
    flags: DescriptorFlags,
    /// Shared by the accelerator's queues.
    tables: Arc<Tables>,
    crc32: PageCrc,
    crc32c: PageCrc,
    /// What is done about page faults. The queue has its own lock around this one and the next: nobody waits for them.
    choice: Mutex<Choice>,
    software: Mutex<Software>,
}

/// What is kept of a request in flight.
struct Slot {
    phase: Phase,
    encoding: Encoding,
    decoding: Decoding,
    /// Histograms of an encoding, nothing while it is verified, or the pages of a decoding that are copied afterwards.
    scratch: Block,
    /// Why the request was not even begun.
    refused: Option<String>,
}

impl IaaWork {
    fn new(config: IaaConfig, facts: &QueueFacts, attachment: &Attachment, tables: Arc<Tables>) -> Self {
        let page_size = attachment.ram.page_size();
        let max_transfer = facts.max_transfer_bytes.min(u32::MAX.into());
        let mut flags = DescriptorFlags::empty();
        flags.set(DescriptorFlags::CACHE_CONTROL, config.cache_control);
        flags.set(DescriptorFlags::BLOCK_ON_FAULT, config.block_on_fault);
        Self {
            name: facts.name.as_str().into(),
            config,
            ram: Arc::clone(&attachment.ram),
            page_size,
            max_pages: attachment.max_pages.as_usize(),
            max_pages_at_once: u32::try_from(max_transfer >> page_size.shift()).unwrap_or(u32::MAX),
            engines: length(facts.engines).max(1),
            flags: flags & facts.flags,
            tables,
            crc32: PageCrc::new(ChecksumKind::Crc32, page_size.bytes()),
            crc32c: PageCrc::new(ChecksumKind::Crc32c, page_size.bytes()),
            choice: Mutex::default(),
            software: Mutex::new(Software::new(page_size.bytes_of(attachment.max_pages))),
        }
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn software(&self) -> MutexGuard<'_, Software> {
        self.software.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, status: String) -> Failure {
        Failure::Device { device: Arc::clone(&self.name), status }
    }
}

/// Where the codes end in a slot's memory, and what is written by the device begins.
const CODES_BYTES: usize = Codes::BYTES.next_multiple_of(4096);

impl Work for IaaWork {
    type Record = IaaCompletion;
    type Slot = Slot;

    /// Each page may be a run, and each a segment.
    fn max_descriptors(&self) -> usize {
        self.max_pages * if self.config.verify { Question::COUNT } else { 1 }
    }

    fn slot_bytes(&self) -> usize {
        CODES_BYTES + self.max_pages * self.page_size.bytes().max(Histogram::BYTES)
    }

    fn slot(&self, memory: Block) -> Slot {
        let (codes, scratch) = memory.split(CODES_BYTES);
        Slot {
            phase: Phase::with_capacity(self.max_descriptors()),
            encoding: Encoding::new(codes, self.max_pages),
            decoding: Decoding::new(self.max_pages),
            scratch,
            refused: None,
        }
    }

    fn begin(&self, request: &Request, slot: &mut Slot, outbox: &mut Outbox<IaaCompletion>) {
        let Slot { phase, encoding, decoding, scratch, refused } = slot;
        phase.clear();
        let begun = match request.direction {
            Direction::Encode => self.begin_encoding(request, encoding, scratch, phase, outbox),
            Direction::Decode => self.begin_decoding(request, decoding, scratch, phase, outbox),
        };
        *refused = begun.err();
        if refused.is_some() {
            // What was posted until then is not for the device.
            phase.next(outbox);
        }
    }

    fn advance(
        &self,
        request: &mut Request,
        slot: &mut Slot,
        outbox: &mut Outbox<IaaCompletion>,
    ) -> Progress {
        if let Some(status) = slot.refused.take() {
            return Progress::Done(Err(self.failed(status)));
        }
        let Slot { phase, encoding, decoding, scratch, .. } = slot;
        let advanced = match request.direction {
            Direction::Encode => {
                self.advance_encoding(request, encoding, scratch, phase, outbox).map_err(Refusal::Device)
            }
            Direction::Decode => self.advance_decoding(request, decoding, scratch, phase, outbox),
        };
        match advanced {
            Ok(true) => Progress::Posted,
            Ok(false) => Progress::Done(Ok(())),
            Err(refusal) => {
                self.abandon(slot);
                Progress::Done(Err(refusal.of(&self.name)))
            }
        }
    }

    fn abandon(&self, slot: &mut Slot) {
        slot.refused = None;
        self.tables.give_up(&mut slot.encoding.codes);
    }
}
