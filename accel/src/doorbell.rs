//! What wakes a poller that has nothing to poll.

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, Ordering};

/// Counts events and lets one thread sleep until the next.
///
/// Ringing costs an atomic addition while nobody sleeps. A poller reads the [`count`](Self::count), looks for work,
/// and, having found none, [`waits`](Self::wait) past that count: whatever rang in between is not missed.
#[derive(Debug)]
pub struct Doorbell {
    rung: AtomicU64,
    asleep: AtomicBool,
    bed: Mutex<()>,
    wake: Condvar,
}

impl Default for Doorbell {
    fn default() -> Self {
        Self {
            rung: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            bed: Mutex::new(()),
            wake: Condvar::new(),
        }
    }
}

impl Doorbell {
    /// Says that there is something to look at.
    pub fn ring(&self) {
        // The sleeper's last look at the count is an addition too, and one of the two comes first: either it sees ours, or
        // we come behind it and with it see that it sleeps.
        self.rung.fetch_add(1, Ordering::AcqRel);
        if self.asleep.load(Ordering::Relaxed) {
            drop(self.bed.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_one();
        }
    }

    /// How often it rang so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rung.load(Ordering::Acquire)
    }

    /// Sleeps until it has rung more often than `seen`. One thread at a time may wait.
    pub fn wait(&self, seen: u64) {
        while !self.wait_for(seen, Duration::MAX) {}
    }

    /// The same for about `patience` at most. Says whether it rang.
    pub fn wait_for(&self, seen: u64, patience: Duration) -> bool {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(true, Ordering::Relaxed);
        let mut rang = self.rung.fetch_add(0, Ordering::AcqRel) != seen;
        while !rang {
            let woken = self.wake.wait_timeout(bed, patience);
            let (again, waited) = woken.unwrap_or_else(PoisonError::into_inner);
            bed = again;
            rang = self.rung.fetch_add(0, Ordering::AcqRel) != seen;
            if waited.timed_out() {
                break;
            }
        }
        self.asleep.store(false, Ordering::Relaxed);
        drop(bed);
        rang
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_ring_before_the_wait_is_not_missed() {
        let doorbell = Doorbell::default();
        let seen = doorbell.count();
        doorbell.ring();
        doorbell.wait(seen);
    }

    #[test]
    fn a_sleeper_whose_patience_ends_says_that_nothing_rang() {
        let doorbell = Doorbell::default();
        assert!(!doorbell.wait_for(doorbell.count(), Duration::from_millis(1)));
        doorbell.ring();
        assert!(doorbell.wait_for(0, Duration::from_secs(60)));
    }

    #[test]
    fn a_sleeper_wakes_for_every_ring_it_waits_for() {
        let doorbell = Arc::new(Doorbell::default());
        let sleeper = Arc::clone(&doorbell);
        let thread = std::thread::spawn(move || (0..1000).for_each(|seen| sleeper.wait(seen)));
        while doorbell.count() < 1000 {
            doorbell.ring();
        }
        thread.join().unwrap();
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn no_ring_is_lost_however_two_ringers_and_a_sleeper_interleave() {
        let mut model = loom::model::Builder::new();
        // Without a bound it takes minutes; most mistakes show with two preemptions.
        model.preemption_bound = Some(3);
        model.check(|| {
            let doorbell = Arc::new(Doorbell::default());
            let ringers: Vec<_> = (0..2)
                .map(|_| {
                    let doorbell = Arc::clone(&doorbell);
                    loom::thread::spawn(move || doorbell.ring())
                })
                .collect();
            let mut seen = 0;
            while seen < 2 {
                doorbell.wait(seen);
                seen = doorbell.count();
            }
            ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
        });
    }

    /// As a poller uses it: count, look, sleep.
    #[test]
    fn whoever_looks_before_it_sleeps_finds_what_was_put_down_before_the_ring() {
        loom::model(|| {
            let shared = Arc::new((Doorbell::default(), AtomicU64::new(0)));
            let worker = {
                let shared = Arc::clone(&shared);
                loom::thread::spawn(move || {
                    for _ in 0..2 {
                        shared.1.fetch_add(1, Ordering::Relaxed);
                        shared.0.ring();
                    }
                })
            };
            let (doorbell, done) = &*shared;
            loop {
                let seen = doorbell.count();
                if done.load(Ordering::Relaxed) == 2 {
                    break;
                }
                doorbell.wait(seen);
            }
            worker.join().unwrap();
        });
    }
}
