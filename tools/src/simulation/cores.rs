//! The CPUs of a host, which its threads share.

use super::time::{Agenda, Nanos};

/// A thread of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread(pub(super) usize);

/// CPUs that all threads which have something to do share evenly, none of them using more than one (processor sharing).
///
/// As all progress at the same pace, one number says how far each has come: what a thread would have been served that had been
/// there all the time. A burst ends when that number has grown by its length.
#[derive(Clone, Debug)]
pub(super) struct Cores {
    cpus: f64,
    at: Nanos,
    served: Nanos,
    running: Agenda<(Thread, Nanos)>,
    threads: usize,
    used: Vec<Nanos>,
}

impl Cores {
    /// A host of `cpus` CPUs and so many threads, all of them idle.
    pub(super) fn new(cpus: f64, threads: usize) -> Self {
        Self {
            cpus,
            at: Nanos::ZERO,
            served: Nanos::ZERO,
            running: Agenda::new(),
            threads: 0,
            used: vec![Nanos::ZERO; threads],
        }
    }

    /// Lets an idle thread work for `burst` of CPU time from now on.
    pub(super) fn start(&mut self, now: Nanos, thread: Thread, burst: Nanos) {
        self.advance(now);
        self.running.enter(self.served + burst, (thread, burst));
        self.threads += 1;
    }

    /// When the next burst ends, if nothing changes before.
    pub(super) fn next_at(&self) -> Option<Nanos> {
        let end = self.running.next_at()?;
        Some(self.at + Nanos((end - self.served).0 / self.pace()))
    }

    /// Ends the burst that ends next, and says whose it was.
    pub(super) fn end_next(&mut self) -> Option<Thread> {
        let (at, end) = (self.next_at()?, self.running.next_at()?);
        let (thread, burst) = self.running.take()?;
        (self.at, self.served) = (at, end);
        self.threads -= 1;
        self.used[thread.0] = self.used[thread.0] + burst;
        Some(thread)
    }

    /// CPU time of a thread's bursts that have ended.
    pub(super) fn used(&self, thread: Thread) -> Nanos {
        self.used[thread.0]
    }

    fn advance(&mut self, now: Nanos) {
        let wall = now - self.at;
        self.served = self.served + Nanos(wall.0 * self.pace());
        self.at = now;
    }

    /// How much of a CPU each thread has.
    fn pace(&self) -> f64 {
        if self.threads == 0 { 1.0 } else { (self.cpus / self.threads as f64).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(cores: &mut Cores) -> Vec<(usize, f64)> {
        std::iter::from_fn(|| {
            let at = cores.next_at()?;
            cores.end_next().map(|thread| (thread.0, at.0))
        })
        .collect()
    }

    #[test]
    fn threads_have_a_cpu_each_while_there_are_enough_and_share_them_evenly_otherwise() {
        let mut two = Cores::new(2.0, 3);
        (0..2).for_each(|thread| two.start(Nanos::ZERO, Thread(thread), Nanos(100.0)));
        // Half done when the third one comes; from then on each has two thirds of a CPU.
        two.start(Nanos(50.0), Thread(2), Nanos(100.0));
        assert_eq!(ends(&mut two), [(0, 125.0), (1, 125.0), (2, 175.0)]);
        assert_eq!(two.used, [Nanos(100.0); 3]);
    }

    #[test]
    fn half_a_cpu_takes_twice_as_long_but_costs_no_more() {
        let mut half = Cores::new(0.5, 1);
        half.start(Nanos(10.0), Thread(0), Nanos(100.0));
        assert_eq!(ends(&mut half), [(0, 210.0)]);
        assert_eq!(half.used(Thread(0)), Nanos(100.0));
    }
}
