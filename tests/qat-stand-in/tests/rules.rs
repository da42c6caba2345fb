//! What the vendor's library refuses and how, what it says of itself, and the order of things.

mod client;

use std::process::Command;
use std::ptr::null_mut;
use std::time::Duration;

use client::{Client, Operation, config, data, inflated, noise, pointer};
use pageferry_bindings::qat::cpa::{
    BufferList, CpaStatus, FALSE, FlatBuffer, InstanceInfo, MAX_BUFFERS, TRUE,
};
use pageferry_bindings::qat::dc::{Capabilities, SessionSetup, direction, huffman};
use pageferry_bindings::qat::library::Libqat;
use pageferry_qat_stand_in::config::{Memory, VARIABLE};
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};
use pageferry_qat_stand_in::{Config, StandIn};
use tempfile::TempDir;

#[test]
fn nothing_works_before_the_library_is_started_and_it_is_stopped_as_often() {
    let mut client = Client::outside(config());
    let library = client.library.clone();
    let mut count = 0;
    // SAFETY: all that is handed over is there.
    unsafe {
        assert_eq!((library.instance_count)(&raw mut count), CpaStatus::FAIL);
        assert!((library.allocate)(64, 0, 64).is_null());
        assert_eq!((library.poll_device_events)(), CpaStatus::FAIL);
        assert_eq!((library.user_stop)(), CpaStatus::FAIL);
    }
    client.start();
    client.start();
    assert_eq!(client.stop(), CpaStatus::SUCCESS);
    let session = client.compression();
    assert_eq!(client.run(true, session, &mut client.operation(&[b"still there"], &[600])).status, 0);
    assert_eq!(client.stop(), CpaStatus::SUCCESS);
    // SAFETY: as before.
    assert_eq!(unsafe { (library.instance_count)(&raw mut count) }, CpaStatus::FAIL);
    assert!(client.report().violations.is_empty());
}

#[test]
fn instances_say_what_they_are_and_that_nothing_is_offloaded() {
    let client = Client::new(Config {
        instances: 5,
        instances_per_device: 2,
        nodes: vec![3, 1],
        intermediate_buffers: 7,
        ..config()
    });
    assert_eq!(client.instances.len(), 5);
    let abouts: Vec<InstanceInfo> = client
        .instances
        .iter()
        .map(|instance| {
            let mut info = InstanceInfo::zeroed();
            // SAFETY: the place is there.
            let status = unsafe { (client.library.instance_info)(*instance, &raw mut info) };
            assert_eq!(status, CpaStatus::SUCCESS);
            info
        })
        .collect();
    assert_eq!(abouts.iter().map(|info| info.node).collect::<Vec<_>>(), [3, 3, 1, 1, 3]);
    assert_eq!(abouts[0].location, abouts[1].location);
    assert_ne!(abouts[1].location, abouts[2].location);
    let first = &abouts[0];
    assert_eq!((first.vendor().as_str(), first.part().as_str()), ("pageferry", "stand-in"));
    assert_eq!((first.service, first.state, first.polled, first.offloaded), (1, 1, TRUE, FALSE));
    assert_eq!(first.needs_contiguous_memory, TRUE);
    assert_eq!(client.library.stand_in(), Some("stand-in for libqat, by pageferry"));

    let mut capabilities = Capabilities::default();
    let mut buffers = 0;
    // SAFETY: the places are there.
    unsafe {
        let (capabilities, buffers) = (&raw mut capabilities, &raw mut buffers);
        assert_eq!((client.library.capabilities)(client.handle(), capabilities), CpaStatus::SUCCESS);
        assert_eq!((client.library.intermediate_buffer_count)(client.handle(), buffers), CpaStatus::SUCCESS);
    }
    assert_eq!(buffers, 7);
    let Capabilities { verify_strict, crc32, dynamic_huffman, dynamic_huffman_needs_buffers, .. } =
        capabilities;
    assert_eq!([verify_strict, crc32, dynamic_huffman, dynamic_huffman_needs_buffers], [TRUE; 4]);
}

