//! Why a migration ends without the guest at the destination.

use std::io;
use std::time::Duration;

use super::arbiter::ArbiterError;
use super::convergence::Reason;
use super::handover::HandoverError;
use crate::dirty::DirtyError;
use crate::frame::End;
use crate::handshake::HandshakeError;
use crate::receiver::ReceiveError;
use crate::sender::SendError;
use crate::transport::TransportError;
use crate::vm::VmError;

/// Why a migration ends without the guest at the destination.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// Somebody asked to end it.
    #[error("the migration was cancelled")]
    Cancelled,
    /// The VMM could not do as asked.
    #[error("the VMM cannot {attempt}: {source}")]
    Vm {
        /// What it was asked for.
        attempt: &'static str,
        /// What it said.
        source: VmError,
    },
    /// Dirty pages cannot be told.
    #[error(transparent)]
    Dirty(#[from] DirtyError),
    /// There is no connection.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The two ends do not fit each other.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// Pages could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Pages could not be received.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// What is said around the switchover went wrong.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The other end gave up.
    #[error("the {end} gave up: {reason}")]
    Peer {
        /// Which end it is.
        end: End,
        /// In its words.
        reason: String,
    },
    /// A connection broke, and was not made anew in time.
    #[error("the connection broke ({reason}) and could not be made anew within {}: {last}", seconds(.within))]
    Lost {
        /// What broke it.
        reason: String,
        /// How long was tried.
        within: Duration,
        /// What the last try ended with.
        last: String,
    },
    /// The guest writes faster than the link carries, and what was to be done about it did not help.
    #[error("{0}")]
    Stalled(Reason),
    /// The arbiter gave the guest to the other end.
    #[error("the ends lost each other in the switchover, and the arbiter gave the guest to the {0}")]
    Arbitrated(End),
    /// The arbiter could not be asked.
    #[error(transparent)]
    Arbiter(#[from] ArbiterError),
    /// Nobody here can tell where the guest runs.
    #[error(
        "the ends lost each other in the switchover ({reason}), and nobody can tell whether the guest runs at the {other}; it is paused \
         here. Look there: if it runs, discard this one; if it does not and never will, resume this one. An arbiter would have decided"
    )]
    InDoubt {
        /// What broke.
        reason: String,
        /// The other end.
        other: End,
    },
    /// A device did not answer in time after a connection had broken.
    #[error(
        "a device may still write pages that came before the connection broke ({0}): it cannot be taken up again"
    )]
    Unsettled(String),
    /// A thread could not be started.
    #[error("the migration's thread could not be started: {0}")]
    Thread(io::Error),
    /// A thread died.
    #[error("a thread of the migration panicked; this is a defect of pageferry")]
    Panicked,
}

impl MigrationError {
    pub(super) fn vm(attempt: &'static str) -> impl FnOnce(VmError) -> Self {
        move |source| Self::Vm { attempt, source }
    }

    /// What the other end said when it gave up.
    pub(super) const fn peer(end: End, reason: String) -> Self {
        Self::Peer { end, reason }
    }

    /// Whether it was the connection alone that failed, so that another one may do.
    pub(super) fn is_connection(&self) -> bool {
        matches!(
            self,
            Self::Send(SendError::Io { .. })
                | Self::Receive(ReceiveError::Io { .. } | ReceiveError::BrokenOff { .. })
                | Self::Handover(HandoverError::Io(_))
                | Self::Handshake(HandshakeError::Io { .. })
                | Self::Send(SendError::Handshake(HandshakeError::Io { .. }))
                | Self::Transport(_)
        )
    }
}

fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
