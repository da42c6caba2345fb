//! What all threads of a proxy share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::address::Address;
use super::bucket::Bucket;
use super::connection::{Connection, Deadline, Gate};
use super::plan::{Close, Cut, Direction, Fault, Lasting, Plan, Scope, Stall, What};
use super::socket::Wake;

/// A fault that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// When, since the proxy began.
    pub after: Duration,
    /// Why.
    pub cause: Cause,
}

/// Why a fault took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The plan said so.
    Planned(Fault),
    /// The test said so, while it ran.
    Asked(What),
}

/// The proxy behind its value: threads hold it too.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) target: Address,
    /// Rung when the thread that takes connections is to look up.
    pub(super) wake: Wake,
    /// What stalls all connections.
    pub(super) gate: Gate,
    begun: Instant,
    links: [Option<Mutex<Bucket>>; 2],
    registry: Mutex<Registry>,
    log: Mutex<Vec<Fired>>,
}

/// The connections, and whether there may be more.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) connections: Vec<Arc<Connection>>,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Until when new ones are refused.
    pub(super) down: Option<Deadline>,
    /// The proxy is about to end.
    pub(super) ended: bool,
}

impl Shared {
    pub(super) fn new(plan: Plan, target: Address, wake: Wake) -> Self {
        let links = [(); 2].map(|()| plan.link.bytes_per_s.map(Bucket::new).map(Mutex::new));
        let (gate, registry, log) = Default::default();
        Self { plan, target, wake, gate, begun: Instant::now(), links, registry, log }
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When so many bytes will have passed the link; none if nothing holds them up.
    pub(super) fn take(&self, direction: Direction, bytes: usize) -> Option<Instant> {
        let mut bucket =
            self.links[direction.index()].as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(bucket.take(Instant::now(), bytes))
    }

    /// Cuts one connection, or all, and refuses new ones for as long as it says.
    pub(super) fn cut(&self, one: Option<&Connection>, cut: &Cut) {
        // No connection slips in between: who registers one looks at `down` under the same lock.
        let mut registry = self.registry();
        if cut.down != Lasting::For(Duration::ZERO) {
            registry.down = registry.down.max(Some(Deadline::after(cut.down)));
            self.wake.ring();
        }
        match (cut.scope, one) {
            (Scope::One, Some(one)) => one.cut(cut.close),
            _ => registry.connections.iter().for_each(|connection| connection.cut(cut.close)),
        }
    }

    pub(super) fn stall(&self, one: Option<&Connection>, stall: &Stall) {
        let gate = match (stall.scope, one) {
            (Scope::One, Some(one)) => &one.gate,
            _ => &self.gate,
        };
        gate.close(stall.direction, Deadline::after(stall.lasting));
    }

    pub(super) fn record(&self, cause: Cause) {
        self.log().push(Fired { after: self.begun.elapsed(), cause });
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Vec<Fired>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts everything, for good.
    pub(super) fn end(&self) {
        let mut registry = self.registry();
        registry.ended = true;
        registry.connections.iter().for_each(|connection| connection.cut(Close::Reset));
        self.wake.ring();
    }
}
