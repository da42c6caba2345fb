//! The side that is connected to: a destination.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::event::{EventfdFlags, eventfd};

use super::reception::{Door, PeerLimits, Reception, Shared};
use super::tls::{TlsServer, TlsSetupError};
use super::{Address, Listen, Rejections, Security, TransportError};
use crate::connection::Connection;

/// Waits for connections at an address and authenticates their peers, all at once and on a thread of its own.
///
/// When it is dropped, the thread has ended, and the file of a Unix socket is gone.
pub struct Listener {
    address: Address,
    rejections: Rejections,
    ready: Receiver<Connection>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    file: Option<SocketFile>,
}

/// Why an address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The system does not let this process have the address.
    #[error("cannot listen at {address}: {source}; {remedy}")]
    Bind {
        /// Where.
        address: Address,
        /// What the system says.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
}

/// The file of a Unix socket, as it was when it was made.
struct SocketFile {
    path: PathBuf,
    number: Option<(u64, u64)>,
}

impl Listener {
    /// Listens at an address; each read and write of a connection that comes ends within `timeout`.
    ///
    /// # Errors
    /// [`ListenError`] says what to do.
    pub fn bind(
        address: &Address,
        security: Security,
        timeout: Option<Duration>,
        limits: PeerLimits,
    ) -> Result<Self, ListenError> {
        let tls = match security {
            Security::Plain => None,
            Security::Tls { tls, peer_name } => Some(TlsServer::new(&tls, peer_name.as_ref())?),
        };
        let failed = |source: io::Error| {
            let remedy = remedy(source.kind());
            ListenError::Bind { address: address.clone(), source, remedy }
        };
        let (door, address, file) = bind(address).map_err(failed)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = bell.map_err(|error| failed(error.into()))?;
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), bell });
        let rejections = Rejections::default();
        // Those who are pending when the last one that may wait comes have room too.
        let (sender, ready) = bounded(limits.ready.max(1).saturating_add(limits.pending));
        let reception =
            Reception::new(door, tls, timeout, limits, Arc::clone(&shared), rejections.clone(), sender);
        let thread = thread::Builder::new().name("listener".into()).spawn(move || reception.run());
        let thread = Some(thread.map_err(failed)?);
        Ok(Self { address, rejections, ready, shared, thread, file })
    }

    /// Where it listens; the port is the one that the system gave.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Who was turned away; to be kept by whoever hands the listener on.
    #[must_use]
    pub fn rejections(&self) -> Rejections {
        self.rejections.clone()
    }
}

impl Listen for Listener {
    fn accept(&mut self, within: Duration) -> Result<Option<Connection>, TransportError> {
        match self.ready.recv_timeout(within) {
            Ok(connection) => {
                // There is room for one more.
                self.shared.ring();
                Ok(Some(connection))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(TransportError::new(format!(
                "nothing comes to {} any more: the system no longer lets this process wait for connections",
                self.address
            ))),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            // It never waits for a peer, and so ends at once; a panic there has been printed.
            drop(thread.join());
        }
        if let Some(file) = self.file.take() {
            file.remove();
        }
    }
}

impl SocketFile {
    fn new(path: PathBuf) -> Self {
        Self { number: number(&path), path }
    }

    /// Unless another one is there by now, which is somebody else's.
    fn remove(self) {
        if self.number.is_some() && number(&self.path) == self.number {
            drop(fs::remove_file(self.path));
        }
    }
}

fn number(path: &PathBuf) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn bind(address: &Address) -> io::Result<(Door, Address, Option<SocketFile>)> {
    match address {
        Address::Tcp(place) => {
            let socket = TcpListener::bind(place.as_str())?;
            socket.set_nonblocking(true)?;
            let address = Address::Tcp(socket.local_addr()?.to_string());
            Ok((Door::Tcp(socket), address, None))
        }
        Address::Unix(path) => {
            let socket = UnixListener::bind(path)?;
            let file = SocketFile::new(path.clone());
            socket.set_nonblocking(true)?;
            Ok((Door::Unix(socket), address.clone(), Some(file)))
        }
    }
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "end what listens there, remove a left-over file, or choose another",
        io::ErrorKind::PermissionDenied => "choose a port above 1023 or a path that you may write to",
        _ => "choose another address",
    }
}
