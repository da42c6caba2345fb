//! The two ends' connections, in accelbench's words: who has to be started where, and what is left behind when one ends.

use std::io;
use std::time::Duration;

use pageferry_engine::connection::Connection;
use pageferry_engine::transport::{
    Address, DialError, Dialer, Listen, ListenError, PeerLimits, Rejections, Security, TransportError, tls,
};
use serde::Serializer;

use crate::interrupt::Cleanup;

/// A connection that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AddressError {
    #[error("nobody listens at {address} ({source}): start `accelbench recv --listen {address}` first")]
    Connect { address: Address, source: io::Error },
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Setup(#[from] tls::TlsSetupError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Accept(#[from] TransportError),
    #[error("{missing} of {expected} connections did not come to {address} within {seconds} s")]
    Missing { address: Address, missing: usize, expected: usize, seconds: f64 },
}

/// Connects so many times.
///
/// # Errors
/// [`AddressError`] says what to start, or who did not take whom.
pub(crate) fn connect(
    address: &Address,
    security: Security,
    count: u16,
    timeout: Duration,
) -> Result<Vec<Connection>, AddressError> {
    let dialer = Dialer::new(address.clone(), security, Some(timeout))?;
    let connect = |_| {
        dialer.connect(timeout).map_err(|error| match error {
            DialError::Connect { address, source } => AddressError::Connect { address, source },
            other => other.into(),
        })
    };
    (0..count).map(connect).collect()
}

/// Waits for connections. A Unix socket's file goes when it does, also at an interrupt.
pub(crate) struct Listener {
    inner: pageferry_engine::transport::Listener,
    rejections: Rejections,
    _file: Option<Cleanup>,
}

/// How often somebody who waits for ever looks who was turned away meanwhile.
const LOOK: Duration = Duration::from_millis(500);

impl Listener {
    /// Listens at an address; each read and write of a connection that comes ends within `timeout`.
    ///
    /// # Errors
    /// [`AddressError::Listen`] says what to do.
    pub(crate) fn bind(
        address: &Address,
        security: Security,
        timeout: Duration,
    ) -> Result<Self, AddressError> {
        let limits = PeerLimits::default();
        // Before the file is there: an interrupt may come between. One that is there already is somebody else's.
        let file = match address {
            Address::Unix(path) if !path.exists() => Some(Cleanup::file(path.clone())),
            Address::Unix(_) | Address::Tcp(_) => None,
        };
        let inner = pageferry_engine::transport::Listener::bind(address, security, Some(timeout), limits)?;
        Ok(Self { rejections: inner.rejections(), inner, _file: file })
    }

    /// Where it listens; the port is the one that the system gave.
    pub(crate) const fn address(&self) -> &Address {
        self.inner.address()
    }

    /// The next connection, for which it waits for ever. Those that were turned away are reported to `warn`.
    ///
    /// # Errors
    /// [`AddressError::Accept`] if none will come any more.
    pub(crate) fn accept(&mut self, warn: &dyn Fn(&str)) -> Result<Connection, AddressError> {
        loop {
            if let Some(connection) = self.accept_within(LOOK, warn)? {
                return Ok(connection);
            }
        }
    }

    /// The next connection; `None` if none comes within `patience`.
    ///
    /// # Errors
    /// [`AddressError::Accept`] if none will come any more.
    pub(crate) fn accept_within(
        &mut self,
        patience: Duration,
        warn: &dyn Fn(&str),
    ) -> Result<Option<Connection>, AddressError> {
        let accepted = self.inner.accept(patience)?;
        for message in self.rejections.take_messages() {
            warn(&format!("a connection was dropped: {message}"));
        }
        Ok(accepted)
    }
}

/// An address as the command line has it.
pub(crate) fn as_text<S: Serializer>(address: &Address, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}
