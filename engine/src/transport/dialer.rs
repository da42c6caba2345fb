//! The side that connects: a source.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::socket::Socket;
use super::tls::{Handshake, Step, TlsClient, TlsError, TlsSetupError};
use super::{Address, Dial, Security, TransportError};
use crate::connection::Connection;

/// Connects to an address, as often as it is asked to.
pub struct Dialer {
    address: Address,
    tls: Option<TlsClient>,
    timeout: Option<Duration>,
}

/// Why there is no connection to an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// Nobody listens there, or the address is none.
    #[error(
        "cannot connect to {address}: {source}; is the destination started, and is that where it listens?"
    )]
    Connect {
        /// Where to.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// Whoever listens there is not who should.
    #[error("the destination at {address} was not authenticated: {source}")]
    Tls {
        /// Where.
        address: Address,
        /// Why not.
        source: TlsError,
    },
    /// A connection that was made cannot be used.
    #[error("the connection to {address} cannot be used: {source}")]
    Socket {
        /// Where to.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
}

/// More than the certificates of a chain take.
const MAX_HANDSHAKE_BYTES: usize = 256 << 10;

impl Dialer {
    /// Will connect to `address`; each read and write of a connection then ends within `timeout`.
    ///
    /// # Errors
    /// [`TlsSetupError`] if TLS cannot be used for that address.
    pub fn new(
        address: Address,
        security: Security,
        timeout: Option<Duration>,
    ) -> Result<Self, TlsSetupError> {
        let tls = match security {
            Security::Plain => None,
            Security::Tls { tls, peer_name } => Some(TlsClient::new(&tls, peer_name, &address)?),
        };
        Ok(Self { address, tls, timeout })
    }

    /// Connects, to the first of the host's addresses that answers, and authenticates where that is asked for.
    ///
    /// The time bounds everything but the system's look for the host's addresses. A destination that does not accept this
    /// side's certificate says so only afterwards, to whoever reads from the connection first.
    ///
    /// # Errors
    /// [`DialError`]
    pub fn connect(&self, within: Duration) -> Result<Connection, DialError> {
        let address = || self.address.clone();
        let deadline = Deadline::after(within);
        let socket =
            self.socket(deadline).map_err(|source| DialError::Connect { address: address(), source })?;
        match &self.tls {
            None => socket
                .into_plain(self.timeout)
                .map_err(|source| DialError::Socket { address: address(), source }),
            Some(tls) => self
                .authenticate(tls, socket, deadline)
                .map_err(|source| DialError::Tls { address: address(), source }),
        }
    }

    fn socket(&self, deadline: Deadline) -> io::Result<Socket> {
        match &self.address {
            Address::Unix(path) => connect_unix(path, deadline.left()).map(Socket::Unix),
            Address::Tcp(place) => connect_tcp(place, deadline).map(Socket::Tcp),
        }
    }

    fn authenticate(
        &self,
        tls: &TlsClient,
        socket: Socket,
        deadline: Deadline,
    ) -> Result<Connection, TlsError> {
        if let Socket::Tcp(stream) = &socket {
            stream.set_nodelay(true).map_err(TlsError::Io)?;
        }
        let mut handshake = Handshake::new(socket, tls.session()?, MAX_HANDSHAKE_BYTES);
        while let Step::Wait(events) = handshake.step()? {
            handshake.socket().wait(events, Some(deadline.left())).map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => TlsError::TooSlow(deadline.within.as_secs_f64()),
                _ => TlsError::Io(error),
            })?;
        }
        handshake.into_connection(self.timeout)
    }
}

impl Dial for Dialer {
    fn dial(&mut self, within: Duration) -> Result<Connection, TransportError> {
        self.connect(within).map_err(TransportError::new)
    }
}

#[derive(Clone, Copy)]
struct Deadline {
    begun: Instant,
    within: Duration,
}

impl Deadline {
    fn after(within: Duration) -> Self {
        Self { begun: Instant::now(), within }
    }

    /// Never zero, which sockets take for no timeout at all.
    fn left(self) -> Duration {
        self.within.saturating_sub(self.begun.elapsed()).max(Duration::from_millis(1))
    }
}

/// Tries the host's addresses in turn; each has its share of the time that is left.
fn connect_tcp(place: &str, deadline: Deadline) -> io::Result<TcpStream> {
    let found: Vec<_> = place.to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let mut left = u32::try_from(found.len()).unwrap_or(u32::MAX);
    for address in found {
        let share = (deadline.left() / left).max(Duration::from_millis(1));
        left -= 1;
        match TcpStream::connect_timeout(&address, share) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A socket of the file system answers at once or not at all, unless too many wait there already.
fn connect_unix(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_write_timeout(None)?;
    Ok(stream)
}
