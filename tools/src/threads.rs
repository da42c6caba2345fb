//! CPU time of single threads of this process.

use std::fs;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::ClockId;

/// A thread of this process, by the number that the system gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ThreadId(i32);

/// A time in nanoseconds, to calculate with.
pub(crate) fn ns(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

/// CPU time that the calling thread has used.
pub(crate) fn own() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, duration)
}

impl ThreadId {
    /// All threads of this process whose names begin so, in the order in which they were started.
    pub(crate) fn named(prefix: &str) -> Vec<Self> {
        let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let mut threads: Vec<_> = entries
            .filter(|entry| {
                fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.starts_with(prefix))
            })
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Self))
            .collect();
        threads.sort_unstable();
        threads
    }

    /// CPU time that it has used; nothing once it has ended.
    pub(crate) fn cpu(self) -> Duration {
        // The clock of a thread is named by the complement of its number, shifted, with a bit for threads and two for time that
        // was really spent (`include/linux/posix-timers_types.h`, as pthread_getcpuclockid has it).
        ClockId::from_raw((!self.0 << 3) | 0b110).now().map_or(Duration::ZERO, duration)
    }
}

fn duration(time: TimeSpec) -> Duration {
    Duration::from(time)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_is_charged_for_its_own_work_alone() {
        let (ready, is_ready) = mpsc::channel();
        let (finish, finished) = mpsc::channel::<()>();
        let work = move || {
            while own() < Duration::from_millis(30) {
                std::hint::spin_loop();
            }
            ready.send(own()).unwrap();
            finished.recv().unwrap_err();
        };
        let thread = thread::Builder::new().name("charged-thread".into()).spawn(work).unwrap();
        let used = is_ready.recv().unwrap();
        let found = ThreadId::named("charged-thread");
        assert_eq!(found.len(), 1);
        let cpu = found[0].cpu();
        assert!(cpu >= used && cpu < used + Duration::from_millis(20), "{cpu:?} for {used:?}");
        drop(finish);
        thread.join().unwrap();
    }
}
