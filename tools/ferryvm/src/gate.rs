//! Whether the guest's threads may run, and how they are made to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How soon a thread that is still in the guest is kicked again: a signal that comes just before it enters is lost.
const KICK_AGAIN: Duration = Duration::from_millis(1);
/// A thread that does not stop for so long never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// The threads of a guest pass it to run, and come back to it to be parked. They begin parked.
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the threads are to come back; read between two steps of the guest.
    stopping: AtomicBool,
}

struct State {
    wanted: Wanted,
    /// Which of the threads are parked.
    parked: Vec<bool>,
    /// Why the guest cannot run on, once it cannot.
    crash: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Running,
    Paused,
    Ended,
}

/// Threads that did not stop.
#[derive(Debug, thiserror::Error)]
#[error("{running} of {threads} vCPUs did not stop within {PATIENCE:?}; end this process")]
pub struct StillRunning {
    running: usize,
    threads: usize,
}

impl Gate {
    /// For so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        let state = State { wanted: Wanted::Paused, parked: vec![true; threads], crash: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), stopping: AtomicBool::new(true) }
    }

    /// Parks a thread until it may run; false if it is to end instead.
    pub(crate) fn pass(&self, thread: usize) -> bool {
        let mut state = self.state();
        state.parked[thread] = true;
        self.changed.notify_all();
        while state.wanted == Wanted::Paused {
            state = self.wait(state);
        }
        let runs = state.wanted == Wanted::Running;
        state.parked[thread] = !runs;
        runs
    }

    /// A thread comes back for the last time.
    pub(crate) fn leave(&self, thread: usize) {
        self.state().parked[thread] = true;
        self.changed.notify_all();
    }

    /// Whether a thread is to come back.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Sleeps, or comes back early if the threads are to stop.
    pub(crate) fn sleep(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut state = self.state();
        while state.wanted == Wanted::Running {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets the threads run.
    pub(crate) fn open(&self) {
        self.want(Wanted::Running);
    }

    /// Has all threads parked when it returns. `kick` brings them out of the guest, and is called until they are.
    pub(crate) fn close(&self, kick: impl FnMut()) -> Result<(), StillRunning> {
        self.want(Wanted::Paused);
        self.wait_until_parked(kick)
    }

    /// Has the threads end, as soon as they pass.
    pub(crate) fn end(&self, kick: impl FnMut()) -> Result<(), StillRunning> {
        self.want(Wanted::Ended);
        self.wait_until_parked(kick)
    }

    /// Says why the guest cannot run on. The first reason is kept.
    pub(crate) fn crashed(&self, reason: String) {
        self.state().crash.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Why the guest cannot run on, if it cannot.
    pub(crate) fn crash(&self) -> Option<String> {
        self.state().crash.clone()
    }

    /// Whether the threads may run.
    pub(crate) fn is_open(&self) -> bool {
        self.state().wanted == Wanted::Running
    }

    fn want(&self, wanted: Wanted) {
        let mut state = self.state();
        state.wanted = wanted;
        self.stopping.store(wanted != Wanted::Running, Ordering::Release);
        self.changed.notify_all();
    }

    fn wait_until_parked(&self, mut kick: impl FnMut()) -> Result<(), StillRunning> {
        let begun = Instant::now();
        let mut state = self.state();
        loop {
            let running = state.parked.iter().filter(|&&parked| !parked).count();
            if running == 0 {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(StillRunning { running, threads: state.parked.len() });
            }
            kick();
            state = self.changed.wait_timeout(state, KICK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
