//! A peer that is being authenticated: bytes go to and fro as the socket has them, and nothing waits.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use rustix::event::PollFlags;
use rustls::Connection as Session;

use super::{TlsError, stream};
use crate::connection::{Connection, PeerIdentity};
use crate::transport::socket::{Now, Socket};

/// A connection whose peer is not authenticated yet.
pub(in crate::transport) struct Handshake {
    socket: Socket,
    session: Session,
    received: usize,
    max_bytes: usize,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Step {
    /// The peer is authenticated.
    Done,
    /// It goes on when the socket is ready for this.
    Wait(PollFlags),
}

impl Handshake {
    /// Begins; at most so many bytes of the peer are read before it is authenticated.
    pub(in crate::transport) const fn new(socket: Socket, session: Session, max_bytes: usize) -> Self {
        Self { socket, session, received: 0, max_bytes }
    }

    pub(in crate::transport) const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether the peer has said nothing so far.
    pub(in crate::transport) const fn is_silent(&self) -> bool {
        self.received == 0
    }

    /// Goes on as far as that is possible without waiting.
    ///
    /// # Errors
    /// [`TlsError`]; the peer has been told then, as far as that is possible without waiting.
    pub(in crate::transport) fn step(&mut self) -> Result<Step, TlsError> {
        loop {
            if !self.send()? {
                return Ok(Step::Wait(PollFlags::OUT));
            }
            if !self.session.is_handshaking() {
                return Ok(Step::Done);
            }
            if !self.receive()? {
                return Ok(Step::Wait(PollFlags::IN));
            }
        }
    }

    /// The connection to the peer that has been authenticated.
    ///
    /// # Errors
    /// [`TlsError`] if the system refuses what a connection needs.
    pub(in crate::transport) fn into_connection(
        self,
        timeout: Option<Duration>,
    ) -> Result<Connection, TlsError> {
        let certificate = self.session.peer_certificates().and_then(|chain| chain.first());
        let none = || TlsError::Certificate("it has none".to_owned());
        let peer = PeerIdentity::of(certificate.ok_or_else(none)?);
        stream::connection(self.socket, self.session, timeout, peer).map_err(TlsError::Io)
    }

    /// What is left of a connection whose peer was not authenticated: nothing more is sent on it.
    pub(in crate::transport) fn into_rejected(self) -> Socket {
        // A socket that is no longer connected has nobody waiting for an end either.
        drop(self.socket.shutdown(Shutdown::Write));
        self.socket
    }

    /// Says whether everything was sent.
    fn send(&mut self) -> Result<bool, TlsError> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Now(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TlsError::Io(error)),
            }
        }
        Ok(true)
    }

    /// Says whether anything came.
    fn receive(&mut self) -> Result<bool, TlsError> {
        match self.session.read_tls(&mut Now(&self.socket)) {
            Ok(0) => return Err(TlsError::Closed),
            Ok(count) => self.received += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // The library's bound on a message before it is whole.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(TlsError::TooLarge(self.received));
            }
            Err(error) => return Err(TlsError::Io(error)),
        }
        if let Err(error) = self.session.process_new_packets() {
            // The alert that says why; whoever does not take it sees the connection end.
            drop(self.send());
            return Err(error.into());
        }
        if self.received > self.max_bytes && self.session.is_handshaking() {
            return Err(TlsError::TooLarge(self.max_bytes));
        }
        Ok(true)
    }
}
