//! From guest memory into a payload, by a device that does well and by one that does not.

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::operands::IaaOperands;

use super::bench::{Bench, PAGES, SECOND_REGION, Silicon, config, counts, facts, known, some_runs};
use crate::baseline::{BaselineCache, Known};
use crate::checksum::ChecksumKind;
use crate::codec::deflate::Window;
use crate::idxd::device::QueueFacts;
use crate::idxd::iaa::{Huffman, IaaConfig};
use crate::method::Method;
use crate::queue::Failure;
use crate::request::Detours;
use crate::run::{Content, Run, Segment};
use crate::units::{PageCount, PageIndex, PageSize};

fn bench(silicon: &Silicon, huffman: Huffman) -> Bench {
    Bench::iaa(silicon, IaaConfig { huffman, ..config() }, PageSize::Kib4)
}

/// Without the descriptors that verify.
fn unverified(silicon: &Silicon, huffman: Huffman) -> Bench {
    Bench::iaa(silicon, IaaConfig { huffman, verify: false, ..config() }, PageSize::Kib4)
}

fn pages_of(segments: &[Segment], method: Method) -> u32 {
    segments.iter().filter(|segment| segment.method == method).map(|segment| segment.pages.0).sum()
}

#[test]
fn software_decodes_what_the_device_made_whatever_the_codes_and_the_page_size() {
    let (small, large) = (PageSize::Kib4, PageSize::Kib64);
    for (huffman, page_size, runs) in [
        (Huffman::Fixed, small, some_runs()),
        (Huffman::Dynamic, small, some_runs()),
        (Huffman::Canned, small, some_runs()),
        (Huffman::Canned, PageSize::Kib16, some_runs()),
        (Huffman::Dynamic, large, vec![Run::data(PageIndex(2), PageCount(5))]),
    ] {
        let source = Bench::iaa(&Silicon::new(&[facts()]), IaaConfig { huffman, ..config() }, page_size);
        let destination = Bench::cpu(Window::Kib32, page_size);
        source.fill(|page| page == 3);
        for _ in 0..2 {
            let sent = source.encode(&runs);
            assert_eq!(sent.checksum_kind, ChecksumKind::Crc32);
            assert!(sent.payload.len() < page_size.bytes_of(sent.data_pages()) * 3 / 4);
            destination.decode(&sent).unwrap();
            destination.assert_same(&source, &runs);
        }
    }
}

#[test]
fn codes_of_the_pages_make_smaller_payloads_than_fixed_ones() {
    let bytes = [Huffman::Fixed, Huffman::Dynamic, Huffman::Canned].map(|huffman| {
        let source = bench(&Silicon::new(&[facts()]), huffman);
        source.fill(|_| false);
        (source.encode(&some_runs()).payload.len(), source.encode(&some_runs()).payload.len())
    });
    let [fixed, dynamic, canned] = bytes;
    assert!(dynamic.0 < fixed.0 * 9 / 10, "{bytes:?}");
    assert_eq!(canned, dynamic, "the same pages have the same codes");
}

#[test]
fn canned_codes_cost_one_pass_for_the_first_request_alone() {
    let silicon = Silicon::new(&[facts()]);
    let source = unverified(&silicon, Huffman::Canned);
    source.fill(|_| false);
    let passes = |_| {
        source.encode(&some_runs());
        let taken = silicon.taken();
        (taken.iter().filter(|taken| counts(taken)).count(), taken.len())
    };
    let [first, second, third] = [0, 1, 2].map(passes);
    assert_eq!(first, (first.1 / 2, first.1));
    assert_eq!(second, (0, first.1 / 2));
    assert_eq!(third, second);
}

