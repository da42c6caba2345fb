//! QAT's driver on the stand-in for the vendor's library: every way to memory, every peer, and as many requests in flight as
//! it was told.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use flate2::read::DeflateDecoder;
use pageferry_accel::codec::deflate::{Deflate, Library, Window};
use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::{AnonymousMemory, GuestMemory, GuestRam, Region};
use pageferry_accel::method::Method;
use pageferry_accel::model::fault::FaultPlan as ModelFaults;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::qat::{Huffman, QatConfig};
use pageferry_accel::queue::{Accelerator, Capabilities, Provenance};
use pageferry_accel::request::Request;
use pageferry_accel::run::{Content, Run};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::receiver::ReceiveReport;
use pageferry_engine::sender::{SendReport, Sender, SenderConfig};
use pageferry_engine::work::Work;
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::config::Memory;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};
use pageferry_tests::flaky::Completing;
use pageferry_tests::guest::{Noise, fill, first_difference, guest, memory, page_bytes, pages, scribble};
use pageferry_tests::models::{self, Patience};
use pageferry_tests::peers::{config, connections, receive_by};
use pageferry_tests::qat::{QatStandIn, patient, physical_addresses};
use pageferry_tests::single::{Single, payload};

const PAGES: u64 = 40;
const MAX_PAGES: PageCount = PageCount(63);

/// Runs of several lengths, in both regions of a guest.
fn runs(page_size: PageSize) -> Vec<Run> {
    let high = (1 << 32) >> page_size.shift();
    let runs = [(0, 9), (11, 1), (13, 4), (20, 20), (high, 1), (high + 3, 25)];
    runs.map(|(first, count)| Run::data(PageIndex(first), PageCount(count))).to_vec()
}

/// One end of a migration on the CPU, and what is asked of it is deflate.
fn software(window: Window) -> Arc<dyn Accelerator> {
    Arc::new(Cpu::new(CpuConfig { workers: 1, deflate_window: window, ..CpuConfig::default() }))
}

/// An accelerator and the guest that it works on.
struct End {
    ram: Arc<GuestRam>,
    single: Single,
}

impl End {
    fn new(accelerator: &Arc<dyn Accelerator>, page_size: PageSize) -> Self {
        let ram = guest(PAGES, page_size);
        let single = Single::open(&**accelerator, &ram, MAX_PAGES).expect("an accelerator that opens");
        Self { ram, single }
    }

    fn deflate(&mut self) -> Box<Request> {
        let (request, result) = self.single.encode(Method::Deflate, &runs(self.ram.page_size()));
        result.expect("nothing is wrong");
        request
    }

    /// Decodes what `source` sent, and sees that it is the same then.
    fn assert_decodes(&mut self, request: &Request, source: &GuestRam, what: &str) {
        self.single.decode(request).unwrap_or_else(|failure| panic!("{what}: {failure}"));
        for page in runs(self.ram.page_size()).into_iter().flat_map(Run::pages) {
            assert!(page_bytes(source, page) == page_bytes(&self.ram, page), "{what}: page {page} differs");
        }
    }
}

#[test]
fn pages_travel_by_every_way_to_memory_and_are_copied_only_where_there_is_none() {
    let ways = [
        (Memory::Iova, true, false),
        (Memory::Iova, false, true),
        (Memory::Shared, true, false),
        // Of ordinary pages nobody knows how long they stay where they are.
        (Memory::Physical, true, true),
    ];
    for (memory, map, copied) in ways {
        if memory == Memory::Physical
            && let Err(reason) = physical_addresses()
        {
            println!("skipped: physical addresses: {reason}");
            continue;
        }
        for (page_size, huffman) in [
            (PageSize::Kib4, Huffman::Dynamic),
            (PageSize::Kib4, Huffman::Static),
            (PageSize::Kib16, Huffman::Dynamic),
            (PageSize::Kib64, Huffman::Static),
        ] {
            let what = format!("{memory:?}, map: {map}, {page_size}, {huffman:?}");
            if memory == Memory::Physical && page_size == PageSize::Kib64 {
                // So many pages in one piece are more than the stand-in can have of the kernel.
                continue;
            }
            let qat = QatStandIn::new(Config { memory, map, ..Config::default() });
            let one = || qat.accelerator(QatConfig { instances: Some(1), huffman, ..patient() });
            let (mut source, mut destination) = (End::new(&one(), page_size), End::new(&one(), page_size));
            let mut witness = End::new(&software(Window::Kib32), page_size);
            fill(&source.ram, 3);
            for round in 0..3 {
                let request = source.deflate();
                witness.assert_decodes(&request, &source.ram, &what);
                destination.assert_decodes(&request, &source.ram, &what);
                assert!(request.runs.iter().any(|run| run.content == Content::Zero), "{what}: no zero page");
                assert_eq!(
                    request.detours.copied > 0,
                    copied,
                    "{what}, round {round}: {:?}",
                    request.detours
                );
                let mut noise = Noise(round + 1);
                pages(&source.ram).step_by(5).for_each(|page| scribble(&source.ram, page, &mut noise));
            }
            let report = qat.report();
            assert!(report.submissions >= 6 && report.misdeeds.total() == 0, "{what}: {report:?}");
        }
    }
}

