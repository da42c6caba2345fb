//! Nothing is lost: whatever devices do, every page arrives, and what went wrong is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::queue::{Accelerator, Failure};
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::fallbacks::Fallbacks;
use pageferry_engine::receiver::ReceiveError;
use pageferry_engine::sender::{SendError, SendReport, Sender, SenderConfig};
use pageferry_tests::flaky::{Absent, Completing, Fault, FaultPlan, Flaky};
use pageferry_tests::guest::{Noise, fill, first_difference, guest, page_bytes, pages, scribble};
use pageferry_tests::peers::{METHODS, config, connections, cpu, receive, receive_by};
use pageferry_tests::watchdog::Watchdog;

type Accelerators = Vec<Arc<dyn Accelerator>>;

const FAITHFUL: FaultPlan = FaultPlan {
    seed: 1,
    refused: 0,
    failed: 0,
    late: 0,
    completing: Completing::Ringing,
    fault: Fault::Error,
};

/// One worker, so that it is easily full.
fn small_cpu() -> Arc<dyn Accelerator> {
    Arc::new(Cpu::new(CpuConfig { workers: 1, depth: 1, ..CpuConfig::default() }))
}

fn small_guest() -> Arc<GuestRam> {
    let ram = guest(24, PageSize::Kib4);
    fill(&ram, 5);
    ram
}

/// Moves a small guest in three rounds and says what the sender counted.
fn migrate(encoders: &Accelerators, decoders: Accelerators, methods: &[Method], seed: u64) -> SendReport {
    let (source, destination) = (small_guest(), guest(24, PageSize::Kib4));
    let (ours, theirs) = connections(2);
    let receiver = receive_by(decoders, Arc::clone(&destination), theirs);
    let config = SenderConfig { max_pages: PageCount(4), ..config(methods) };
    let mut sender = Sender::new(Arc::clone(&source), encoders, ours, config).unwrap();
    let mut dirty = DirtyBitmap::all(&source);
    let mut noise = Noise(seed);
    for round in 0..3 {
        sender.send_round(&dirty).unwrap();
        assert_eq!(first_difference(&source, &destination), None, "seed {seed}, round {round}");
        dirty.clear();
        for page in pages(&source) {
            if noise.chance(50) {
                scribble(&source, page, &mut noise);
                dirty.set(page);
            }
        }
    }
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    assert_eq!((sent.pages, sent.zero_pages), (received.pages, received.zero_pages), "seed {seed}");
    sent
}

/// Something different for every seed, all of it mean.
fn plan(seed: u64) -> FaultPlan {
    let mut noise = Noise(seed ^ 0x6a09_e667_f3bc_c908);
    let percent = [0, 10, 50, 90];
    let mut draw = || percent[usize::from(noise.byte() & 3)];
    let (refused, failed) = (draw(), draw());
    let completing = if seed & 1 == 0 { Completing::Ringing } else { Completing::Polled };
    FaultPlan { seed, refused, failed, late: noise.below(20), completing, fault: Fault::Error }
}

#[test]
fn every_page_is_sent_however_the_device_misbehaves() {
    for seed in 0..200 {
        let _watchdog = Watchdog::over(format!("a source with a flaky device, seed {seed}"));
        let flaky = Arc::new(Flaky::new(plan(seed)));
        let last: Arc<dyn Accelerator> = if seed % 3 == 0 { small_cpu() } else { cpu().remove(0) };
        let encoders: Accelerators = vec![Arc::clone(&flaky) as _, last];
        let sent = migrate(&encoders, cpu(), &METHODS, seed);
        let failed = flaky.misdeeds().failed.load(SeqCst);
        let refused = flaky.misdeeds().refused.load(SeqCst);
        assert_eq!(sent.fallbacks.device_failed_requests, failed, "seed {seed}: failures are counted");
        assert!(sent.fallbacks.queue_full_requests >= refused, "seed {seed}: {refused} refusals, {sent:?}");
    }
}

#[test]
fn every_page_is_received_however_the_device_misbehaves() {
    for seed in 1000..1100 {
        let _watchdog = Watchdog::over(format!("a destination with a flaky device, seed {seed}"));
        let flaky = Arc::new(Flaky::new(plan(seed)));
        migrate(&cpu(), vec![Arc::clone(&flaky) as _, small_cpu()], &METHODS, seed);
    }
}

#[test]
fn a_device_that_refuses_while_it_is_empty_is_asked_again() {
    for completing in [Completing::Ringing, Completing::Polled] {
        let _watchdog = Watchdog::over(format!("a device that refuses while empty, {completing:?}"));
        let stubborn = FaultPlan { refused: 80, late: 3, completing, ..FAITHFUL };
        let stubborn = || Arc::new(Flaky::new(stubborn)) as Arc<dyn Accelerator>;
        migrate(&vec![stubborn()], vec![stubborn()], &METHODS, 4);
        // Behind one that fails everything, it is the poller that asks.
        let broken = || Arc::new(Flaky::new(FaultPlan { failed: 100, ..FAITHFUL })) as Arc<dyn Accelerator>;
        migrate(&vec![broken(), stubborn()], vec![broken(), stubborn()], &METHODS, 4);
    }
}

