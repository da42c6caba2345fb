//! CPU time, wall time, and medians.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// User and system time of the whole process until now.
#[must_use]
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The median of five runs.
pub fn median_of_5(mut run: impl FnMut() -> f64) -> f64 {
    let mut results = [(); 5].map(|()| run());
    results.sort_by(f64::total_cmp);
    results[2]
}

/// How many GB (10^9 bytes) a second `work` gets through, the median of five runs.
pub fn gb_per_s(bytes: usize, mut work: impl FnMut()) -> f64 {
    median_of_5(|| {
        let begun = Instant::now();
        work();
        bytes as f64 / begun.elapsed().as_secs_f64() / 1e9
    })
}
