//! Misuse that would be corruption, a crash or an IOMMU fault.

mod client;

use std::ffi::c_void;
use std::process::Command;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use client::{Client, config, noise, pointer};
use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, FlatBuffer, InstanceEvent, InstanceHandle};
use pageferry_bindings::qat::dc::{OpData, Results, SessionHandle, direction, huffman};
use pageferry_bindings::qat::library::Libqat;
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::config::Violations;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};

/// A client whose operations stay in flight.
fn slow() -> Client {
    Client::new(Config { plan: FaultPlan::one(When::From(0), Fault::Never), ..config() })
}

#[track_caller]
fn is_violation(client: &Client, status: CpaStatus, what: &str) {
    assert_eq!(status, CpaStatus::FATAL);
    is_recorded(client, what);
}

#[track_caller]
fn is_recorded(client: &Client, what: &str) {
    let violation = client.violation();
    assert!(violation.contains(what), "{violation}");
}

#[test]
fn a_session_in_memory_that_is_not_the_library_s_or_too_short() {
    let setup = Client::setup(direction::COMPRESS, huffman::STATIC);
    let mut own = vec![0_u64; 100];
    let client = Client::new(config());
    is_violation(&client, client.init(own.as_mut_ptr().cast(), setup), "session memory");
    let client = Client::new(config());
    is_violation(&client, client.init(client.allocate(599).cast(), setup), "session memory");
}

#[test]
fn a_session_without_a_callback() {
    let client = Client::new(config());
    let mut setup = Client::setup(direction::COMPRESS, huffman::STATIC);
    let memory = client.allocate(600).cast();
    // SAFETY: all that is handed over is there.
    let status =
        unsafe { (client.library.init_session)(client.handle(), memory, &raw mut setup, null_mut(), None) };
    is_violation(&client, status, "without a callback");
}

#[test]
fn a_session_that_is_none_or_none_any_more() {
    let client = Client::new(config());
    let mut operation = client.operation(&[b"one"], &[512]);
    is_violation(&client, client.compress(client.allocate(600).cast(), &mut operation), "no session");
    let client = Client::new(config());
    let session = client.compression();
    assert_eq!(client.remove(session), CpaStatus::SUCCESS);
    is_violation(&client, client.compress(session, &mut client.operation(&[b"one"], &[512])), "no session");
    let client = Client::new(config());
    is_violation(&client, client.remove(client.allocate(600).cast()), "no session");
}

#[test]
fn a_session_of_before_its_device_restarted() {
    let plan = FaultPlan::one(When::At(0), Fault::Restart { down: Duration::ZERO });
    let client = Client::new(Config { plan, ..config() });
    let session = client.compression();
    assert_eq!(client.compress(session, &mut client.operation(&[b"one"], &[512])), CpaStatus::SUCCESS);
    client.events();
    client.events();
    is_violation(
        &client,
        client.compress(session, &mut client.operation(&[b"one"], &[512])),
        "restarted since",
    );
}

#[test]
fn a_session_of_another_instance() {
    let mut client = Client::new(Config { instances: 2, ..config() });
    let session = client.compression();
    client.instances.swap(0, 1);
    is_violation(
        &client,
        client.compress(session, &mut client.operation(&[b"one"], &[512])),
        "is of instance 0",
    );
}

#[test]
fn a_session_that_is_initialised_where_an_operation_is_in_flight() {
    let client = slow();
    let session = client.compression();
    assert_eq!(client.compress(session, &mut client.operation(&[b"one"], &[512])), CpaStatus::SUCCESS);
    let setup = Client::setup(direction::COMPRESS, huffman::STATIC);
    is_violation(&client, client.init(session, setup), "in flight");
}

#[test]
fn metadata_that_are_not_the_library_s_or_too_short() {
    let mut own = vec![0_u64; 100];
    for metadata in [None, Some(55)] {
        let client = Client::new(config());
        let session = client.compression();
        let mut operation = client.operation(&[b"one"], &[512]);
        operation.source.metadata = match metadata {
            None => own.as_mut_ptr().cast(),
            Some(bytes) => client.allocate(bytes).cast(),
        };
        is_violation(&client, client.compress(session, &mut operation), "metadata");
    }
}

#[test]
fn an_intermediate_buffer_that_is_not_the_library_s_or_is_freed_in_use() {
    let client = Client::new(Config { intermediate_buffers: 1, ..config() });
    let start = |list: &mut BufferList| {
        let mut lists = [&raw mut *list];
        // SAFETY: the list is there during the call.
        unsafe { (client.library.start_instance)(client.handle(), 1, lists.as_mut_ptr()) }
    };
    let mut good = client.operation(&[&noise(4096)], &[1]);
    assert_eq!(start(&mut good.source), CpaStatus::SUCCESS);
    client.free(good.source_buffers[0].data);
    is_recorded(&client, "intermediate");

    let client = Client::new(Config { intermediate_buffers: 1, ..config() });
    let mut own = noise(4096);
    let mut bad = client.over(vec![FlatBuffer { bytes: 4096, data: own.as_mut_ptr() }], vec![]);
    let mut lists = [&raw mut *bad.source];
    // SAFETY: the list is there during the call.
    let status = unsafe { (client.library.start_instance)(client.handle(), 1, lists.as_mut_ptr()) };
    is_violation(&client, status, "intermediate");
}

