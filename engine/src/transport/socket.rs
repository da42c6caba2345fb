//! A connected socket of either kind, as the transports need it: calls that never wait, and waits that end.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use crate::connection::{Connection, configure_tcp};

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

/// A socket that is read and written without waiting.
pub(super) struct Now<'a>(pub(super) &'a Socket);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.receive_now(buffer)
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_now(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_now(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_what_never_comes_ends() {
        let (one, _other) = UnixStream::pair().unwrap();
        let error = Socket::Unix(one).wait(PollFlags::IN, Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
