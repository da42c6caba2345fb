//! The two halves of an authenticated connection.
//!
//! Both share one session of TLS behind a lock that is held while bytes are encrypted, decrypted, or handed to the system
//! without waiting, and never while a thread waits for the peer. What is written is encrypted from where it lies into
//! records, which go to the socket as they are; what is read comes in large pieces and is decrypted in place.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::PollFlags;
use rustls::Connection as Session;

use super::TlsError;
use crate::connection::Connection;
use crate::connection::PeerIdentity;
use crate::transport::socket::{Now, Socket};

/// How much is read from the system at once.
const READ_BYTES: usize = 256 << 10;

/// How much is encrypted before it is handed to the system: a frame of ordinary size, header and all.
const WRITE_BYTES: usize = 320 << 10;

/// How long a connection that ends well waits for room to say so.
const LINGER: Duration = Duration::from_secs(1);

/// A connection over a session whose peer has been authenticated.
pub(super) fn connection(
    socket: Socket,
    mut session: Session,
    timeout: Option<Duration>,
    peer: PeerIdentity,
) -> io::Result<Connection> {
    socket.set_nonblocking(false)?;
    socket.configure(timeout)?;
    session.set_buffer_limit(Some(WRITE_BYTES));
    let shared = Arc::new(Shared { socket, session: Mutex::new(session), timeout });
    let reader =
        ReadHalf { shared: Arc::clone(&shared), ciphertext: vec![0; READ_BYTES].into(), unread: 0..0 };
    let writer = WriteHalf { shared: Arc::clone(&shared), is_broken: false };
    // The socket is closed when both halves are gone, whoever may still interrupt it.
    let socket = Arc::downgrade(&shared);
    let interrupt = move |half| {
        if let Some(shared) = socket.upgrade() {
            let _ = shared.socket.shutdown(half);
        }
    };
    Ok(Connection::authenticated(reader, writer, Arc::new(interrupt), peer))
}

struct Shared {
    socket: Socket,
    session: Mutex<Session>,
    timeout: Option<Duration>,
}

struct ReadHalf {
    shared: Arc<Shared>,
    ciphertext: Box<[u8]>,
    /// Which part of it has not been decrypted yet.
    unread: Range<usize>,
}

struct WriteHalf {
    shared: Arc<Shared>,
    /// Whether a write failed, so that nothing can follow what was written.
    is_broken: bool,
}

impl Read for ReadHalf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(count) = self.decrypt(buffer)? {
                return Ok(count);
            }
            match self.shared.socket.receive(&mut self.ciphertext)? {
                0 => return Err(truncated()),
                count => self.unread = 0..count,
            }
        }
    }
}

impl ReadHalf {
    /// Fills the buffer from what has come; nothing if that is not enough for a record. 0 is the orderly end.
    fn decrypt(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut session = self.shared.session();
        let mut filled = 0;
        while filled < buffer.len() {
            match session.reader().read(&mut buffer[filled..]) {
                Ok(0) => return Ok(Some(filled)),
                Ok(count) => filled += count,
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Err(_) if self.unread.is_empty() => break,
                Err(_) => {
                    let mut unread = &self.ciphertext[self.unread.clone()];
                    self.unread.start += session.read_tls(&mut unread)?;
                    if let Err(error) = session.process_new_packets() {
                        // The alert that says why, if there is room for it.
                        drop(session.write_tls(&mut Now(&self.shared.socket)));
                        return Err(TlsError::from(error).into_io());
                    }
                }
            }
        }
        Ok((filled > 0).then_some(filled))
    }
}

impl Write for WriteHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.shared.session();
        let written = session.writer().write_vectored(slices);
        let written =
            written.and_then(|count| self.shared.drain(session, self.shared.timeout).map(|()| count));
        self.is_broken |= written.is_err();
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for WriteHalf {
    /// The orderly end, without which the peer takes the stream for a truncated one.
    fn drop(&mut self) {
        if !self.is_broken {
            let mut session = self.shared.session();
            session.send_close_notify();
            // A peer that does not take it sees the connection break.
            drop(self.shared.drain(session, Some(LINGER)));
        }
    }
}

impl Shared {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands everything that is encrypted to the system; the lock is let go whenever there is no room.
    fn drain<'a>(&'a self, mut session: MutexGuard<'a, Session>, within: Option<Duration>) -> io::Result<()> {
        while session.wants_write() {
            match session.write_tls(&mut Now(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    drop(session);
                    self.socket.wait(PollFlags::OUT, within)?;
                    session = self.session();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn truncated() -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        "the connection was cut: the other side did not end it (no close_notify)",
    )
}
