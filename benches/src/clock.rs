//! CPU time, wall time, and medians.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// User and system time of the whole process until now.
#[must_use]
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The time stamp counter, which costs a few nanoseconds to read; nanoseconds where there is none.
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reading it changes nothing, and every x86-64 has it.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let time = clock_gettime(ClockId::Monotonic);
        time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
    }
}

/// How long so many ticks are, measured against the clock when it is first asked for.
#[must_use]
pub fn ticks_to_seconds(count: u64) -> f64 {
    static SECONDS_A_TICK: OnceLock<f64> = OnceLock::new();
    let measure = || {
        let (begun, first) = (Instant::now(), ticks());
        thread::sleep(Duration::from_millis(50));
        begun.elapsed().as_secs_f64() / (ticks() - first) as f64
    };
    count as f64 * SECONDS_A_TICK.get_or_init(measure)
}

/// The median of five runs.
pub fn median_of_5(mut run: impl FnMut() -> f64) -> f64 {
    median((0..5).map(|_| run()))
}

/// The median; of an even number the upper one of the two in the middle. Not a number if there is nothing.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How many GB (10^9 bytes) a second `work` gets through, the median of five runs.
pub fn gb_per_s(bytes: usize, mut work: impl FnMut()) -> f64 {
    median_of_5(|| {
        let begun = Instant::now();
        work();
        bytes as f64 / begun.elapsed().as_secs_f64() / 1e9
    })
}
