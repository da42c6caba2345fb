//! A request: the unit of work of one device, recycled through the pool.

use std::io;
use std::time::{Duration, Instant};

use crate::baseline::Baseline;
use crate::checksum::ChecksumKind;
use crate::dma::{Block, HostAddress, keep_for_ever};
use crate::method::Method;
use crate::run::{Content, Run, Segment};
use crate::units::{PageCount, PageSize};

/// Up to `max_pages` pages in several runs, on their way through one device.
///
/// To **encode**, the batcher fills in `method`, `runs` (all [`Content::Data`]) and `baselines`; the queue leaves the
/// payload, its segments and checksum, and marks the runs that were zero. To **decode**, the receiver fills in runs,
/// segments, payload and checksum from a frame; the queue leaves the pages in guest memory. Nothing in it is allocated
/// after the pool made it.
#[derive(Debug)]
pub struct Request {
    /// Which way it goes.
    pub direction: Direction,
    /// What is to be done; the segments tell what was.
    pub method: Method,
    /// The round whose dirty pages these are.
    pub round: u32,
    /// Its place among all requests of this migration.
    pub sequence: u64,
    /// Which pages, ascending.
    pub runs: Vec<Run>,
    /// For every page in the order of the runs, where a cache of baselines is kept; else empty.
    pub baselines: Vec<Option<Baseline>>,
    /// What the payload is made of.
    pub segments: Vec<Segment>,
    /// The encoded bytes, as it travels.
    pub payload: Payload,
    /// Which checksum, [`ChecksumKind::None`] where no page has data.
    pub checksum_kind: ChecksumKind,
    /// Over the bytes of all data pages as they were encoded, in the order of the runs.
    pub checksum: u32,
    /// Pages that went another way than `method`, by reason.
    pub detours: Detours,
    /// Which accelerator is to have it before all others, by its place in the order of preference.
    pub preferred: usize,
    /// How many devices failed on it.
    pub attempts: usize,
    /// Whether a queue in quarantine has it, to show that it works again.
    pub probe: bool,
    /// When a queue took it.
    pub submitted: Instant,
    /// Which accelerator brought it back, by its place in the order of preference.
    pub lane: usize,
    /// CPU time of this host that the accelerator which brought it back took for it.
    pub cpu: Duration,
    /// The share of that accelerator it took: how long it was there, over the number of requests that were there with it when
    /// it came back. What no request falls below is one over the accelerator's throughput (Little's law).
    pub occupancy: Duration,
}

/// Which way the bytes of a request go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From guest memory into a payload.
    Encode,
    /// From a payload into guest memory.
    Decode,
}

/// What went another way than asked for in one request, by reason; in pages, but for the faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detours {
    /// A delta method found no baseline.
    pub no_baseline: u32,
    /// A delta did not fit into the size of the page.
    pub overflow: u32,
    /// A compressing method did not make the pages smaller.
    pub did_not_shrink: u32,
    /// A device met a page fault, and went on once the page was touched.
    pub page_faults_resumed: u32,
    /// A device met a page fault, and the CPU did its work.
    pub page_faults_on_cpu: u32,
    /// Pages that the CPU copied since a device could not use them in place.
    pub copied: u32,
}

/// The buffer that a payload is built in and sent from, in memory that devices reach.
#[derive(Debug)]
pub struct Payload {
    buffer: Block,
    /// Where the payload's bytes are, in their order.
    extents: Vec<Extent>,
}

/// A part of a payload's buffer.
#[derive(Clone, Copy, Debug)]
struct Extent {
    offset: usize,
    bytes: usize,
}

impl Payload {
    fn new(buffer: Block, extents: usize) -> Self {
        Self { buffer, extents: Vec::with_capacity(extents) }
    }

    /// The bytes of a payload that lies in one piece from the beginning of the buffer on, as one that arrives does.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self.extents[..] {
            [Extent { offset: 0, bytes }] => &self.buffer[..bytes],
            _ => &[],
        }
    }

    /// The payload's parts, in their order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.extents.iter().map(|extent| &self.buffer[extent.offset..extent.offset + extent.bytes])
    }

    /// How many bytes the payload has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.extents.iter().map(|extent| extent.bytes).sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole buffer, to write a payload into; its length is the pages' own.
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Where the buffer is, for a device.
    #[must_use]
    pub fn address(&self) -> HostAddress {
        self.buffer.address()
    }

    /// States how much of the buffer is payload, from its beginning on.
    ///
    /// # Panics
    /// If that is more than the buffer holds.
    pub fn set_filled(&mut self, bytes: usize) {
        self.extents.clear();
        self.place(0, bytes);
    }

    /// States that the payload goes on with the `bytes` bytes at `offset` of the buffer.
    ///
    /// # Panics
    /// If the buffer does not hold them.
    pub fn place(&mut self, offset: usize, bytes: usize) {
        let held = offset.checked_add(bytes).is_some_and(|end| end <= self.buffer.len());
        assert!(held, "{bytes} bytes of payload at {offset} of a buffer of {}", self.buffer.len());
        match self.extents.last_mut() {
            Some(last) if last.offset + last.bytes == offset => last.bytes += bytes,
            _ => self.extents.push(Extent { offset, bytes }),
        }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.extents.clear();
    }

    /// Exchanges the buffer with another of the same length: what is already in place need not be copied.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swap_buffer(&mut self, other: &mut Block) {
        assert_eq!(self.buffer.len(), other.len(), "buffers that are swapped have one length");
        std::mem::swap(&mut self.buffer, other);
    }
}

