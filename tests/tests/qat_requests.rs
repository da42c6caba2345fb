//! What QAT's driver leaves in a request, by hand on the stand-in for the vendor's library: methods, baselines, counts, pages, and
//! the words for requests that it does not take.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::baseline::{Baseline, BaselineCache, Known};
use pageferry_accel::checksum::ChecksumKind;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::qat::{Huffman, QatConfig};
use pageferry_accel::queue::Queue;
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};
use pageferry_tests::bench::{Bench, completed, submit};
use pageferry_tests::guest::{Noise, guest, page_bytes};
use pageferry_tests::qat::{QatStandIn, patient};
use pageferry_tests::watchdog::Watchdog;

/// Text, zero, text and noise by turns: with requests of two pages, those that shrink and those that do not.
fn source() -> Arc<GuestRam> {
    let ram = guest(32, PageSize::Kib4);
    let mut noise = Noise(9);
    for page in 0..32 {
        let mut bytes = [0; 4096];
        match page % 4 {
            1 => {}
            3 => bytes.iter_mut().for_each(|byte| *byte = noise.byte()),
            _ => bytes.fill(b'p'),
        }
        ram.copy_in(PageIndex(page), &bytes);
    }
    ram
}

fn run(queue: &dyn Queue, request: Box<Request>) -> (Box<Request>, Result<(), String>) {
    submit(queue, request, &mut Vec::new());
    let completion = completed(queue, 1).remove(0);
    (completion.request, completion.result.map_err(|failure| failure.to_string()))
}

#[test]
fn pages_that_are_all_zero_are_no_work_for_a_device_and_are_zero_at_the_destination() {
    let qat = QatStandIn::new(Config::default());
    let (ram, target) = (source(), source());
    let (bench, other) = (Bench::new(&ram, PageCount(8)), Bench::new(&target, PageCount(8)));
    let (encoder, decoder) = (bench.open(&*qat.one()), other.open(&*qat.one()));
    let (sent, result) = run(&*encoder, bench.encode(1, 1));
    result.unwrap();
    assert_eq!((sent.method, sent.checksum_kind, sent.payload.len()), (Method::Zero, ChecksumKind::None, 0));
    assert_eq!(
        (sent.runs.as_slice(), sent.segments.len()),
        ([Run::zero(PageIndex(1), PageCount::ONE)].as_slice(), 0)
    );
    target.copy_in(PageIndex(1), &[5; 4096]);
    run(&*decoder, other.decode(&sent)).1.unwrap();
    assert!(page_bytes(&target, PageIndex(1)).iter().all(|&byte| byte == 0));
    assert_eq!(qat.report().submissions, 0);
}

#[test]
fn a_baseline_is_what_was_copied_or_absent_where_the_device_read_live_pages() {
    for map in [true, false] {
        let qat = QatStandIn::new(Config { map, ..Config::default() });
        let ram = source();
        let mut cache = BaselineCache::new(&ram, usize::try_from(ram.bytes()).unwrap()).unwrap();
        let mut bench = Bench::new(&ram, PageCount(8));
        bench.attachment.baselines = Some(Arc::clone(cache.arena()));
        let queue = bench.open(&*qat.one());
        let mut request = bench.encode(0, 8);
        request.baselines.extend((0..8).map(|page| {
            let mut baseline = cache.take(PageIndex(page));
            baseline.iter_mut().for_each(|baseline| baseline.set(&[1; 4096]));
            baseline
        }));
        let (request, result) = run(&*queue, request);
        result.unwrap();
        for (page, baseline) in (0..8).map(PageIndex).zip(&request.baselines) {
            let baseline: &Baseline = baseline.as_ref().unwrap();
            let known = match page.0 % 4 {
                1 => Known::Zero,
                _ if map => Known::Nothing,
                _ => Known::Bytes,
            };
            assert_eq!(baseline.known(), known, "page {page}, map: {map}");
            let exact = baseline.exact().is_none_or(|bytes| bytes == page_bytes(&ram, page));
            assert!(exact, "page {page}, map: {map}");
        }
    }
}

#[test]
fn pages_are_counted_that_did_not_shrink_or_were_copied() {
    for map in [true, false] {
        let qat = QatStandIn::new(Config { map, ..Config::default() });
        let (ram, target) = (source(), guest(32, PageSize::Kib4));
        let (bench, other) = (Bench::new(&ram, PageCount(8)), Bench::new(&target, PageCount(8)));
        let (encoder, decoder) = (bench.open(&*qat.one()), other.open(&*qat.one()));
        for (first, pages, did_not_shrink) in [(0, 8, 0), (3, 1, 1)] {
            let (sent, result) = run(&*encoder, bench.encode(first, pages));
            result.unwrap();
            let copied = if map { 0 } else { sent.data_pages().0 };
            assert_eq!((sent.detours.did_not_shrink, sent.detours.copied), (did_not_shrink, copied));
            let (decoded, result) = run(&*decoder, other.decode(&sent));
            result.unwrap();
            // What is raw in the payload is the CPU's to write, and not for want of reach.
            let copied = if did_not_shrink > 0 { 0 } else { copied };
            assert_eq!(decoded.detours.copied, copied);
        }
    }
}

#[test]
fn memory_that_one_queue_mapped_is_mapped_again_for_the_next() {
    let qat = QatStandIn::new(Config { instances: 1, ..Config::default() });
    let ram = source();
    let bench = Bench::new(&ram, PageCount(8));
    for _ in 0..3 {
        let queue = bench.open(&*qat.one());
        let (request, result) = run(&*queue, bench.encode(0, 8));
        result.unwrap();
        assert_eq!(request.detours.copied, 0);
        drop(queue);
        assert_eq!(qat.report().allocated, 0, "pinned memory is the driver's again");
    }
}

