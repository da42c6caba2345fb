//! QAT's queues by hand, on the stand-in for the vendor's library: who may touch what, and when, while its device restarts or is
//! lost, and while answers are late. The stand-in ends the process if memory of an operation in flight is used otherwise.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::qat::QatConfig;
use pageferry_accel::queue::{Completion, Failure, Queue, RefusalReason};
use pageferry_accel::request::Request;
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};
use pageferry_tests::bench::{Bench, completed, submit};
use pageferry_tests::guest::{guest, page_bytes, pages};
use pageferry_tests::qat::{QatStandIn, patient};
use pageferry_tests::single::{Single, payload};
use pageferry_tests::watchdog::Watchdog;

const PAGES: u64 = 700;

/// A guest without a zero page, so that every request is the device's.
fn source() -> Arc<GuestRam> {
    let ram = guest(PAGES, PageSize::Kib4);
    pages(&ram).for_each(|page| ram.copy_in(page, &[7; 4096]));
    ram
}

/// Until a device that was lost certainly writes no more.
const LONG_ENOUGH: Duration = Duration::from_millis(50);

/// A deadline that everything that is late misses, and all the patience that it takes.
fn hasty() -> QatConfig {
    QatConfig {
        deadline: Duration::from_millis(1),
        patience: Duration::from_secs(60),
        ..QatConfig::default()
    }
}

fn is_deadline(completion: &Completion) -> bool {
    matches!(completion.result, Err(Failure::Deadline { .. }))
}

fn is_device(completion: &Completion) -> bool {
    matches!(completion.result, Err(Failure::Device { .. }))
}

/// Submits a request until the queue says that it is gone.
fn until_gone(queue: &dyn Queue, mut request: Box<Request>, completions: &mut Vec<Completion>) {
    loop {
        let Err(refused) = queue.submit(request) else {
            panic!("a queue is {completions:?}, and takes requests")
        };
        if refused.reason == RefusalReason::Gone {
            return;
        }
        request = refused.request;
        queue.poll(completions);
        thread::yield_now();
    }
}

/// The vendor's library sleeps for a second where it closes a device.
#[test]
fn nobody_waits_for_the_library_to_close_a_device_and_nothing_completes_until_it_has() {
    let _watchdog = Watchdog::over("a device that is being closed");
    let plan = FaultPlan::one(When::At(0), Fault::Restart { down: Duration::ZERO });
    let qat = QatStandIn::new(Config { instances: 1, plan, ..Config::default() });
    let ram = source();
    let bench = Bench::new(&ram, PageCount(8));
    let queue = bench.open(&*qat.accelerator(QatConfig { requests: 1, ..patient() }));
    qat.hold_restarts(true);
    let mut completions = Vec::new();
    submit(&*queue, bench.encode(0, 4), &mut completions);
    until_gone(&*queue, bench.encode(4, 4), &mut completions);
    queue.poll(&mut completions);
    assert!(completions.is_empty(), "the device may still write: {completions:?}");
    qat.hold_restarts(false);
    assert!(completed(&*queue, 1).iter().all(is_device));
    // It is used again, and sessions of before the restart would be a violation.
    submit(&*queue, bench.encode(0, 4), &mut completions);
    completed(&*queue, 1).remove(0).result.unwrap();
}

#[test]
fn what_a_restart_ended_is_collected_even_if_whoever_submits_notices_it_first() {
    let _watchdog = Watchdog::over("a restart that is noticed by whoever submits");
    let plan = FaultPlan::one(When::At(0), Fault::Restart { down: Duration::from_secs(3600) });
    let qat = QatStandIn::new(Config { instances: 1, plan, ..Config::default() });
    let ram = source();
    let bench = Bench::new(&ram, PageCount(8));
    let queue = bench.open(&*qat.accelerator(QatConfig { requests: 1, ..patient() }));
    qat.hold_restarts(true);
    let mut completions = Vec::new();
    submit(&*queue, bench.encode(0, 4), &mut completions);
    until_gone(&*queue, bench.encode(4, 4), &mut completions);
    qat.hold_restarts(false);
    let mut request = bench.encode(4, 4);
    for _ in 0..30 {
        request = queue.submit(request).expect_err("its device is down").request;
        thread::sleep(Duration::from_millis(1));
    }
    assert!(completed(&*queue, 1).iter().all(is_device));
}

