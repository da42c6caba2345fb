//! From a payload into guest memory, of payloads that are in order and of those that are not.

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::flags::DescriptorFlags;

use super::bench::{Bench, Silicon, config, facts, some_runs};
use crate::checksum::ChecksumKind;
use crate::codec::deflate::Window;
use crate::idxd::device::QueueFacts;
use crate::idxd::iaa::{Huffman, IaaConfig};
use crate::method::Method;
use crate::queue::Failure;
use crate::request::{Detours, Request};
use crate::run::{Run, Segment};
use crate::units::{PageCount, PageIndex, PageSize};

fn iaa(silicon: &Silicon) -> Bench {
    let bench = Bench::iaa(silicon, config(), PageSize::Kib4);
    // So that what is not written is seen.
    bench.fill(|_| true);
    bench
}

fn refused(destination: &Bench, request: Box<Request>) -> String {
    match destination.run(request).1 {
        Err(Failure::Device { status, .. }) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_device_decodes_what_a_device_made_to_where_it_belongs() {
    for (huffman, page_size) in [
        (Huffman::Fixed, PageSize::Kib4),
        (Huffman::Dynamic, PageSize::Kib4),
        (Huffman::Canned, PageSize::Kib16),
    ] {
        let silicon = Silicon::new(&[facts()]);
        let source = Bench::iaa(&Silicon::new(&[facts()]), IaaConfig { huffman, ..config() }, page_size);
        let destination = Bench::iaa(&silicon, config(), page_size);
        source.fill(|page| page == 25 || page == 26);
        destination.fill(|_| true);
        let sent = source.encode(&some_runs());
        let arrived = destination.decode(&sent).unwrap();
        assert_eq!(arrived.detours, Detours::default(), "nothing was copied");
        destination.assert_same(&source, &some_runs());
        let segments = sent.segments.iter().filter(|segment| segment.method == Method::Deflate);
        assert_eq!(silicon.taken().len(), segments.count());
    }
}

#[test]
fn the_device_decodes_what_software_made_with_its_window() {
    let silicon = Silicon::new(&[facts()]);
    let source = Bench::cpu(Window::Kib4, PageSize::Kib4);
    let destination = iaa(&silicon);
    source.fill(|_| false);
    let sent = source.encode(&some_runs());
    assert_eq!(sent.checksum_kind, ChecksumKind::Crc32c);
    let arrived = destination.decode(&sent).unwrap();
    assert_eq!(arrived.detours.copied, sent.data_pages().0, "one stream for several runs");
    assert!(silicon.taken()[0].flags().contains(DescriptorFlags::CRC_RFC3720));
    destination.assert_same(&source, &some_runs());

    let one_run = [Run::data(PageIndex(5), PageCount(4))];
    let arrived = destination.decode(&source.encode(&one_run)).unwrap();
    assert_eq!(arrived.detours.copied, 0, "one stream for one run");
    destination.assert_same(&source, &one_run);
}

#[test]
fn segments_across_the_ends_of_runs_go_by_way_of_the_slot_and_the_others_do_not() {
    let silicon = Silicon::new(&[facts()]);
    let (source, destination) = (iaa(&Silicon::new(&[facts()])), iaa(&silicon));
    Bench::pages().for_each(|page| {
        source.write(page, |byte| (byte / 100 + usize::try_from(page.0).unwrap()).to_le_bytes()[0])
    });
    let sent = source.encode(&[Run::data(PageIndex(0), PageCount(16))]);
    assert_eq!(sent.segments.len(), 4);
    let mut arrived = destination.arrived(&sent);
    arrived.runs.clear();
    for (first, count) in [(0, 2), (2, 4), (6, 4), (10, 6)] {
        arrived.runs.push(Run::data(PageIndex(first), PageCount(count)));
    }
    let (arrived, result) = destination.run(arrived);
    result.unwrap();
    assert_eq!(arrived.detours.copied, 12, "three segments of four");
    destination.assert_same(&source, &sent.runs);
}

#[test]
fn raw_and_zero_pages_need_no_device() {
    let silicon = Silicon::new(&[facts()]);
    let (source, destination) = (Bench::cpu(Window::Kib4, PageSize::Kib4), iaa(&silicon));
    source.fill(|page| page % 5 != 4);
    destination.decode(&source.encode(&some_runs())).unwrap();
    assert!(silicon.taken().is_empty());
    destination.assert_same(&source, &some_runs());
}

#[test]
fn a_window_of_32_kib_is_left_to_the_cpu() {
    let destination = iaa(&Silicon::new(&[facts()]));
    let source = Bench::cpu(Window::Kib32, PageSize::Kib4);
    // The same noise again after two pages.
    let mut noise = 1_u32;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    })
    .take(8192)
    .collect();
    let run = Run::data(PageIndex(0), PageCount(8));
    for page in run.pages() {
        let from = if page.0 % 2 == 0 { 0 } else { 4096 };
        source.write(page, |byte| bytes[from + byte]);
    }
    let sent = source.encode(&[run]);
    assert_eq!(sent.segments[0].method, Method::Deflate);
    let (arrived, result) = destination.run(destination.arrived(&sent));
    let Err(Failure::Device { status, .. }) = result else { panic!("{result:?}") };
    assert!(status.contains("distance"), "{status}");
    let other = Bench::cpu(Window::Kib4, PageSize::Kib4);
    other.run(arrived).1.unwrap();
    other.assert_same(&source, &[run]);
}

