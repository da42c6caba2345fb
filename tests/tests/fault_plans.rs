//! Devices that fail as devices do, by thousands of seeded plans, over the whole data path: every page arrives, every
//! way round an obstacle is counted by its reason, and nothing waits longer than it must.
//!
//! `PAGEFERRY_FAULT_PLANS` sets how many plans are tried, `PAGEFERRY_FAULT_SEED` the first of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::idxd::device::Kind;
use pageferry_accel::method::Method;
use pageferry_accel::model::Model;
use pageferry_accel::model::fault::{Fault, FaultPlan, Misdeeds, Rule, When};
use pageferry_accel::model::profile::Profile;
use pageferry_accel::queue::Accelerator;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::fallbacks::Fallbacks;
use pageferry_engine::receiver::ReceiveReport;
use pageferry_engine::sender::{SendError, SendReport, Sender, SenderConfig};
use pageferry_engine::work::Work;
use pageferry_tests::flaky::Completing;
use pageferry_tests::guest::{Noise, fill, first_difference, guest, pages, scribble};
use pageferry_tests::models::{self, Patience};
use pageferry_tests::peers::{config, connections, receive_by};
use pageferry_tests::watchdog::Watchdog;

/// Enough to meet every fault at every place; the rest is looked for where there is time.
const PLANS: u64 = 150;

const PAGES: u64 = 24;

