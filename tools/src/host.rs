//! The machine that figures are from.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use pageferry_accel::codec::deflate;
use serde::{Deserialize, Serialize};

/// What a reader must know of a machine to judge its figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// The version of ISA-L that is used, if it is.
    pub(crate) isal: Option<String>,
    /// Why it is not.
    pub(crate) isal_missing: Option<String>,
    /// What deflates and inflates.
    pub(crate) deflate_library: String,
    /// Vector instructions that the codecs know and this CPU has.
    pub(crate) simd: Vec<String>,
    pub(crate) accelbench: String,
}

impl Host {
    /// This machine. What the system does not tell is `unknown` or 0.
    pub(crate) fn this() -> Self {
        let isal_missing = deflate::why_not_isal().map(ToString::to_string);
        let library = deflate::library();
        Self {
            cpu: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
            cores: cores(),
            memory_bytes: memory("MemTotal").unwrap_or(0),
            kernel: line_of("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            isal: isal_missing.is_none().then(|| library.trim_start_matches("ISA-L").trim().to_owned()),
            isal_missing,
            deflate_library: library.to_owned(),
            simd: simd().into_iter().map(str::to_owned).collect(),
            accelbench: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// CPUs that this process may use.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Memory that can be had without swapping, in bytes.
#[must_use]
pub fn available_memory() -> Option<u64> {
    memory("MemAvailable")
}

/// How much time all CPUs have worked since the machine started, and what its hypervisor took from them.
pub(crate) fn busy() -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal (proc(5)), in hundredths of a second.
    let ticks = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|field| fields.get(field)).sum::<u64>();
    Some(Duration::from_millis(ticks.checked_mul(10)?))
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let fields: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    // Arm has no model's name, but numbers that tell it.
    let arm =
        || Some(format!("implementer {} part {}", fields.get("CPU implementer")?, fields.get("CPU part")?));
    fields.get("model name").map(|&name| name.to_owned()).or_else(arm)
}

/// A field of `/proc/meminfo`, in bytes.
fn memory(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn line_of(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<&'static str> {
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("bmi1", is_x86_feature_detected!("bmi1")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vbmi2", is_x86_feature_detected!("avx512vbmi2")),
    ];
    known.into_iter().filter_map(|(name, found)| found.then_some(name)).collect()
}

#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<&'static str> {
    if std::arch::is_aarch64_feature_detected!("neon") { vec!["neon"] } else { Vec::new() }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<&'static str> {
    Vec::new()
}