#[test]
fn a_queue_that_holds_one_request_is_enough() {
    let _watchdog = Watchdog::over("queues of depth one");
    for seed in 0..20 {
        migrate(&vec![small_cpu()], vec![small_cpu()], &METHODS, seed);
    }
}

#[test]
fn a_device_that_fails_everything_leaves_everything_to_the_next() {
    for completing in [Completing::Ringing, Completing::Polled] {
        let _watchdog = Watchdog::over(format!("a device that fails everything, {completing:?}"));
        let broken = || Arc::new(Flaky::new(FaultPlan { failed: 100, late: 2, completing, ..FAITHFUL }));
        let encoder = broken();
        let sent = migrate(
            &vec![Arc::clone(&encoder) as _, cpu().remove(0)],
            vec![broken(), small_cpu()],
            &METHODS,
            9,
        );
        assert_eq!(sent.fallbacks.device_failed_requests, encoder.misdeeds().failed.load(SeqCst));
        assert_ne!(sent.fallbacks.device_failed_requests, 0);
    }
}

#[test]
fn a_device_whose_queues_are_gone_leaves_everything_to_the_next() {
    let _watchdog = Watchdog::over("devices that are gone");
    for (queues, methods) in [(2, MethodSet::all()), (0, MethodSet::all()), (1, MethodSet::default())] {
        let absent: Arc<dyn Accelerator> = Arc::new(Absent { queues, methods });
        let sent = migrate(&vec![Arc::clone(&absent), small_cpu()], vec![absent, small_cpu()], &METHODS, 2);
        let Fallbacks { queue_gone_requests, quarantined_queues, probes, .. } = sent.fallbacks;
        let expected = if queues == 2 { (2 + probes, 2) } else { (0, 0) };
        assert_eq!((queue_gone_requests, quarantined_queues), expected, "{queues} queues");
    }
}

/// Sends rounds into a guest while a device at one end is broken, and then until it has done something again. Says what
/// that end counted.
fn break_and_mend(flaky: &Arc<Flaky>, at_source: bool) -> Fallbacks {
    let with_flaky = || vec![Arc::clone(flaky) as Arc<dyn Accelerator>, cpu().remove(0)];
    let (encoders, decoders) = if at_source { (with_flaky(), cpu()) } else { (cpu(), with_flaky()) };
    let (source, destination) = (guest(200, PageSize::Kib4), guest(200, PageSize::Kib4));
    fill(&source, 5);
    let (ours, theirs) = connections(2);
    let receiver = receive_by(decoders, Arc::clone(&destination), theirs);
    let config = SenderConfig { max_pages: PageCount(4), ..config(&METHODS) };
    let mut sender = Sender::new(Arc::clone(&source), &encoders, ours, config).unwrap();
    let (dirty, mut noise) = (DirtyBitmap::all(&source), Noise(3));
    for round in 0.. {
        sender.send_round(&dirty).unwrap();
        assert_eq!(first_difference(&source, &destination), None, "round {round}");
        if flaky.misdeeds().done.load(SeqCst) > 0 {
            break;
        }
        flaky.mend();
        pages(&source).for_each(|page| scribble(&source, page, &mut noise));
    }
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    if at_source { sent.fallbacks } else { received.fallbacks }
}

#[test]
fn a_device_that_fails_is_put_into_quarantine_and_readmitted_when_it_works_again() {
    for (at_source, completing, fault) in [
        (true, Completing::Ringing, Fault::Error),
        (true, Completing::Polled, Fault::Deadline),
        (true, Completing::Ringing, Fault::Gone),
        (false, Completing::Polled, Fault::Error),
        (false, Completing::Ringing, Fault::Deadline),
        (false, Completing::Ringing, Fault::Misdecode),
        (false, Completing::Polled, Fault::Gone),
    ] {
        let case = format!("at the source: {at_source}, {completing:?}, {fault:?}");
        let _watchdog = Watchdog::over(format!("a device that breaks and mends, {case}"));
        let flaky = Arc::new(Flaky::broken(FaultPlan { completing, fault, late: 2, ..FAITHFUL }));
        let counted = break_and_mend(&flaky, at_source);
        let failed = flaky.misdeeds().failed.load(SeqCst);
        let Fallbacks { queue_full_requests, probes, readmitted_queues, .. } = counted;
        let mut expected = Fallbacks {
            queue_full_requests,
            quarantined_queues: 2,
            probes,
            readmitted_queues,
            no_baseline_pages: counted.no_baseline_pages,
            overflow_pages: counted.overflow_pages,
            did_not_shrink_pages: counted.did_not_shrink_pages,
            ..Fallbacks::default()
        };
        match fault {
            Fault::Error => expected.device_failed_requests = failed,
            Fault::Deadline => expected.deadline_requests = failed,
            Fault::Misdecode => expected.misdecoded_requests = failed,
            Fault::Gone => expected.queue_gone_requests = failed,
        }
        assert_eq!(counted, expected, "{case}");
        assert!((1..=2).contains(&readmitted_queues) && probes >= readmitted_queues, "{case}: {counted:?}");
    }
}

