//! Where the two ends find each other: `tcp:HOST:PORT` or `unix:PATH`.

use std::fmt;
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pageferry_engine::connection::Connection;
use serde::{Serialize, Serializer};

use crate::interrupt::Cleanup;

/// An address to listen at or to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Host and port, as the system's resolver takes them.
    Tcp(String),
    /// A path in the file system.
    Unix(PathBuf),
}

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: write tcp:HOST:PORT or unix:PATH")]
pub(crate) struct NoAddress(String);

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AddressError {
    #[error("nobody listens at {address} ({source}): start `accelbench recv --listen {address}` first")]
    Connect { address: Address, source: io::Error },
    #[error("cannot listen at {address}: {source}; {remedy}")]
    Listen { address: Address, source: io::Error, remedy: &'static str },
    #[error("no connection came to {address}: {source}")]
    Accept { address: Address, source: io::Error },
    #[error("{missing} of {expected} connections did not come to {address} within {seconds} s")]
    Missing { address: Address, missing: usize, expected: usize, seconds: f64 },
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let none = || NoAddress(text.to_owned());
        match text.split_once(':').ok_or_else(none)? {
            ("unix", path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            ("tcp", place) => {
                let (host, port) = place.rsplit_once(':').ok_or_else(none)?;
                port.parse::<u16>().map_err(|_| none())?;
                if host.is_empty() { Err(none()) } else { Ok(Self::Tcp(place.to_owned())) }
            }
            _ => Err(none()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(f, "tcp:{place}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Address {
    /// Whether what is sent to this address can be read by others than this machine's.
    pub(crate) fn leaves_the_machine(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(place) => place
                .to_socket_addrs()
                .map_or(true, |mut found| found.any(|address| !address.ip().is_loopback())),
        }
    }

    /// Connects so many times.
    ///
    /// # Errors
    /// [`AddressError::Connect`] with what the system says.
    pub(crate) fn connect(&self, count: u16, timeout: Duration) -> Result<Vec<Connection>, AddressError> {
        let connect = |_| self.connect_once(timeout);
        let connections = (0..count).map(connect).collect::<io::Result<_>>();
        connections.map_err(|source| AddressError::Connect { address: self.clone(), source })
    }

    fn connect_once(&self, timeout: Duration) -> io::Result<Connection> {
        match self {
            Self::Unix(path) => Connection::unix(UnixStream::connect(path)?, Some(timeout)),
            Self::Tcp(place) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in place.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => return Connection::tcp(stream, Some(timeout)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// A socket that waits for connections. A Unix socket's file goes when it does, also at an interrupt.
pub(crate) struct Listener {
    socket: Socket,
    address: Address,
    _file: Option<Cleanup>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    /// [`AddressError::Listen`] with what the system says.
    pub(crate) fn bind(address: &Address) -> Result<Self, AddressError> {
        Self::try_bind(address).map_err(|source| {
            let remedy = match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "end what listens there, remove a left-over file, or choose another"
                }
                io::ErrorKind::PermissionDenied => "choose a port above 1023 or a path that you may write to",
                _ => "choose another address",
            };
            AddressError::Listen { address: address.clone(), source, remedy }
        })
    }

    fn try_bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(place) => {
                let socket = TcpListener::bind(place.as_str())?;
                let address = Address::Tcp(socket.local_addr()?.to_string());
                Ok(Self { socket: Socket::Tcp(socket), address, _file: None })
            }
            Address::Unix(path) => {
                let socket = UnixListener::bind(path)?;
                let file = Some(Cleanup::file(path.clone()));
                Ok(Self { socket: Socket::Unix(socket), address: address.clone(), _file: file })
            }
        }
    }

    /// Where it listens; the port is the one that the system gave.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection, which `timeout` then holds for; `None` if none comes within `patience`.
    ///
    /// # Errors
    /// [`AddressError::Accept`] with what the system says.
    pub(crate) fn accept(
        &self,
        patience: Option<Duration>,
        timeout: Duration,
    ) -> Result<Option<Connection>, AddressError> {
        let accepted =
            self.wait(patience).and_then(|came| came.then(|| self.accept_now(timeout)).transpose());
        accepted.map_err(|source| AddressError::Accept { address: self.address.clone(), source })
    }

    fn wait(&self, patience: Option<Duration>) -> io::Result<bool> {
        let socket = match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        };
        let mut set = [PollFd::new(socket, PollFlags::POLLIN)];
        let patience = patience.map_or(PollTimeout::NONE, |patience| {
            PollTimeout::try_from(patience.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        loop {
            match poll(&mut set, patience) {
                // A signal that matters ends the process by itself.
                Err(Errno::EINTR) => {}
                Ok(ready) => return Ok(ready > 0),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn accept_now(&self, timeout: Duration) -> io::Result<Connection> {
        match &self.socket {
            Socket::Tcp(socket) => Connection::tcp(socket.accept()?.0, Some(timeout)),
            Socket::Unix(socket) => Connection::unix(socket.accept()?.0, Some(timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_as_it_was_typed() {
        for text in ["tcp:0.0.0.0:4444", "tcp:[::1]:0", "tcp:host.example:1", "unix:/run/a.sock", "unix:a:b"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "host:1", "tcp:host", "tcp::1", "tcp:host:99999", "unix:", "udp:host:1", "4444"] {
            assert_eq!(text.parse::<Address>(), Err(NoAddress(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_files_stay_on_the_machine() {
        for (text, leaves) in [
            ("tcp:127.0.0.1:1", false),
            ("tcp:[::1]:1", false),
            ("tcp:192.0.2.1:1", true),
            ("unix:/a", false),
            ("tcp:0.0.0.0:1", true),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().leaves_the_machine(), leaves, "{text}");
        }
    }
}
