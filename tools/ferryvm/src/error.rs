//! Why ferryvm ends without a good result, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use pageferry_engine::metrics::MetricsError;
use pageferry_engine::migration::MigrationError;
use pageferry_engine::transport::ListenError;
use pageferry_engine::vm::VmError;

use crate::command::move_args::PlanError;
use crate::control::client::ClientError;
use crate::control::server::ServeError;
use crate::control::{Kind, Refused};
use crate::dirty::DirtyChoiceError;
use crate::host::HostError;
use crate::outcome::Verdict;
use crate::proof::Proof;
use crate::vm::{FerryError, ProveError};

/// How ferryvm ends. The numbers are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Fine = 0,
    Failed = 1,
    Usage = 2,
    /// No such guest, or no such accelerator here.
    NotHere = 3,
    Proof = 4,
    Stalled = 5,
    Refused = 6,
    InDoubt = 7,
    Cancelled = 130,
}

/// Why ferryvm ends without a good result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    #[error(transparent)]
    Ferry(#[from] FerryError),
    #[error(transparent)]
    Vm(#[from] VmError),
    #[error(transparent)]
    Prove(#[from] ProveError),
    #[error("the guest's proof {0}")]
    Proof(Proof),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Migration(#[from] MigrationError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Asked(#[from] Refused),
    #[error("{reason}")]
    Ended { verdict: Verdict, reason: String },
    #[error("it is too late to cancel: the guest is at the destination, or about to be")]
    TooLate,
    #[error("ended while nobody could tell where the guest runs: {0}")]
    InDoubt(String),
    #[error("the guest was lost with a thread of its migration: {0}")]
    Lost(String),
    #[error("nobody can say any more what to do with the guest; this is a defect of ferryvm")]
    Abandoned,
    #[error("the guest's process said something out of turn at {0}: is it another version of ferryvm?")]
    OutOfTurn(&'static str),
    #[error("cannot write events to {file}: {source}")]
    Events { file: String, source: io::Error },
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot print the result: {0}")]
    Print(io::Error),
}

impl Error {
    /// The code that a script sees.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Ferry(FerryError::Layout(_)) => Exit::Usage,
            Self::Ferry(FerryError::Host(HostError::Dirty(DirtyChoiceError::OtherGuest { .. }))) => {
                Exit::Usage
            }
            Self::Ferry(FerryError::Host(_)) | Self::Plan(PlanError::Accelerator(_)) => Exit::NotHere,
            Self::Plan(_) => Exit::Usage,
            Self::Asked(Refused { kind: Kind::Usage, .. }) => Exit::Usage,
            Self::Asked(Refused { kind: Kind::Accelerator, .. }) => Exit::NotHere,
            Self::Proof(_) => Exit::Proof,
            Self::Ended { verdict, .. } => match verdict {
                Verdict::Completed => Exit::Fine,
                Verdict::Cancelled => Exit::Cancelled,
                Verdict::Stalled => Exit::Stalled,
                Verdict::Refused => Exit::Refused,
                Verdict::Accelerator => Exit::NotHere,
                Verdict::InDoubt => Exit::InDoubt,
                Verdict::Failed => Exit::Failed,
            },
            Self::InDoubt(_) => Exit::InDoubt,
            _ => Exit::Failed,
        }
    }

    /// Whether whoever read our output has gone, which is no failure of ours.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Print(source) if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
