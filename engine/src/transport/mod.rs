//! How the two ends come to their connections.
//!
//! A migration needs more of them than it begins with: one that breaks is dialled anew. A VMM that has connections of its
//! own implements [`Dial`] and [`Listen`]; others take the [`Dialer`] and the [`Listener`] of this module, over TCP or a
//! Unix socket ([`Address`]), with TLS or without ([`Security`]).

use std::error::Error;
use std::time::Duration;

use crate::connection::Connection;

mod address;
mod dialer;
mod listener;
mod reception;
mod rejection;
mod socket;
pub mod tls;

pub use address::{Address, NoAddress};
pub use dialer::{DialError, Dialer};
pub use listener::{ListenError, Listener};
pub use reception::PeerLimits;
pub use rejection::{Rejection, Rejections};
pub use tls::Security;

/// Makes new connections to the destination.
pub trait Dial: Send {
    /// One new connection, ready to carry a migration, authenticated where that is asked for.
    ///
    /// # Errors
    /// [`TransportError`] if there is none within the time. It may be called again.
    fn dial(&mut self, within: Duration) -> Result<Connection, TransportError>;
}

/// Takes new connections from a source.
pub trait Listen: Send {
    /// The next connection, authenticated where that is asked for; `None` if none came within the time.
    ///
    /// # Errors
    /// [`TransportError`] if no connection will ever come any more. A peer that misbehaves is none.
    fn accept(&mut self, within: Duration) -> Result<Option<Connection>, TransportError>;
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(#[source] Box<dyn Error + Send + Sync>);

impl TransportError {
    /// With the reason of whoever makes connections.
    #[must_use]
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}
