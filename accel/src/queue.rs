//! Accelerators and their queues: what the data path asks of whatever does the work.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::codec::DecodeError;
use crate::codec::deflate::Window;
use crate::dma::{Arena, Block, DmaRange};
use crate::doorbell::Doorbell;
use crate::guest::GuestRam;
use crate::method::{Method, MethodSet};
use crate::request::{Direction, Request};
use crate::units::PageCount;

/// A device or a pool of CPU workers that can run some methods in some directions.
pub trait Accelerator: Send + Sync {
    /// Its name in reports and messages: `cpu`, `iax1`.
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How figures that come from it must be labelled.
    fn provenance(&self) -> Provenance;

    /// Opens its queues for one sender or one receiver. Dropping the queues gives the device back.
    ///
    /// # Errors
    /// [`OpenError`] says what the device refused.
    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError>;
}

/// One hardware work queue, ring or worker.
///
/// Submitted from one thread, polled from another, neither of which it ever holds up.
pub trait Queue: Send + Sync {
    /// Takes a request, or gives it back at once.
    ///
    /// # Errors
    /// [`Refused`] holds the request: give it to another queue.
    fn submit(&self, request: Box<Request>) -> Result<(), Refused>;

    /// Appends whatever has completed since the last call, in any order.
    fn poll(&self, completions: &mut Vec<Completion>);

    /// How many requests it holds at most.
    fn depth(&self) -> usize;

    /// Whether it rings the doorbell when something completes. A queue that does not is polled for as long as it
    /// has requests in flight.
    fn rings(&self) -> bool;

    /// Whether threads of its own do the work, and state in each request what CPU time it took them. Any other queue takes
    /// the time of those who submit and poll.
    fn has_threads(&self) -> bool {
        false
    }

    /// The NUMA node of the device, where that is known: requests for memory of that node come here first.
    fn numa_node(&self) -> Option<u32> {
        None
    }
}

/// What a queue works with: the guest's memory, and whom to wake.
#[derive(Clone)]
pub struct Attachment {
    /// The memory that runs refer to.
    pub ram: Arc<GuestRam>,
    /// Rung at a completion by the queues that say so.
    pub doorbell: Arc<Doorbell>,
    /// The most pages that a request will have.
    pub max_pages: PageCount,
    /// The memory of all payloads, from which queues take buffers to exchange with them.
    pub payloads: Arc<Arena>,
    /// The memory of all baselines, where they are kept.
    pub baselines: Option<Arc<Arena>>,
    /// The largest window of deflate that the two ends agreed on.
    pub deflate_window: Window,
}

/// How many requests all of these accelerators hold, and how many buffers of a payload's size their queues may take
/// for themselves: two each and, where they are devices, one for each request.
#[must_use]
pub fn requests_and_buffers(accelerators: &[Arc<dyn Accelerator>]) -> (usize, usize) {
    let capabilities = accelerators.iter().map(|accelerator| accelerator.capabilities());
    capabilities.fold((0, 0), |(requests, buffers), one| {
        let a_queue = if one.memory == MemoryAccess::Copied { 2 } else { 2 + one.depth };
        (requests + one.queues * one.depth, buffers + a_queue * one.queues)
    })
}

impl Attachment {
    /// A buffer as long as a payload's, for a queue to keep.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn buffer(&self) -> io::Result<Block> {
        let bytes = self.ram.page_size().bytes_of(self.max_pages);
        self.payloads.take(bytes).map_or_else(|| Block::alone(bytes), Ok)
    }

    /// Everything that a device must reach: guest memory, payloads, baselines.
    #[must_use]
    pub fn dma_ranges(&self) -> Vec<DmaRange> {
        let arenas = self.baselines.iter().chain([&self.payloads]);
        self.ram.dma_ranges().into_iter().chain(arenas.map(|arena| arena.range())).collect()
    }
}

/// What an accelerator can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Methods that it encodes with.
    pub encode: MethodSet,
    /// Methods that it decodes.
    pub decode: MethodSet,
    /// The binary logarithm of the largest deflate window that it decodes, in bytes: 12 for IAA, 15 elsewhere.
    pub deflate_window_bits: u8,
    /// The binary logarithm of the smallest window that its own deflate can be held to: 12 for CPU and IAA, 15 for QAT, which
    /// always looks back as far as RFC 1951 allows.
    pub encode_window_bits: u8,
    /// How many queues it has.
    pub queues: usize,
    /// How many requests each holds.
    pub depth: usize,
    /// How it reaches guest memory.
    pub memory: MemoryAccess,
}

