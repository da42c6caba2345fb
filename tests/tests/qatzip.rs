//! QATzip for real, where its packages are installed or unpacked: on its software backup, as long as there is no device.
//! Everything that it makes must be what others read, and what others make, it must read.

use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use pageferry_accel::codec::deflate::{Deflate, Library, Window};
use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::model::fault::FaultPlan;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::qatzip::{Qatzip, QatzipConfig};
use pageferry_accel::queue::{Accelerator, Failure, OpenError, Provenance};
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::{Content, Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::sender::{SendReport, Sender};
use pageferry_tests::flaky::Completing;
use pageferry_tests::guest::{self, Noise};
use pageferry_tests::models::{self, Patience};
use pageferry_tests::packages;
use pageferry_tests::peers::{config, connections, cpu, receive_by, send_busy_rounds};
use pageferry_tests::single::{Single, payload};

/// The accelerator with two workers; without the packages, says so and why.
fn qatzip() -> Option<Arc<Qatzip>> {
    match packages::qatzip() {
        Ok(library) => {
            let qatzip =
                Qatzip::new(library, QatzipConfig { workers: 2, ..QatzipConfig::default() }).unwrap();
            println!("{}", qatzip.description());
            Some(Arc::new(qatzip))
        }
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

/// Whether hardware, or what stands in for it, does the work; says so where a test is about there being none.
fn has_device(qatzip: &Qatzip) -> bool {
    let has = matches!(qatzip.provenance(), Provenance::Hardware | Provenance::StandIn);
    if has {
        println!("skipped: there is a device ({})", qatzip.description());
    }
    has
}

const PAGES: u64 = 40;
const MAX_PAGES: PageCount = PageCount(63);
const PAGE_SIZES: [PageSize; 3] = [PageSize::Kib4, PageSize::Kib16, PageSize::Kib64];

/// Runs of several lengths, in both regions of a guest.
fn runs(page_size: PageSize) -> Vec<Run> {
    let high = (1 << 32) >> page_size.shift();
    let runs = [(0, 9), (11, 1), (13, 4), (20, 20), (high, 1), (high + 3, 25)];
    runs.map(|(first, count)| Run::data(PageIndex(first), PageCount(count))).to_vec()
}

fn open(accelerator: &dyn Accelerator, ram: &Arc<GuestRam>) -> Single {
    Single::open(accelerator, ram, MAX_PAGES).unwrap()
}

fn assert_same(page_size: PageSize, here: &GuestRam, there: &GuestRam, what: &str) {
    for page in runs(page_size).into_iter().flat_map(Run::pages) {
        let same = guest::page_bytes(here, page) == guest::page_bytes(there, page);
        assert!(same, "page {page} differs after {what}");
    }
}

/// The bytes of all pages that are not zero, in the order of their runs.
fn data(ram: &GuestRam, request: &Request) -> Vec<u8> {
    let data = request.runs.iter().filter(|run| run.content == Content::Data);
    data.flat_map(|run| run.pages()).flat_map(|page| guest::page_bytes(ram, page)).collect()
}

#[test]
fn without_a_device_it_says_that_its_software_backup_does_the_work() {
    let Some(qatzip) = qatzip() else { return };
    if has_device(&qatzip) {
        return;
    }
    assert_eq!(qatzip.provenance(), Provenance::SoftwareBackup);
    assert_eq!(qatzip.description(), "software backup: no QAT device");
    let ram = guest::guest(PAGES, PageSize::Kib4);
    guest::fill(&ram, 1);
    let mut encoder = open(&*qatzip, &ram);
    let (request, result) = encoder.encode(Method::Deflate, &runs(PageSize::Kib4));
    result.unwrap();
    assert_eq!((qatzip.work_by_hardware(), qatzip.work_by_software()), (0, 1));
    assert_eq!(request.detours.copied, 0, "copies are counted that a device needs");
}

#[test]
fn without_a_device_and_without_its_software_it_is_refused_with_what_to_do() {
    let Some(other) = qatzip() else { return };
    if has_device(&other) {
        return;
    }
    let config = QatzipConfig { software_backup: false, ..QatzipConfig::default() };
    let error = Qatzip::new(packages::qatzip().unwrap(), config).unwrap_err();
    assert!(matches!(error, OpenError::Device { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("no QAT device (-101)") && text.contains("allow its software backup"), "{text}");
}

#[test]
fn a_level_that_it_does_not_have_is_refused() {
    let Some(_) = qatzip() else { return };
    let library = packages::qatzip().unwrap();
    for level in [0, 10] {
        let error = Qatzip::new(Arc::clone(&library), QatzipConfig { level, ..QatzipConfig::default() });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("levels 1 to 9"), "{error}");
    }
}

#[test]
fn pages_of_every_kind_and_size_arrive_by_every_method() {
    let Some(qatzip) = qatzip() else { return };
    for page_size in PAGE_SIZES {
        let [source, destination, witness] = [(); 3].map(|()| guest::guest(PAGES, page_size));
        guest::fill(&source, 1);
        let mut encoder = open(&*qatzip, &source);
        let mut decoder = open(&*qatzip, &destination);
        let mut software = open(&Cpu::new(CpuConfig { workers: 1, ..CpuConfig::default() }), &witness);
        let mut noise = Noise(7);
        for method in [Method::Raw, Method::Deflate, Method::Lz4, Method::Deflate] {
            let what = format!("{method}, pages of {} bytes", page_size.bytes());
            let (request, result) = encoder.encode(method, &runs(page_size));
            result.unwrap_or_else(|failure| panic!("{what}: {failure}"));
            assert!(request.runs.iter().any(|run| run.content == Content::Zero), "no zero page was seen");
            assert_eq!(request.checksum, request.checksum_kind.of(&data(&source, &request)), "{what}");
            if method != Method::Raw {
                assert!(request.segments.iter().any(|segment| segment.method == method), "{what}");
                assert!(request.payload.len() < page_size.bytes_of(request.data_pages()) * 3 / 4, "{what}");
            }
            software.decode(&request).unwrap_or_else(|failure| panic!("{what}: {failure}"));
            assert_same(page_size, &source, &witness, &what);
            if qatzip.capabilities().can(method, Direction::Decode) {
                decoder.decode(&request).unwrap_or_else(|failure| panic!("{what}: {failure}"));
                assert_same(page_size, &source, &destination, &what);
            }
            for page in runs(page_size).into_iter().flat_map(Run::pages).step_by(3) {
                guest::scribble(&source, page, &mut noise);
            }
        }
    }
}

#[test]
fn a_plain_inflate_reads_its_streams() {
    let Some(qatzip) = qatzip() else { return };
    let source = guest::guest(PAGES, PageSize::Kib4);
    guest::fill(&source, 3);
    let (request, result) = open(&*qatzip, &source).encode(Method::Deflate, &runs(PageSize::Kib4));
    result.unwrap();
    let [Segment { method: Method::Deflate, pages, bytes }] = *request.segments else {
        panic!("not one stream: {:?}", request.segments)
    };
    let encoded = payload(&request);
    assert_eq!((pages, bytes as usize), (request.data_pages(), encoded.len()));
    let expected = data(&source, &request);
    let mut decoded = vec![0; expected.len()];
    let mut inflate = Decompress::new(false);
    let status = inflate.decompress(&encoded, &mut decoded, FlushDecompress::Finish).unwrap();
    assert_eq!((status, inflate.total_in()), (Status::StreamEnd, encoded.len() as u64));
    assert!(decoded == expected);
}

#[test]
fn pages_that_do_not_shrink_travel_raw_and_are_counted() {
    let Some(qatzip) = qatzip() else { return };
    let [source, destination] = [(); 2].map(|()| guest::guest(PAGES, PageSize::Kib4));
    let mut noise = Noise(3);
    for page in guest::pages(&source) {
        source.copy_in(page, &(0..4096).map(|_| noise.byte()).collect::<Vec<_>>());
    }
    let (mut encoder, mut decoder) = (open(&*qatzip, &source), open(&*qatzip, &destination));
    for method in [Method::Deflate, Method::Lz4] {
        let (request, result) = encoder.encode(method, &runs(PageSize::Kib4));
        result.unwrap();
        let pages = request.pages();
        assert_eq!(request.detours.did_not_shrink, pages.0, "{method}");
        assert_eq!(
            request.segments,
            [Segment { method: Method::Raw, pages, bytes: pages.0 << 12 }],
            "{method}"
        );
        decoder.decode(&request).unwrap();
        assert_same(PageSize::Kib4, &source, &destination, method.name());
    }
}

#[test]
fn a_method_that_it_does_not_have_is_a_failure_that_leaves_the_request_for_another() {
    let Some(qatzip) = qatzip() else { return };
    let source = guest::guest(PAGES, PageSize::Kib4);
    guest::fill(&source, 2);
    let mut encoder = open(&*qatzip, &source);
    let (request, result) = encoder.encode(Method::Zstd, &runs(PageSize::Kib4));
    let failure = result.unwrap_err();
    assert!(failure.to_string().contains("does not encode zstd"), "{failure}");
    assert_eq!(request.runs, runs(PageSize::Kib4), "its runs are the pages that they were");
    assert!(request.segments.is_empty());
}

/// A request of one deflate segment that some other encoder made of the source's data pages.
fn by_codec(source: &GuestRam, request: &Request, codec: &Library, window: Window) -> Request {
    let pages = data(source, request);
    let mut other = Request::with_capacity(MAX_PAGES, PageSize::Kib4);
    other.method = Method::Deflate;
    other.runs.extend_from_slice(&request.runs);
    (other.checksum_kind, other.checksum) = (request.checksum_kind, request.checksum);
    let bytes = Deflate::by(codec, 1, window).unwrap().encode(&pages, other.payload.buffer()).unwrap();
    other.payload.set_filled(bytes);
    let bytes = u32::try_from(bytes).unwrap();
    other.segments.push(Segment { method: Method::Deflate, pages: request.data_pages(), bytes });
    other
}

#[test]
fn it_reads_what_every_other_encoder_makes() {
    let Some(qatzip) = qatzip() else { return };
    let [source, destination] = [(); 2].map(|()| guest::guest(PAGES, PageSize::Kib4));
    let mut decoder = open(&*qatzip, &destination);
    let model = models::model(Profile::spr_iaa(), FaultPlan::default());
    let iaa = models::accelerator(Arc::new(model.function()), Patience::default(), Completing::Polled);
    let (mut iaa, mut software) = (open(&*iaa, &source), open(&Cpu::default(), &source));
    let mut libraries = vec![("built in", Library::BuiltIn)];
    if let Library::Isal(isal) = Library::preferred() {
        libraries.push(("ISA-L", Library::Isal(isal)));
    }
    for seed in 1..4 {
        guest::fill(&source, seed);
        let (request, result) = iaa.encode(Method::Deflate, &runs(PageSize::Kib4));
        result.unwrap();
        assert!(request.segments.iter().any(|segment| segment.method == Method::Deflate));
        decoder.decode(&request).unwrap();
        assert_same(PageSize::Kib4, &source, &destination, "deflate by the IAA model");
        for (name, library) in &libraries {
            for window in [Window::Kib4, Window::Kib32] {
                guest::fill(&source, seed << 8 | u64::from(window.bits()));
                let (request, result) = software.encode(Method::Deflate, &runs(PageSize::Kib4));
                result.unwrap();
                decoder.decode(&by_codec(&source, &request, library, window)).unwrap();
                assert_same(PageSize::Kib4, &source, &destination, &format!("deflate by {name}, {window:?}"));
            }
        }
    }
}

#[test]
fn a_payload_that_was_cut_or_spoiled_is_an_error_and_the_next_one_decodes() {
    let Some(qatzip) = qatzip() else { return };
    let [source, destination] = [(); 2].map(|()| guest::guest(PAGES, PageSize::Kib4));
    guest::fill(&source, 5);
    let (mut encoder, mut decoder) = (open(&*qatzip, &source), open(&*qatzip, &destination));
    let (good, result) = encoder.encode(Method::Deflate, &runs(PageSize::Kib4));
    result.unwrap();
    let whole = payload(&good);
    let mut noise = Noise(11);
    let mut refused = 0;
    for round in 0..60 {
        let mut spoiled = whole.clone();
        match round % 4 {
            0 => spoiled.truncate(1 + usize::try_from(noise.below(whole.len() as u64 - 1)).unwrap()),
            1 => spoiled.extend_from_slice(&whole[..1 + round]),
            2 => spoiled.iter_mut().skip(round * 7).for_each(|byte| *byte = noise.byte()),
            _ => {
                let at = usize::try_from(noise.below(whole.len() as u64)).unwrap();
                spoiled[at] ^= 1 << (round % 8);
            }
        }
        spoiled.truncate(good.data_pages().as_usize() << 12);
        let mut bad = Request::with_capacity(MAX_PAGES, PageSize::Kib4);
        bad.method = Method::Deflate;
        bad.runs.extend_from_slice(&good.runs);
        (bad.checksum_kind, bad.checksum) = (good.checksum_kind, good.checksum);
        bad.payload.buffer()[..spoiled.len()].copy_from_slice(&spoiled);
        bad.payload.set_filled(spoiled.len());
        let bytes = u32::try_from(spoiled.len()).unwrap();
        bad.segments.push(Segment { method: Method::Deflate, pages: good.data_pages(), bytes });
        match decoder.decode(&bad) {
            Err(Failure::Device { .. } | Failure::ChecksumMismatch { .. }) => refused += 1,
            other => panic!("round {round}: {other:?}"),
        }
        assert!(destination.is_zero(PageIndex(0)), "round {round}: spoiled pages reached the guest");
        // Each of the two workers has its turn with what follows.
        if round % 3 == 0 {
            decoder.decode(&good).unwrap_or_else(|failure| panic!("after round {round}: {failure}"));
            assert_same(PageSize::Kib4, &source, &destination, "what was spoiled");
            destination.clear(PageIndex(0));
        }
    }
    assert_eq!(refused, 60);
}

#[test]
fn it_goes_on_when_it_has_used_up_the_threads_keys_of_the_process() {
    let Some(qatzip) = qatzip() else { return };
    let [source, destination] = [(); 2].map(|()| guest::guest(PAGES, PageSize::Kib4));
    guest::fill(&source, 9);
    let (mut encoder, mut decoder) = (open(&*qatzip, &source), open(&*qatzip, &destination));
    let run = [Run::data(PageIndex(0), PageCount(1))];
    // Two keys a time without a device (accel/src/qatzip/mod.rs), of 1024.
    for _ in 0..600 {
        let (request, result) = encoder.encode(Method::Deflate, &run);
        result.unwrap();
        decoder.decode(&request).unwrap();
    }
    let (request, result) = encoder.encode(Method::Deflate, &runs(PageSize::Kib4));
    result.unwrap();
    decoder.decode(&request).unwrap();
    assert_same(PageSize::Kib4, &source, &destination, "1200 requests");
}

/// Sends everything, then twice what changed since, and compares the guests.
fn migrate(qatzip: &Arc<Qatzip>, methods: &[Method], with_cpu: bool) -> SendReport {
    let page_size = PageSize::Kib4;
    let (source, destination) = (guest::guest(300, page_size), guest::guest(300, page_size));
    guest::fill(&source, 1);
    let accelerators = || -> Vec<Arc<dyn Accelerator>> {
        let own: Arc<dyn Accelerator> = Arc::<Qatzip>::clone(qatzip);
        [own].into_iter().chain(with_cpu.then(cpu).into_iter().flatten()).collect()
    };
    let (ours, theirs) = connections(2);
    let receiver = receive_by(accelerators(), Arc::clone(&destination), theirs);
    let mut sender = Sender::new(Arc::clone(&source), &accelerators(), ours, config(methods)).unwrap();
    let dirty = send_busy_rounds(&mut sender, &source, &destination);
    sender.send_round(&dirty).unwrap();
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    assert_eq!(guest::first_difference(&source, &destination), None);
    for work in [&sent.accelerators, &received.accelerators] {
        let own = work.iter().find(|work| work.accelerator == "qatzip").unwrap();
        assert_eq!(own.provenance, qatzip.provenance());
        assert!(own.requests > 0, "{own:?}");
    }
    sent
}

#[test]
fn a_guest_moves_by_qatzip_alone() {
    let Some(qatzip) = qatzip() else { return };
    let sent = migrate(&qatzip, &[Method::Deflate], false);
    let (hardware, software) = (qatzip.work_by_hardware(), qatzip.work_by_software());
    assert_eq!(sent.fallbacks.device_failed_requests, 0);
    if qatzip.provenance() == Provenance::SoftwareBackup {
        assert!(hardware == 0 && software > 0, "{hardware} requests by hardware, {software} by software");
        assert_eq!(sent.fallbacks.copied_pages, 0);
    } else {
        // Software takes over where no instance is free.
        assert!(hardware > 0, "{hardware} requests by hardware, {software} by software");
        assert!((1..=sent.pages).contains(&sent.fallbacks.copied_pages), "{:?}", sent.fallbacks);
    }
}

#[test]
fn what_qatzip_sent_is_a_baseline_for_what_the_cpu_sends_next() {
    let Some(qatzip) = qatzip() else { return };
    let sent = migrate(&qatzip, &[Method::Deflate, Method::Lz4, Method::Xbzrle, Method::Delta], true);
    // Half of the first round's pages are asked for by a method that needs a baseline, and none of the later rounds'.
    let without = sent.fallbacks.no_baseline_pages;
    assert!((1..=300).contains(&without), "{without} pages had no baseline");
}
