//! CPU time, wall time, and medians.

use std::fs;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use pageferry_tools::calibration::median;
use rustix::time::{ClockId, clock_gettime};

/// User and system time of the whole process until now.
#[must_use]
pub fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How long all CPUs have worked since the machine started, and what its hypervisor took from them. None if it does not say.
#[must_use]
pub fn machine_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal (proc(5)), in hundredths of a second.
    let ticks: u64 = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|field| fields.get(field)).sum();
    Some(Duration::from_millis(ticks.checked_mul(10)?))
}

/// How much of the machine's CPUs others take meanwhile.
pub struct Others {
    begun: Instant,
    own: Duration,
    machine: Option<Duration>,
}

impl Others {
    /// From now on.
    #[must_use]
    pub fn watch() -> Self {
        Self { begun: Instant::now(), own: process_cpu(), machine: machine_cpu() }
    }

    /// Their share of all CPUs until now; none if the machine does not say.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let all = machine_cpu()?.checked_sub(self.machine?)?;
        let others = all.saturating_sub(process_cpu() - self.own);
        Some(others.as_secs_f64() / self.begun.elapsed().as_secs_f64() / cpus())
    }
}

/// How many CPUs this process may use.
#[must_use]
pub fn cpus() -> f64 {
    thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
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

/// How many GB (10^9 bytes) a second `work` gets through, the median of five runs.
pub fn gb_per_s(bytes: usize, mut work: impl FnMut()) -> f64 {
    median_of_5(|| {
        let begun = Instant::now();
        work();
        bytes as f64 / begun.elapsed().as_secs_f64() / 1e9
    })
}