#[test]
fn a_device_that_is_lost_may_write_to_a_payload_until_its_request_completes_and_not_after() {
    let _watchdog = Watchdog::over("a device that is lost");
    let plan = FaultPlan::one(When::At(0), Fault::Fatal { down: None });
    let config = Config { instances: 1, plan, ..Config::default() };
    let qat = QatStandIn::new(config.clone());
    let ram = source();
    // On a busy machine a device may be too slow to write anything in the time that it has.
    for _ in 0..50 {
        let bench = Bench::new(&ram, PageCount(8));
        let queue = bench.open(&*qat.accelerator(patient()));
        submit(&*queue, bench.encode(0, 8), &mut Vec::new());
        let mut completion = completed(&*queue, 1).remove(0);
        let text = completion.result.unwrap_err().to_string();
        assert!(text.contains("its device had a fatal error"), "{text}");
        completion.request.payload.buffer().fill(0x11);
        thread::sleep(LONG_ENOUGH);
        assert!(completion.request.payload.buffer().iter().all(|&byte| byte == 0x11));
        if qat.report().misdeeds.late_writes > 0 {
            return;
        }
        drop(queue);
        qat.configure(config.clone());
    }
    panic!("none of 50 devices wrote anything after it was lost");
}

/// The other instance of its device brings the trouble, of which this one is told while nobody looks.
#[test]
fn the_slot_of_a_late_request_is_kept_while_a_device_that_was_lost_may_write_to_it() {
    let _watchdog = Watchdog::over("a late request of a device that is lost");
    let plan = FaultPlan::one(When::At(0), Fault::Never).and(When::At(1), Fault::Fatal { down: None });
    let config = Config { instances: 2, instances_per_device: 2, plan, ..Config::default() };
    let qat = QatStandIn::new(config);
    let ram = source();
    let (late, other) = (Bench::new(&ram, PageCount(8)), Bench::new(&ram, PageCount(8)));
    let one = |config| qat.accelerator(QatConfig { instances: Some(1), requests: 1, ..config });
    let (late_queue, other_queue) = (late.open(&*one(hasty())), other.open(&*one(patient())));
    submit(&*late_queue, late.encode(0, 4), &mut Vec::new());
    assert!(completed(&*late_queue, 1).iter().all(is_deadline));
    submit(&*other_queue, other.encode(0, 4), &mut Vec::new());
    until_gone(&*other_queue, other.encode(0, 4), &mut Vec::new());
    // The stand-in ends the process if what may be written to is given back.
    until_gone(&*late_queue, late.encode(0, 4), &mut Vec::new());
    drop(late_queue);
}

#[test]
fn the_slot_of_a_request_that_was_never_done_is_used_again_after_a_restart() {
    let _watchdog = Watchdog::over("a late request of a device that restarts");
    let restart = Fault::Restart { down: Duration::ZERO };
    let plan = FaultPlan::one(When::At(0), Fault::Never).and(When::At(1), restart);
    let config = Config { instances: 2, instances_per_device: 2, plan, ..Config::default() };
    let qat = QatStandIn::new(config);
    let ram = source();
    let (late, other) = (Bench::new(&ram, PageCount(8)), Bench::new(&ram, PageCount(8)));
    let one = |config| qat.accelerator(QatConfig { instances: Some(1), requests: 1, ..config });
    let (late_queue, other_queue) = (late.open(&*one(hasty())), other.open(&*one(patient())));
    submit(&*late_queue, late.encode(0, 4), &mut Vec::new());
    assert!(completed(&*late_queue, 1).iter().all(is_deadline));
    submit(&*other_queue, other.encode(0, 4), &mut Vec::new());
    assert!(completed(&*other_queue, 1).iter().all(is_device));
    submit(&*late_queue, late.encode(0, 4), &mut Vec::new());
    assert_eq!(completed(&*late_queue, 1).len(), 1);
}

/// To encode 300 runs, which are more than a list holds.
fn of_two_operations(bench: &Bench) -> Box<Request> {
    let mut request = bench.request();
    request.method = Method::Deflate;
    request.runs.extend((0..300).map(|index| Run::data(PageIndex(2 * index), PageCount::ONE)));
    request
}

