//! The thread of a listener: lets peers in, authenticates them side by side, and turns away who does not do its part.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags};

use super::socket::{Socket, wait_for_any};
use super::tls::{Handshake, Step, TlsError, TlsServer};
use super::{Rejection, Rejections};
use crate::connection::Connection;

/// What peers are held to before they are authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// How many may wait to be authenticated at once. One more has the one turned away that is silent for longest, or, if
    /// none is silent, the one that came first: who does its part is through in milliseconds.
    pub pending: usize,
    /// How long the whole of it may take.
    pub handshake: Duration,
    /// How much one may send meanwhile.
    pub bytes: usize,
    /// How many may wait for [`Listen::accept`](super::Listen::accept) afterwards; more stay in the system's own queue. Without TLS there is
    /// nobody to authenticate, and this is the only limit.
    pub ready: usize,
}

/// The socket at which peers arrive; it never waits.
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// How the listener and its thread reach each other.
pub(super) struct Shared {
    pub(super) stop: AtomicBool,
    /// Readable when the thread has something to look at.
    pub(super) bell: OwnedFd,
}

/// Everything that the thread works on.
pub(super) struct Reception {
    door: Door,
    tls: Option<TlsServer>,
    timeout: Option<Duration>,
    limits: PeerLimits,
    shared: Arc<Shared>,
    rejections: Rejections,
    ready: Sender<Connection>,
    /// In the order in which they came.
    guests: Vec<Guest>,
    /// When the door opens again, after the system had no room for another peer.
    closed_until: Option<Instant>,
}

/// Somebody at the door.
struct Guest {
    origin: Origin,
    deadline: Instant,
    waits_for: PollFlags,
    state: State,
}

enum State {
    /// Has yet to be authenticated.
    Pending(Box<Handshake>),
    /// Was turned away, and gets a moment to read why: a socket that is closed on unread bytes takes the alert with it.
    Leaving(Socket, usize),
}

/// Where a peer came from, as far as the system says.
#[derive(Clone, Debug)]
struct Origin(Option<std::net::SocketAddr>);

/// How long somebody who was turned away may take to read why,
const LEAVING: Duration = Duration::from_secs(1);
/// and how much is read of what it still sends.
const LEAVING_BYTES: usize = 256 << 10;

/// How many are let in before those who are in already have their turn.
const AT_ONCE: usize = 32;

/// How long the door stays closed when the system has no room for another peer.
const PAUSE: Duration = Duration::from_millis(100);

impl Default for PeerLimits {
    fn default() -> Self {
        Self { pending: 64, handshake: Duration::from_secs(10), bytes: 64 << 10, ready: 64 }
    }
}