impl Request {
    /// An empty request with room for `max_pages` pages, whose payload no device reaches.
    ///
    /// # Panics
    /// If there is no memory for its payload.
    #[must_use]
    pub fn with_capacity(max_pages: PageCount, page_size: PageSize) -> Self {
        let buffer = Block::alone(page_size.bytes_of(max_pages));
        Self::new(max_pages, buffer.unwrap_or_else(|error| panic!("no memory for a payload: {error}")))
    }

    /// An empty request with room for `max_pages` pages, whose payload is built in `buffer`.
    #[must_use]
    pub fn new(max_pages: PageCount, buffer: Block) -> Self {
        let pages = max_pages.as_usize();
        Self {
            direction: Direction::Encode,
            method: Method::Raw,
            round: 0,
            sequence: 0,
            runs: Vec::with_capacity(pages),
            baselines: Vec::with_capacity(pages),
            segments: Vec::with_capacity(pages),
            payload: Payload::new(buffer, pages),
            checksum_kind: ChecksumKind::None,
            checksum: 0,
            detours: Detours::default(),
            preferred: 0,
            attempts: 0,
            probe: false,
            submitted: Instant::now(),
            lane: 0,
            cpu: Duration::ZERO,
            occupancy: Duration::ZERO,
        }
    }

    /// States what the destination will have of pages that a device read from live memory: nobody knows their bytes, but a
    /// page that the CPU saw zero is zero.
    pub(crate) fn note_unknown_pages(&mut self) {
        let contents = self.runs.iter().flat_map(|run| run.pages().map(|_| run.content));
        for (content, baseline) in contents.zip(&mut self.baselines) {
            match content {
                Content::Zero => baseline.iter_mut().for_each(Baseline::set_zero),
                Content::Data => baseline.iter_mut().for_each(Baseline::forget),
            }
        }
    }

    /// States what the destination will have of pages that were copied before they were encoded: `copies` has those with data,
    /// in order.
    pub(crate) fn note_copied_pages<'a>(&mut self, mut copies: impl Iterator<Item = &'a [u8]>) {
        let contents = self.runs.iter().flat_map(|run| run.pages().map(|_| run.content));
        for (content, baseline) in contents.zip(&mut self.baselines) {
            match content {
                Content::Zero => baseline.iter_mut().for_each(Baseline::set_zero),
                Content::Data => {
                    let copy = copies.next();
                    baseline.iter_mut().zip(copy).for_each(|(baseline, copy)| baseline.set(copy));
                }
            }
        }
    }

    /// Gives up every buffer that a device may still write to: they are never used again, and their memory never freed.
    ///
    /// # Errors
    /// If there is no memory for a new payload.
    pub fn surrender_buffers(&mut self) -> io::Result<()> {
        let fresh = Block::alone(self.payload.buffer.len())?;
        keep_for_ever(std::mem::replace(&mut self.payload.buffer, fresh));
        self.baselines.iter_mut().filter_map(Option::take).for_each(keep_for_ever);
        Ok(())
    }

    /// Empties it for its next use.
    pub fn reset(&mut self, direction: Direction) {
        self.direction = direction;
        self.runs.clear();
        self.baselines.clear();
        self.segments.clear();
        self.payload.clear();
        self.checksum_kind = ChecksumKind::None;
        self.checksum = 0;
        self.detours = Detours::default();
        self.preferred = 0;
        self.attempts = 0;
        self.lane = 0;
        self.cpu = Duration::ZERO;
        self.occupancy = Duration::ZERO;
    }

    /// How many pages it has.
    #[must_use]
    pub fn pages(&self) -> PageCount {
        self.runs.iter().fold(PageCount(0), |pages, run| pages + run.count)
    }

    /// How many of its pages have bytes in the payload.
    #[must_use]
    pub fn data_pages(&self) -> PageCount {
        let data = self.runs.iter().filter(|run| run.content == Content::Data);
        data.fold(PageCount(0), |pages, run| pages + run.count)
    }
}