#[test]
fn a_device_that_alone_decodes_wrongly_ends_the_migration() {
    let _watchdog = Watchdog::over("an only device that decodes wrongly");
    let wrong = FaultPlan { failed: 100, fault: Fault::Misdecode, ..FAITHFUL };
    let source = small_guest();
    let (ours, theirs) = connections(1);
    let receiver = receive_by(vec![Arc::new(Flaky::new(wrong))], guest(24, PageSize::Kib4), theirs);
    let mut sender = Sender::new(Arc::clone(&source), &cpu(), ours, config(&[Method::Zstd])).unwrap();
    let error = sender.send_round(&DirtyBitmap::all(&source)).unwrap_err();
    assert!(matches!(error, SendError::Destination { .. }), "{error}");
    let found = receiver.join().unwrap().map(|_| ()).unwrap_err();
    let ReceiveError::Pages { failure: Failure::ChecksumMismatch { .. }, .. } = found else {
        panic!("{found}");
    };
}

/// Runs a source into its end, and sees that the guest was left alone.
fn source_failure(encoders: &Accelerators) -> SendError {
    let source = small_guest();
    let before: Vec<_> = pages(&source).map(|page| page_bytes(&source, page)).collect();
    let (ours, theirs) = connections(2);
    let receiver = receive(guest(24, PageSize::Kib4), theirs);
    let config = SenderConfig { max_pages: PageCount(4), ..config(&METHODS) };
    let mut sender = Sender::new(Arc::clone(&source), encoders, ours, config).unwrap();
    let error = sender.send_round(&DirtyBitmap::all(&source)).unwrap_err();
    assert!(matches!(sender.send_round(&DirtyBitmap::all(&source)), Err(SendError::Failed)));
    assert!(matches!(sender.finish(), Err(SendError::Failed)));
    assert!(matches!(receiver.join().unwrap(), Err(ReceiveError::Io { .. })));
    for (page, before) in pages(&source).zip(before) {
        assert!(page_bytes(&source, page) == before, "the source's page {page} was touched");
    }
    error
}

#[test]
fn an_only_device_that_always_fails_ends_the_migration_and_not_the_guest() {
    let _watchdog = Watchdog::over("an only device that always fails");
    let broken = FaultPlan { failed: 100, ..FAITHFUL };
    let error = source_failure(&vec![Arc::new(Flaky::new(broken))]);
    let SendError::Encode { frame, failure: Failure::Device { device, .. } } = &error else {
        panic!("{error}");
    };
    assert_eq!((frame.round, &**device), (0, "flaky"));
    assert!(error.to_string().contains("of round 0 could not be encoded"), "{error}");
}

#[test]
fn an_only_device_that_is_gone_ends_the_migration_and_not_the_guest() {
    let _watchdog = Watchdog::over("an only device that is gone");
    for queues in [0, 2] {
        let error = source_failure(&vec![Arc::new(Absent { queues, methods: MethodSet::all() })]);
        assert!(matches!(error, SendError::QueuesGone(Method::Raw)), "{queues} queues: {error}");
    }
    // Failed by the first, and gone is the second: found by the poller.
    let broken = Arc::new(Flaky::new(FaultPlan { failed: 100, ..FAITHFUL }));
    let absent = Arc::new(Absent { queues: 1, methods: MethodSet::all() });
    let error = source_failure(&vec![broken, absent]);
    assert!(matches!(error, SendError::QueuesGone(_)), "{error}");
}

#[test]
fn a_destination_without_a_device_that_works_says_so() {
    let _watchdog = Watchdog::over("a destination without a device that works");
    let broken: Arc<dyn Accelerator> = Arc::new(Flaky::new(FaultPlan { failed: 100, ..FAITHFUL }));
    let absent: Arc<dyn Accelerator> = Arc::new(Absent { queues: 1, methods: MethodSet::all() });
    for (decoders, expected) in [
        (vec![Arc::clone(&broken)], "flaky: made to fail by the test"),
        (vec![Arc::clone(&absent)], "is gone"),
        (vec![broken, absent], "is gone"),
    ] {
        let source = small_guest();
        let (ours, theirs) = connections(1);
        let receiver = receive_by(decoders, guest(24, PageSize::Kib4), theirs);
        let mut sender = Sender::new(Arc::clone(&source), &cpu(), ours, config(&[Method::Zstd])).unwrap();
        let error = sender.send_round(&DirtyBitmap::all(&source)).unwrap_err();
        let found = receiver.join().unwrap().map(|_| ()).unwrap_err();
        assert!(found.to_string().contains(expected), "{found}");
        assert!(
            matches!(&error, SendError::Destination { reason } if *reason == found.to_string()),
            "the source heard: {error}; the destination found: {found}"
        );
    }
}
