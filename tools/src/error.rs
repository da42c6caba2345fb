//! Why accelbench ends without a result, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use pageferry_engine::receiver::ReceiveError;
use pageferry_engine::selector::NoMethod;
use pageferry_engine::sender::SendError;

use crate::accelerators::AcceleratorError;
use crate::address::AddressError;
use crate::calibration::CalibrationError;
use crate::chart::PngError;
use crate::digest::Difference;
use crate::exchange::ExchangeError;
use crate::input::ImageError;
use crate::memory::Refused;
use crate::page_costs::MeasureError;
use crate::plan::PlanError;
use crate::profile::ProfileError;
use crate::quantity::ByteSize;
use crate::regression::error::RegressionError;
use crate::results::error::ResultError;
use crate::simulation::SimulationError;

/// How accelbench ends. The numbers are part of its interface; 130 follows from an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Fine = 0,
    Failed = 1,
    Usage = 2,
    Device = 3,
    Verification = 4,
    Worse = 5,
}

/// Why accelbench ends without a (good) result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("--accelerator: {0}")]
    Accelerator(#[from] AcceleratorError),
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the migration failed at the source: {0}")]
    Send(#[from] SendError),
    #[error("the migration failed at the destination: {0}")]
    Receive(#[from] ReceiveError),
    #[error("the migration was refused: {0}")]
    Refused(#[from] Refused),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error(transparent)]
    Difference(#[from] Difference),
    #[error(transparent)]
    NoMethod(#[from] NoMethod),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("{error}")]
    Destination { error: PeerError, code: i32 },
    #[error("{error}\n  the destination said: {said}")]
    WithPeer { error: Box<Error>, said: String, code: i32 },
    #[error(
        "source and destination together need {needed}, and {available} are available: use a smaller guest, or two \
         hosts with accelbench send and recv"
    )]
    Memory { needed: ByteSize, available: ByteSize },
    #[error(
        "cannot make a folder for the sockets in {folder}: {source}; set TMPDIR to one that can be written"
    )]
    Folder { folder: String, source: io::Error },
    #[error(transparent)]
    Result(#[from] ResultError),
    #[error(transparent)]
    Regression(#[from] RegressionError),
    #[error("the chart {chart} cannot be drawn as PNG: {source}")]
    Chart { chart: String, source: PngError },
    #[error("cannot write {file}: {source}")]
    Export { file: String, source: io::Error },
    #[error("cannot print the result: {0}")]
    Print(io::Error),
    #[error("the system has no random bytes for the migration's id: {0}")]
    Random(io::Error),
    #[error("the simulation failed: {0}")]
    Simulation(#[from] SimulationError),
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(transparent)]
    Costs(#[from] MeasureError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot wait for the destination: {0}")]
    Wait(io::Error),
    #[error("no connection came back from the migration; this is a defect of pageferry")]
    NoConnection,
    #[error("the destination's thread panicked; this is a defect of pageferry")]
    Panicked,
}

/// The other process does not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PeerError {
    #[error("cannot start {program} as the destination: {source}; try --in-process")]
    Start { program: String, source: io::Error },
    #[error("the destination ended before it listened: {said}")]
    Silent { said: String },
    #[error("the destination did not end within {0} s after the migration")]
    Hangs(f64),
    #[error("the destination failed: {said}")]
    Failed { said: String },
}

impl Error {
    /// The code that a script sees.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Plan(_) => Exit::Usage,
            Self::Accelerator(_)
            | Self::Send(SendError::Open(_) | SendError::CannotEncode(_))
            | Self::Receive(ReceiveError::Open(_)) => Exit::Device,
            Self::Destination { code, .. } | Self::WithPeer { code, .. } if *code == Exit::Device as i32 => {
                Exit::Device
            }
            Self::Difference(_) => Exit::Verification,
            Self::Regression(RegressionError::Worse { .. }) => Exit::Worse,
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

#[cfg(test)]
mod tests {
    use pageferry_accel::queue::OpenError;

    use super::*;
    use crate::quantity::Percent;

    #[test]
    fn every_kind_of_failure_has_its_exit_code() {
        let open = || OpenError::Codec { accelerator: "cpu".into(), reason: "no".into() };
        let cases: Vec<(Error, Exit)> = vec![
            (PlanError::PageSize(ByteSize(1)).into(), Exit::Usage),
            (AcceleratorError { name: "qat".into(), reason: "no".into() }.into(), Exit::Device),
            (SendError::Open(open()).into(), Exit::Device),
            (ReceiveError::Open(open()).into(), Exit::Device),
            (Difference::Count { found: 0, expected: 1 }.into(), Exit::Verification),
            (SendError::Panicked.into(), Exit::Failed),
            (RegressionError::Worse { limit: Percent(5.0), rows: "raw".into() }.into(), Exit::Worse),
            (
                Error::WithPeer { error: Box::new(SendError::Failed.into()), said: "x".into(), code: 3 },
                Exit::Device,
            ),
        ];
        for (error, exit) in cases {
            assert_eq!(error.exit(), exit, "{error}");
        }
    }
}