impl Capabilities {
    /// Whether it can run `method` in `direction`.
    #[must_use]
    pub fn can(&self, method: Method, direction: Direction) -> bool {
        match direction {
            Direction::Encode => self.encode.contains(method),
            Direction::Decode => self.decode.contains(method),
        }
    }
}

/// How an accelerator reaches guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAccess {
    /// It works on private copies that the CPU takes.
    Copied,
    /// It translates this process's addresses itself (shared virtual memory).
    Shared,
    /// Pages are pinned and mapped for it (VFIO).
    Pinned,
}

impl fmt::Display for MemoryAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Copied => "private copies",
            Self::Shared => "shared virtual memory",
            Self::Pinned => "pinned and mapped",
        })
    }
}

/// How a figure was come by, as every report must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// Measured on an accelerator device.
    Hardware,
    /// Measured on CPU workers.
    Cpu,
    /// Measured against a device model.
    Model,
    /// Measured against a stand-in for a vendor's library.
    StandIn,
    /// Measured on a vendor library's own software path.
    SoftwareBackup,
    /// Calculated, not run.
    Modelled,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hardware => "hardware",
            Self::Cpu => "cpu",
            Self::Model => "model",
            Self::StandIn => "stand-in",
            Self::SoftwareBackup => "software-backup",
            Self::Modelled => "modelled",
        })
    }
}

/// A request that came back from a device, with what became of it.
#[derive(Debug)]
pub struct Completion {
    /// The request, whole again. If it failed, its runs are the pages that they were, and its baselines are either
    /// untouched or forgotten: another queue begins anew with them. Its payload, when it was to be decoded, is as it came,
    /// and pages that a delta method decodes onto hold what they held.
    pub request: Box<Request>,
    /// Done, or why not.
    pub result: Result<(), Failure>,
}

/// A request that a queue did not take.
#[derive(Debug)]
pub struct Refused {
    /// The request, untouched.
    pub request: Box<Request>,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a queue did not take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// It holds as many as it can.
    Full,
    /// It is not there any more.
    Gone,
}

/// Why a request failed in a device that had taken it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The payload is not what its method says: the peer, or the way here, spoiled it.
    #[error("segment {segment} ({method}) does not decode: {source}")]
    Corrupt {
        /// Which segment of the frame.
        segment: usize,
        /// Its method.
        method: Method,
        /// What the decoder met.
        source: DecodeError,
    },
    /// The pages decoded, but are not those that were encoded.
    #[error("the decoded pages have checksum {computed:#010x}, the frame says {stated:#010x}")]
    ChecksumMismatch {
        /// What the frame says.
        stated: u32,
        /// What the decoded pages have.
        computed: u32,
    },
    /// The device does not answer and cannot be stopped while it may write to guest memory: no page there is safe.
    #[error(
        "{device} cannot be stopped and may still write to guest memory; reset the device before it is used again"
    )]
    Uncontained {
        /// The accelerator.
        device: Arc<str>,
    },
    /// The device reported an error. Another one may do better.
    #[error("{device}: {status}")]
    Device {
        /// The accelerator.
        device: Arc<str>,
        /// What it said.
        status: String,
    },
    /// The device had not answered when its time was up. Another one may do better.
    #[error("{device}: the request did not complete within its deadline")]
    Deadline {
        /// The accelerator.
        device: Arc<str>,
    },
}

/// An accelerator that could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A worker thread could not be started.
    #[error("{accelerator}: worker {worker} could not be started: {source}; use fewer workers")]
    Worker {
        /// The accelerator.
        accelerator: String,
        /// Which worker.
        worker: usize,
        /// What the system said.
        source: io::Error,
    },
    /// A codec did not take its settings.
    #[error("{accelerator}: {reason}")]
    Codec {
        /// The accelerator.
        accelerator: String,
        /// What the codec said.
        reason: String,
    },
    /// There is no memory for its buffers.
    #[error(
        "{accelerator}: its buffers could not be mapped: {source}; use fewer pages a request, workers or queues"
    )]
    Memory {
        /// The accelerator.
        accelerator: String,
        /// What the system said.
        source: io::Error,
    },
    /// A device refused a step on the way.
    #[error("{device}: cannot {attempted}: {reason}; {remedy}")]
    Device {
        /// The device, or a part of it.
        device: String,
        /// What was attempted.
        attempted: String,
        /// What came back.
        reason: String,
        /// What can be done about it.
        remedy: String,
    },
}