#[test]
fn a_request_is_one_operation_of_one_list_with_a_buffer_a_run() {
    let qat = QatStandIn::new(Config::default());
    let (mut source, mut destination) =
        (End::new(&qat.one(), PageSize::Kib4), End::new(&qat.one(), PageSize::Kib4));
    // No page is zero, so that the runs stay as they are.
    pages(&source.ram).for_each(|page| source.ram.copy_in(page, &[7; 4096]));
    let request = source.deflate();
    let runs = runs(PageSize::Kib4).len() as u64;
    let report = qat.report();
    assert_eq!((report.submissions, report.source_buffers, report.destination_buffers), (1, runs, 1));
    assert_eq!(request.segments.len(), 1);
    destination.assert_decodes(&request, &source.ram, "one list");
    let report = qat.report();
    assert_eq!(
        (report.submissions, report.source_buffers, report.destination_buffers),
        (2, runs + 1, 1 + runs)
    );
}

/// A list has 255 buffers at most.
#[test]
fn a_request_of_more_runs_than_a_list_holds_becomes_several_operations() {
    let qat = QatStandIn::new(Config::default());
    let (source, destination) = (guest(700, PageSize::Kib4), guest(700, PageSize::Kib4));
    pages(&source).for_each(|page| source.copy_in(page, &[9; 4096]));
    let open = |ram| Single::open(&*qat.one(), ram, PageCount(1024)).unwrap();
    let (mut encoder, mut decoder) = (open(&source), open(&destination));
    let runs: Vec<Run> = (0..300).map(|index| Run::data(PageIndex(2 * index), PageCount::ONE)).collect();
    let (request, result) = encoder.encode(Method::Deflate, &runs);
    result.unwrap();
    assert_eq!((request.segments.len(), request.detours.copied), (2, 0));
    decoder.decode(&request).unwrap();
    let differs =
        runs.iter().find(|run| page_bytes(&source, run.first) != page_bytes(&destination, run.first));
    assert_eq!(differs, None);
}

#[test]
fn parts_before_the_fourth_generation_get_their_intermediate_buffers_and_those_without_dynamic_codes_none() {
    for (intermediate_buffers, dynamic) in [(12, true), (0, false)] {
        let qat = QatStandIn::new(Config { intermediate_buffers, dynamic, ..Config::default() });
        let mut source = End::new(&qat.one(), PageSize::Kib4);
        let mut witness = End::new(&software(Window::Kib32), PageSize::Kib4);
        fill(&source.ram, 3);
        let request = source.deflate();
        witness.assert_decodes(&request, &source.ram, "an older part");
    }
}

#[test]
fn a_plain_inflate_reads_what_qat_compressed() {
    let qat = QatStandIn::new(Config::default());
    let mut source = End::new(&qat.one(), PageSize::Kib4);
    fill(&source.ram, 9);
    let request = source.deflate();
    let (payload, mut at) = (payload(&request), 0);
    let mut pages =
        request.runs.iter().filter(|run| run.content == Content::Data).flat_map(|run| run.pages());
    for segment in &request.segments {
        let encoded = &payload[at..at + segment.bytes as usize];
        at += segment.bytes as usize;
        assert_eq!(segment.method, Method::Deflate);
        let mut decoded = Vec::new();
        DeflateDecoder::new(encoded).read_to_end(&mut decoded).unwrap();
        for decoded in decoded.chunks(4096) {
            assert!(page_bytes(&source.ram, pages.next().unwrap()) == decoded);
        }
    }
    assert_eq!(pages.next(), None);
}

#[test]
fn qat_decodes_what_others_compressed() {
    let qat = QatStandIn::new(Config::default());
    let iaa = models::model(Profile::spr_iaa(), ModelFaults::default());
    let iaa = models::accelerator(Arc::new(iaa.function()), Patience::default(), Completing::Polled);
    let others = [software(Window::Kib32), software(Window::Kib4), iaa];
    for other in &others {
        let mut source = End::new(other, PageSize::Kib4);
        let mut destination = End::new(&qat.one(), PageSize::Kib4);
        fill(&source.ram, 5);
        let request = source.deflate();
        assert!(request.segments.iter().any(|segment| segment.method == Method::Deflate));
        destination.assert_decodes(&request, &source.ram, other.name());
    }
    assert!(qat.report().submissions > 0);
}