#[test]
fn a_full_ring_is_told_to_retry_until_it_was_polled() {
    let client = Client::new(Config { depth: 4, ..config() });
    let session = client.compression();
    let mut operations: Vec<_> = (0..5).map(|seed| client.operation(&[&data(3000, seed)], &[4000])).collect();
    for operation in &mut operations[..4] {
        assert_eq!(client.compress(session, operation), CpaStatus::SUCCESS);
    }
    assert_eq!(client.compress(session, &mut operations[4]), CpaStatus::RETRY);
    client.wait(&operations[0]);
    assert_eq!(client.compress(session, &mut operations[4]), CpaStatus::SUCCESS);
    for (seed, operation) in (0..).zip(&operations) {
        assert_eq!(client.wait(operation), CpaStatus::SUCCESS);
        assert_eq!(inflated(&operation.output(operation.results.produced), 3000), data(3000, seed));
    }
    assert_eq!(client.poll(), CpaStatus::RETRY, "nothing is left");
    let report = client.report();
    assert_eq!((report.submissions, report.completions, report.most_in_flight), (5, 5, vec![4]));
    assert_eq!(report.bytes_read, 5 * 3000);
}

#[test]
fn a_poll_delivers_no_more_than_it_was_asked_for() {
    let client = Client::new(config());
    let session = client.compression();
    let input = data(300, 1);
    let produced = client.run(true, session, &mut client.operation(&[&input], &[600])).produced;
    let mut operations: Vec<_> = (0..5).map(|_| client.operation(&[&input], &[600])).collect();
    for operation in &mut operations {
        assert_eq!(client.compress(session, operation), CpaStatus::SUCCESS);
    }
    // All of them are done.
    while client.report().bytes_written < 6 * u64::from(produced) {
        std::thread::yield_now();
    }
    let poll = |quota| {
        // SAFETY: the handle is the instance's.
        let status = unsafe { (client.library.poll_instance)(client.handle(), quota) };
        assert_eq!(status, CpaStatus::SUCCESS);
        operations.iter().filter(|operation| operation.answers.get().is_some()).count()
    };
    assert_eq!((poll(1), poll(2), poll(0)), (1, 3, 5));
}

#[test]
fn an_operation_that_is_late_is_overtaken() {
    let plan = FaultPlan::one(When::At(0), Fault::Late(Duration::from_millis(20)));
    let client = Client::new(Config { plan, ..config() });
    let session = client.compression();
    let mut late = client.operation(&[b"late"], &[512]);
    let mut early = client.operation(&[b"early"], &[512]);
    assert_eq!(client.compress(session, &mut late), CpaStatus::SUCCESS);
    assert_eq!(client.compress(session, &mut early), CpaStatus::SUCCESS);
    client.wait(&early);
    assert_eq!(late.answers.get(), None);
    assert_eq!(client.remove(session), CpaStatus::RETRY, "it is in flight");
    assert_eq!(client.wait(&late), CpaStatus::SUCCESS);
    assert_eq!(client.report().out_of_order, 1);
    assert_eq!(client.report().misdeeds.late, 1);
    assert_eq!(client.remove(session), CpaStatus::SUCCESS);
}

#[test]
fn a_latency_keeps_completions_back() {
    let client = Client::new(Config { latency: Duration::from_secs(3600), ..config() });
    let session = client.compression();
    let mut operation = client.operation(&[b"not yet"], &[512]);
    assert_eq!(client.compress(session, &mut operation), CpaStatus::SUCCESS);
    while client.report().bytes_written == 0 {
        assert_eq!(client.poll(), CpaStatus::RETRY);
    }
    assert_eq!(client.poll(), CpaStatus::RETRY);
}