#[test]
fn pieces_keep_every_engine_busy_and_are_not_smaller_than_that_takes() {
    for (engines, max_transfer, run, expected) in [
        (4, 1 << 21, 32, vec![8, 8, 8, 8]),
        (1, 1 << 21, 32, vec![32]),
        (64, 1 << 21, 10, vec![3, 3, 4]),
        (8, 1 << 21, 4, vec![4]),
        (1, 3 << 12, 7, vec![2, 2, 3]),
    ] {
        let silicon = Silicon::new(&[QueueFacts { engines, max_transfer_bytes: max_transfer, ..facts() }]);
        let source = unverified(&silicon, Huffman::Fixed);
        Bench::pages().for_each(|page| source.write(page, |byte| u8::from(byte % 9 == 0)));
        source.encode(&[Run::data(PageIndex(0), PageCount(run))]);
        let pieces: Vec<_> = silicon.taken().iter().map(|taken| taken.bytes >> 12).collect();
        assert_eq!(pieces, expected, "{engines} engines");
    }
}

#[test]
fn zero_pages_are_found_before_the_device_sees_them_if_that_is_asked_for() {
    for detect_zero in [true, false] {
        let silicon = Silicon::new(&[facts()]);
        let source = Bench::iaa(&silicon, IaaConfig { detect_zero, ..config() }, PageSize::Kib4);
        let destination = Bench::cpu(Window::Kib32, PageSize::Kib4);
        source.fill(|_| false);
        destination.fill(|_| true);
        let sent = source.encode(&some_runs());
        let zero: u32 =
            sent.runs.iter().filter(|run| run.content == Content::Zero).map(|run| run.count.0).sum();
        assert_eq!(zero, if detect_zero { 12 } else { 0 });
        destination.decode(&sent).unwrap();
        destination.assert_same(&source, &some_runs());
    }
}

#[test]
fn a_request_of_zero_pages_has_nothing_for_the_device() {
    let silicon = Silicon::new(&[facts()]);
    let source = bench(&silicon, Huffman::Canned);
    let sent = source.encode(&some_runs());
    assert_eq!((sent.method, sent.checksum_kind), (Method::Zero, ChecksumKind::None));
    assert!(sent.payload.is_empty() && sent.segments.is_empty() && silicon.taken().is_empty());
}

#[test]
fn pages_that_do_not_shrink_travel_raw_and_are_counted() {
    let source = bench(&Silicon::new(&[facts()]), Huffman::Canned);
    let destination = Bench::cpu(Window::Kib32, PageSize::Kib4);
    // The last region, and one run of the first.
    source.fill(|page| page >= SECOND_REGION || (25..32).contains(&page));
    for _ in 0..3 {
        let sent = source.encode(&some_runs());
        assert_eq!(sent.detours, Detours { did_not_shrink: 37, ..Detours::default() });
        assert_eq!(pages_of(&sent.segments, Method::Raw), 37);
        assert_eq!(sent.segments.iter().filter(|segment| segment.method == Method::Raw).count(), 1);
        destination.decode(&sent).unwrap();
        destination.assert_same(&source, &some_runs());
    }
    source.fill(|_| true);
    let sent = source.encode(&some_runs());
    assert_eq!(pages_of(&sent.segments, Method::Raw), 58);
    assert_eq!(sent.payload.len(), 58 << 12);
    destination.decode(&sent).unwrap();
    destination.assert_same(&source, &some_runs());
}

#[test]
fn baselines_are_forgotten_but_for_pages_that_are_zero() {
    let source = bench(&Silicon::new(&[facts()]), Huffman::Canned);
    source.fill(|_| false);
    let mut cache = BaselineCache::new(&source.attachment.ram, 1 << 20).unwrap();
    let run = Run::data(PageIndex(0), PageCount(10));
    let mut request = source.request(&[run]);
    request.baselines.extend(run.pages().map(|page| cache.take(page)));
    request.baselines.iter_mut().flatten().for_each(|baseline| baseline.set(&[7; 4096]));
    let (request, result) = source.run(request);
    result.unwrap();
    let expected: Vec<_> =
        run.pages().map(|page| if page.0 % 5 == 4 { Known::Zero } else { Known::Nothing }).collect();
    assert_eq!(known(&request.baselines), expected);
}

