//! Page faults: resumed by the device, or done by the CPU.

use std::sync::atomic::{AtomicBool, Ordering};

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::opcode::Opcode;

use super::bench::{Bench, Silicon, config, counts, facts, some_runs};
use crate::codec::deflate::Window;
use crate::idxd::iaa::{Huffman, IaaConfig};
use crate::method::Method;
use crate::queue::Failure;
use crate::request::Detours;
use crate::run::Run;
use crate::units::{PageCount, PageIndex, PageSize};

fn compresses(descriptor: &Descriptor) -> bool {
    descriptor.opcode() == Opcode::COMPRESS && !counts(descriptor)
}

fn decompresses(descriptor: &Descriptor) -> bool {
    descriptor.opcode() == Opcode::DECOMPRESS
}

fn fault(descriptor: &Descriptor) -> IaaCompletion {
    IaaCompletion { status: 0x03, fault_address: descriptor.source, ..IaaCompletion::default() }
}

/// Has the device meet a page fault at the first descriptor of this kind.
fn fault_once(silicon: &Silicon, kind: fn(&Descriptor) -> bool) {
    let over = AtomicBool::new(false);
    silicon.obey(move |_, descriptor, execute| {
        if kind(descriptor) && !over.swap(true, Ordering::Relaxed) { fault(descriptor) } else { execute() }
    });
}

/// A device whose queue resumed as many faults as it takes to try the other way next.
fn practised(huffman: Huffman) -> (Silicon, Bench) {
    let silicon = Silicon::new(&[facts()]);
    let source = Bench::iaa(&silicon, IaaConfig { huffman, ..config() }, PageSize::Kib4);
    source.fill(|page| page == 22);
    for _ in 0..4 {
        fault_once(&silicon, compresses);
        let sent = source.encode(&some_runs());
        assert_eq!((sent.detours.page_faults_resumed, sent.detours.page_faults_on_cpu), (1, 0));
    }
    (silicon, source)
}

#[test]
fn whatever_met_a_page_fault_may_be_done_by_the_cpu() {
    let cpu = Bench::cpu(Window::Kib4, PageSize::Kib4);
    // How many pieces fewer the device compresses and verifies.
    for (kind, compressed_less, verified_less) in
        [(counts as fn(&_) -> _, 1, 1), (compresses, 0, 1), (decompresses, 0, 0)]
    {
        let (silicon, source) = practised(Huffman::Dynamic);
        fault_once(&silicon, kind);
        let sent = source.encode(&some_runs());
        let detours = Detours { page_faults_on_cpu: 1, did_not_shrink: 1, ..Detours::default() };
        assert_eq!(sent.detours, detours);
        cpu.decode(&sent).unwrap();
        cpu.assert_same(&source, &some_runs());
        let taken = silicon.taken();
        let [counted, compressed, verified] =
            [counts, compresses, decompresses].map(|kind| taken.iter().filter(|taken| kind(taken)).count());
        assert_eq!(compressed, counted - compressed_less);
        assert_eq!(verified, 2 * (counted - 1 - verified_less), "one piece is raw");
    }
}

#[test]
fn a_piece_that_the_cpu_cannot_shrink_either_travels_raw() {
    let (silicon, source) = practised(Huffman::Fixed);
    let cpu = Bench::cpu(Window::Kib4, PageSize::Kib4);
    let run = [Run::data(PageIndex(22), PageCount::ONE)];
    fault_once(&silicon, compresses);
    let sent = source.encode(&run);
    assert_eq!((sent.detours.page_faults_on_cpu, sent.detours.did_not_shrink), (1, 1));
    assert_eq!(sent.segments[0].method, Method::Raw);
    cpu.decode(&sent).unwrap();
    cpu.assert_same(&source, &run);
}