/// Short, so that what never completes costs little; what a busy machine makes late goes another way, too.
const PATIENCE: Patience = Patience {
    deadline: Duration::from_millis(4),
    command: Duration::from_millis(250),
    linger: Duration::from_millis(1),
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One device and what it does wrong.
struct Faulty {
    plan: FaultPlan,
    model: Arc<Model>,
    accelerator: Arc<dyn Accelerator>,
}

/// The faults that a device itself reports, or by which it stops. Those by which it lies are another test's.
fn plan(noise: &mut Noise) -> FaultPlan {
    let rules = (0..1 + noise.below(3)).map(|_| Rule { when: when(noise), fault: honest_fault(noise) });
    let rules = rules.collect();
    FaultPlan { seed: noise.next_u64(), rules }
}

fn when(noise: &mut Noise) -> When {
    match noise.below(4) {
        0 => When::From(noise.below(200)),
        1 => When::PerMillion(u32::try_from(noise.below(200_000)).unwrap_or_default()),
        _ => When::At(noise.below(150)),
    }
}

fn honest_fault(noise: &mut Noise) -> Fault {
    match noise.below(8) {
        0 => Fault::Refuse,
        1 => Fault::PageFault { operand: None, byte: None },
        2 => Fault::PageFault { operand: None, byte: Some(noise.below(5000)) },
        3 => Fault::HardwareError,
        4 => Fault::Late(Duration::from_micros(noise.below(40_000))),
        5 => Fault::Never,
        6 => Fault::Reset,
        _ => Fault::Gone,
    }
}

fn faulty(noise: &mut Noise) -> Faulty {
    let profile = match noise.below(3) {
        0 => Profile::spr_dsa(),
        1 => Profile::dsa_full(),
        _ => Profile::spr_iaa(),
    };
    let completing = if noise.chance(30) { Completing::Ringing } else { Completing::Polled };
    faulty_as(profile, plan(noise), completing)
}

fn faulty_as(profile: Profile, plan: FaultPlan, completing: Completing) -> Faulty {
    let model = models::model(profile, plan.clone());
    let accelerator = models::accelerator(Arc::new(model.function()), PATIENCE, completing);
    Faulty { plan, model, accelerator }
}

fn with_cpu(faulty: &[Faulty]) -> Vec<Arc<dyn Accelerator>> {
    let cpu: Arc<dyn Accelerator> =
        Arc::new(Cpu::new(CpuConfig { workers: 1, depth: 2, ..CpuConfig::default() }));
    faulty.iter().map(|one| Arc::clone(&one.accelerator)).chain([cpu]).collect()
}

/// Moves a small guest in three rounds, which must arrive.
fn migrate(ours: &[Faulty], theirs: &[Faulty], noise: &mut Noise, what: &str) -> (SendReport, ReceiveReport) {
    let (source, destination) = (guest(PAGES, PageSize::Kib4), guest(PAGES, PageSize::Kib4));
    fill(&source, noise.next_u64());
    let (here, there) = connections(1 + usize::try_from(noise.below(2)).unwrap_or_default());
    let receiver = receive_by(with_cpu(theirs), Arc::clone(&destination), there);
    let methods = [Method::Deflate, Method::Delta, Method::Raw];
    let config = SenderConfig { max_pages: PageCount(7), deflate_window_bits: 12, ..config(&methods) };
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
    if sum(|one| one.hardware_errors) > 0 {
        assert!(failed > 0, "{what}: hardware errors are not counted: {counted:?}");
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
}

fn try_plan(seed: u64, sums: &Sums) {
    let what = format!("plan {seed}");
    let _watchdog = Watchdog::over(what.clone());
    let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let ours: Vec<_> = (0..1 + noise.below(2)).map(|_| faulty(&mut noise)).collect();
    let theirs: Vec<_> = (0..noise.below(3)).map(|_| faulty(&mut noise)).collect();
    let (sent, received) = migrate(&ours, &theirs, &mut noise, &what);
    let misdeeds = |ends: &[Faulty]| ends.iter().map(|one| one.model.misdeeds()).collect::<Vec<_>>();
    let describe = |end, ends: &[Faulty]| {
        let plans: Vec<_> = ends.iter().map(|one| (one.model.profile().name, &one.plan)).collect();
        format!("{what} at the {end}, {plans:?}")
    };
    assert_counted(&misdeeds(&ours), &sent.fallbacks, &describe("source", &ours));
    assert_counted(&misdeeds(&theirs), &received.fallbacks, &describe("destination", &theirs));
    let faults: u64 = ours.iter().chain(&theirs).map(|one| one.model.misdeeds().total()).sum();
    let by_devices = |work: &[Work]| {
        work.iter().filter(|one| one.accelerator != "cpu").map(|one| one.requests).sum::<u64>()
    };
    sums.faults.fetch_add(faults, Relaxed);
    sums.plans_with_faults.fetch_add(u64::from(faults > 0), Relaxed);
    let requests = by_devices(&sent.accelerators) + by_devices(&received.accelerators);
    sums.requests_by_devices.fetch_add(requests, Relaxed);
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
    let Sums { faults, plans_with_faults, requests_by_devices } = sums;
    let (faults, bad, done) =
        (faults.into_inner(), plans_with_faults.into_inner(), requests_by_devices.into_inner());
    println!("{plans} plans, {bad} of them with faults: {faults} faults, {done} requests done by devices");
    assert!(
        plans < 10 || bad > plans / 3 && done > plans,
        "the plans test nothing: {bad} with faults, {done} requests"
    );
}

/// A device that says what is not so: a wrong length, a wrong checksum, the opposite of what it compared. A zero page has
/// no checksum, so the pattern test is left out: what says that a page is zero must be believed.
fn lie(noise: &mut Noise, profile: &Profile) -> FaultPlan {
    let lies: &[Fault] = match profile.kind {
        Kind::Dsa => &[Fault::WrongCount, Fault::WrongChecksum],
        Kind::Iaa => &[Fault::WrongCount, Fault::WrongChecksum, Fault::WrongResult],
    };
    let fault = lies[usize::try_from(noise.below(lies.len() as u64)).unwrap_or_default()];
    FaultPlan { seed: noise.next_u64(), rules: vec![Rule { when: when(noise), fault }] }
}

#[test]
fn a_device_that_lies_never_gets_a_wrong_page_through() {
    let (mut arrived, mut refused, mut lies) = (0, 0, 0);
    for seed in 1..=100 {
        let _watchdog = Watchdog::over(format!("lies of seed {seed}"));
        let mut noise = Noise(seed << 8 | 1);
        let profile = if seed % 2 == 0 { Profile::dsa_full() } else { Profile::spr_iaa() };
        let plan = lie(&mut noise, &profile);
        let once = matches!(plan.rules[0].when, When::At(_));
        let liar = faulty_as(profile, plan, Completing::Polled);
        let (source, destination) = (guest(PAGES, PageSize::Kib4), guest(PAGES, PageSize::Kib4));
        fill(&source, seed);
        let (here, there) = connections(1);
        let receiver = receive_by(with_cpu(&[]), Arc::clone(&destination), there);
        let methods = [Method::Deflate, Method::Delta, Method::Raw];
        let config = SenderConfig { max_pages: PageCount(7), ..config(&methods) };
        let kind = liar.model.profile().kind;
        let mut sender = Sender::new(Arc::clone(&source), &with_cpu(&[liar]), here, config).unwrap();
        let round = sender.send_round(&DirtyBitmap::all(&source));
        match round {
            Ok(_) => {
                assert_eq!(first_difference(&source, &destination), None, "seed {seed}");
                sender.finish().unwrap();
                arrived += 1;
            }
            Err(error) => {
                // What an IAA compressed is decompressed before it is sent, and one lie alone is found out by that; only a DSA's
                // word is taken for a checksum.
                assert!(kind == Kind::Dsa || !once, "seed {seed}: {error}");
                assert!(matches!(error, SendError::Destination { .. }), "seed {seed}: {error}");
                refused += 1;
            }
        }
        drop(receiver.join().unwrap());
        lies += 1;
    }
    println!(
        "{lies} liars: {arrived} guests arrived whole, {refused} migrations were refused by the destination"
    );
    assert!(arrived > 20 && refused > 5, "{arrived} arrived, {refused} were refused");
}
