//! Sockets that nobody waits on for longer than he wants to.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::address::Address;

/// Tells threads that wait, on a socket or for a time, to look up.
#[derive(Debug)]
pub(super) struct Wake(OwnedFd);

/// Why a wait on a socket came to nothing.
#[derive(Debug)]
pub(super) enum Broken {
    /// The thread was told to look up.
    Woken,
    /// The connection is gone.
    Failed,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    is_tcp: bool,
}

/// Where connections arrive; open or closed, it keeps its address.
#[derive(Debug)]
pub(super) struct Listener {
    address: Address,
    /// Bound to the TCP address and never listening: nobody else gets it while the listener is closed.
    _reserved: Option<OwnedFd>,
    open: Option<OwnedFd>,
    receive_buffer: Option<usize>,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Ends all waits, and those that begin later, until [`Wake::clear`].
    pub(super) fn ring(&self) {
        // It fails only when it has been rung 2^64 times.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        // It fails only when it was not rung.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    /// Waits so long, or until rung; true if rung.
    pub(super) fn wait(&self, time: Option<Duration>) -> bool {
        let mut events = [PollFd::new(&self.0, PollFlags::IN)];
        wait_for(&mut events, time);
        !events[0].revents().is_empty()
    }

    /// Waits until then, or until rung; true if rung.
    pub(super) fn wait_until(&self, then: Instant) -> bool {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if self.wait(Some(left)) {
                return true;
            }
        }
    }

    /// Waits until `descriptor` is ready, or until rung; true if rung.
    fn wait_on(&self, descriptor: BorrowedFd<'_>, ready: PollFlags) -> bool {
        let mut events = [PollFd::new(&self.0, PollFlags::IN), PollFd::from_borrowed_fd(descriptor, ready)];
        wait_for(&mut events, None);
        !events[0].revents().is_empty()
    }
}

impl Socket {
    /// Connects, however full the listener's queue is.
    pub(super) fn dial(address: &Address, wake: &Wake) -> Result<Self, Broken> {
        let (family, is_tcp) = match address {
            Address::Tcp(address) => (family(address), true),
            Address::Unix(_) => (AddressFamily::UNIX, false),
        };
        loop {
            let descriptor = stream_socket(family).map_err(|_| Broken::Failed)?;
            let connected = match address {
                Address::Tcp(address) => net::connect(&descriptor, address),
                Address::Unix(path) => {
                    SocketAddrUnix::new(path).and_then(|address| net::connect(&descriptor, &address))
                }
            };
            match connected {
                Ok(()) => {}
                Err(Errno::INPROGRESS) => {
                    if wake.wait_on(descriptor.as_fd(), PollFlags::OUT) {
                        return Err(Broken::Woken);
                    }
                    if !matches!(sockopt::socket_error(&descriptor), Ok(Ok(()))) {
                        return Err(Broken::Failed);
                    }
                }
                // The queue of a Unix socket is full, and nothing tells when it no longer is.
                Err(Errno::AGAIN) => {
                    if wake.wait(Some(Duration::from_millis(1))) {
                        return Err(Broken::Woken);
                    }
                    continue;
                }
                Err(_) => return Err(Broken::Failed),
            }
            return Ok(Self::of(descriptor, is_tcp));
        }
    }

    fn of(descriptor: OwnedFd, is_tcp: bool) -> Self {
        if is_tcp {
            // Without it small frames are late, and nothing else is wrong.
            let _ = sockopt::set_tcp_nodelay(&descriptor, true);
        }
        Self { descriptor, is_tcp }
    }

