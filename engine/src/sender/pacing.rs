//! The CPU time of a sender: what all its threads have used, and what they may use.

use std::thread;
use std::time::{Duration, Instant};

use pageferry_accel::cpu_time;
use pageferry_accel::pool::Pool;

use super::SendWatch;
use crate::budget::{CpuBudget, Pace};

/// Counts what the migration thread works, and holds it up for the budget's sake.
///
/// Rounds may come from different threads, and what a thread does between two rounds is not the sender's work.
#[derive(Debug)]
pub(super) struct Pacing {
    pace: Option<Pace>,
    /// What the migration thread worked in the rounds that are over.
    earlier: Duration,
    /// What its clock showed at the beginning of this one.
    round_began: Duration,
}

/// How long the migration thread sleeps at a time, so that a stop is not slept through.
const NAP: Duration = Duration::from_millis(10);

impl Pacing {
    pub(super) fn new(budget: Option<CpuBudget>) -> Self {
        let pace = budget.map(|budget| Pace::new(budget, Instant::now()));
        Self { pace, earlier: Duration::ZERO, round_began: Duration::ZERO }
    }

    pub(super) fn begin_round(&mut self) {
        self.round_began = cpu_time::of_this_thread();
    }

    /// What the migration thread has worked until now.
    pub(super) fn end_round(&mut self) -> Duration {
        self.earlier = self.migration_thread();
        self.earlier
    }

    /// Sleeps until there is CPU time for another request, or nobody needs one any more.
    pub(super) fn wait(&mut self, watch: &SendWatch, pool: &Pool) {
        let own = self.pace.map(|_| self.migration_thread());
        let Some((pace, own)) = self.pace.as_mut().zip(own) else { return };
        let now = Instant::now();
        let until = now + pace.admit(own + watch.cpu_of_the_others(), now);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || pool.is_closed() {
                return;
            }
            thread::sleep(left.min(NAP));
        }
    }

    fn migration_thread(&self) -> Duration {
        self.earlier + cpu_time::of_this_thread().saturating_sub(self.round_began)
    }
}
