//! One connection through the proxy, as its threads and those who look on share it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::plan::{Close, Direction, Lasting};
use super::socket::{Socket, Wake};

/// What is known of a connection; it outlives its sockets.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: usize,
    /// Rung when the connection is cut.
    pub(super) wake: Wake,
    /// What stalls this connection alone.
    pub(super) gate: Gate,
    flows: [Counters; 2],
    state: Mutex<State>,
    /// Whether a thread still holds the sockets.
    open: AtomicBool,
}

/// Both sockets of a connection: when the last thread lets go of them, they are closed.
#[derive(Debug)]
pub(super) struct Pair {
    connection: Arc<Connection>,
    dialler: Socket,
    listener: Socket,
}

/// How many bytes went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Read from the sender.
    pub read: u64,
    /// Taken by the receiver's socket, whatever was dropped, repeated or changed.
    pub forwarded: u64,
}

#[derive(Debug, Default)]
struct Counters {
    read: AtomicU64,
    forwarded: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    cut: Option<Close>,
    /// Which ways have come to their end.
    done: [bool; 2],
    /// A side takes nothing more, though it may still have something to say.
    failed: bool,
}

/// Until when bytes may not pass.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<[Option<Deadline>; 2]>);

/// A time that may never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deadline {
    At(Instant),
    Never,
}

impl Connection {
    pub(super) fn new(number: usize, wake: Wake) -> Self {
        let (flows, state) = Default::default();
        Self { number, wake, gate: Gate::default(), flows, state, open: AtomicBool::new(true) }
    }

    /// Cuts it, unless it is already.
    pub(super) fn cut(&self, close: Close) {
        self.state().cut.get_or_insert(close);
        self.wake.ring();
    }

    pub(super) fn how_cut(&self) -> Option<Close> {
        self.state().cut
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(SeqCst)
    }

    /// One way has come to its end. If the other way failed before, nothing is left to wait for.
    pub(super) fn done(&self, direction: Direction) {
        let state = &mut *self.state();
        state.done[direction.index()] = true;
        self.end_if_broken(state);
    }

    /// The receiver takes nothing more. What it has said itself is still forwarded before the sender learns of it.
    pub(super) fn failed(&self) {
        let state = &mut *self.state();
        state.failed = true;
        self.end_if_broken(state);
    }

    fn end_if_broken(&self, state: &mut State) {
        if state.failed && state.done.contains(&true) {
            state.cut.get_or_insert(Close::Reset);
            self.wake.ring();
        }
    }

    pub(super) fn count_read(&self, direction: Direction, bytes: usize) {
        self.flows[direction.index()].read.fetch_add(u64::try_from(bytes).unwrap_or(0), SeqCst);
    }

    pub(super) fn count_forwarded(&self, direction: Direction, bytes: usize) {
        self.flows[direction.index()].forwarded.fetch_add(u64::try_from(bytes).unwrap_or(0), SeqCst);
    }

    pub(super) fn flow(&self, direction: Direction) -> Flow {
        let Counters { read, forwarded } = &self.flows[direction.index()];
        Flow { read: read.load(SeqCst), forwarded: forwarded.load(SeqCst) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pair {
    pub(super) fn new(connection: Arc<Connection>, dialler: Socket, listener: Socket) -> Self {
        Self { connection, dialler, listener }
    }

    pub(super) fn sender(&self, direction: Direction) -> &Socket {
        match direction {
            Direction::Up => &self.dialler,
            Direction::Down => &self.listener,
        }
    }

    pub(super) fn receiver(&self, direction: Direction) -> &Socket {
        match direction {
            Direction::Up => &self.listener,
            Direction::Down => &self.dialler,
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if self.connection.how_cut() == Some(Close::Reset) {
            self.dialler.reset_when_closed();
            self.listener.reset_when_closed();
        }
        self.connection.open.store(false, SeqCst);
    }
}

impl Gate {
    pub(super) fn close(&self, direction: Option<Direction>, until: Deadline) {
        let mut gates = self.lock();
        for way in Direction::ALL {
            if direction.is_none_or(|direction| direction == way) {
                let gate = &mut gates[way.index()];
                *gate = (*gate).max(Some(until));
            }
        }
    }

    pub(super) fn open(&self) {
        *self.lock() = [None; 2];
    }

    /// How long it is still closed; none if it is open.
    pub(super) fn left(&self, direction: Direction) -> Option<Duration> {
        let gate = &mut self.lock()[direction.index()];
        let left = gate.and_then(|until| until.left(Instant::now()));
        if left.is_none() {
            *gate = None;
        }
        left
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Deadline>; 2]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deadline {
    pub(super) fn after(lasting: Lasting) -> Self {
        match lasting {
            Lasting::For(time) => Instant::now().checked_add(time).map_or(Self::Never, Self::At),
            Lasting::Ever => Self::Never,
        }
    }

    /// How long until then; none if it has come.
    pub(super) fn left(self, now: Instant) -> Option<Duration> {
        match self {
            Self::At(then) => Some(then.saturating_duration_since(now)).filter(|left| !left.is_zero()),
            Self::Never => Some(Duration::MAX),
        }
    }
}
