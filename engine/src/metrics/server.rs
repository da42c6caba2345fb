//! The thread that answers scrapes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Metrics;
use super::http::{self, MOST_HEAD_BYTES};

/// Answers scrapes until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    /// Readable from when the thread is to end.
    ended: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The address is taken, or not of this host.
    #[error(
        "cannot serve metrics at {address}: {source}; name another address, or port 0 for any that is free"
    )]
    Listen {
        /// Where metrics were to be served.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no thread or descriptor to give.
    #[error("cannot start the thread that serves metrics: {0}; the migration itself goes on without")]
    Thread(#[source] io::Error),
}

/// How long a client may take to ask and to take the answer. The next one waits that long.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a client may take to close, after it was answered.
const LINGER: Duration = Duration::from_millis(100);

impl MetricsServer {
    pub(super) fn start(address: SocketAddr, metrics: Metrics) -> Result<Self, MetricsError> {
        let listen = |source| MetricsError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let ended = eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| MetricsError::Thread(error.into()))?;
        let ended = Arc::new(ended);
        let watched = Arc::clone(&ended);
        let thread = thread::Builder::new()
            .name("metrics".into())
            .spawn(move || serve(&listener, &watched, &metrics))
            .map_err(MetricsError::Thread)?;
        Ok(Self { address, ended, thread: Some(thread) })
    }

    /// Where it answers, with the port that the system chose if it was asked to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        // It fails only when the counter is full, and then it is readable.
        let _ = rustix::io::write(&*self.ended, &1_u64.to_ne_bytes());
        // A thread that panicked has nothing more to serve.
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap_or_default());
    }
}

fn serve(listener: &TcpListener, ended: &OwnedFd, metrics: &Metrics) {
    while wait(listener.as_fd(), PollFlags::IN, ended, None).is_ok() {
        match listener.accept() {
            // A client that goes away, or takes too long, gets no answer and needs none.
            Ok((client, _)) => drop(converse(client, ended, metrics)),
            // Whoever came is gone again; or there are no descriptors left, but may be later.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => drop(pause(ended, LINGER)),
        }
    }
}

fn converse(client: TcpStream, ended: &OwnedFd, metrics: &Metrics) -> io::Result<()> {
    client.set_nonblocking(true)?;
    let deadline = Instant::now() + PATIENCE;
    let (mut head, mut length) = ([0; MOST_HEAD_BYTES], 0);
    let answer = loop {
        length +=
            match within(&client, PollFlags::IN, ended, deadline, || (&client).read(&mut head[length..]))? {
                0 => return Ok(()),
                count => count,
            };
        if let Some(answer) = http::answer(&head[..length], metrics) {
            break answer;
        }
    };
    let mut left = &answer[..];
    while !left.is_empty() {
        let written = within(&client, PollFlags::OUT, ended, deadline, || (&client).write(left))?;
        left = left.get(written..).unwrap_or_default();
    }
    // A close with bytes unread would be a reset, and could cost the client its answer.
    client.shutdown(Shutdown::Write)?;
    let deadline = Instant::now() + LINGER;
    while within(&client, PollFlags::IN, ended, deadline, || (&client).read(&mut head))? > 0 {}
    Ok(())
}

/// Tries until it works, or the time is over, or the server is to end.
fn within(
    client: &TcpStream,
    ready: PollFlags,
    ended: &OwnedFd,
    deadline: Instant,
    mut attempt: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        // Before the attempt: a client that is always ready is not served for ever either.
        wait(client.as_fd(), ready, ended, Some(deadline))?;
        match attempt() {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            outcome => return outcome,
        }
    }
}

/// Waits until `descriptor` is ready; an error if the server is to end, or the time is over.
fn wait(
    descriptor: BorrowedFd<'_>,
    ready: PollFlags,
    ended: &OwnedFd,
    deadline: Option<Instant>,
) -> io::Result<()> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut events = [PollFd::new(ended, PollFlags::IN), PollFd::from_borrowed_fd(descriptor, ready)];
        look(&mut events, left)?;
        let [end, event] = events;
        if !end.revents().is_empty() {
            return Err(ErrorKind::Interrupted.into());
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ErrorKind::TimedOut.into());
        }
        if !event.revents().is_empty() {
            return Ok(());
        }
    }
}

/// Waits so long, or until the server is to end.
fn pause(ended: &OwnedFd, time: Duration) -> io::Result<()> {
    look(&mut [PollFd::new(ended, PollFlags::IN)], Some(time))
}

fn look(events: &mut [PollFd<'_>], time: Option<Duration>) -> io::Result<()> {
    let time = time.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    match poll(events, time.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
