//! What the migration's thread and whoever watches it share: where it is, its counters, and how it is stopped.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;

use super::convergence::Estimate;
use super::error::MigrationError;
use super::snapshot::Snapshot;
use super::state::{Event, Happening, Observer, State, millis};
use crate::connection::{Connection, Interrupt};
use crate::frame::End;
use crate::receiver::{ReceiveReport, ReceiveWatch};
use crate::sender::{SendReport, SendWatch, Stop};

/// The course of one migration at one end.
pub(super) struct Course {
    end: End,
    begun: Instant,
    observer: Observer,
    at: Mutex<At>,
    ended: Condvar,
}

/// Where it is.
struct At {
    state: State,
    round: u32,
    reconnections: u32,
    guest_pages: u64,
    page_bytes: u64,
    left_pages: u64,
    throttle_percent: u8,
    estimate: Estimate,
    downtime: Option<Duration>,
    look: Look,
    /// What ended attempts have sent and received.
    sent: SendReport,
    received: ReceiveReport,
    stopping: Stopping,
    halt: Halt,
}

/// The data path that runs now.
enum Look {
    Nowhere,
    Sender(SendWatch),
    Receiver(ReceiveWatch),
}

/// Whether somebody asked to end the migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    Asked,
    /// The guest is the destination's as far as this end knows: there is nothing to stop any more.
    TooLate,
}

/// What has to be done so that the migration's thread waits for nothing.
pub(super) enum Halt {
    Nothing,
    Sender(Stop),
    Receiver(ReceiveWatch),
    Connections(Vec<Interrupt>),
}

/// How long the migration's thread may take to tell the other end that it was stopped.
const COURTESY: Duration = Duration::from_millis(300);

impl Course {
    pub(super) fn new(end: End, observer: Observer) -> Self {
        let at = At {
            state: State::Setup,
            round: 0,
            reconnections: 0,
            guest_pages: 0,
            page_bytes: 0,
            left_pages: 0,
            throttle_percent: 0,
            estimate: Estimate::default(),
            downtime: None,
            look: Look::Nowhere,
            sent: SendReport::default(),
            received: ReceiveReport::default(),
            stopping: Stopping::No,
            halt: Halt::Nothing,
        };
        Self { end, begun: Instant::now(), observer, at: Mutex::new(at), ended: Condvar::new() }
    }

    /// States how large the guest is.
    pub(super) fn of(&self, ram: &GuestRam) {
        let mut at = self.at();
        (at.guest_pages, at.page_bytes) = (ram.pages(), ram.page_size().bytes() as u64);
    }

    pub(super) fn state(&self) -> State {
        self.at().state
    }

    /// Goes to another state, and tells the observer.
    pub(super) fn enter(&self, state: State) {
        let mut at = self.at();
        if at.state != state {
            at.state = state;
            drop(at);
            self.tell(Happening::State);
        }
    }

    /// Ends, once: what comes later is not told.
    pub(super) fn end(&self, state: State, what: Happening) {
        let mut at = self.at();
        if at.state.is_end() {
            return;
        }
        at.state = state;
        at.rest();
        at.halt = Halt::Nothing;
        drop(at);
        self.tell(what);
        self.ended.notify_all();
    }

    /// Tells the observer what happened.
    pub(super) fn tell(&self, what: Happening) {
        let event = self.event(what);
        (self.observer)(&event);
    }

