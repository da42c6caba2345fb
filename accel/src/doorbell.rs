//! What wakes a poller that has nothing to poll.

use std::sync::PoisonError;

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
        // Sequentially consistent on both sides: either the sleeper sees this count, or we see that it sleeps.
        self.rung.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            drop(self.bed.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_one();
        }
    }

    /// How often it rang so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rung.load(Ordering::SeqCst)
    }

    /// Sleeps until it has rung more often than `seen`. One thread at a time may wait.
    pub fn wait(&self, seen: u64) {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(true, Ordering::SeqCst);
        while self.count() == seen {
            bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.store(false, Ordering::SeqCst);
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
        loom::model(|| {
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
}
