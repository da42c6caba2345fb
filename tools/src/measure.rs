//! Wall time and CPU time of the migration alone.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::host;

/// A stopwatch for wall time and for the CPU time of this whole process, user and system, that can be held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    measured: Measured,
    since: Option<(Instant, Option<Duration>)>,
}

/// What a stopwatch saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Time on the wall.
    pub(crate) wall: Duration,
    /// Time of all CPUs; nothing where the system does not tell.
    pub(crate) cpu: Option<Duration>,
}

impl Stopwatch {
    /// One that stands still at zero.
    pub(crate) fn new() -> Self {
        Self { measured: Measured { wall: Duration::ZERO, cpu: Some(Duration::ZERO) }, since: None }
    }

    /// Lets it run.
    pub(crate) fn run(&mut self) {
        self.since.get_or_insert_with(|| (Instant::now(), process_cpu()));
    }

    /// Holds it.
    pub(crate) fn hold(&mut self) {
        if let Some((wall, cpu)) = self.since.take() {
            self.measured.wall += wall.elapsed();
            let spent = process_cpu().zip(cpu).map(|(now, then)| now.saturating_sub(then));
            self.measured.cpu = self.measured.cpu.zip(spent).map(|(sum, spent)| sum + spent);
        }
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.since.is_some()
    }

    /// Time on the wall until now, or until it was held.
    pub(crate) fn elapsed(&self) -> Duration {
        self.measured.wall + self.since.map_or(Duration::ZERO, |(wall, _)| wall.elapsed())
    }

    /// What it saw until it was held last.
    pub(crate) fn measured(&self) -> Measured {
        self.measured
    }
}

/// Watches what everybody else does with the CPUs meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbours {
    begun: Instant,
    /// What all used, and what we did.
    before: Option<(Duration, Duration)>,
}

impl Neighbours {
    /// Begins to watch.
    pub(crate) fn watch() -> Self {
        Self { begun: Instant::now(), before: everybody() }
    }

    /// How many CPUs others kept busy since then; children must have ended.
    pub(crate) fn cpus(&self) -> Option<f64> {
        let ((all, ours), (all_then, ours_then)) = (everybody()?, self.before?);
        let others = all.saturating_sub(all_then).saturating_sub(ours.saturating_sub(ours_then));
        let wall = self.begun.elapsed();
        // The system counts in hundredths of a second.
        (wall > Duration::from_millis(500)).then(|| others.as_secs_f64() / wall.as_secs_f64())
    }
}

fn everybody() -> Option<(Duration, Duration)> {
    Some((host::busy()?, process_cpu()? + cpu_of(UsageWho::RUSAGE_CHILDREN)?))
}

/// User and system time of all threads of this process, those that ended included.
fn process_cpu() -> Option<Duration> {
    cpu_of(UsageWho::RUSAGE_SELF)
}

fn cpu_of(who: UsageWho) -> Option<Duration> {
    let usage = getrusage(who).ok()?;
    Some(duration(usage.user_time())? + duration(usage.system_time())?)
}

fn duration(time: TimeVal) -> Option<Duration> {
    let micros = u64::try_from(time.tv_usec()).ok()?;
    Some(Duration::from_secs(u64::try_from(time.tv_sec()).ok()?) + Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() {
        let begun = process_cpu().unwrap();
        let mut sum = 0_u64;
        while process_cpu().unwrap() - begun < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_stopwatch_that_is_held_counts_neither_time() {
        let mut watch = Stopwatch::new();
        work();
        assert_eq!(watch.measured(), Measured { wall: Duration::ZERO, cpu: Some(Duration::ZERO) });
        watch.run();
        work();
        watch.hold();
        let seen = watch.measured();
        assert!(seen.cpu.unwrap() >= Duration::from_millis(20) && seen.wall > Duration::ZERO, "{seen:?}");
        work();
        watch.hold();
        assert_eq!(watch.measured(), seen);
    }
}
