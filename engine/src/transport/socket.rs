//! A connected socket of either kind, as the transports need it: calls that never wait, and waits that end.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg, sockopt};

use crate::connection::Connection;

/// After so long without a word from the peer's system the kernel gives a TCP connection up, unless its reads and writes
/// have a timeout of their own, which then counts here too.
pub const DEAD_PEER: Duration = Duration::from_secs(60);

/// An idle TCP connection is probed after this time,
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// then as often,
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// and is given up after so many probes without an answer, if [`DEAD_PEER`] has passed.
const PROBES: u32 = 9;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// The socket as an unprotected connection.
    pub(crate) fn into_plain(self, timeout: Option<Duration>) -> io::Result<Connection> {
        match self {
            Self::Tcp(stream) => Connection::tcp(stream, timeout),
            Self::Unix(stream) => Connection::unix(stream, timeout),
        }
    }

    /// What [`Connection::tcp`] and [`Connection::unix`] ask of theirs.
    pub(super) fn configure(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => configure_tcp(stream, timeout),
            Self::Unix(stream) => {
                stream.set_read_timeout(timeout)?;
                stream.set_write_timeout(timeout)
            }
        }
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Self::Unix(stream) => stream.set_nonblocking(nonblocking),
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Reads what there is; waits for something if there is nothing.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
            Self::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }

    /// Reads what there is. Never waits: [`io::ErrorKind::WouldBlock`] if there is nothing.
    pub(super) fn receive_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self, &mut *buffer, RecvFlags::DONTWAIT)?.0)
    }

    /// Writes as much as there is room for. Never waits: [`io::ErrorKind::WouldBlock`] if there is none.
    pub(super) fn send_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(sendmsg(self, slices, &mut SendAncillaryBuffer::default(), flags)?)
    }

    /// Waits until the socket is ready for `events`, at most so long.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`]; what the system says.
    pub(super) fn wait(&self, events: PollFlags, within: Option<Duration>) -> io::Result<()> {
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let mut set = [PollFd::new(self, events)];
        if wait_for_any(&mut set, deadline)? { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Waits until one of the set is ready, or until the deadline; says which of the two it was.
pub(super) fn wait_for_any(set: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(set, left.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Small frames go at once, reads and writes end, and so does a connection whose peer is dead.
pub(crate) fn configure_tcp(stream: &TcpStream, timeout: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(timeout)?;
    stream.set_write_timeout(timeout)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    // Where this is set, it decides when probes, unacknowledged bytes and a closed window have lasted too long.
    let dead = timeout.unwrap_or(DEAD_PEER).as_millis().clamp(1000, i32::MAX.unsigned_abs().into());
    sockopt::set_tcp_user_timeout(stream, u32::try_from(dead).unwrap_or(u32::MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_kernel_watches_for_a_peer_that_is_dead() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for (timeout, dead_ms) in [(None, 60_000), (Some(Duration::from_secs(7)), 7000)] {
            configure_tcp(&stream, timeout).unwrap();
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), PROBE_AFTER);
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), dead_ms);
        }
    }

    #[test]
    fn a_wait_for_what_never_comes_ends() {
        let (one, _other) = UnixStream::pair().unwrap();
        let error = Socket::Unix(one).wait(PollFlags::IN, Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
