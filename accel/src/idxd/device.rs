//! A device that was found, and its work queues once it is open.

use std::fmt;
use std::os::fd::OwnedFd;

use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::OpcodeSet;

use super::portal::Portal;
use crate::dma::DmaRange;
use crate::queue::{MemoryAccess, OpenError, Provenance};

/// Which of the two devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The data streaming accelerator.
    Dsa,
    /// The analytics accelerator.
    Iaa,
}

impl Kind {
    /// What the kernel's driver begins the names of its devices with, and calls the folder of their nodes.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Dsa => "dsa",
            Self::Iaa => "iax",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dsa => "DSA",
            Self::Iaa => "IAA",
        })
    }
}

/// A DSA or an IAA, however it is reached: the kernel's driver, VFIO, or a model.
pub trait Device: Send + Sync {
    /// Its name in reports and messages: `dsa0`, `0000:6a:01.0`, `iaa-model`.
    fn name(&self) -> &str;

    /// How figures that come from it must be labelled.
    fn provenance(&self) -> Provenance;

    /// How it reaches memory: [`MemoryAccess::Shared`] or [`MemoryAccess::Pinned`].
    fn memory(&self) -> MemoryAccess;

    /// What its queues can do, before they are open.
    fn queues(&self) -> Vec<QueueFacts>;

    /// Opens its queues. The device reaches `memory` until the last of them is dropped.
    ///
    /// # Errors
    /// [`OpenError`] says what was refused.
    fn open(&self, memory: &[DmaRange]) -> Result<Vec<WorkQueue>, OpenError>;
}

/// What is known of a work queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    /// Its name in messages: `dsa0/wq0.1`.
    pub name: String,
    /// How many descriptors it holds.
    pub size: usize,
    /// The largest transfer of one descriptor.
    pub max_transfer_bytes: u64,
    /// The most descriptors of a batch, 1 if there are no batches.
    pub max_batch: usize,
    /// What it can do.
    pub opcodes: OpcodeSet,
    /// The flags that it may be given beyond those of completion, batch and result: cache control, block on fault.
    pub flags: DescriptorFlags,
    /// How many engines serve it.
    pub engines: usize,
    /// Its NUMA node, where it is known.
    pub numa_node: Option<u32>,
}

/// An open work queue.
pub struct WorkQueue {
    /// What it can do.
    pub facts: QueueFacts,
    /// Where descriptors go. Dropped first.
    pub portal: Box<dyn Portal>,
    /// How it is made quiet.
    pub control: Box<dyn Control>,
    /// How completions are announced, if by interrupt.
    pub interrupt: Option<Interrupt>,
}

/// An interrupt that a descriptor can ask for.
#[derive(Debug)]
pub struct Interrupt {
    /// What the descriptor names.
    pub handle: u16,
    /// An eventfd that counts them.
    pub event: OwnedFd,
}

/// How a work queue is made quiet, so that the memory it was given can be used again.
pub trait Control: Send + Sync {
    /// Goes on making the queue quiet, without waiting: drains it, aborts it, resets it, as far as it takes. Called again
    /// until it says something else than [`Quiet::Pending`].
    fn quiesce(&self) -> Quiet;
}

/// How far a queue is from being quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// Not yet.
    Pending,
    /// The device touches nothing that it was given before, and takes new work.
    Ready,
    /// The device touches nothing any more, and takes no work.
    Gone,
    /// Nobody knows what the device does: what it was given must never be used again.
    Never,
}