#[test]
fn a_request_that_the_device_never_gets_through_is_done_by_the_cpu_alone() {
    let cpu = Bench::cpu(Window::Kib4, PageSize::Kib4);
    for huffman in [Huffman::Fixed, Huffman::Dynamic, Huffman::Canned] {
        let [silicon, other] = [(); 2].map(|()| Silicon::new(&[facts()]));
        let source = Bench::iaa(&silicon, IaaConfig { huffman, ..config() }, PageSize::Kib4);
        let destination = Bench::iaa(&other, config(), PageSize::Kib4);
        source.fill(|page| page == 22);
        destination.fill(|_| true);
        for silicon in [&silicon, &other] {
            silicon.obey(|_, descriptor, _| fault(descriptor));
        }
        for _ in 0..3 {
            let sent = source.encode(&some_runs());
            let pieces = u32::try_from(sent.segments.len()).unwrap();
            assert!(sent.detours.page_faults_on_cpu >= pieces, "{:?}", sent.detours);
            cpu.decode(&sent).unwrap();
            cpu.assert_same(&source, &some_runs());
            let arrived = destination.decode(&sent).unwrap();
            let deflate = sent.segments.iter().filter(|segment| segment.method == Method::Deflate).count();
            assert_eq!(arrived.detours.page_faults_on_cpu, u32::try_from(deflate).unwrap());
            assert_eq!(arrived.detours.copied, 0);
            destination.assert_same(&source, &some_runs());
        }
        // Nobody made codes, and the next request still can.
        silicon.obey(|_, _, execute| execute());
        source.encode(&some_runs());
        assert_eq!(silicon.taken().iter().any(counts), huffman != Huffman::Fixed);
    }
}

#[test]
fn what_the_device_did_wrong_is_seen_by_the_cpu_too() {
    for (crc, output_bytes, words) in [(1, 0, "has the checksum"), (0, 1, "is wrong"), (0, -1, "is wrong")] {
        let (silicon, source) = practised(Huffman::Fixed);
        silicon.obey(move |number, descriptor, execute| {
            let mut record = execute();
            if number == 0 {
                record.crc ^= crc;
                record.output_bytes = record.output_bytes.saturating_add_signed(output_bytes);
            }
            if decompresses(descriptor) { fault(descriptor) } else { record }
        });
        let (request, result) = source.run(source.request(&[Run::data(PageIndex(0), PageCount(4))]));
        let Err(Failure::Device { status, .. }) = result else { panic!("{result:?}") };
        assert!(status.contains(words), "{status}");
        assert!(request.segments.is_empty() && request.payload.is_empty());
    }
}

#[test]
fn decoding_is_resumed_or_done_by_the_cpu_and_a_bad_stream_is_bad_either_way() {
    let silicon = Silicon::new(&[facts()]);
    let (source, destination) = (
        Bench::iaa(&Silicon::new(&[facts()]), config(), PageSize::Kib4),
        Bench::iaa(&silicon, config(), PageSize::Kib4),
    );
    source.fill(|page| page == 22);
    let sent = source.encode(&some_runs());
    for number in 0..8 {
        destination.fill(|_| true);
        fault_once(&silicon, decompresses);
        let detours = destination.decode(&sent).unwrap().detours;
        let expected = if number < 4 { (1, 0) } else { (0, 1) };
        assert_eq!((detours.page_faults_resumed, detours.page_faults_on_cpu), expected);
        destination.assert_same(&source, &some_runs());
    }
    silicon.obey(|_, descriptor, _| fault(descriptor));
    let mut arrived = destination.arrived(&sent);
    arrived.payload.buffer()[0] |= 0b110;
    let (_, result) = destination.run(arrived);
    assert!(
        matches!(&result, Err(Failure::Device { status, .. }) if status.contains("not a deflate stream")),
        "{result:?}"
    );
    let mut wrong = destination.arrived(&sent);
    wrong.checksum ^= 1;
    assert!(matches!(destination.run(wrong).1, Err(Failure::ChecksumMismatch { .. })));
    destination.decode(&sent).unwrap();
}
