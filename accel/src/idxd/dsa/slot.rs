//! What is kept of one request while DSA works on it.

use pageferry_bindings::idxd::completion::DsaCompletion;

use super::mend::Mend;
use crate::dma::Block;
use crate::idxd::work::Outbox;
use crate::run::Run;

/// A slot: made once, used for one request after the other.
pub(crate) struct Slot {
    pub(super) stage: Stage,
    /// Of an encoding, in the order of the runs.
    pub(super) pages: Vec<Page>,
    /// A private page for every page; of a decoding, where records lie aligned.
    pub(super) private: Vec<Block>,
    /// A page of zeros, the baseline of pages that the destination knows to be zero.
    pub(super) zero_page: Block,
    /// The runs as they turn out.
    pub(super) runs: Vec<Run>,
    /// Of a decoding: what goes into guest memory, in order.
    pub(super) pieces: Vec<Piece>,
    /// The checksum of the copies.
    pub(super) checksum: u32,
    /// What went wrong in the phase that runs, and is being made good.
    pub(super) mend: Mend,
}

/// Which phase runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    /// Which pages are zero?
    ZeroTest,
    /// Private copies are taken, and their CRCs; what is made of the copies follows.
    Copies,
    /// Deltas are made of the copies, or the copies are moved into the payload.
    Second,
    /// Both in one batch: the second part begins with this descriptor, and waits for the first by a fence.
    CopiesAndSecond {
        second: usize,
    },
    /// Payload goes to guest memory; CRCs of what deltas made follow.
    Places,
    /// CRCs of pages that deltas were applied to.
    Crcs,
    /// Both in one batch.
    PlacesAndCrcs {
        second: usize,
    },
    /// The request is none that this device can decode.
    Refused(Refusal),
}

impl Stage {
    /// How many descriptors must be done before any behind them may be.
    pub(super) fn barrier(self) -> usize {
        match self {
            Self::CopiesAndSecond { second } | Self::PlacesAndCrcs { second } => second,
            _ => 0,
        }
    }
}

/// Why a request cannot be decoded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("segment {segment} has a method or a size that it cannot decode")]
    Segment { segment: usize },
    #[error("the segments do not cover the pages and the payload")]
    Coverage,
}

/// A page of an encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// Where it is in guest memory.
    pub(super) address: u64,
    pub(super) fate: Fate,
}

/// What becomes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is zero.
    Zero,
    /// It is copied straight into the payload.
    Straight,
    /// It is copied into the baseline's room or a private page, and from there into the payload.
    Lifted,
    /// It is copied likewise, and a delta goes into the payload.
    Delta,
}

/// Contiguous guest memory of a decoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) address: u64,
    pub(super) pages: u32,
    /// Whether its CRC comes with its copying; otherwise it takes a descriptor of its own.
    pub(super) raw: bool,
    /// Among the descriptors that bring the payload to guest memory, or among those of CRCs.
    pub(super) descriptor: usize,
    pub(super) crc: u32,
}

/// The records of a phase: the device's own, or those of a phase that was mended.
#[derive(Clone, Copy)]
pub(super) enum Records<'a> {
    Device(&'a Outbox<DsaCompletion>),
    Mended(&'a [DsaCompletion]),
}

impl Records<'_> {
    pub(super) fn get(self, index: usize) -> DsaCompletion {
        match self {
            Self::Device(outbox) => outbox.record(index),
            Self::Mended(records) => records[index],
        }
    }
}