/// What is done to a good operation, and what the library answers.
type Defect = (&'static str, fn(&mut Operation), CpaStatus);

const DEFECTS: [Defect; 14] = [
    ("no verification", |operation| operation.options.verify = FALSE, CpaStatus::UNSUPPORTED),
    (
        "recovery without verification",
        |operation| (operation.options.verify, operation.options.recover) = (FALSE, TRUE),
        CpaStatus::INVALID_PARAM,
    ),
    ("a boolean that is none", |operation| operation.options.verify = 2, CpaStatus::INVALID_PARAM),
    ("no flush", |operation| operation.options.flush = 4, CpaStatus::INVALID_PARAM),
    ("integrity", |operation| operation.options.integrity_check = TRUE, CpaStatus::INVALID_PARAM),
    ("skipping", |operation| operation.options.input_skip.mode = 1, CpaStatus::UNSUPPORTED),
    ("an empty source", |operation| operation.source_buffers[0].bytes = 0, CpaStatus::INVALID_PARAM),
    ("no source", |operation| operation.source.count = 0, CpaStatus::INVALID_PARAM),
    ("no buffers", |operation| operation.source.buffers = null_mut(), CpaStatus::INVALID_PARAM),
    ("no metadata", |operation| operation.destination.metadata = null_mut(), CpaStatus::INVALID_PARAM),
    (
        "an empty destination",
        |operation| operation.destination_buffers[0].bytes = 0,
        CpaStatus::INVALID_PARAM,
    ),
    (
        "a short destination",
        |operation| operation.destination_buffers[0].bytes = 511,
        CpaStatus::INVALID_PARAM,
    ),
    ("no data", |operation| operation.source_buffers[0].data = null_mut(), CpaStatus::INVALID_PARAM),
    (
        "an address that cannot be translated",
        |operation| operation.source_buffers[0].data = pointer(4096),
        CpaStatus::FAIL,
    ),
];

#[test]
fn wrong_parameters_are_refused_and_nothing_is_begun() {
    let client = Client::new(config());
    let session = client.compression();
    for (what, defect, status) in DEFECTS {
        let mut operation = client.operation(&[b"a source"], &[512]);
        defect(&mut operation);
        assert_eq!(client.compress(session, &mut operation), status, "{what}");
    }
    let mut operation = client.operation(&[b"a source"], &[512]);
    assert_eq!(client.compress(null_mut(), &mut operation), CpaStatus::INVALID_PARAM);
    assert_eq!(client.decompress(session, &mut operation), CpaStatus::INVALID_PARAM, "the other direction");
    assert_eq!(client.compress(client.decompression(), &mut operation), CpaStatus::INVALID_PARAM);
    let fixed = client.session(direction::COMPRESS, huffman::STATIC);
    let mut operation = client.operation(&[b"a source"], &[1025]);
    assert_eq!(client.compress(fixed, &mut operation), CpaStatus::INVALID_PARAM);
    let report = client.report();
    assert_eq!((report.submissions, report.violations.len()), (0, 0), "{:?}", report.violations);
}

#[test]
fn a_source_that_is_its_own_destination_is_refused() {
    let client = Client::new(config());
    let session = client.compression();
    let mut operation = client.operation(&[&noise(600)], &[600]);
    let list: *mut BufferList = &raw mut *operation.source;
    // SAFETY: the call is refused, and keeps nothing.
    let status = unsafe {
        let (options, results) = (&raw mut operation.options, &raw mut *operation.results);
        (client.library.compress)(client.handle(), session, list, list, options, results, null_mut())
    };
    assert_eq!(status, CpaStatus::INVALID_PARAM);
}

#[test]
fn a_list_of_256_buffers_fails_and_one_of_255_does_not() {
    let client = Client::new(config());
    let session = client.compression();
    let input = data(2560, 1);
    let pinned = client.pinned(&input);
    for (count, status) in [(MAX_BUFFERS - 1, CpaStatus::SUCCESS), (MAX_BUFFERS, CpaStatus::FAIL)] {
        let source = (0..count as usize)
            .map(|index| FlatBuffer { bytes: 10, data: pinned.data.wrapping_add(10 * index) })
            .collect();
        let mut operation = client.over(source, vec![client.pinned(&[0; 4000])]);
        assert_eq!(client.compress(session, &mut operation), status);
        if status == CpaStatus::SUCCESS {
            client.wait(&operation);
            assert_eq!(inflated(&operation.output(operation.results.produced), 2550), input[..2550]);
        }
    }
}

#[test]
fn the_device_s_list_is_written_to_the_metadata() {
    let client = Client::new(config());
    let session = client.compression();
    let mut operation = client.operation(&[b"one", b"other"], &[600]);
    client.run(true, session, &mut operation);
    // SAFETY: the metadata of two buffers have 72 bytes, which nothing in flight uses.
    let written = unsafe { std::slice::from_raw_parts(operation.source.metadata.cast::<u64>(), 6) };
    // SAFETY: any address may be asked for.
    let device =
        |index: usize| unsafe { (client.library.translate)(operation.source_buffers[index].data.cast()) };
    assert_eq!(written, [0, 2, 3, device(0), 5, device(1)]);
}

#[test]
fn sessions_that_are_not_offered_are_refused() {
    let client = Client::new(Config { dynamic: false, ..config() });
    let good = Client::setup(direction::COMPRESS, huffman::STATIC);
    let memory = client.allocate(600).cast();
    let cases = [
        (good, CpaStatus::SUCCESS),
        (SessionSetup { huffman: huffman::FULL_DYNAMIC, ..good }, CpaStatus::UNSUPPORTED),
        (SessionSetup { huffman: 1, ..good }, CpaStatus::INVALID_PARAM),
        (SessionSetup { state: 0, ..good }, CpaStatus::UNSUPPORTED),
        (SessionSetup { algorithm: 4, ..good }, CpaStatus::UNSUPPORTED),
        (SessionSetup { level: 0, ..good }, CpaStatus::INVALID_PARAM),
        (SessionSetup { level: 13, ..good }, CpaStatus::INVALID_PARAM),
        (SessionSetup { direction: 3, ..good }, CpaStatus::INVALID_PARAM),
        (SessionSetup { window: 0, ..good }, CpaStatus::UNSUPPORTED),
    ];
    for (setup, status) in cases {
        assert_eq!(client.init(memory, setup), status, "{setup:?}");
    }
    assert_eq!(client.init(null_mut(), good), CpaStatus::INVALID_PARAM);
}

#[test]
fn sessions_fail_until_there_is_a_translation() {
    let mut client = Client::outside(config());
    let mut handle = [null_mut()];
    // SAFETY: all that is handed over is there.
    unsafe {
        assert_eq!((client.library.user_start)(c"SSL".as_ptr()), CpaStatus::SUCCESS);
        assert_eq!((client.library.instances)(1, handle.as_mut_ptr()), CpaStatus::SUCCESS);
    }
    client.instances = handle.to_vec();
    let setup = Client::setup(direction::COMPRESS, huffman::STATIC);
    let memory = client.allocate(600).cast();
    assert_eq!(client.init(memory, setup), CpaStatus::FAIL);
    // SAFETY: the function is the library's.
    unsafe { (client.library.set_address_translation)(client.handle(), client.library.translate) };
    assert_eq!(client.init(memory, setup), CpaStatus::SUCCESS);
}

#[test]
fn dynamic_codes_of_an_older_part_take_intermediate_buffers() {
    let client = Client::new(Config { intermediate_buffers: 2, ..config() });
    let memory = client.allocate(600).cast();
    let setup = Client::setup(direction::COMPRESS, huffman::FULL_DYNAMIC);
    assert_eq!(client.init(memory, setup), CpaStatus::RESOURCE);
    let start = |sizes: &[usize]| {
        let mut operations: Vec<_> =
            sizes.iter().map(|bytes| client.operation(&[&noise(*bytes)], &[1])).collect();
        let mut lists: Vec<*mut BufferList> =
            operations.iter_mut().map(|operation| &raw mut *operation.source).collect();
        let count = u16::try_from(lists.len()).expect("few");
        // SAFETY: the lists are there during the call, and their memory until the process ends.
        unsafe { (client.library.start_instance)(client.handle(), count, lists.as_mut_ptr()) }
    };
    assert_eq!(start(&[4096]), CpaStatus::INVALID_PARAM, "too few");
    assert_eq!(start(&[4096, 4097]), CpaStatus::INVALID_PARAM, "not of the same size");
    assert_eq!(start(&[4096, 4096]), CpaStatus::SUCCESS);
    assert_eq!(client.init(memory, setup), CpaStatus::SUCCESS);
    assert_eq!(client.run(true, memory, &mut client.operation(&[b"dynamic"], &[512])).status, 0);
}

#[test]
fn memory_of_the_callers_is_mapped_by_pages_and_reached() {
    let client = Client::new(config());
    let (map, unmap) =
        (client.library.map_memory.expect("it is there"), client.library.unmap_memory.expect("too"));
    let input = data(3 * 4096, 1);
    let mut own = vec![0_u8; 5 * 4096];
    let start = own.as_ptr().align_offset(4096);
    own[start..start + input.len()].copy_from_slice(&input);
    let pages = own[start..].as_mut_ptr();
    let at = |offset: usize| pages.wrapping_add(offset).cast();
    // SAFETY: what is mapped stays until it is unmapped.
    unsafe {
        for (offset, bytes) in [(0, 0), (1, 4096), (0, 4095), (0, (2 << 30) + 4096)] {
            assert_eq!(map(at(offset), bytes), 0, "{offset} {bytes}");
        }
        assert_eq!(map(pointer(4096), 4096), 0, "nothing is there");
        let iova = map(at(0), input.len());
        assert!(iova >= 2 << 20 && iova.is_multiple_of(2 << 20) && iova < 1 << 39, "{iova:#x}");
        assert_eq!((client.library.translate)(at(5000)), iova + 5000);
        assert_eq!((client.library.translate)(at(input.len())), 0);
    }
    let source = vec![FlatBuffer { bytes: 3 * 4096, data: pages }];
    let mut operation = client.over(source, vec![client.pinned(&noise(20_000))]);
    let results = client.run(true, client.compression(), &mut operation);
    assert_eq!(inflated(&operation.output(results.produced), input.len()), input);
    // SAFETY: nothing is in flight.
    unsafe {
        assert_ne!(unmap(at(0), 4096), 0, "not what was mapped");
        assert_eq!(unmap(at(0), input.len()), 0);
        assert_ne!(unmap(at(0), input.len()), 0, "it was unmapped");
        assert_eq!((client.library.translate)(at(0)), 0);
    }
}

#[test]
fn a_library_that_cannot_map_says_so_by_0() {
    let client = Client::new(Config { map: false, ..config() });
    let memory = client.allocate(4096);
    // SAFETY: nothing comes of it.
    assert_eq!(unsafe { client.library.map_memory.expect("it is there")(memory.cast(), 4096) }, 0);
}

#[test]
fn allocations_have_a_size_and_an_alignment_at_most() {
    let client = Client::new(config());
    let allocate = |bytes, alignment| {
        // SAFETY: any size and alignment may be asked for.
        unsafe { (client.library.allocate)(bytes, 0, alignment) }
    };
    for (bytes, alignment) in [(0, 64), ((64 << 20) + 1, 64), (64, 0), (64, 3), (64, 8 << 20)] {
        assert!(allocate(bytes, alignment).is_null(), "{bytes} {alignment}");
    }
    let most = allocate(64 << 20, 4 << 20);
    assert!(!most.is_null() && most.addr().is_multiple_of(4 << 20));
    // SAFETY: any address may be asked for.
    assert!(unsafe { (client.library.translate)(most) }.is_multiple_of(4 << 20));
    client.free(most.cast());
    // SAFETY: as before.
    assert_eq!(unsafe { (client.library.translate)(most) }, 0);
}

#[test]
fn a_device_that_shares_the_process_s_memory_takes_any() {
    let client = Client::new(Config { memory: Memory::Shared, ..config() });
    let mut info = InstanceInfo::zeroed();
    // SAFETY: the place is there.
    unsafe { (client.library.instance_info)(client.handle(), &raw mut info) };
    assert_eq!(info.needs_contiguous_memory, FALSE);
    let (mut input, mut output, mut session) = (data(9000, 1), vec![0_u8; 9000], vec![0_u64; 75]);
    let setup = Client::setup(direction::COMPRESS, huffman::FULL_DYNAMIC);
    assert_eq!(client.init(session.as_mut_ptr().cast(), setup), CpaStatus::SUCCESS);
    let source = vec![FlatBuffer { bytes: 9000, data: input.as_mut_ptr() }];
    let mut operation = client.over(source, vec![FlatBuffer { bytes: 9000, data: output.as_mut_ptr() }]);
    let results = client.run(true, session.as_mut_ptr().cast(), &mut operation);
    assert_eq!(inflated(&output[..results.produced as usize], 9000), input);
}

#[test]
fn a_device_without_an_iommu_takes_what_is_contiguous_in_physical_memory() {
    let client = Client::new(Config { memory: Memory::Physical, ..config() });
    // SAFETY: any size and alignment may be asked for.
    let page = unsafe { (client.library.allocate)(4096, 0, 64) };
    if page.is_null() {
        println!("physical addresses are not told here");
        return;
    }
    // SAFETY: any address may be asked for.
    assert_ne!(unsafe { (client.library.translate)(page) }, 0);
    let input = data(3000, 1);
    let session = client.compression();
    let mut operation = client.operation(&[&input], &[4000]);
    let results = client.run(true, session, &mut operation);
    assert_eq!(inflated(&operation.output(results.produced), 3000), input);
}

#[test]
fn two_copies_have_nothing_in_common() {
    let one = Client::new(config());
    let other = Client::new(Config { instances: 3, ..config() });
    assert_eq!((one.instances.len(), other.instances.len()), (1, 3));
    let session = one.compression();
    one.run(true, session, &mut one.operation(&[b"one"], &[512]));
    assert_eq!((one.report().submissions, other.report().submissions), (1, 0));
    // SAFETY: any address may be asked for.
    assert_eq!(unsafe { (other.library.translate)(session) }, 0);
}

#[test]
fn a_copy_that_is_configured_again_forgets_what_it_was() {
    let mut client = Client::new(config());
    let session = client.compression();
    client.run(true, session, &mut client.operation(&[b"one"], &[512]));
    assert_eq!(client.stop(), CpaStatus::SUCCESS);
    client.stand_in.configure(Config { instances: 2, ..config() });
    client.start();
    assert_eq!((client.instances.len(), client.report().submissions), (2, 0));
    let session = client.compression();
    assert_eq!(client.run(true, session, &mut client.operation(&[b"two"], &[512])).status, 0);
}

#[test]
fn an_instant_operation_reads_and_writes_nothing_and_is_measured() {
    let client = Client::new(Config { instant: true, depth: 2, ..config() });
    let session = client.compression();
    let mut operations: Vec<_> =
        (0..3).map(|_| client.operation(&[&noise(4096), b"more"], &[4096])).collect();
    assert_eq!(client.compress(session, &mut operations[0]), CpaStatus::SUCCESS);
    assert_eq!(client.compress(session, &mut operations[1]), CpaStatus::SUCCESS);
    assert_eq!(client.compress(session, &mut operations[2]), CpaStatus::RETRY);
    assert_eq!(client.remove(session), CpaStatus::RETRY);
    assert_eq!(client.wait(&operations[0]), CpaStatus::SUCCESS);
    let results = *operations[0].results;
    assert_eq!((results.status, results.produced, results.consumed, results.checksum), (0, 1024, 4100, 0));
    assert_eq!(operations[0].output(4096), [0xee; 4096]);
    assert_eq!(client.poll(), CpaStatus::RETRY);
    let report = client.report();
    assert_eq!((report.submissions, report.completions, report.most_in_flight.clone()), (2, 2, vec![2]));
    assert!(
        report.ticks_inside > 0 && report.ticks_per_s > 0.0 && report.inside() > Duration::ZERO,
        "{report:?}"
    );
    assert_eq!(client.remove(session), CpaStatus::SUCCESS);
}

const COPY: &str = "STAND_IN_COPY";

#[test]
fn a_process_that_does_not_configure_it_has_what_the_environment_says() {
    if let Some(path) = std::env::var_os(COPY) {
        let library = Libqat::load_from(&path).expect("the copy");
        let mut count = 0;
        // SAFETY: the place is there.
        unsafe {
            assert_eq!((library.user_start)(c"SSL".as_ptr()), CpaStatus::SUCCESS);
            assert_eq!((library.instance_count)(&raw mut count), CpaStatus::SUCCESS);
        }
        assert_eq!(count, 3);
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let path = StandIn::copy_to(folder.path());
    let run = |settings: &str| {
        let test = "a_process_that_does_not_configure_it_has_what_the_environment_says";
        let mut command = Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", test]).env(COPY, &path).env(VARIABLE, settings);
        command.output().expect("a child")
    };
    assert!(run("instances=3,depth=9").status.success());
    assert!(!run("instances=2").status.success(), "the child expects 3");
    let bad = run("instances=many");
    assert!(!bad.status.success());
    assert!(String::from_utf8_lossy(&bad.stderr).contains("instances=many"), "{bad:?}");
}