    fn event(&self, what: Happening) -> Event {
        let Snapshot { state, elapsed, round, left_pages, estimate, sent, received, .. } = self.snapshot();
        let carried = |method: Method| (method.to_string(), sent.methods.of(method).pages);
        let methods: BTreeMap<_, _> =
            Method::ALL.map(carried).into_iter().filter(|&(_, pages)| pages > 0).collect();
        Event {
            at_s: elapsed.as_secs_f64(),
            what,
            state,
            round,
            pages: sent.pages + received.pages,
            zero_pages: sent.zero_pages + received.zero_pages,
            wire_bytes: sent.wire_bytes + received.payload_bytes,
            left_pages,
            dirty_pages_per_s: estimate.dirty_pages_per_s,
            sent_pages_per_s: estimate.sent_pages_per_s,
            wire_bytes_per_s: estimate.wire_bytes_per_s,
            expected_downtime_ms: estimate.expected_downtime.map(millis),
            methods,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let at = self.at();
        let (mut sent, mut received) = (at.sent.clone(), at.received.clone());
        match &at.look {
            Look::Nowhere => {}
            Look::Sender(watch) => sent.absorb(&watch.report()),
            Look::Receiver(watch) => received.absorb(&watch.report()),
        }
        Snapshot {
            end: self.end,
            state: at.state,
            elapsed: self.begun.elapsed(),
            round: at.round,
            reconnections: at.reconnections,
            guest_pages: at.guest_pages,
            page_bytes: at.page_bytes,
            left_pages: at.left_pages,
            throttle_percent: at.throttle_percent,
            estimate: at.estimate,
            downtime: at.downtime,
            sent,
            received,
        }
    }

    /// Begins round `round` (its number over all attempts) with so many pages.
    pub(super) fn round(&self, round: u32, left_pages: u64, estimate: Estimate) {
        let mut at = self.at();
        (at.round, at.left_pages, at.estimate) = (round, left_pages, estimate);
    }

    /// Another round ended at the destination.
    pub(super) fn round_received(&self) {
        self.tell(Happening::Round);
        self.at().round += 1;
    }

    pub(super) fn throttled(&self, percent: u8) {
        self.at().throttle_percent = percent;
        self.tell(Happening::Throttled { percent });
    }

    pub(super) fn reconnected(&self, attempt: u32, confirmed_pages: u64) {
        self.at().reconnections += 1;
        self.tell(Happening::Reconnected { attempt, confirmed_pages });
    }

    pub(super) fn stood_still(&self, downtime: Duration) {
        self.at().downtime = Some(downtime);
    }

    pub(super) fn sending(&self, watch: SendWatch, stop: Stop) -> Result<(), MigrationError> {
        self.at().look = Look::Sender(watch);
        self.halt_by(Halt::Sender(stop))
    }

    pub(super) fn receiving(&self, watch: ReceiveWatch) -> Result<(), MigrationError> {
        self.at().look = Look::Receiver(watch.clone());
        self.halt_by(Halt::Receiver(watch))
    }

    /// The data path has ended; its counts are kept.
    pub(super) fn rest(&self) {
        self.at().rest();
    }

    /// From now on this is done when somebody asks to end the migration, or at once if somebody has.
    ///
    /// # Errors
    /// [`MigrationError::Cancelled`] if somebody has.
    pub(super) fn halt_by(&self, halt: Halt) -> Result<(), MigrationError> {
        let mut at = self.at();
        at.halt = halt;
        let asked = at.stopping == Stopping::Asked;
        if asked { Err(MigrationError::Cancelled) } else { Ok(()) }
    }

    /// The same for connections.
    ///
    /// # Errors
    /// [`MigrationError::Cancelled`] if somebody has asked.
    pub(super) fn halt_connections(&self, connections: &[Connection]) -> Result<(), MigrationError> {
        let interrupts = connections.iter().map(|connection| Arc::clone(&connection.interrupt)).collect();
        self.halt_by(Halt::Connections(interrupts))
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// [`MigrationError::Cancelled`] if somebody asked to end it.
    pub(super) fn check(&self) -> Result<(), MigrationError> {
        if self.at().stopping == Stopping::Asked { Err(MigrationError::Cancelled) } else { Ok(()) }
    }

    /// From here on there is no way back: the guest is the destination's.
    ///
    /// # Errors
    /// [`MigrationError::Cancelled`] if somebody asked to end it just before.
    pub(super) fn commit(&self) -> Result<(), MigrationError> {
        let mut at = self.at();
        match at.stopping {
            Stopping::Asked => Err(MigrationError::Cancelled),
            Stopping::No | Stopping::TooLate => {
                at.stopping = Stopping::TooLate;
                at.halt = Halt::Nothing;
                Ok(())
            }
        }
    }

    /// Asks to end the migration, and sees to it that its thread waits for nothing. Says whether it was not too late.
    pub(super) fn cancel(&self) -> bool {
        let mut at = self.at();
        if at.state.is_end() || at.stopping == Stopping::TooLate {
            return false;
        }
        at.stopping = Stopping::Asked;
        at.halt.ask();
        let waited = self.ended.wait_timeout_while(at, COURTESY, |at| !at.state.is_end());
        waited.unwrap_or_else(PoisonError::into_inner).0.halt.force();
        true
    }

    /// Sleeps, but not through a request to end.
    ///
    /// # Errors
    /// [`MigrationError::Cancelled`] if somebody asked to end it.
    pub(super) fn sleep(&self, time: Duration) -> Result<(), MigrationError> {
        const NAP: Duration = Duration::from_millis(50);
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    fn at(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halt {
    /// Ends every wait for what the other end says; it can still be told something.
    fn ask(&self) {
        match self {
            Self::Nothing => {}
            Self::Sender(stop) => stop.ask("it was cancelled at the source"),
            Self::Receiver(watch) => watch.stop(),
            Self::Connections(interrupts) => {
                interrupts.iter().for_each(|interrupt| interrupt(Shutdown::Read))
            }
        }
    }

    /// Ends every wait.
    fn force(&self) {
        match self {
            Self::Nothing | Self::Receiver(_) => {}
            Self::Sender(stop) => stop.force(),
            Self::Connections(interrupts) => {
                interrupts.iter().for_each(|interrupt| interrupt(Shutdown::Both))
            }
        }
    }
}

impl At {
    fn rest(&mut self) {
        match std::mem::replace(&mut self.look, Look::Nowhere) {
            Look::Nowhere => {}
            Look::Sender(watch) => self.sent.absorb(&watch.report()),
            Look::Receiver(watch) => self.received.absorb(&watch.report()),
        }
    }
}
