//! A connection to a vfio-user server: exchanges of messages that end in time and tell of refusals.
//!
//! The client of the `vfio_user` crate cannot be used for this: it takes a refusal of a mapping for consent, waits for ever
//! for the rest of a reply that is an error, and has no timeout. Its server is at the other end, and its client is
//! the oracle of the tests.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{mem, ptr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is asked of a server, by number (libvfio-user, `docs/vfio-user.rst`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Message {
    Version = 1,
    DmaMap = 2,
    DmaUnmap = 3,
    DeviceInfo = 4,
    RegionInfo = 5,
    SetIrqs = 8,
    RegionRead = 9,
    RegionWrite = 10,
    Reset = 13,
}

/// What every message begins with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    id: u16,
    message: u16,
    /// Of the whole message.
    bytes: u32,
    flags: u32,
    error: u32,
}

/// Access to a region: what a read or a write begins with.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Access {
    pub(super) offset: u64,
    pub(super) region: u32,
    pub(super) bytes: u32,
}

const REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

/// No reply that is asked for here is longer.
const LONGEST: usize = 4096;

/// A connection, of which the version is agreed.
pub(super) struct Connection {
    stream: UnixStream,
    /// The number of the next message; what is posted has 0. Held from a message to its reply.
    next: Mutex<u16>,
    /// Whether the two ends have lost each other.
    broken: AtomicBool,
    /// Whether the server has closed it, and so holds nothing of this process's memory any more.
    closed: AtomicBool,
}