extern "C" fn nowhere(_: *mut c_void) -> u64 {
    0x7f_ffff_f000
}

#[test]
fn a_device_address_that_is_not_mapped() {
    let client = Client::new(config());
    let session = client.compression();
    // SAFETY: the function has no precondition.
    unsafe { (client.library.set_address_translation)(client.handle(), nowhere) };
    is_violation(&client, client.compress(session, &mut client.operation(&[b"one"], &[512])), "not mapped");
}

#[test]
fn a_buffer_that_runs_over_the_end_of_its_mapping() {
    for source in [true, false] {
        let client = Client::new(config());
        let session = client.compression();
        let mut operation = client.operation(&[b"one"], &[512]);
        let buffers = if source { &mut operation.source_buffers } else { &mut operation.destination_buffers };
        buffers[0].bytes += 1;
        is_violation(&client, client.compress(session, &mut operation), "over the end");
    }
}

#[test]
fn metadata_results_and_destinations_that_are_in_flight_already() {
    let share: [fn(&mut client::Operation, &mut client::Operation); 4] = [
        |one, other| other.source.metadata = one.source.metadata,
        |one, other| other.source.metadata = one.destination.metadata,
        |one, other| other.destination_buffers[0] = one.destination_buffers[0],
        |one, other| other.destination_buffers[0] = one.source_buffers[0],
    ];
    for share in share {
        let client = slow();
        let session = client.compression();
        let mut one = client.operation(&[&noise(600)], &[600]);
        let mut other = client.operation(&[&noise(600)], &[600]);
        assert_eq!(client.compress(session, &mut one), CpaStatus::SUCCESS);
        share(&mut one, &mut other);
        is_violation(&client, client.compress(session, &mut other), "in flight");
    }
    let client = slow();
    let session = client.compression();
    let mut one = client.operation(&[&noise(600)], &[600]);
    assert_eq!(client.compress(session, &mut one), CpaStatus::SUCCESS);
    let mut other = client.operation(&[&noise(600)], &[600]);
    // SAFETY: the call is refused, and keeps nothing.
    let status = unsafe {
        let (source, destination) = (&raw mut *other.source, &raw mut *other.destination);
        let (options, results) = (&raw mut other.options, &raw mut *one.results);
        (client.library.compress)(client.handle(), session, source, destination, options, results, null_mut())
    };
    is_violation(&client, status, "in flight");
}

#[test]
fn a_source_that_another_operation_writes_and_one_that_is_written_itself() {
    let client = slow();
    let session = client.compression();
    let mut one = client.operation(&[&noise(600)], &[600]);
    assert_eq!(client.compress(session, &mut one), CpaStatus::SUCCESS);
    let mut other = client.operation(&[&noise(600)], &[600]);
    other.source_buffers[0] = one.destination_buffers[0];
    is_violation(&client, client.compress(session, &mut other), "in flight");

    let client = slow();
    let session = client.compression();
    let mut operation = client.operation(&[&noise(600)], &[600]);
    operation.destination_buffers[0] = operation.source_buffers[0];
    is_violation(&client, client.compress(session, &mut operation), "in flight");
}

#[test]
fn sources_may_be_read_by_many_at_a_time() {
    let client = slow();
    let session = client.compression();
    let mut one = client.operation(&[&noise(600)], &[600]);
    let mut other = client.operation(&[&noise(600)], &[600]);
    other.source_buffers[0] = one.source_buffers[0];
    assert_eq!(client.compress(session, &mut one), CpaStatus::SUCCESS);
    assert_eq!(client.compress(session, &mut other), CpaStatus::SUCCESS);
    assert!(client.report().violations.is_empty());
}

#[test]
fn a_list_that_is_changed_in_flight() {
    let change: [fn(&mut client::Operation); 3] = [
        |operation| operation.source_buffers[0].bytes -= 1,
        |operation| operation.destination_buffers[0].data = pointer(8),
        |operation| operation.source.count = 2,
    ];
    for change in change {
        let client = Client::new(config());
        let session = client.compression();
        let mut operation = client.operation(&[b"one"], &[512]);
        assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
        change(&mut operation);
        client.wait(&operation);
        is_recorded(&client, "was changed");
    }
}

