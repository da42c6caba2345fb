//! The side that asks.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;

use super::address::ControlAddress;
use super::{Request, Said, line};

/// A connection to a process that has a guest.
pub(crate) struct Client {
    address: ControlAddress,
    stream: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ClientError {
    #[error("nobody serves {address} ({source}): start a guest with ferryvm run --control {address}")]
    Connect { address: ControlAddress, source: io::Error },
    #[error("the guest's process at {address} went away: {source}")]
    Lost { address: ControlAddress, source: io::Error },
    #[error("what answers at {address} is no ferryvm, or another version: {source}")]
    Foreign { address: ControlAddress, source: serde_json::Error },
}

/// More than any answer has.
const MOST_BYTES: u64 = 1 << 20;

impl Client {
    /// # Errors
    /// [`ClientError::Connect`]
    pub(crate) fn connect(address: &ControlAddress) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(address.path());
        let stream = stream.map_err(|source| ClientError::Connect { address: address.clone(), source })?;
        Ok(Self { address: address.clone(), stream: BufReader::new(stream) })
    }

    /// Asks, and hears the first answer.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Said, ClientError> {
        let written = line::write(self.stream.get_mut(), request);
        written.map_err(|source| ClientError::Lost { address: self.address.clone(), source })?;
        self.hear()
    }

    /// Hears the next answer.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(crate) fn hear(&mut self) -> Result<Said, ClientError> {
        let lost = |source| ClientError::Lost { address: self.address.clone(), source };
        let text = line::read(&mut self.stream, MOST_BYTES).map_err(lost)?;
        let text = text.ok_or_else(|| lost(io::ErrorKind::UnexpectedEof.into()))?;
        serde_json::from_slice(&text)
            .map_err(|source| ClientError::Foreign { address: self.address.clone(), source })
    }
}
