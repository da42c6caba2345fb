//! Why a receiver stops.

use std::io;

use pageferry_accel::method::Method;
use pageferry_accel::queue::{Failure, OpenError};

use crate::frame::{FrameError, FrameId, Kind};
use crate::handshake::{HandshakeError, Refusal};
use crate::regions::RegionsError;

/// Why a receiver stops. The source is told, where a connection is left to tell it on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Nothing to receive from.
    #[error("a migration needs 1 to 64 connections, {0} were given")]
    Connections(usize),
    /// The guest's memory here is none that the format can state.
    #[error(transparent)]
    Regions(#[from] RegionsError),
    /// The two ends do not fit each other.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The offer was refused, for all the reasons in the text.
    #[error("the source's offer was refused ({refusal:?}): {text}")]
    Refused {
        /// In one word.
        refusal: Refusal,
        /// In many.
        text: String,
    },
    /// There is no memory for requests or baselines.
    #[error(
        "the memory for requests and baselines could not be mapped: {0}; use fewer pages a request, or a smaller cache"
    )]
    Memory(io::Error),
    /// An accelerator could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A thread could not be started.
    #[error("the thread of {name} could not be started: {source}")]
    Thread {
        /// Which.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// A connection broke or ended before the source had finished.
    #[error("connection {channel} failed: {source}")]
    Io {
        /// Which.
        channel: usize,
        /// What the system said.
        source: io::Error,
    },
    /// A connection broke or ended in the middle of a frame.
    #[error("{frame} broke off on connection {channel}: {source}")]
    BrokenOff {
        /// The frame.
        frame: FrameId,
        /// Which connection.
        channel: usize,
        /// What the system said.
        source: io::Error,
    },
    /// Not every connection that the offer announced has come.
    #[error("{0} connections of the migration are missing: join them all before accepting it")]
    Missing(usize),
    /// The source gave up, and said why.
    #[error("the source gave up: {reason}")]
    Source {
        /// In its words.
        reason: String,
    },
    /// Somebody asked it to.
    #[error("it was stopped at the destination")]
    Stopped,
    /// A frame breaks the rules.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A payload does not decode to the pages that were encoded.
    #[error("{frame}: {failure}")]
    Pages {
        /// Which frame.
        frame: FrameId,
        /// What was wrong.
        failure: Failure,
    },
    /// A page came twice in one round, so that nobody knows which came last.
    #[error("{frame} holds a page between {first} and {last} that came before in this round")]
    Twice {
        /// The frame that came later.
        frame: FrameId,
        /// The first page of the run that has it.
        first: pageferry_accel::units::PageIndex,
        /// The last page of that run.
        last: pageferry_accel::units::PageIndex,
    },
    /// A frame of another round than the one that is on.
    #[error("{frame} came while round {current} was on")]
    WrongRound {
        /// The frame.
        frame: FrameId,
        /// The round that is on.
        current: u32,
    },
    /// The channels do not agree on how a round ends.
    #[error(
        "{frame} is a {kind} frame where another connection brought a {other_kind} frame with number {other_sequence}"
    )]
    EndsApart {
        /// The frame that came later.
        frame: FrameId,
        /// Its kind.
        kind: Kind,
        /// The kind of the one that came before.
        other_kind: Kind,
        /// The number of the one that came before.
        other_sequence: u64,
    },
    /// The source finished in the middle of a round, whose pages nobody has confirmed.
    #[error("{frame} finishes the migration, but round {round} has {frames} frames and no end", round = .frame.round)]
    Unconfirmed {
        /// The frame that finished.
        frame: FrameId,
        /// Frames of pages that came in the round.
        frames: u64,
    },
    /// The source sent more frames than came, or fewer.
    #[error("round {round} ended after {received} frames, the source says it sent {sent}")]
    Lost {
        /// The round.
        round: u32,
        /// Frames that came until then, of all rounds.
        received: u64,
        /// Frames that the source says it sent until then.
        sent: u64,
    },
    /// Every queue that could decode is gone.
    #[error("every queue that decodes {0} is gone: add the CPU to the accelerators")]
    QueuesGone(Method),
    /// A thread of the receiver died.
    #[error("a thread of the receiver panicked; this is a defect of pageferry")]
    Panicked,
}