#[test]
fn qat_decodes_what_every_deflate_library_compressed() {
    let qat = QatStandIn::new(Config::default());
    for library in [Library::preferred(), Library::BuiltIn] {
        for (level, window) in [(0, Window::Kib32), (1, Window::Kib4), (3, Window::Kib32)] {
            let mut source = End::new(&software(Window::Kib32), PageSize::Kib4);
            let mut destination = End::new(&qat.one(), PageSize::Kib4);
            fill(&source.ram, 7);
            // What the CPU made is exchanged for what this library makes of the same pages.
            let mut request = source.deflate();
            let data = request.runs.iter().filter(|run| run.content == Content::Data);
            let raw: Vec<u8> =
                data.flat_map(|run| run.pages()).flat_map(|page| page_bytes(&source.ram, page)).collect();
            let mut deflate = Deflate::by(&library, level, window).unwrap();
            let bytes = deflate.encode(&raw, request.payload.buffer()).unwrap();
            request.payload.set_filled(bytes);
            request.segments[0].bytes = u32::try_from(bytes).unwrap();
            destination.assert_decodes(
                &request,
                &source.ram,
                &format!("{library}, level {level}, {window:?}"),
            );
        }
    }
}

#[test]
fn payloads_that_are_spoiled_are_refused_and_the_instance_goes_on() {
    let qat = QatStandIn::new(Config::default());
    let mut source = End::new(&software(Window::Kib32), PageSize::Kib4);
    let mut destination = End::new(&qat.one(), PageSize::Kib4);
    fill(&source.ram, 5);
    let good = source.deflate();
    let mut spoiled = source.deflate();
    let bytes = spoiled.payload.bytes().len();
    for spoil in [bytes / 3, bytes / 2, bytes - 1] {
        spoiled.payload.buffer()[spoil] ^= 0x55;
        let result = destination.single.decode(&spoiled);
        assert!(result.is_err(), "byte {spoil} of {bytes} is another one");
        spoiled.payload.buffer()[spoil] ^= 0x55;
    }
    // A stream that ends early is a success for the device, but for a flag.
    spoiled.payload.set_filled(bytes - 9);
    spoiled.segments[0].bytes -= 9;
    assert!(destination.single.decode(&spoiled).is_err(), "a stream without its end");
    destination.assert_decodes(&good, &source.ram, "afterwards");
}

/// Sends a guest whole and then what changed, and says what both ends counted.
fn migrate(
    ours: &[Arc<dyn Accelerator>],
    theirs: Vec<Arc<dyn Accelerator>>,
    config: SenderConfig,
) -> (SendReport, ReceiveReport) {
    let (source, destination) = (guest(300, PageSize::Kib4), guest(300, PageSize::Kib4));
    fill(&source, 1);
    let (here, there) = connections(2);
    let receiver = receive_by(theirs, Arc::clone(&destination), there);
    let mut sender = Sender::new(Arc::clone(&source), ours, here, config).unwrap();
    let mut dirty = DirtyBitmap::all(&source);
    let mut noise = Noise(5);
    for _ in 0..2 {
        sender.send_round(&dirty).unwrap();
        assert_eq!(first_difference(&source, &destination), None);
        dirty.clear();
        for page in pages(&source).filter(|page| page.0 % 3 != 1) {
            scribble(&source, page, &mut noise);
            dirty.set(page);
        }
    }
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    (sent, received)
}

fn requests(work: &[Work], name: &str) -> u64 {
    work.iter().filter(|one| one.accelerator == name).map(|one| one.requests).sum()
}

#[test]
fn a_migration_needs_nobody_but_qat_and_says_that_it_was_a_stand_in() {
    let qat = QatStandIn::new(Config::default());
    let one = || vec![qat.one()];
    let (sent, received) =
        migrate(&one(), one(), SenderConfig { max_pages: PageCount(16), ..config(&[Method::Deflate]) });
    for work in [&sent.accelerators, &received.accelerators] {
        assert_eq!((&*work[0].accelerator, work[0].provenance), ("qat", Provenance::StandIn));
        assert!(work[0].requests > 20, "{work:?}");
    }
    assert_eq!((sent.fallbacks.copied_pages, received.fallbacks.copied_pages), (0, 0));
    assert_eq!(sent.fallbacks.device_failed_requests + received.fallbacks.device_failed_requests, 0);
}

