//! Why a sender stops.

use std::io;

use pageferry_accel::method::Method;
use pageferry_accel::queue::{Failure, OpenError};

use crate::frame::{EncodeError, FrameError, FrameId, Kind};
use crate::handshake::HandshakeError;
use crate::regions::RegionsError;

/// Why a sender stops. Whatever the reason, the guest runs on at the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no way to the destination.
    #[error("a migration needs 1 to 64 connections, {0} were given")]
    Connections(usize),
    /// More pages a request than there may be, or none.
    #[error("{0} pages a request were asked for: 1 to 1024 are possible")]
    MaxPages(u32),
    /// The guest's memory has more regions than the format can state.
    #[error(transparent)]
    Regions(#[from] RegionsError),
    /// The two ends do not fit each other.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// There is no memory for requests or baselines.
    #[error(
        "the memory for requests and baselines could not be mapped: {0}; use fewer pages a request, or a smaller cache"
    )]
    Memory(io::Error),
    /// An accelerator could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nothing can encode by a method that may be selected.
    #[error("no accelerator here encodes {0}: add the CPU, or select another method")]
    CannotEncode(Method),
    /// The destination cannot decode a method that may be selected.
    #[error("the destination does not decode {0}: select another method")]
    CannotDecode(Method),
    /// The poller's thread could not be started.
    #[error("the poller's thread could not be started: {0}")]
    Thread(io::Error),
    /// A connection broke.
    #[error("connection {channel} failed: {source}")]
    Io {
        /// Which.
        channel: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The destination gave up, and said why.
    #[error("the destination gave up: {reason}")]
    Destination {
        /// In its words.
        reason: String,
    },
    /// What the destination sends back is no frame.
    #[error("the destination's answer is no valid frame: {0}")]
    Frame(#[from] FrameError),
    /// The destination sent a valid frame that has no place here.
    #[error("the destination sent a {kind:?} frame where the report on round {round} was due")]
    OutOfTurn {
        /// What it sent.
        kind: Kind,
        /// The round that had ended.
        round: u32,
    },
    /// The destination did not count what was sent.
    #[error("round {round} had {sent} pages, the destination reports {reported}")]
    Count {
        /// The round.
        round: u32,
        /// Pages that were sent.
        sent: u64,
        /// Pages that it counted.
        reported: u64,
    },
    /// Every accelerator failed on the same pages.
    #[error("{frame} could not be encoded by any accelerator, the last one said: {failure}")]
    Encode {
        /// The frame that was to be.
        frame: FrameId,
        /// What the last one said.
        failure: Failure,
    },
    /// Every queue that could encode is gone.
    #[error("every queue that encodes {0} is gone: add the CPU to the accelerators")]
    QueuesGone(Method),
    /// A device left tables that no frame can have.
    #[error("a device left a request that no frame can hold: {0}")]
    Tables(#[from] EncodeError),
    /// Somebody asked it to.
    #[error("the sender was stopped")]
    Stopped,
    /// The poller's thread died.
    #[error("the poller's thread panicked; this is a defect of pageferry")]
    Panicked,
    /// The sender was used after it had failed.
    #[error("the sender had failed before")]
    Failed,
}
