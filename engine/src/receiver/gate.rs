//! The barrier at the end of a round: no channel goes on before all have arrived.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Holds the channels at the end of a round until the last one has come and has settled the round.
///
/// Unlike [`std::sync::Barrier`], it can be closed when a channel fails, so that the others do not wait for it.
#[derive(Debug)]
pub(super) struct RoundGate {
    channels: usize,
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct State {
    arrived: usize,
    passages: u64,
    closed: bool,
}

/// The gate was closed: the migration failed on another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GateClosed;

impl RoundGate {
    pub(super) fn new(channels: usize) -> Self {
        Self { channels, state: Mutex::default(), opened: Condvar::new() }
    }

    /// Waits for all channels; the last one to come runs `settle` before any goes on.
    ///
    /// # Errors
    /// [`GateClosed`] when another channel failed; what `settle` says, for the one that ran it.
    pub(super) fn pass<E: From<GateClosed>>(&self, settle: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.lock();
        let passage = state.passages;
        state.arrived += 1;
        if state.arrived < self.channels {
            while state.passages == passage && !state.closed {
                state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            return if state.passages == passage { Err(GateClosed.into()) } else { Ok(()) };
        }
        drop(state);
        settle()?;
        let mut state = self.lock();
        state.arrived = 0;
        state.passages += 1;
        self.opened.notify_all();
        Ok(())
    }

    /// Turns away whoever waits or comes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.opened.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;

    use super::*;

    #[test]
    fn nobody_goes_on_before_the_round_is_settled() {
        let gate = RoundGate::new(4);
        let (arrivals, settled) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 1..=100 {
                        arrivals.fetch_add(1, SeqCst);
                        let settle = || {
                            assert_eq!(arrivals.load(SeqCst), 4 * round);
                            settled.fetch_add(1, SeqCst);
                            Ok::<_, GateClosed>(())
                        };
                        gate.pass(settle).unwrap();
                        assert_eq!(settled.load(SeqCst), round);
                    }
                });
            }
        });
    }

    #[test]
    fn a_closed_gate_turns_away_whoever_waits() {
        let gate = RoundGate::new(2);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.pass(|| Ok::<_, GateClosed>(())));
            gate.close();
            assert_eq!(waiting.join().unwrap(), Err(GateClosed));
        });
    }
}
