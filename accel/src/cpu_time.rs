//! How long a thread has worked.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// User and system time of the calling thread until now (`CLOCK_THREAD_CPUTIME_ID` of clock_gettime(2)). To ask takes a
/// system call.
#[must_use]
pub fn of_this_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // No thread has worked less than no time, and the kernel's nanoseconds are below a second.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_takes_the_threads_time_and_neither_sleep_nor_the_work_of_others_does() {
        const WORKED: Duration = Duration::from_millis(20);
        let work = || {
            let begun = of_this_thread();
            while of_this_thread() - begun < WORKED {}
        };
        let (before, begun) = (of_this_thread(), Instant::now());
        work();
        assert!(begun.elapsed() >= WORKED, "{:?} for {WORKED:?} of work", begun.elapsed());
        let worked = of_this_thread();
        thread::scope(|scope| drop(scope.spawn(work)));
        thread::sleep(Duration::from_millis(50));
        let rested = of_this_thread() - worked;
        assert!(worked - before >= WORKED && rested < WORKED, "{rested:?} while others worked");
    }
}