#[test]
fn pages_that_are_not_those_that_were_encoded_are_the_requests_fault() {
    let silicon = Silicon::new(&[facts()]);
    let (source, destination) = (iaa(&Silicon::new(&[facts()])), iaa(&silicon));
    source.fill(|page| page == 22);
    let mut sent = source.encode(&some_runs());
    sent.checksum ^= 1;
    let failure = destination.decode(&sent).unwrap_err();
    assert!(
        matches!(failure, Failure::ChecksumMismatch { stated, .. } if stated == sent.checksum),
        "{failure}"
    );
    sent.checksum ^= 1;
    // The CPU's part of it counts as well.
    let mut arrived = destination.arrived(&sent);
    let raw = sent.segments.iter().position(|segment| segment.method == Method::Raw).unwrap();
    let before: u32 = sent.segments[..raw].iter().map(|segment| segment.bytes).sum();
    arrived.payload.buffer()[before as usize] ^= 1;
    let failure = destination.run(arrived).1.unwrap_err();
    assert!(matches!(failure, Failure::ChecksumMismatch { .. }), "{failure}");
}

#[test]
fn a_stream_that_the_device_calls_bad_is_for_the_cpu_to_judge() {
    let (source, destination) = (iaa(&Silicon::new(&[facts()])), iaa(&Silicon::new(&[facts()])));
    source.fill(|_| false);
    let sent = source.encode(&some_runs());
    let mut arrived = destination.arrived(&sent);
    // A block type that does not exist.
    arrived.payload.buffer()[0] |= 0b110;
    let status = refused(&destination, arrived);
    assert!(status.contains("block type"), "{status}");
    // A stream of another length than its pages.
    for (from, to) in [(0, 1), (1, 0)] {
        let mut arrived =
            destination.arrived(&source.encode(&[Run::data(PageIndex(0), PageCount(2 + from))]));
        arrived.runs[0].count = PageCount(2 + to);
        arrived.segments[0].pages = PageCount(2 + to);
        refused(&destination, arrived);
    }
}

#[test]
fn a_page_fault_is_met_by_touching_the_page_and_decoding_again() {
    let silicon = Silicon::new(&[facts()]);
    let (source, destination) = (iaa(&Silicon::new(&[facts()])), iaa(&silicon));
    source.fill(|_| false);
    let sent = source.encode(&some_runs());
    silicon.obey(|number, descriptor, execute| match number {
        0 => IaaCompletion { status: 0x83, fault_address: descriptor.destination, ..Default::default() },
        1 => IaaCompletion { status: 0x03, fault_address: descriptor.source, ..Default::default() },
        _ => execute(),
    });
    let arrived = destination.decode(&sent).unwrap();
    assert_eq!(arrived.detours.page_faults_resumed, 2);
    destination.assert_same(&source, &some_runs());
}

#[test]
fn tables_that_do_not_agree_are_refused_before_the_device_sees_them() {
    let silicon = Silicon::new(&[facts()]);
    let (source, destination) = (iaa(&Silicon::new(&[facts()])), iaa(&silicon));
    source.fill(|page| page == 22);
    let sent = source.encode(&some_runs());
    let raw = sent.segments.iter().position(|segment| segment.method == Method::Raw).unwrap();
    let spoil: [&dyn Fn(&mut Request); 7] = [
        &|request| request.segments[0].bytes = u32::MAX,
        &|request| request.segments[0].pages = PageCount(1 << 20),
        &|request| request.segments[0].bytes = 0,
        &|request| request.segments[0].method = Method::Delta,
        &|request| request.segments[raw].bytes -= 1,
        &|request| request.payload.clear(),
        &|request| request.segments.push(Segment { method: Method::Raw, pages: PageCount::ONE, bytes: 4096 }),
    ];
    for (number, spoil) in spoil.iter().enumerate() {
        let mut arrived = destination.arrived(&sent);
        spoil(&mut arrived);
        let status = refused(&destination, arrived);
        assert!(status.contains("segment"), "{number}: {status}");
        assert!(silicon.taken().is_empty(), "{number}");
    }
    destination.decode(&sent).unwrap();
}

#[test]
fn a_segment_that_is_longer_than_a_transfer_is_left_to_others() {
    let silicon = Silicon::new(&[QueueFacts { max_transfer_bytes: 1 << 14, ..facts() }]);
    let (source, destination) = (Bench::cpu(Window::Kib4, PageSize::Kib4), iaa(&silicon));
    source.fill(|_| false);
    let status =
        refused(&destination, destination.arrived(&source.encode(&[Run::data(PageIndex(0), PageCount(6))])));
    assert!(status.contains("16384"), "{status}");
    destination.decode(&source.encode(&[Run::data(PageIndex(5), PageCount(4))])).unwrap();
}