#[test]
fn a_request_of_more_operations_than_a_ring_holds_goes_through_it_one_by_one() {
    let _watchdog = Watchdog::over("a ring of one");
    let qat = QatStandIn::new(Config { instances: 1, depth: 1, ..Config::default() });
    let ram = source();
    let bench = Bench::new(&ram, PageCount(1024));
    let queue = bench.open(&*qat.accelerator(QatConfig { deadline: Duration::from_secs(20), ..patient() }));
    submit(&*queue, of_two_operations(&bench), &mut Vec::new());
    let completion = completed(&*queue, 1).remove(0);
    completion.result.unwrap();
    assert_eq!((completion.request.segments.len(), qat.report().submissions), (2, 2));
}

/// The other instance of its device notices first, so that nothing of the rest is offered any more.
#[test]
fn a_request_of_which_a_full_ring_took_a_part_ends_when_its_device_is_lost() {
    let _watchdog = Watchdog::over("a part of a request");
    let plan = FaultPlan::one(When::At(0), Fault::Fatal { down: None });
    let config = Config { instances: 2, instances_per_device: 2, depth: 1, plan, ..Config::default() };
    let qat = QatStandIn::new(config);
    let ram = source();
    let (bench, other) = (Bench::new(&ram, PageCount(1024)), Bench::new(&ram, PageCount(8)));
    let (queue, other_queue) = (bench.open(&*qat.one()), other.open(&*qat.one()));
    submit(&*queue, of_two_operations(&bench), &mut Vec::new());
    submit(&*other_queue, other.encode(0, 4), &mut Vec::new());
    until_gone(&*other_queue, other.encode(0, 4), &mut Vec::new());
    let refused = queue.submit(bench.encode(0, 4)).expect_err("its device is lost");
    assert_eq!(refused.reason, RefusalReason::Gone);
    completed(&*queue, 1).remove(0).result.unwrap_err();
}

#[test]
fn an_instance_that_does_not_open_while_its_device_restarts_is_given_back() {
    let _watchdog = Watchdog::over("an instance that does not open");
    let plan = FaultPlan::one(When::At(0), Fault::Restart { down: Duration::from_secs(3600) });
    let config = Config { instances: 2, instances_per_device: 2, plan, ..Config::default() };
    let qat = QatStandIn::new(config);
    let ram = source();
    let bench = Bench::new(&ram, PageCount(8));
    let queue = bench.open(&*qat.one());
    submit(&*queue, bench.encode(0, 4), &mut Vec::new());
    assert!(completed(&*queue, 1).iter().all(is_device));
    for _ in 0..2 {
        let Err(error) = qat.one().open(&bench.attachment) else { panic!("its device is down") };
        let text = error.to_string();
        assert!(text.contains("qat/SSL_INT_1: cannot open its sessions"), "{text}");
        assert!(text.contains("the device restarts: try again"), "{text}");
    }
}

/// Where another one has mapped the guest already, a queue maps its payloads alone.
#[test]
fn a_payload_that_is_late_in_a_device_is_whole_for_whoever_decodes_it_next() {
    let _watchdog = Watchdog::over("a late payload");
    let plan = FaultPlan::one(When::At(1), Fault::Late(Duration::from_secs(1)));
    let qat = QatStandIn::new(Config { plan, ..Config::default() });
    let ram = source();
    let (first, second) = (Bench::new(&ram, PageCount(8)), Bench::new(&ram, PageCount(8)));
    let one = |config| qat.accelerator(QatConfig { instances: Some(1), ..config });
    let (encoder, decoder) = (first.open(&*one(patient())), second.open(&*one(hasty())));
    submit(&*encoder, first.encode(0, 8), &mut Vec::new());
    let sent = completed(&*encoder, 1).remove(0).request;
    let request = second.decode(&sent);
    let before = request.payload.address();
    submit(&*decoder, request, &mut Vec::new());
    let completion = completed(&*decoder, 1).remove(0);
    assert!(is_deadline(&completion), "{completion:?}");
    assert_eq!(payload(&completion.request), payload(&sent));
    assert_ne!(completion.request.payload.address(), before, "the device still reads it there");
}

