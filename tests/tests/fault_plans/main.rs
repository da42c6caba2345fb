//! Devices that fail as devices do, by thousands of seeded plans, over the whole data path: every page arrives, every
//! way round an obstacle is counted by its reason, and nothing waits longer than it must.
//!
//! `PAGEFERRY_FAULT_PLANS` sets how many plans are tried, `PAGEFERRY_FAULT_SEED` the first of them.

mod faulty;
mod idxd;
mod lies;
mod qat;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use pageferry_accel::method::Method;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::fallbacks::Fallbacks;
use pageferry_engine::receiver::ReceiveReport;
use pageferry_engine::sender::{SendReport, Sender, SenderConfig};
use pageferry_engine::work::Work;
use pageferry_tests::guest::{Noise, fill, first_difference, guest, pages, scribble};
use pageferry_tests::peers::{config, connections, receive_by};
use pageferry_tests::watchdog::Watchdog;

use faulty::{End, Faulty, Misdeeds, with_cpu};

/// Enough to meet every fault at every place; the rest is looked for where there is time.
const PLANS: u64 = 150;

const PAGES: u64 = 24;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A device of some kind, at this end, and what it does wrong.
fn faulty(noise: &mut Noise, end: End) -> Box<dyn Faulty> {
    if noise.chance(40) { Box::new(qat::faulty(noise, end)) } else { Box::new(idxd::faulty(noise)) }
}

/// Moves a small guest in three rounds, which must arrive.
fn migrate(
    ours: &[Box<dyn Faulty>],
    theirs: &[Box<dyn Faulty>],
    noise: &mut Noise,
    what: &str,
) -> (SendReport, ReceiveReport) {
    let (source, destination) = (guest(PAGES, PageSize::Kib4), guest(PAGES, PageSize::Kib4));
    fill(&source, noise.next_u64());
    let (here, there) = connections(1 + usize::try_from(noise.below(2)).unwrap_or_default());
    let receiver = receive_by(with_cpu(theirs), Arc::clone(&destination), there);
    let methods = [Method::Deflate, Method::Delta, Method::Raw];
    // With a small window IAA decodes, and with a large one QAT compresses.
    let window_bits = if noise.chance(50) { 12 } else { 15 };
    let config =
        SenderConfig { max_pages: PageCount(7), deflate_window_bits: window_bits, ..config(&methods) };
    let mut sender = Sender::new(Arc::clone(&source), &with_cpu(ours), here, config)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut dirty = DirtyBitmap::all(&source);
    for round in 0..3 {
        sender.send_round(&dirty).unwrap_or_else(|error| panic!("{what}, round {round}: {error}"));
        assert_eq!(first_difference(&source, &destination), None, "{what}, round {round}");
        dirty.clear();
        for page in pages(&source).filter(|_| noise.chance(60)).collect::<Vec<_>>() {
            scribble(&source, page, noise);
            dirty.set(page);
        }
    }
    let (sent, _) = sender.finish().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (received, _) = receiver.join().unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
    (sent, received)
}

/// What went wrong must show in the counts: a fault that nobody counts is one that nobody sees.
fn assert_counted(misdeeds: &[Misdeeds], counted: &Fallbacks, what: &str) {
    let sum = |of: fn(&Misdeeds) -> u64| misdeeds.iter().map(of).sum::<u64>();
    let failed = counted.device_failed_requests + counted.deadline_requests;
    let resumed = counted.page_faults_resumed + counted.page_faults_on_cpu;
    if sum(|one| one.errors) > 0 {
        assert!(failed > 0, "{what}: errors are not counted: {counted:?}");
    }
    if sum(|one| one.page_faults) > 0 {
        assert!(resumed + failed > 0, "{what}: page faults are not counted: {counted:?}");
    }
    if sum(|one| one.never) > 0 {
        assert!(
            failed + counted.queue_gone_requests > 0,
            "{what}: a request that never ended is not counted: {counted:?}"
        );
    }
}

/// What all plans together did.
#[derive(Default)]
struct Sums {
    faults: AtomicU64,
    plans_with_faults: AtomicU64,
    requests_by_devices: AtomicU64,
    plans_with_qat: AtomicU64,
}

fn try_plan(seed: u64, sums: &Sums) {
    let what = format!("plan {seed}");
    let _watchdog = Watchdog::over(what.clone());
    let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let ours: Vec<_> = (0..1 + noise.below(2)).map(|_| faulty(&mut noise, End::Source)).collect();
    let theirs: Vec<_> = (0..noise.below(3)).map(|_| faulty(&mut noise, End::Destination)).collect();
    let (sent, received) = migrate(&ours, &theirs, &mut noise, &what);
    let misdeeds = |ends: &[Box<dyn Faulty>]| ends.iter().map(|one| one.misdeeds()).collect::<Vec<_>>();
    let describe = |end, ends: &[Box<dyn Faulty>]| {
        let plans: Vec<_> = ends.iter().map(|one| one.describe()).collect();
        format!("{what} at the {end}: {}", plans.join("; "))
    };
    assert_counted(&misdeeds(&ours), &sent.fallbacks, &describe("source", &ours));
    assert_counted(&misdeeds(&theirs), &received.fallbacks, &describe("destination", &theirs));
    let faults: u64 = ours.iter().chain(&theirs).map(|one| one.misdeeds().total).sum();
    let by_devices = |work: &[Work]| {
        work.iter().filter(|one| one.accelerator != "cpu").map(|one| one.requests).sum::<u64>()
    };
    sums.faults.fetch_add(faults, Relaxed);
    sums.plans_with_faults.fetch_add(u64::from(faults > 0), Relaxed);
    let requests = by_devices(&sent.accelerators) + by_devices(&received.accelerators);
    sums.requests_by_devices.fetch_add(requests, Relaxed);
    let with_qat = ours.iter().chain(&theirs).any(|one| one.is_qat());
    sums.plans_with_qat.fetch_add(u64::from(with_qat), Relaxed);
}

/// Most of the time something waits for a deadline, so more are tried at a time than there are cores.
const AT_A_TIME: u64 = 12;

#[test]
fn every_page_arrives_whatever_devices_fail_at() {
    let (first, plans) = (setting("PAGEFERRY_FAULT_SEED", 1), setting("PAGEFERRY_FAULT_PLANS", PLANS));
    let (next, sums) = (AtomicU64::new(first), Sums::default());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Relaxed)).filter(|&seed| seed < first + plans) {
                    try_plan(seed, &sums);
                }
            });
        }
    });
    let Sums { faults, plans_with_faults, requests_by_devices, plans_with_qat } = sums;
    let (faults, bad, done, qat) = (
        faults.into_inner(),
        plans_with_faults.into_inner(),
        requests_by_devices.into_inner(),
        plans_with_qat.into_inner(),
    );
    println!(
        "{plans} plans, {bad} of them with faults, {qat} with QAT: {faults} faults, {done} requests done by devices"
    );
    assert!(
        plans < 10 || bad > plans / 3 && qat > plans / 3 && done > plans,
        "the plans test nothing: {bad} with faults, {qat} with QAT, {done} requests"
    );
}