#[test]
fn flags_are_those_that_both_the_settings_and_the_queue_have() {
    let (cache, block) = (DescriptorFlags::CACHE_CONTROL, DescriptorFlags::BLOCK_ON_FAULT);
    for (wanted, offered, expected) in [
        ((true, true), cache | block, cache | block),
        ((true, true), block, block),
        ((true, false), cache | block, cache),
        ((false, true), cache, DescriptorFlags::empty()),
    ] {
        let silicon = Silicon::new(&[QueueFacts { flags: offered, ..facts() }]);
        let config = IaaConfig { cache_control: wanted.0, block_on_fault: wanted.1, ..config() };
        let source = Bench::iaa(&silicon, config, PageSize::Kib4);
        source.fill(|_| false);
        source.encode(&some_runs());
        for descriptor in silicon.taken() {
            assert_eq!(descriptor.flags() & (cache | block), expected, "{wanted:?} of {offered:?}");
        }
    }
}

/// The record of a page fault at `address`.
fn fault(status: u8, address: u64) -> IaaCompletion {
    IaaCompletion { status, fault_address: address, ..IaaCompletion::default() }
}

#[test]
fn a_piece_that_met_a_page_fault_is_submitted_again_as_a_whole() {
    for huffman in [Huffman::Fixed, Huffman::Dynamic] {
        let silicon = Silicon::new(&[facts()]);
        let source = unverified(&silicon, huffman);
        let destination = Bench::cpu(Window::Kib32, PageSize::Kib4);
        source.fill(|page| page == 22);
        // The first three descriptors fault, each elsewhere: on the source, on the destination, nobody knows where.
        silicon.obey(|number, descriptor, execute| match number {
            0 => fault(0x03, descriptor.source + 4096),
            1 => fault(0x83, descriptor.destination),
            2 => IaaCompletion { fault_info: 1, ..fault(0x04, 0xdead_beef) },
            _ => execute(),
        });
        let sent = source.encode(&some_runs());
        assert_eq!(sent.detours, Detours { page_faults_resumed: 3, did_not_shrink: 1, ..Detours::default() });
        let taken = silicon.taken();
        let pieces = if huffman == Huffman::Fixed { taken.len() - 3 } else { (taken.len() - 3) / 2 };
        for again in 0..3 {
            let operands = taken[pieces + again].operands::<IaaOperands>();
            assert_eq!(operands, taken[again].operands(), "the whole piece");
            assert_eq!(taken[pieces + again].source, taken[again].source);
            assert_eq!(taken[pieces + again].bytes, taken[again].bytes);
        }
        destination.decode(&sent).unwrap();
        destination.assert_same(&source, &some_runs());
    }
}

/// The request fails, is as it was, and the next device can have it; and so can this one, once it behaves.
fn assert_fails_untouched(
    huffman: Huffman,
    conduct: impl Fn(
        usize,
        &pageferry_bindings::idxd::descriptor::Descriptor,
        &dyn Fn() -> IaaCompletion,
    ) -> IaaCompletion
    + Send
    + Sync
    + 'static,
) -> String {
    let silicon = Silicon::new(&[facts()]);
    let source = bench(&silicon, huffman);
    let destination = Bench::cpu(Window::Kib32, PageSize::Kib4);
    source.fill(|page| page == 5);
    silicon.obey(conduct);
    let (request, result) = source.run(source.request(&some_runs()));
    let Err(Failure::Device { device, status }) = result else { panic!("{result:?}") };
    assert_eq!(&*device, "iax1/wq1.0");
    assert_eq!(request.runs, some_runs());
    assert!(request.segments.is_empty() && request.payload.is_empty());
    assert_eq!((request.method, request.detours), (Method::Deflate, Detours::default()));
    silicon.obey(|_, _, execute| execute());
    let (request, result) = source.run(request);
    result.unwrap();
    let learns = silicon.taken().iter().any(counts);
    assert_eq!(learns, huffman == Huffman::Canned, "what was to make codes failed before it had");
    destination.decode(&request).unwrap();
    destination.assert_same(&source, &some_runs());
    status
}