    /// Some bytes; none at the stream's end.
    pub(super) fn read(&self, buffer: &mut [u8], wake: &Wake) -> Result<usize, Broken> {
        loop {
            match rustix::io::read(&self.descriptor, &mut *buffer) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if wake.wait_on(self.descriptor.as_fd(), PollFlags::IN) {
                        return Err(Broken::Woken);
                    }
                }
                Err(_) => return Err(Broken::Failed),
            }
        }
    }

    /// As many bytes as it takes, but one at least.
    pub(super) fn write(&self, bytes: &[u8], wake: &Wake) -> Result<usize, Broken> {
        loop {
            match net::send(&self.descriptor, bytes, SendFlags::NOSIGNAL) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if wake.wait_on(self.descriptor.as_fd(), PollFlags::OUT) {
                        return Err(Broken::Woken);
                    }
                }
                Err(_) => return Err(Broken::Failed),
            }
        }
    }

    /// Nothing more will be written: the other side finds the stream's end.
    pub(super) fn end(&self) {
        // A socket that is no longer connected has nobody to be told.
        let _ = net::shutdown(&self.descriptor, net::Shutdown::Write);
    }

    /// Throws away what arrives, until the stream ends or the time is over.
    pub(super) fn drain(&self, time: Duration) {
        let (end, mut waste) = (Instant::now() + time, [0; 16 << 10]);
        loop {
            match rustix::io::read(&self.descriptor, &mut waste) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = end.saturating_duration_since(Instant::now());
                    wait_for(&mut [PollFd::new(&self.descriptor, PollFlags::IN)], Some(left));
                }
                Err(_) => return,
            }
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Makes the close a reset.
    pub(super) fn reset_when_closed(&self) {
        if self.is_tcp {
            // It fails only for a socket that is none.
            let _ = sockopt::set_socket_linger(&self.descriptor, Some(Duration::ZERO));
        }
    }
}

impl Listener {
    /// Listens there; each connection's socket holds back about so many bytes that nobody has read.
    pub(super) fn open(address: &Address, receive_buffer: Option<usize>) -> io::Result<Self> {
        let mut listener = Self { address: address.clone(), _reserved: None, open: None, receive_buffer };
        match address {
            Address::Tcp(address) => {
                let reserved = stream_socket(family(address))?;
                sockopt::set_socket_reuseport(&reserved, true)?;
                net::bind(&reserved, address)?;
                listener.address = Address::Tcp(net::getsockname(&reserved)?.try_into()?);
                listener._reserved = Some(reserved);
                listener.reopen()?;
            }
            Address::Unix(path) => listener.open = Some(listener.listening_at(path)?),
        }
        Ok(listener)
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Refuses connections from now on.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Takes connections again, if it does not already.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        self.open = Some(match &self.address {
            Address::Tcp(address) => {
                let socket = stream_socket(family(address))?;
                sockopt::set_socket_reuseport(&socket, true)?;
                net::bind(&socket, address)?;
                self.listening(socket)?
            }
            // Put in place of the old one at once: no moment has neither.
            Address::Unix(path) => {
                let beside = beside(path);
                let _ = fs::remove_file(&beside);
                let socket = self.listening_at(&beside)?;
                fs::rename(&beside, path)?;
                socket
            }
        });
        Ok(())
    }

    /// The next connection, unless the thread is told to look up.
    pub(super) fn accept(&self, wake: &Wake) -> Result<Socket, Broken> {
        let open = self.open.as_ref().ok_or(Broken::Failed)?;
        let is_tcp = matches!(self.address, Address::Tcp(_));
        loop {
            if wake.wait_on(open.as_fd(), PollFlags::IN) {
                return Err(Broken::Woken);
            }
            match net::accept_with(open, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => return Ok(Socket::of(socket, is_tcp)),
                // Whoever came is gone again.
                Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
                // Out of descriptors, perhaps: there may be some later.
                Err(_) => {
                    wake.wait(Some(Duration::from_millis(10)));
                }
            }
        }
    }

    fn listening_at(&self, path: &Path) -> io::Result<OwnedFd> {
        let socket = stream_socket(AddressFamily::UNIX)?;
        net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        self.listening(socket)
    }

    fn listening(&self, socket: OwnedFd) -> io::Result<OwnedFd> {
        if let Some(bytes) = self.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        net::listen(&socket, 128)?;
        Ok(socket)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            // Somebody may have removed it already.
            let _ = fs::remove_file(path);
        }
    }
}

fn family(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}

fn stream_socket(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    beside.into()
}

/// What a wait ends with is seen from the events; that a signal ends it early does no harm.
fn wait_for(events: &mut [PollFd<'_>], time: Option<Duration>) {
    let time = time.map(|time| Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1 << 30, tv_nsec: 0 }));
    let _ = poll(events, time.as_ref());
}