#[test]
fn memory_that_is_freed_or_unmapped_in_flight() {
    let parts: [fn(&client::Operation) -> *mut u8; 4] = [
        |operation| operation.source_buffers[0].data,
        |operation| operation.destination_buffers[0].data,
        |operation| operation.source.metadata.cast(),
        |operation| operation.destination.metadata.cast(),
    ];
    for part in parts {
        let client = slow();
        let session = client.compression();
        let mut operation = client.operation(&[b"one"], &[512]);
        assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
        client.free(part(&operation));
        is_recorded(&client, "freed that is in use");
    }
    let client = slow();
    let session = client.compression();
    let mut operation = client.operation(&[b"one"], &[512]);
    assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
    client.free(session.cast());
    is_recorded(&client, "freed that is in use");

    let client = slow();
    let session = client.compression();
    let (map, unmap) =
        (client.library.map_memory.expect("it is there"), client.library.unmap_memory.expect("too"));
    let memory = noise(3 * 4096);
    let start = memory.as_ptr().wrapping_add(memory.as_ptr().align_offset(4096)).cast_mut();
    // SAFETY: the memory stays until the test ends, and the device never reads it.
    assert_ne!(unsafe { map(start.cast(), 4096) }, 0);
    let source = vec![FlatBuffer { bytes: 4096, data: start }];
    let mut operation = client.over(source, vec![client.pinned(&[0; 5000])]);
    assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
    // SAFETY: it is refused.
    assert_ne!(unsafe { unmap(start.cast(), 4096) }, 0);
    is_recorded(&client, "unmapped that is in use");
}

#[test]
fn memory_that_was_never_allocated_or_is_freed_twice() {
    let client = Client::new(config());
    let memory = client.allocate(64);
    client.free(memory);
    client.free(memory);
    is_recorded(&client, "never allocated");
}

#[test]
fn memory_that_a_device_which_failed_may_still_write() {
    // The time that it has is short: a thread that is held up for as long sees nothing of it.
    let seen = (0..200).any(|_| {
        let client = Client::new(Config {
            plan: FaultPlan::one(When::At(0), Fault::Fatal { down: None }),
            ..config()
        });
        let session = client.compression();
        let mut operation = client.operation(&[b"one"], &[512]);
        assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
        client.events();
        assert_eq!(client.poll(), CpaStatus::SUCCESS);
        assert_eq!(operation.answers.get(), Some(CpaStatus::FAIL));
        client.free(operation.destination_buffers[0].data);
        client.report().violations.iter().any(|violation| violation.contains("freed that is in use"))
    });
    assert!(seen, "none of 200 was seen");
}

#[test]
fn an_instance_that_is_not_started() {
    let client = Client::new(config());
    let session = client.compression();
    assert_eq!(client.stop_instance(), CpaStatus::SUCCESS);
    is_violation(&client, client.compress(session, &mut client.operation(&[b"one"], &[512])), "not started");
    let client = Client::new(config());
    assert_eq!(client.stop_instance(), CpaStatus::SUCCESS);
    is_violation(&client, client.poll(), "not started");
}

#[test]
fn a_handle_of_before_the_library_was_stopped() {
    let client = Client::new(config());
    assert_eq!(client.stop(), CpaStatus::SUCCESS);
    // SAFETY: all that is handed over is there.
    assert_eq!(unsafe { (client.library.user_start)(c"SSL".as_ptr()) }, CpaStatus::SUCCESS);
    is_violation(&client, client.poll(), "no instance");
}

#[test]
fn stopping_with_operations_in_flight() {
    let stop: [fn(&Client) -> CpaStatus; 2] = [Client::stop_instance, Client::stop];
    for stop in stop {
        let client = slow();
        let session = client.compression();
        let mut operation = client.operation(&[b"one"], &[512]);
        assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
        is_violation(&client, stop(&client), "in flight");
    }
}

/// What a callback needs to poll by itself.
struct Nested<'a> {
    library: &'a Libqat,
    instance: InstanceHandle,
    entered: AtomicBool,
    leave: AtomicBool,
}