impl Shared {
    pub(super) fn ring(&self) {
        // A bell that cannot be rung any more has been rung often enough.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl Reception {
    pub(super) fn new(
        door: Door,
        tls: Option<TlsServer>,
        timeout: Option<Duration>,
        limits: PeerLimits,
        shared: Arc<Shared>,
        rejections: Rejections,
        ready: Sender<Connection>,
    ) -> Self {
        let (guests, closed_until) = (Vec::new(), None);
        Self { door, tls, timeout, limits, shared, rejections, ready, guests, closed_until }
    }

    /// Works until the listener is dropped, or the system lets nobody wait any more.
    pub(super) fn run(mut self) {
        while !self.shared.stop.load(Ordering::SeqCst) {
            let Ok((is_knocked, awake)) = self.wait() else { return };
            for (guest, is_awake) in std::mem::take(&mut self.guests).into_iter().zip(awake) {
                let guest = if is_awake { self.attend(guest) } else { Some(guest) };
                self.guests.extend(guest);
            }
            self.show_out_the_late(Instant::now());
            if is_knocked {
                self.let_in();
            }
        }
    }

    /// Waits for whatever happens first; says whether somebody knocks, and which guests have something to do.
    fn wait(&mut self) -> io::Result<(bool, Vec<bool>)> {
        let now = Instant::now();
        self.closed_until = self.closed_until.filter(|&until| until > now);
        let is_open = self.closed_until.is_none() && self.ready.len() < self.limits.ready.max(1);
        let knock = if is_open { PollFlags::IN } else { PollFlags::empty() };
        let mut set = vec![
            PollFd::new(&self.shared.bell, PollFlags::IN),
            PollFd::from_borrowed_fd(self.door.as_fd(), knock),
        ];
        set.extend(self.guests.iter().map(|guest| PollFd::new(guest.socket(), guest.waits_for)));
        let deadline = self.guests.iter().map(|guest| guest.deadline).chain(self.closed_until).min();
        wait_for_any(&mut set, deadline)?;
        let ready: Vec<_> = set.iter().map(|one| !one.revents().is_empty()).collect();
        if ready[0] {
            // It is enough to have heard it once.
            let _ = rustix::io::read(&self.shared.bell, &mut [0; 8]);
        }
        Ok((ready[1] && is_open, ready[2..].to_vec()))
    }

    fn let_in(&mut self) {
        for _ in 0..AT_ONCE {
            match self.door.accept() {
                Ok((socket, origin)) => self.receive(socket, origin),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        self.rejections
                            .add(Rejection::Broken, format_args!("a peer could not be let in: {error}"));
                        self.closed_until = Instant::now().checked_add(PAUSE);
                        return;
                    }
                },
            }
            if self.ready.len() >= self.limits.ready.max(1) {
                return;
            }
        }
    }

    fn receive(&mut self, socket: Socket, origin: Origin) {
        let Some(tls) = &self.tls else {
            match socket.into_plain(self.timeout) {
                Ok(connection) => self.hand_over(connection),
                Err(error) => self.rejections.add(Rejection::Broken, format_args!("{origin}: {error}")),
            }
            return;
        };
        match tls.session() {
            Ok(session) => {
                self.make_room();
                let handshake = Box::new(Handshake::new(socket, session, self.limits.bytes));
                // It may have begun to speak already.
                let guest = self.attend(Guest::new(origin, handshake, self.limits.handshake));
                self.guests.extend(guest);
            }
            Err(error) => self.reject(&origin, &error.into()),
        }
    }

    /// Turns one away if there is no room for another: who is silent for longest, or else who came first.
    fn make_room(&mut self) {
        if self.guests.len() < self.limits.pending.max(1) {
            return;
        }
        let leaving = self.guests.iter().position(|guest| matches!(guest.state, State::Leaving(..)));
        let silent = || self.guests.iter().position(Guest::is_silent);
        let guest = self.guests.remove(leaving.or_else(silent).unwrap_or(0));
        if let State::Pending(_) = guest.state {
            self.rejections.add(
                Rejection::Excess,
                format_args!(
                    "{} made way for another: {} peers wait to be authenticated",
                    guest.origin, self.limits.pending
                ),
            );
        }
    }

    /// Goes on with a guest that has something to do; nothing is left of one that is through, or has gone.
    fn attend(&self, guest: Guest) -> Option<Guest> {
        match guest.state {
            State::Leaving(socket, left) => {
                leave(&socket, left).map(|left| Guest { state: State::Leaving(socket, left), ..guest })
            }
            State::Pending(mut handshake) => match handshake.step() {
                Ok(Step::Wait(waits_for)) => {
                    Some(Guest { waits_for, state: State::Pending(handshake), ..guest })
                }
                Ok(Step::Done) => {
                    self.welcome(&guest.origin, *handshake);
                    None
                }
                Err(error) => {
                    self.reject(&guest.origin, &error);
                    let state = State::Leaving(handshake.into_rejected(), LEAVING_BYTES);
                    Some(Guest { deadline: after(LEAVING), waits_for: PollFlags::IN, state, ..guest })
                }
            },
        }
    }

    fn welcome(&self, origin: &Origin, handshake: Handshake) {
        match handshake.into_connection(self.timeout) {
            Ok(connection) => self.hand_over(connection),
            Err(error) => self.reject(origin, &error),
        }
    }

    fn show_out_the_late(&mut self, now: Instant) {
        let (rejections, allowed) = (&self.rejections, self.limits.handshake.as_secs_f64());
        self.guests.retain(|guest| {
            let is_late = guest.deadline <= now;
            if is_late && matches!(guest.state, State::Pending(_)) {
                let error = TlsError::TooSlow(allowed);
                rejections.add(error.rejection(), format_args!("{}: {error}", guest.origin));
            }
            !is_late
        });
    }

    fn hand_over(&self, connection: Connection) {
        // There is room, by what is let in; and who has dropped the listener wants no connection.
        drop(self.ready.try_send(connection));
    }

    fn reject(&self, origin: &Origin, error: &TlsError) {
        self.rejections.add(error.rejection(), format_args!("{origin}: {error}"));
    }
}

impl Guest {
    fn new(origin: Origin, handshake: Box<Handshake>, within: Duration) -> Self {
        let deadline = after(within);
        Self { origin, deadline, waits_for: PollFlags::IN, state: State::Pending(handshake) }
    }

    fn socket(&self) -> &Socket {
        match &self.state {
            State::Pending(handshake) => handshake.socket(),
            State::Leaving(socket, _) => socket,
        }
    }

    fn is_silent(&self) -> bool {
        matches!(&self.state, State::Pending(handshake) if handshake.is_silent())
    }
}

impl Door {
    fn accept(&self) -> io::Result<(Socket, Origin)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, origin) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), Origin(Some(origin))))
            }
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept()?.0), Origin(None))),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => write!(f, "a connection from {address}"),
            None => f.write_str("a connection from this machine"),
        }
    }
}

/// Reads what somebody who was turned away still sends, so that it gets to read why; says how much more of it is read.
fn leave(socket: &Socket, mut left: usize) -> Option<usize> {
    let mut ignored = [0; 4096];
    loop {
        match socket.receive_now(&mut ignored) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(left),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(count) if count > 0 && count < left => left -= count,
            Ok(_) | Err(_) => return None,
        }
    }
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}
