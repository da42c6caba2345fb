//! Devices that restart or fail, and what becomes of what was in flight.

mod client;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use client::{Client, config, data};
use pageferry_bindings::qat::cpa::{CpaStatus, InstanceEvent};
use pageferry_bindings::qat::dc::{Results, direction, huffman};
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};

/// What nothing writes by itself.
const UNTOUCHED: Results =
    Results { status: 77, produced: 77, consumed: 77, checksum: 77, end_of_last_block: 77, stored: 77 };

/// A client whose second submission brings its device trouble.
fn troubled(fault: Fault) -> Client {
    Client::new(Config { plan: FaultPlan::one(When::At(1), fault), ..config() })
}

#[test]
fn a_restart_takes_what_is_in_flight_with_it_and_the_instance_comes_back() {
    let client = troubled(Fault::Restart { down: Duration::ZERO });
    let events = RefCell::default();
    client.listen(&events);
    let session = client.compression();
    let mut operations: Vec<_> = (0..3).map(|seed| client.operation(&[&data(4000, seed)], &[5000])).collect();
    client.run(true, session, &mut operations[0]);
    for operation in &mut operations[1..] {
        *operation.results = UNTOUCHED;
        assert_eq!(client.compress(session, operation), CpaStatus::SUCCESS, "nobody has noticed yet");
    }
    assert_eq!(client.poll(), CpaStatus::RETRY, "the device has stopped");
    assert_eq!(client.events(), CpaStatus::SUCCESS);
    assert_eq!(*events.borrow(), [InstanceEvent::RESTARTING]);
    assert_eq!(client.poll(), CpaStatus::RESTARTING);
    let mut other = client.operation(&[b"other"], &[512]);
    assert_eq!(client.compress(session, &mut other), CpaStatus::RESTARTING);
    assert_eq!(client.remove(session), CpaStatus::RESTARTING);
    let setup = Client::setup(direction::COMPRESS, huffman::FULL_DYNAMIC);
    assert_eq!(client.init(session, setup), CpaStatus::RESTARTING);
    for operation in &operations[1..] {
        client.free(operation.destination_buffers[0].data);
        client.free(operation.destination.metadata.cast());
    }

    assert_eq!(client.events(), CpaStatus::SUCCESS);
    assert_eq!(*events.borrow(), [InstanceEvent::RESTARTING, InstanceEvent::RESTARTED]);
    assert_eq!(client.poll(), CpaStatus::RETRY);
    assert_eq!(client.remove(session), CpaStatus::RETRY, "two are pending for ever");
    assert_eq!(client.init(session, setup), CpaStatus::SUCCESS);
    client.run(true, session, &mut other);
    assert_eq!(client.remove(session), CpaStatus::SUCCESS);
    assert_eq!(client.stop_instance(), CpaStatus::SUCCESS);
    for operation in &operations[1..] {
        assert_eq!((operation.answers.get(), *operation.results), (None, UNTOUCHED));
    }
    let report = client.report();
    assert_eq!((report.submissions, report.completions, report.misdeeds.restarts), (4, 2, 1));
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

#[test]
fn a_restart_is_of_all_instances_of_a_device_and_of_no_others() {
    let plan = FaultPlan::one(When::At(0), Fault::Restart { down: Duration::from_secs(3600) });
    let mut client = Client::new(Config { instances: 4, instances_per_device: 2, plan, ..config() });
    let session = client.compression();
    assert_eq!(client.compress(session, &mut client.operation(&[b"one"], &[512])), CpaStatus::SUCCESS);
    client.events();
    client.events();
    let polls = (0..4).map(|_| {
        client.instances.rotate_left(1);
        client.poll()
    });
    let running = [CpaStatus::RESTARTING, CpaStatus::RETRY, CpaStatus::RETRY, CpaStatus::RESTARTING];
    assert_eq!(polls.collect::<Vec<_>>(), running);
}

#[test]
fn a_fatal_error_fails_what_is_in_flight_and_leaves_the_results_alone() {
    let client = troubled(Fault::Fatal { down: Some(Duration::ZERO) });
    let events = RefCell::default();
    client.listen(&events);
    let session = client.compression();
    let mut operations: Vec<_> = (0..3).map(|seed| client.operation(&[&data(4000, seed)], &[5000])).collect();
    client.run(true, session, &mut operations[0]);
    for operation in &mut operations[1..] {
        *operation.results = UNTOUCHED;
        assert_eq!(client.compress(session, operation), CpaStatus::SUCCESS, "nobody has noticed yet");
    }
    assert_eq!(client.events(), CpaStatus::SUCCESS);
    assert_eq!(*events.borrow(), [InstanceEvent::FATAL_ERROR]);
    assert_eq!(client.compress(session, &mut client.operation(&[b"one"], &[512])), CpaStatus::FAIL);
    assert_eq!(client.poll(), CpaStatus::SUCCESS);
    for operation in &operations[1..] {
        assert_eq!((operation.answers.get(), *operation.results), (Some(CpaStatus::FAIL), UNTOUCHED));
    }
    assert_eq!(client.poll(), CpaStatus::RETRY, "one callback each");

    client.events();
    assert_eq!(client.poll(), CpaStatus::RESTARTING);
    client.events();
    assert_eq!(events.borrow()[1..], [InstanceEvent::RESTARTING, InstanceEvent::RESTARTED]);
    let session = client.compression();
    client.run(true, session, &mut client.operation(&[b"again"], &[512]));
    let report = client.report();
    assert_eq!((report.completions, report.misdeeds.fatal_errors), (4, 1));
    assert!(report.violations.is_empty(), "{:?}", report.violations);
}

#[test]
fn a_device_that_failed_writes_for_a_moment_and_then_never_again() {
    let mut written = 0;
    for _ in 0..50 {
        let client = troubled(Fault::Fatal { down: None });
        let session = client.compression();
        client.run(true, session, &mut client.operation(&[b"good"], &[512]));
        let mut operation = client.operation(&[&data(4000, 1)], &[5000]);
        assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
        client.events();
        assert_eq!(client.poll(), CpaStatus::SUCCESS);
        let failed = Instant::now();
        while failed.elapsed() < Duration::from_millis(12) {
            std::thread::yield_now();
        }
        // The memory is the client's again, as the stand-in sees it.
        client.free(operation.destination.metadata.cast());
        let late = client.report().misdeeds.late_writes;
        assert_eq!(operation.output(1)[0] == 0xa5, late == 1, "{late}");
        client.free(operation.destination_buffers[0].data);
        assert!(client.report().violations.is_empty(), "{:?}", client.report().violations);
        written += late;
        for _ in 0..10 {
            client.events();
            assert_eq!(client.poll(), CpaStatus::RETRY, "it is gone");
        }
        assert_eq!(client.compress(session, &mut client.operation(&[b"one"], &[512])), CpaStatus::FAIL);
    }
    assert!(written > 0, "none of 50 devices wrote late");
}

#[test]
fn an_event_has_its_time() {
    let client = troubled(Fault::Restart { down: Duration::from_millis(5) });
    let events = RefCell::default();
    client.listen(&events);
    let session = client.compression();
    for _ in 0..2 {
        assert_eq!(client.compress(session, &mut client.operation(&[b"one"], &[512])), CpaStatus::SUCCESS);
    }
    client.events();
    let down = Instant::now();
    client.until(|| client.poll() != CpaStatus::RESTARTING);
    assert!(down.elapsed() >= Duration::from_millis(4), "{:?}", down.elapsed());
    assert_eq!(*events.borrow(), [InstanceEvent::RESTARTING, InstanceEvent::RESTARTED]);
}