extern "C" fn polls(tag: *mut c_void, _: CpaStatus) {
    // SAFETY: the tag is the test's, which waits for this.
    let nested = unsafe { &*tag.cast::<Nested<'_>>() };
    // SAFETY: any handle may be handed over.
    let status = unsafe { (nested.library.poll_instance)(nested.instance, 0) };
    assert_eq!(status, CpaStatus::FATAL);
}

extern "C" fn stays(tag: *mut c_void, _: CpaStatus) {
    // SAFETY: the tag is the test's, which waits for this.
    let nested = unsafe { &*tag.cast::<Nested<'_>>() };
    nested.entered.store(true, Ordering::Release);
    while !nested.leave.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
}

extern "C" fn is_told(_: InstanceHandle, tag: *mut c_void, _: InstanceEvent) {
    stays(tag, CpaStatus::SUCCESS);
}

// SAFETY: the handle is a number, and the rest is shared as it should be.
unsafe impl Sync for Nested<'_> {}

/// Submits one operation of a session with a callback of its own.
fn submit(
    client: &Client,
    nested: &Nested<'_>,
    callback: extern "C" fn(*mut c_void, CpaStatus),
) -> client::Operation {
    let session: SessionHandle = client.allocate(600).cast();
    let mut setup = Client::setup(direction::COMPRESS, huffman::STATIC);
    let mut operation = client.operation(&[b"one"], &[2000]);
    let tag = std::ptr::from_ref(nested).cast_mut().cast();
    // SAFETY: all that is handed over is there until the test ends.
    unsafe {
        let callback = Some(callback);
        (client.library.init_session)(client.handle(), session, &raw mut setup, null_mut(), callback);
        let (source, destination) = (&raw mut *operation.source, &raw mut *operation.destination);
        let (options, results): (*mut OpData, *mut Results) =
            (&raw mut operation.options, &raw mut *operation.results);
        let status =
            (client.library.compress)(client.handle(), session, source, destination, options, results, tag);
        assert_eq!(status, CpaStatus::SUCCESS);
    }
    operation
}

fn nested(client: &Client) -> Nested<'_> {
    let (entered, leave) = (AtomicBool::new(false), AtomicBool::new(false));
    Nested { library: &client.library, instance: client.handle(), entered, leave }
}

#[test]
fn polling_from_inside_a_callback() {
    let client = Client::new(config());
    let nested = nested(&client);
    let _operation = submit(&client, &nested, polls);
    while client.poll() == CpaStatus::RETRY {}
    is_recorded(&client, "inside a callback");
}

#[test]
fn polling_by_two_threads_at_once() {
    let client = Client::new(config());
    let nested = nested(&client);
    let _operation = submit(&client, &nested, stays);
    let shared = &nested;
    let poll = move || {
        let shared = shared;
        // SAFETY: any handle may be handed over.
        unsafe { (shared.library.poll_instance)(shared.instance, 0) }
    };
    std::thread::scope(|scope| {
        scope.spawn(move || while poll() == CpaStatus::RETRY {});
        while !nested.entered.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let status = poll();
        nested.leave.store(true, Ordering::Release);
        is_violation(&client, status, "two threads");
    });
}

#[test]
fn polling_while_the_device_is_closed() {
    let plan = FaultPlan::one(When::At(1), Fault::Restart { down: Duration::ZERO });
    let client = Client::new(Config { plan, ..config() });
    let nested = nested(&client);
    let _operation = submit(&client, &nested, stays);
    let shared = &nested;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let shared = shared;
            // SAFETY: any handle may be handed over.
            while unsafe { (shared.library.poll_instance)(shared.instance, 0) } == CpaStatus::RETRY {}
        });
        while !nested.entered.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let _trouble = submit(&client, &nested, stays);
        client.events();
        nested.leave.store(true, Ordering::Release);
        is_recorded(&client, "closed while a thread");
    });
}

#[test]
fn looking_for_events_by_two_threads_at_once() {
    let plan = FaultPlan::one(When::At(0), Fault::Restart { down: Duration::ZERO });
    let client = Client::new(Config { plan, ..config() });
    let nested = nested(&client);
    let tag = std::ptr::from_ref(&nested).cast_mut().cast();
    // SAFETY: the tag stays until the test ends.
    unsafe { (client.library.set_notification)(client.handle(), Some(is_told), tag) };
    let _operation = submit(&client, &nested, stays);
    let library = nested.library;
    // SAFETY: that nobody else is in it is what this is about.
    let events = || unsafe { (library.poll_device_events)() };
    std::thread::scope(|scope| {
        scope.spawn(events);
        while !nested.entered.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let status = events();
        nested.leave.store(true, Ordering::Release);
        is_violation(&client, status, "at once");
    });
}

#[test]
fn an_instant_operation_of_a_session_that_is_none() {
    let client = Client::new(Config { instant: true, ..config() });
    let session = client.allocate(600).cast();
    is_violation(&client, client.compress(session, &mut client.operation(&[b"one"], &[512])), "no session");
}

const CHILD: &str = "STAND_IN_CHILD";

#[test]
fn a_violation_ends_the_process_unless_it_is_to_be_recorded() {
    if std::env::var_os(CHILD).is_some() {
        let client = Client::new(Config { violations: Violations::Abort, ..config() });
        let mut memory = without_provenance_mut(0x1000);
        // SAFETY: the process ends here.
        unsafe { (client.library.free)(&raw mut memory) };
        return;
    }
    let test = "a_violation_ends_the_process_unless_it_is_to_be_recorded";
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    let output = command.args(["--exact", test]).env(CHILD, "1").output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("stand-in: VIOLATION: 0x1000 was freed"), "{output:?}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "abort");
}
