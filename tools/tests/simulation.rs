//! The simulation is held against the pipeline that it is of, on this machine.
//!
//! Both are asked how long the same input takes; the answers may differ by 10%. Other programs on the machine would have a say in
//! only one of them: so the pipeline's threads ask for real-time priority, which `chrt` gives to root, and a comparison that fails
//! is repeated. Without an optimiser the pipeline is not the one that anybody runs: these tests are for release builds
//! (`cargo test --release -p pageferry-tools --test simulation`), and say that they were skipped in others.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pageferry_accel::method::Method;
use pageferry_tools::calibration::{Calibration, calibrate};
use pageferry_tools::page_costs::{Guest, Writer};
use pageferry_tools::validation::{Comparison, Contest, DeviceTiming};

/// How far a prediction may be off.
const TOLERANCE: f64 = 0.10;

/// How often a comparison is made before it counts as failed.
const ATTEMPTS: usize = 6;

/// Runs of which the medians are compared.
const RUNS: usize = 5;

const MIB: u64 = 1 << 20;

/// The tests of this file would be each other's neighbours.
static ALONE: Mutex<()> = Mutex::new(());

/// Compares until the prediction is good, with a calibration right before each time.
fn hold(name: &str, contest: &Contest, compare: impl Fn(&Calibration) -> Comparison) {
    let mut comparisons = Vec::new();
    for _ in 0..ATTEMPTS {
        let comparison = compare(&calibrate(contest.workers()).unwrap());
        println!(
            "{name}: {:.4} s measured, {:.4} s predicted, {:+.1}%",
            comparison.measured_s,
            comparison.predicted_s,
            100.0 * comparison.error()
        );
        if comparison.error().abs() <= TOLERANCE {
            return;
        }
        comparisons.push(comparison);
    }
    panic!("{name}: no prediction within 10%: {comparisons:#?}");
}

fn hold_on_cpu(name: &str, guest: Guest, rounds: u32, methods: &[Method]) {
    let contest = Contest::new(guest, rounds);
    for &method in methods {
        hold(&format!("{name} by {method}"), &contest, |calibration| {
            contest.on_cpu(calibration, method, RUNS).unwrap()
        });
    }
}

/// A built-in workload that writes a little on every other page.
fn workload(name: &str, bytes: u64) -> Guest {
    Guest::workload(Writer { name, bytes, dirty_percent: 50, change_bytes: 256 }).unwrap()
}

/// Whether it makes sense to measure here; if so, with the machine to itself as far as that can be had.
fn can_measure() -> bool {
    if cfg!(debug_assertions) {
        println!("skipped: a build without optimiser says nothing of the pipeline; use cargo test --release");
        return false;
    }
    let thread = std::fs::read_link("/proc/thread-self").unwrap();
    let thread = thread.file_name().unwrap().to_owned();
    // Threads that it starts inherit it.
    let granted = Command::new("chrt").args(["--rr", "--pid", "1"]).arg(thread).output();
    if !granted.is_ok_and(|output| output.status.success()) {
        println!("without real-time priority: other programs on this machine may spoil the comparison");
    }
    true
}

#[test]
fn it_predicts_the_cpu_on_every_workload() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_measure() {
        return;
    }
    // What takes a method a few hundredths of a second is at the mercy of a single interruption: those have more to do.
    let (little, much) = (|name| workload(name, 64 * MIB), |name| workload(name, 256 * MIB));
    hold_on_cpu("ones", much("ones"), 3, &[Method::Raw, Method::Deflate]);
    hold_on_cpu("sequence", little("sequence"), 3, &[Method::Deflate, Method::Zstd]);
    hold_on_cpu("random", much("random"), 3, &[Method::Raw, Method::Lz4]);
    hold_on_cpu("mixed", little("mixed"), 3, &[Method::Deflate]);
    hold_on_cpu("mixed", much("mixed"), 3, &[Method::Xbzrle, Method::Delta]);
}

#[test]
fn it_predicts_the_cpu_on_images_that_are_given_by_the_environment() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(images) = std::env::var_os("PAGEFERRY_IMAGES") else {
        println!("skipped: PAGEFERRY_IMAGES names no images (paths with colons between them)");
        return;
    };
    if !can_measure() {
        return;
    }
    let images: Vec<PathBuf> = std::env::split_paths(&images).collect();
    let rounds = u32::try_from(images.len()).unwrap();
    hold_on_cpu(
        "images",
        Guest::images(images).unwrap(),
        rounds,
        &[Method::Deflate, Method::Zstd, Method::Xbzrle],
    );
}

#[test]
fn it_predicts_a_device_model_of_given_latency_and_bandwidth() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !can_measure() {
        return;
    }
    let slow = DeviceTiming { latency: Duration::from_micros(100), bytes_per_s: 40_000_000, requests: 8 };
    let late = DeviceTiming { latency: Duration::from_millis(20), bytes_per_s: 400_000_000, requests: 2 };
    // Not memory for which the driver has the device count now and then, for better codes: that pass is not in the simulation, and
    // took the model's engines a fifth of their time with `sequence`.
    for (name, bytes) in [("ones", 16 * MIB), ("random", 8 * MIB)] {
        for (device, timing) in [("slow", slow), ("late", late)] {
            let contest = Contest::new(workload(name, bytes), 1);
            hold(&format!("{name} on a {device} device"), &contest, |calibration| {
                contest.on_device(calibration, &timing, 3).unwrap()
            });
        }
    }
}