#[test]
fn a_slot_whose_late_answer_came_is_used_again_while_other_requests_are_in_flight() {
    let _watchdog = Watchdog::over("a slot whose answer was late");
    let plan = FaultPlan::one(When::At(1), Fault::Late(Duration::from_secs(1)))
        .and(When::At(2), Fault::Never)
        .and(When::At(3), Fault::Restart { down: Duration::ZERO });
    let qat = QatStandIn::new(Config { plan, ..Config::default() });
    let (ram, other) = (source(), source());
    let (bench, encoder) = (Bench::new(&ram, PageCount(8)), Bench::new(&other, PageCount(8)));
    let one = |config| qat.accelerator(QatConfig { instances: Some(1), requests: 2, ..config });
    let (queue, encoding) = (bench.open(&*one(hasty())), encoder.open(&*one(patient())));
    submit(&*encoding, encoder.encode(0, 4), &mut Vec::new());
    let sent = completed(&*encoding, 1).remove(0).request;
    submit(&*queue, bench.encode(8, 8), &mut Vec::new());
    submit(&*queue, bench.decode(&sent), &mut Vec::new());
    let late = completed(&*queue, 1);
    assert!(is_deadline(&late[0]), "{late:?}");
    // What may be written to the guest is waited for, and so the queue is never idle.
    let mut completions = Vec::new();
    submit(&*queue, bench.encode(8, 8), &mut completions);
    assert!(completions.is_empty(), "{completions:?}");
    assert_eq!(completed(&*queue, 2).len(), 2);
}

#[test]
fn a_request_that_cannot_be_contained_has_nothing_more_of_what_the_device_was_given() {
    let _watchdog = Watchdog::over("a request that is not contained");
    let plan = FaultPlan::one(When::At(1), Fault::Never);
    let qat = QatStandIn::new(Config { plan, ..Config::default() });
    let ram = source();
    let bench = Bench::new(&ram, PageCount(8));
    let patience = Duration::from_millis(20);
    let one = |config| qat.accelerator(QatConfig { instances: Some(1), ..config });
    let (encoder, decoder) = (bench.open(&*one(patient())), Bench::new(&source(), PageCount(8)));
    let queue = decoder.open(&*one(QatConfig { patience, ..hasty() }));
    submit(&*encoder, bench.encode(0, 8), &mut Vec::new());
    let sent = completed(&*encoder, 1).remove(0).request;
    let request = decoder.decode(&sent);
    let before = request.payload.address();
    submit(&*queue, request, &mut Vec::new());
    let completion = completed(&*queue, 1).remove(0);
    assert!(matches!(completion.result, Err(Failure::Uncontained { .. })), "{completion:?}");
    assert_ne!(completion.request.payload.address(), before);
}

/// What the CPU compressed is one segment, and so one list, however many runs there are. A list has 255 buffers at most.
#[test]
fn a_segment_of_more_runs_than_a_list_holds_is_decoded_beside_the_guest() {
    let (ram, target) = (source(), guest(PAGES, PageSize::Kib4));
    let cpu = Cpu::new(CpuConfig { workers: 1, deflate_window: Window::Kib32, ..CpuConfig::default() });
    let mut software = Single::open(&cpu, &ram, PageCount(1024)).unwrap();
    let qat = QatStandIn::new(Config::default());
    let (bench, other) = (Bench::new(&target, PageCount(1024)), Bench::new(&ram, PageCount(1024)));
    let (decoder, encoder) = (bench.open(&*qat.one()), other.open(&*qat.one()));
    for (count, operations, copied) in [(255, 1, 0), (256, 2, 256), (300, 2, 300)] {
        let runs: Vec<Run> =
            (0..count).map(|index| Run::data(PageIndex(2 * index), PageCount::ONE)).collect();
        let (sent, result) = software.encode(Method::Deflate, &runs);
        result.unwrap();
        assert_eq!(sent.segments.len(), 1);
        submit(&*decoder, bench.decode(&sent), &mut Vec::new());
        let completion = completed(&*decoder, 1).remove(0);
        completion.result.unwrap();
        assert_eq!(completion.request.detours.copied, copied);
        let differs = runs.iter().find(|run| page_bytes(&ram, run.first) != page_bytes(&target, run.first));
        assert_eq!(differs, None);
        // What QAT compresses it parts instead.
        let mut request = other.request();
        request.method = Method::Deflate;
        request.runs.extend_from_slice(&runs);
        submit(&*encoder, request, &mut Vec::new());
        let completion = completed(&*encoder, 1).remove(0);
        completion.result.unwrap();
        assert_eq!((completion.request.segments.len(), completion.request.detours.copied), (operations, 0));
    }
}
