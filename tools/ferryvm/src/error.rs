//! Why ferryvm ends without a good result, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use pageferry_engine::vm::VmError;

use crate::proof::Proof;
use crate::vm::{FerryError, ProveError};

/// How ferryvm ends. The numbers are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Fine = 0,
    Failed = 1,
    Usage = 2,
    Guest = 3,
    Proof = 4,
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
    #[error("cannot print the result: {0}")]
    Print(io::Error),
}

impl Error {
    /// The code that a script sees.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Ferry(FerryError::Layout(_)) => Exit::Usage,
            Self::Ferry(FerryError::Host(_)) => Exit::Guest,
            Self::Proof(_) => Exit::Proof,
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