impl Connection {
    /// Connects, and agrees on version 0.
    pub(super) fn new(path: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let connection = Self {
            stream,
            next: Mutex::new(1),
            broken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        let capabilities = c"{\"capabilities\":{\"max_msg_fds\":1}}".to_bytes_with_nul();
        // Version 0.1.
        let numbers = [0u16, 1];
        let reply = connection.exchange(Message::Version, &[numbers.as_bytes(), capabilities], None)?;
        match reply.first_chunk().map(|major| u16::from_ne_bytes(*major)) {
            Some(0) => Ok(connection),
            other => Err(unexpected(format!("the server speaks version {other:?} of vfio-user, not 0"))),
        }
    }

    /// Sends a message and waits for its reply, the part behind the header.
    ///
    /// An error that the server states is returned as such; after any other one the connection is not used any more.
    pub(super) fn exchange(
        &self,
        message: Message,
        parts: &[&[u8]],
        fd: Option<BorrowedFd>,
    ) -> io::Result<Vec<u8>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                ErrorKind::BrokenPipe,
                "the connection to the device's server is broken",
            ));
        }
        let id = *next;
        *next = next.wrapping_add(1).max(1);
        let outcome = self.exchange_as(id, message, parts, fd);
        outcome.unwrap_or_else(|error| {
            self.broken.store(true, Ordering::Relaxed);
            // Whoever died closes as he goes.
            let died = matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            );
            self.closed.store(died, Ordering::Relaxed);
            Err(match error.kind() {
                ErrorKind::WouldBlock => {
                    io::Error::new(ErrorKind::TimedOut, "the device's server does not answer")
                }
                _ if died => io::Error::new(error.kind(), "the device's server has gone"),
                _ => error,
            })
        })
    }

    /// Whether the server has closed the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn cut(&self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// Writes to a region without waiting for anything: for room, for a reply, or for an exchange that is under way.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] if the server has too much to do.
    pub(super) fn post(&self, access: Access, data: &[u8; 64]) -> io::Result<()> {
        const BYTES: usize = size_of::<Header>() + size_of::<Access>() + 64;
        if self.broken.load(Ordering::Relaxed) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let header = Header {
            id: 0,
            message: Message::RegionWrite as u16,
            bytes: u32::try_from(BYTES).unwrap_or_default(),
            flags: NO_REPLY,
            error: 0,
        };
        let mut message = [0; BYTES];
        let (head, rest) = message.split_at_mut(size_of::<Header>());
        head.copy_from_slice(header.as_bytes());
        rest[..size_of::<Access>()].copy_from_slice(access.as_bytes());
        rest[size_of::<Access>()..].copy_from_slice(data);
        self.send(&message, None, libc::MSG_DONTWAIT)
    }

    /// The outer error is of the connection, the inner one the server's.
    fn exchange_as(
        &self,
        id: u16,
        message: Message,
        parts: &[&[u8]],
        fd: Option<BorrowedFd>,
    ) -> io::Result<io::Result<Vec<u8>>> {
        let bytes = size_of::<Header>() + parts.iter().map(|part| part.len()).sum::<usize>();
        let bytes = u32::try_from(bytes).map_err(|_| ErrorKind::InvalidInput)?;
        let header = Header { id, message: message as u16, bytes, flags: 0, error: 0 };
        let mut sent = header.as_bytes().to_vec();
        parts.iter().for_each(|part| sent.extend_from_slice(part));
        self.send(&sent, fd, 0)?;
        loop {
            let (header, body) = self.receive()?;
            // A posted write that was refused is answered all the same. A descriptor that got lost is its queue's to miss.
            if (header.id, header.message) != (id, message as u16) && header.flags & ERROR != 0 {
                continue;
            }
            if (header.id, header.message, header.flags & REPLY) != (id, message as u16, REPLY) {
                return Err(unexpected(format!(
                    "the server answers message {id} ({message:?}) with message {} of kind {}",
                    header.message,
                    header.flags & REPLY
                )));
            }
            return Ok(match (header.flags & ERROR, i32::try_from(header.error)) {
                (0, _) => Ok(body),
                (_, Ok(number @ 1..)) => Err(io::Error::from_raw_os_error(number)),
                _ => Err(io::Error::other("the device's server refuses it")),
            });
        }
    }

    fn receive(&self) -> io::Result<(Header, Vec<u8>)> {
        let mut header = Header::default();
        (&self.stream).read_exact(header.as_mut_bytes())?;
        let bytes = usize::try_from(header.bytes).unwrap_or(usize::MAX);
        let Some(bytes @ 0..=LONGEST) = bytes.checked_sub(size_of::<Header>()) else {
            return Err(unexpected(format!("the server sends a message of {} bytes", header.bytes)));
        };
        let mut body = vec![0; bytes];
        (&self.stream).read_exact(&mut body)?;
        Ok((header, body))
    }

    /// Sends a message as one piece, so that those of several threads do not mix: a Unix socket takes all of so short a one
    /// or nothing.
    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd>, flags: libc::c_int) -> io::Result<()> {
        /// Room for the control message of one file descriptor, aligned as it must be.
        #[repr(C, align(8))]
        struct Control([u8; 32]);
        let mut control = Control([0; 32]);
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all zero is a valid `msghdr`: no name, no parts, no control message.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(fd) = fd {
            /// Of a file descriptor.
            const LENGTH: libc::c_uint = 4;
            // SAFETY: only arithmetic.
            let (space, length) = unsafe { (libc::CMSG_SPACE(LENGTH), libc::CMSG_LEN(LENGTH)) };
            assert!(space as usize <= control.0.len());
            message.msg_control = (&raw mut control.0).cast();
            message.msg_controllen = space as _;
            // SAFETY: the control buffer is aligned and has room for one header and one file descriptor.
            unsafe {
                let first = libc::CMSG_FIRSTHDR(&raw const message);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = length as _;
                ptr::write_unaligned(libc::CMSG_DATA(first).cast(), fd.as_raw_fd());
            }
        }
        // SAFETY: the message refers to `bytes` and `control`, which outlive the call and are only read.
        let sent =
            unsafe { libc::sendmsg(self.stream.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL) };
        match usize::try_from(sent) {
            Err(_) => Err(io::Error::last_os_error()),
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(ErrorKind::WriteZero.into()),
        }
    }
}

fn unexpected(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