#[test]
fn pages_of_which_the_device_states_too_many_bytes_are_not_decoded() {
    let plan = FaultPlan::one(When::At(1), Fault::WrongProduced);
    let qat = QatStandIn::new(Config { plan, ..Config::default() });
    let (ram, target) = (source(), guest(32, PageSize::Kib4));
    let (bench, other) = (Bench::new(&ram, PageCount(8)), Bench::new(&target, PageCount(8)));
    let (encoder, decoder) = (bench.open(&*qat.one()), other.open(&*qat.one()));
    let (sent, result) = run(&*encoder, bench.encode(0, 1));
    result.unwrap();
    let words = run(&*decoder, other.decode(&sent)).1.unwrap_err();
    assert!(words.contains("a segment of 4096 bytes became"), "{words}");
}

#[test]
fn codes_are_made_for_the_data_unless_fixed_ones_are_asked_for() {
    let qat = QatStandIn::new(Config::default());
    let ram = guest(32, PageSize::Kib4);
    // Few letters in no order: nothing to match, and codes of their own are shorter by half.
    let mut noise = Noise(3);
    for page in 0..8 {
        let bytes: Vec<u8> = (0..4096).map(|_| b"abcdefgh"[usize::from(noise.byte() % 8)]).collect();
        ram.copy_in(PageIndex(page), &bytes);
    }
    let bench = Bench::new(&ram, PageCount(8));
    let bytes = |huffman| {
        let queue = bench.open(&*qat.accelerator(QatConfig { huffman, instances: Some(1), ..patient() }));
        let (request, result) = run(&*queue, bench.encode(0, 8));
        result.unwrap();
        request.payload.len()
    };
    assert!(bytes(Huffman::Dynamic) < bytes(Huffman::Static));
}

#[test]
fn queues_are_on_the_nodes_of_their_devices_and_as_many_as_were_asked_for() {
    let qat = QatStandIn::new(Config { instances: 4, nodes: vec![1, 0], ..Config::default() });
    let bench = Bench::new(&source(), PageCount(8));
    let accelerator = qat.accelerator(QatConfig { instances: Some(3), ..patient() });
    let queues = accelerator.open(&bench.attachment).unwrap();
    assert_eq!(queues.iter().map(|queue| queue.numa_node()).collect::<Vec<_>>(), [Some(1), Some(0), Some(1)]);
    assert_eq!(accelerator.capabilities().queues, 3);
    let rest = || qat.accelerator(patient()).open(&bench.attachment).map(|queues| queues.len());
    assert_eq!(rest().unwrap(), 1, "one is left, and then given back");
    assert_eq!(rest().unwrap(), 1);
}

/// There is no payload but those that the queue and the request begin with.
#[test]
fn buffers_that_late_requests_were_given_are_given_again() {
    let _watchdog = Watchdog::over("late requests and their buffers");
    let late = Fault::Late(Duration::from_millis(200));
    let plan = FaultPlan::one(When::At(0), late).and(When::At(1), late).and(When::At(2), late);
    let qat = QatStandIn::new(Config { instances: 1, plan, ..Config::default() });
    let ram = source();
    let bench = Bench::with_payloads(&ram, PageCount(8), 2);
    let deadline = Duration::from_millis(1);
    let queue = bench.open(&*qat.accelerator(QatConfig { requests: 1, deadline, ..patient() }));
    let mut request = bench.encode(0, 8);
    for _ in 0..3 {
        (request, _) = run(&*queue, request);
        let range = bench.attachment.payloads.range();
        let address = request.payload.address();
        assert!(
            range.host <= address && address < range.host.offset(range.bytes),
            "{address} is beside the arena"
        );
        request.reset(Direction::Encode);
        request.runs.push(Run::data(PageIndex(0), PageCount(8)));
    }
}

#[test]
fn a_request_that_the_device_does_not_do_fails_with_words_for_it_and_is_as_it_was() {
    let qat = QatStandIn::new(Config::default());
    let (ram, target) = (source(), guest(32, PageSize::Kib4));
    let (bench, other) = (Bench::new(&ram, PageCount(8)), Bench::new(&target, PageCount(8)));
    let (encoder, decoder) = (bench.open(&*qat.one()), other.open(&*qat.one()));
    let mut request = bench.encode(0, 8);
    request.method = Method::Zstd;
    let (request, result) = run(&*encoder, request);
    assert_eq!(result.unwrap_err(), "qat/SSL_INT_0: it encodes by deflate alone; zstd was asked for");
    assert_eq!((request.method, request.runs.len()), (Method::Zstd, 1));
    let (sent, result) = run(&*encoder, bench.encode(0, 1));
    result.unwrap();
    let segment = |method, pages, bytes| Segment { method, pages: PageCount(pages), bytes };
    let bytes = u32::try_from(sent.payload.len()).unwrap();
    for (segment, words) in [
        (segment(Method::Deflate, 1, bytes + 1), "segment 0 goes beyond the payload"),
        (segment(Method::Deflate, 1, 0), "segment 0 (deflate) is none that it decodes"),
        (segment(Method::Raw, 1, bytes), "segment 0 (raw) is none that it decodes"),
        (segment(Method::Lz4, 1, bytes), "segment 0 (lz4) is none that it decodes"),
        (segment(Method::Deflate, 2, bytes), "its segments have more pages than its runs"),
    ] {
        let mut request = other.decode(&sent);
        request.segments[0] = segment;
        let (_, result) = run(&*decoder, request);
        assert_eq!(result.unwrap_err(), format!("qat/SSL_INT_1: {words}"));
    }
    run(&*decoder, other.decode(&sent)).1.unwrap();
    assert!(page_bytes(&target, PageIndex(0)) == page_bytes(&ram, PageIndex(0)));
}