/// An IAA decodes deflate of 4 KiB windows alone, and QAT always looks back further.
#[test]
fn where_a_destination_decodes_small_windows_alone_qat_does_not_compress_and_where_it_has_a_cpu_that_decodes()
{
    let qat = QatStandIn::new(Config::default());
    let iaa = || {
        let model = models::model(Profile::spr_iaa(), ModelFaults::default());
        models::accelerator(Arc::new(model.function()), Patience::default(), Completing::Polled)
    };
    let Capabilities { deflate_window_bits, .. } = iaa().capabilities();
    assert_eq!((deflate_window_bits, qat.one().capabilities().encode_window_bits), (12, 15));
    let (sent, received) = migrate(
        &[qat.one(), software(Window::Kib32)],
        vec![iaa(), software(Window::Kib32)],
        config(&[Method::Deflate]),
    );
    assert!(requests(&sent.accelerators, "qat") > 0 && requests(&received.accelerators, "cpu") > 0);
    assert_eq!(requests(&received.accelerators, "spr-iaa-model"), 0, "{:?}", received.accelerators);
    let (sent, received) =
        migrate(&[qat.one(), software(Window::Kib32)], vec![iaa()], config(&[Method::Deflate]));
    assert_eq!(requests(&sent.accelerators, "qat"), 0, "{:?}", sent.accelerators);
    assert!(requests(&received.accelerators, "spr-iaa-model") > 0, "{:?}", received.accelerators);
}

/// Memory of one node.
struct OnNode(Arc<AnonymousMemory>, u32);

// SAFETY: the regions are those of the memory inside, which lives as long.
unsafe impl GuestMemory for OnNode {
    fn regions(&self) -> Vec<Region> {
        let on_node = |region| Region { numa_node: Some(self.1), ..region };
        self.0.regions().into_iter().map(on_node).collect()
    }
}

#[test]
fn pages_go_to_the_instances_on_their_own_node_first() {
    for node in [0, 1] {
        let nodes = vec![0, 1, 0, 1];
        let qat = QatStandIn::new(Config { instances: 4, nodes, ..Config::default() });
        let memory = OnNode(memory(300, PageSize::Kib4), node);
        let source = Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap());
        let destination = guest(300, PageSize::Kib4);
        fill(&source, 2);
        let (here, there) = connections(1);
        let receiver = receive_by(vec![software(Window::Kib32)], Arc::clone(&destination), there);
        let config = SenderConfig { max_pages: PageCount(4), ..config(&[Method::Deflate]) };
        // With room for every request there is no reason to go further.
        let accelerator = qat.accelerator(QatConfig { requests: 128, ..patient() });
        let mut sender = Sender::new(Arc::clone(&source), &[accelerator], here, config).unwrap();
        sender.send_round(&DirtyBitmap::all(&source)).unwrap();
        sender.finish().unwrap();
        receiver.join().unwrap().unwrap();
        assert_eq!(first_difference(&source, &destination), None);
        let used: Vec<bool> = qat.report().most_in_flight.iter().map(|&most| most > 0).collect();
        let near: Vec<bool> = [0, 1, 0, 1].map(|of_instance| of_instance == node).to_vec();
        assert_eq!(used, near, "pages of node {node}");
    }
}

#[test]
fn instances_hold_as_many_requests_as_they_were_told_and_complete_them_in_any_order() {
    const DEPTH: usize = 12;
    let latency = Duration::from_millis(5);
    let plan = FaultPlan::one(When::At(3), Fault::Late(Duration::from_millis(20)));
    let qat = QatStandIn::new(Config { instances: 2, latency, plan, ..Config::default() });
    let accelerator = qat.accelerator(QatConfig { requests: DEPTH, ..patient() });
    let ram = guest(300, PageSize::Kib4);
    fill(&ram, 1);
    let mut single = Single::open(&*accelerator, &ram, PageCount(4)).unwrap();
    let asked: Vec<_> =
        (0..2 * DEPTH as u64).map(|index| Run::data(PageIndex(4 * index), PageCount(4))).collect();
    let completions = single.encode_at_once(Method::Deflate, &asked);
    assert_eq!(completions.len(), 2 * DEPTH);
    for completion in &completions {
        completion.result.as_ref().expect("nothing is wrong");
        assert_eq!(completion.request.detours.copied, 0);
    }
    let report = qat.report();
    assert_eq!(report.most_in_flight, [12, 12], "{report:?}");
    assert!(report.out_of_order > 0, "{report:?}");
}