#[test]
fn any_other_status_fails_the_request_in_words() {
    for (record, words) in [
        (IaaCompletion { status: 0x20, ..IaaCompletion::default() }, "hardware error"),
        (IaaCompletion { status: 0x24, ..IaaCompletion::default() }, "watchdog"),
        (IaaCompletion { status: 0x0a, error_code: 22, ..IaaCompletion::default() }, "AECS"),
        (IaaCompletion { status: 0x13, ..IaaCompletion::default() }, "size"),
        (IaaCompletion { status: 0x77, ..IaaCompletion::default() }, "0x77"),
    ] {
        for huffman in [Huffman::Fixed, Huffman::Canned] {
            let conduct =
                move |number, _: &_, execute: &dyn Fn() -> _| if number == 1 { record } else { execute() };
            let status = assert_fails_untouched(huffman, conduct);
            assert!(status.contains(words), "{status}");
        }
    }
}

#[test]
fn a_device_whose_counts_cannot_be_true_fails_the_request() {
    for spoil in [
        |record: &mut IaaCompletion| record.bytes_completed -= 1,
        |record: &mut IaaCompletion| record.output_bytes = 0,
        |record: &mut IaaCompletion| record.output_bytes = u32::MAX,
        |record: &mut IaaCompletion| record.output_bytes = record.bytes_completed,
    ] {
        let status = assert_fails_untouched(Huffman::Fixed, move |number, _, execute| {
            let mut record = execute();
            if number == 0 {
                spoil(&mut record);
            }
            record
        });
        assert!(status.starts_with("it says that"), "{status}");
    }
}

#[test]
fn a_guest_that_writes_between_the_passes_does_not_spoil_what_is_sent() {
    let silicon = Silicon::new(&[facts()]);
    let source = bench(&silicon, Huffman::Dynamic);
    let destination = Bench::cpu(Window::Kib32, PageSize::Kib4);
    Bench::pages().for_each(|page| source.write(page, |byte| u8::from(byte % 5 == 0)));
    let ram = std::sync::Arc::clone(&source.attachment.ram);
    silicon.obey(move |_, descriptor, execute| {
        if !counts(descriptor) {
            let text: Vec<u8> = (0..4096).map(|byte: usize| (byte * byte / 31).to_le_bytes()[0]).collect();
            Bench::pages().for_each(|page| ram.copy_in(page, &text));
        }
        execute()
    });
    let sent = source.encode(&some_runs());
    assert!(sent.segments.iter().any(|segment| segment.method == Method::Deflate));
    destination.decode(&sent).unwrap();
    destination.assert_same(&source, &some_runs());
}

#[test]
fn another_method_is_left_to_others() {
    let source = bench(&Silicon::new(&[facts()]), Huffman::Canned);
    let mut request = source.request(&some_runs());
    request.method = Method::Zstd;
    let (request, result) = source.run(request);
    assert!(matches!(&result, Err(Failure::Device { status, .. }) if status.contains("zstd")), "{result:?}");
    assert_eq!(request.runs, some_runs());
}

#[test]
fn every_page_a_run_of_its_own_fits_a_request() {
    let silicon = Silicon::new(&[facts()]);
    let source = bench(&silicon, Huffman::Dynamic);
    let destination = Bench::cpu(Window::Kib32, PageSize::Kib4);
    Bench::pages().for_each(|page| source.write(page, |byte| u8::from(byte % 7 == 0)));
    let runs: Vec<_> = Bench::pages()
        .take(usize::try_from(PAGES).unwrap() - 1)
        .map(|page| Run::data(page, PageCount::ONE))
        .collect();
    let sent = source.encode(&runs);
    assert_eq!((sent.segments.len(), silicon.taken().len()), (63, 4 * 63));
    destination.decode(&sent).unwrap();
    destination.assert_same(&source, &runs);
}
