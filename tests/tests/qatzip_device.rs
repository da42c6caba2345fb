//! QATzip's device path: the vendor's library with the stand-in for its device, where its packages are. What the device does
//! is told from what the library's software does, and whatever the device does wrong, every page arrives.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_accel::cpu::Cpu;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::qatzip::{Qatzip, QatzipConfig};
use pageferry_accel::queue::{Accelerator, Failure, OpenError, Provenance};
use pageferry_accel::request::Request;
use pageferry_accel::run::{Content, Run};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_bindings::qatzip::layout::HARDWARE_BUFFER_BYTES;
use pageferry_bindings::qatzip::memory::Pinned;
use pageferry_bindings::qatzip::session::{Doer, Session, Settings, Work};
use pageferry_engine::receiver::ReceiveReport;
use pageferry_engine::sender::{SendReport, Sender, SenderConfig};
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};
use pageferry_tests::guest::{self, Noise};
use pageferry_tests::peers::{config, connections, cpu, receive_by, send_busy_rounds};
use pageferry_tests::qatzip::{Device, with_device};
use pageferry_tests::single::Single;

const PAGES: u64 = 63;
const MAX_PAGES: PageCount = PageCount(63);

/// A stand-in with one instance.
fn one(plan: FaultPlan) -> Config {
    Config { instances: 1, plan, ..Config::default() }
}

fn often(fault: Fault) -> Config {
    one(FaultPlan::one(When::PerMillion(300_000), fault))
}

/// The accelerator with one worker.
fn qatzip(device: &Device, software_backup: bool) -> Arc<Qatzip> {
    let config = QatzipConfig { workers: 1, software_backup, ..QatzipConfig::default() };
    Arc::new(Qatzip::new(Arc::clone(&device.library), config).unwrap())
}

/// How many requests hardware did, and how many software.
fn work(qatzip: &Qatzip) -> (u64, u64) {
    (qatzip.work_by_hardware(), qatzip.work_by_software())
}

fn open(accelerator: &dyn Accelerator, ram: &Arc<GuestRam>) -> Single {
    Single::open(accelerator, ram, MAX_PAGES).unwrap()
}

/// Two guests, the first with pages of every kind.
fn guests(page_size: PageSize, seed: u64) -> [Arc<GuestRam>; 2] {
    let guests = [(); 2].map(|()| guest::guest(PAGES, page_size));
    guest::fill(&guests[0], seed);
    guests
}

/// The guest's pages below the hole.
fn all() -> [Run; 1] {
    [Run::data(PageIndex(0), PageCount(40))]
}

#[track_caller]
fn assert_same(here: &GuestRam, there: &GuestRam, what: &str) {
    for page in all().into_iter().flat_map(Run::pages) {
        let same = guest::page_bytes(here, page) == guest::page_bytes(there, page);
        assert!(same, "page {page} differs after {what}");
    }
}

#[track_caller]
fn encoded(encoder: &mut Single, method: Method, what: &str) -> Box<Request> {
    let (request, result) = encoder.encode(method, &all());
    result.unwrap_or_else(|failure| panic!("{what}: {failure}"));
    request
}

#[test]
fn pages_of_every_kind_and_size_travel_by_the_device_and_it_is_said_to_be_a_stand_in() {
    let test = "pages_of_every_kind_and_size_travel_by_the_device_and_it_is_said_to_be_a_stand_in";
    with_device(test, Config::default(), |device| {
        let qatzip = qatzip(device, true);
        assert_eq!(qatzip.provenance(), Provenance::StandIn);
        assert_eq!(qatzip.description(), "stand-in: stand-in for libqat, by pageferry");
        let mut requests = 0;
        for page_size in [PageSize::Kib4, PageSize::Kib16, PageSize::Kib64] {
            let [source, destination] = guests(page_size, 1);
            let (mut encoder, mut decoder) = (open(&*qatzip, &source), open(&*qatzip, &destination));
            let what = format!("{} bytes", page_size.bytes());
            let before = device.report().submissions;
            let request = encoded(&mut encoder, Method::Deflate, &what);
            requests += 1;
            assert!(request.runs.iter().any(|run| run.content == Content::Zero), "{what}");
            assert_eq!(request.detours.copied, request.data_pages().0, "{what}");
            // One operation for as much as the first request size of the process was at most.
            let bytes = page_size.bytes_of(request.data_pages());
            let operations = bytes.div_ceil(PageSize::Kib4.bytes_of(PageCount(64))) as u64;
            assert_eq!(device.report().submissions - before, operations, "{what}");
            decoder.decode(&request).unwrap();
            requests += 1;
            assert_same(&source, &destination, &what);
            assert_eq!(work(&qatzip), (requests, 0), "{what}");
        }
        // Still so when buffers were asked for.
        assert_eq!(qatzip.description(), "stand-in: stand-in for libqat, by pageferry");
        let report = device.report();
        assert_eq!(report.submissions, report.completions);
    });
}

#[test]
fn the_device_and_the_cpu_read_each_others_streams() {
    with_device("the_device_and_the_cpu_read_each_others_streams", Config::default(), |device| {
        let (qatzip, cpu) = (qatzip(device, true), Cpu::default());
        for seed in 1..6 {
            let pairs: [[&dyn Accelerator; 2]; 2] = [[&*qatzip, &cpu], [&cpu, &*qatzip]];
            for [one, other] in pairs {
                let [source, destination] = guests(PageSize::Kib4, seed);
                let request = encoded(&mut open(one, &source), Method::Deflate, one.name());
                open(other, &destination).decode(&request).unwrap();
                assert_same(&source, &destination, &format!("{} to {}", one.name(), other.name()));
            }
        }
        assert_eq!(work(&qatzip), (10, 0));
    });
}

#[test]
fn pinned_memory_is_used_in_place_and_other_memory_is_copied() {
    with_device(
        "pinned_memory_is_used_in_place_and_other_memory_is_copied",
        one(FaultPlan::none()),
        |device| {
            let settings = |work| Settings {
                work,
                level: 1,
                doer: Doer::Hardware,
                hardware_buffer_bytes: *HARDWARE_BUFFER_BYTES.end(),
            };
            let session = |work| Session::new(Arc::clone(&device.library), settings(work)).unwrap();
            let pinned = || Pinned::new(&device.library, 1 << 16).unwrap();
            let pages: Vec<u8> = (0..32768_u32).map(|at| (at.pow(2) >> 7).to_le_bytes()[0]).collect();
            let places =
                |input: &[u8], output: &[u8]| [input, output].map(|bytes| bytes.as_ptr().addr() as u64);

            let (mut input, mut output) = (pinned(), pinned());
            input[..pages.len()].copy_from_slice(&pages);
            let stream =
                session(Work::Deflate).compress(&input[..pages.len()], &mut output).unwrap().produced;
            assert!(stream > 1024 && stream < pages.len(), "{stream} bytes");
            assert_eq!(device.report().last_places, places(&input, &output));
            assert_eq!(device.report().bytes_read, 32768);
            let back =
                session(Work::Inflate).decompress(&output[..stream], &mut input[..pages.len()]).unwrap();
            assert!(back.ended && input[..pages.len()] == pages[..]);
            assert_eq!(device.report().last_places, places(&output, &input));

            let (mut ordinary, mut output) = (pages.clone(), vec![0; 1 << 16]);
            let stream = session(Work::Deflate).compress(&ordinary, &mut output).unwrap().produced;
            let device_s = device.report().last_places;
            assert!(places(&ordinary, &output).iter().all(|place| !device_s.contains(place)));
            ordinary.fill(0);
            session(Work::Inflate).decompress(&output[..stream], &mut ordinary).unwrap();
            assert!(ordinary == pages);
        },
    );
}

/// Sends pages to and fro, by the device as far as it does it.
fn to_and_fro(qatzip: &Qatzip, requests: u64) {
    for seed in 0..requests / 2 {
        let [source, destination] = guests(PageSize::Kib4, seed);
        let request = encoded(&mut open(qatzip, &source), Method::Deflate, "a fault");
        open(qatzip, &destination).decode(&request).unwrap();
        assert_same(&source, &destination, "a fault");
    }
}

#[test]
fn what_the_device_fails_at_software_does_and_is_counted_for_it() {
    let test = "what_the_device_fails_at_software_does_and_is_counted_for_it";
    with_device(test, often(Fault::Status(-13)), |device| {
        let qatzip = qatzip(device, true);
        to_and_fro(&qatzip, 30);
        let failed = device.report().misdeeds.statuses;
        assert!(failed > 0);
        assert_eq!(work(&qatzip), (30 - failed, failed));
    });
}

#[test]
fn what_does_not_verify_software_does_and_is_counted_for_it() {
    let test = "what_does_not_verify_software_does_and_is_counted_for_it";
    with_device(test, often(Fault::Verify), |device| {
        let qatzip = qatzip(device, true);
        to_and_fro(&qatzip, 30);
        let failed = device.report().misdeeds.verifications;
        assert!(failed > 0);
        assert_eq!(work(&qatzip), (30 - failed, failed));
    });
}

#[test]
fn what_the_device_takes_no_more_of_software_does_and_is_counted_for_it() {
    let test = "what_the_device_takes_no_more_of_software_does_and_is_counted_for_it";
    // The library tries 500 times.
    let storm = FaultPlan::one(When::At(3), Fault::Retry(1200));
    with_device(test, one(storm), |device| {
        let qatzip = qatzip(device, true);
        to_and_fro(&qatzip, 12);
        assert_eq!(device.report().misdeeds.retries, 1200);
        assert_eq!(work(&qatzip), (10, 2));
    });
}

#[test]
fn when_the_device_is_lost_for_good_software_does_everything_and_is_counted_for_it() {
    let test = "when_the_device_is_lost_for_good_software_does_everything_and_is_counted_for_it";
    // While it decodes: its last writes would be among the pages.
    with_device(test, one(FaultPlan::one(When::At(5), Fault::Fatal { down: None })), |device| {
        let qatzip = qatzip(device, true);
        to_and_fro(&qatzip, 20);
        assert_eq!(work(&qatzip), (5, 15));
    });
}

/// The stand-in ends the process if a device is given memory that another one may still write to.
#[test]
fn when_one_device_of_two_is_lost_the_other_goes_on_with_memory_that_nobody_writes_to() {
    let test = "when_one_device_of_two_is_lost_the_other_goes_on_with_memory_that_nobody_writes_to";
    let late = FaultPlan::one(When::At(0), Fault::Late(Duration::from_millis(50)));
    let plan = late.and(When::At(4), Fault::Fatal { down: None });
    // Less than is waited for, and more than the next request takes.
    let lingers = Duration::from_millis(15);
    with_device(test, Config { plan, lingers, ..Config::default() }, |device| {
        let [one, other] = [(); 2].map(|()| qatzip(device, false));
        let [source, _] = guests(PageSize::Kib4, 9);
        let mut encoder = open(&*one, &source);
        // Short, so that the next follows at once.
        let run = [Run::data(PageIndex(1), PageCount(1))];
        // Both at a time, so that both devices are brought up.
        thread::scope(|scope| {
            scope.spawn(|| open(&*other, &source).encode(Method::Deflate, &run).1.unwrap());
            encoder.encode(Method::Deflate, &run).1.unwrap();
        });
        let mut encode = || encoder.encode(Method::Deflate, &run).1;
        encode().unwrap();
        encode().unwrap();
        encode().unwrap_err();
        // Until the library was told, it may ask the device that is lost once more.
        while encode().is_err() {}
        (0..5).for_each(|_| encode().unwrap());
        assert_eq!((work(&one), work(&other)), ((9, 0), (1, 0)));
        assert!(device.report().most_in_flight.iter().all(|most| *most > 0), "{:?}", device.report());
    });
}

#[test]
fn without_software_what_the_device_fails_at_is_an_error_and_the_next_request_is_well() {
    let test = "without_software_what_the_device_fails_at_is_an_error_and_the_next_request_is_well";
    let plan = FaultPlan::one(When::At(1), Fault::Status(-13)).and(When::At(2), Fault::Status(-13));
    with_device(test, one(plan), |device| {
        let qatzip = qatzip(device, false);
        let [source, destination] = guests(PageSize::Kib4, 4);
        let (mut encoder, mut decoder) = (open(&*qatzip, &source), open(&*qatzip, &destination));
        let request = encoded(&mut encoder, Method::Deflate, "nothing");
        let failure = decoder.decode(&request).unwrap_err();
        assert!(matches!(failure, Failure::Device { .. }), "{failure:?}");
        assert!(destination.is_zero(PageIndex(1)), "pages reached the guest");
        let (given_back, result) = encoder.encode(Method::Deflate, &all());
        assert!(matches!(result, Err(Failure::Device { .. })), "{result:?}");
        assert_eq!(given_back.runs, all());
        let again = encoded(&mut encoder, Method::Deflate, "a failure");
        decoder.decode(&again).unwrap();
        assert_same(&source, &destination, "a failure");
        assert_eq!(work(&qatzip), (3, 0));
    });
}

#[test]
fn lz4_which_this_device_does_not_have_is_softwares_or_an_error() {
    let test = "lz4_which_this_device_does_not_have_is_softwares_or_an_error";
    with_device(test, one(FaultPlan::none()), |device| {
        for allowed in [true, false] {
            let qatzip = qatzip(device, allowed);
            let [source, destination] = guests(PageSize::Kib4, 2);
            let (request, result) = open(&*qatzip, &source).encode(Method::Lz4, &all());
            if allowed {
                result.unwrap();
                open(&Cpu::default(), &destination).decode(&request).unwrap();
                assert_same(&source, &destination, "lz4");
            } else {
                let failure = result.unwrap_err().to_string();
                assert!(failure.contains("no instance of a QAT device is free (-103)"), "{failure}");
            }
            assert_eq!(work(&qatzip), (0, u64::from(allowed)));
        }
        assert_eq!(device.report().submissions, 0);
    });
}

#[test]
fn a_stream_that_is_not_worth_a_device_is_softwares_where_that_is_allowed() {
    let test = "a_stream_that_is_not_worth_a_device_is_softwares_where_that_is_allowed";
    with_device(test, one(FaultPlan::none()), |device| {
        for allowed in [true, false] {
            let qatzip = qatzip(device, allowed);
            let [source, destination] = guests(PageSize::Kib4, 2);
            let mut noise = Noise(8);
            let page: Vec<u8> = (0..4096).map(|at| if at < 300 { noise.byte() } else { 7 }).collect();
            source.copy_in(PageIndex(0), &page);
            let run = [Run::data(PageIndex(0), PageCount(1))];
            let (request, result) = open(&*qatzip, &source).encode(Method::Deflate, &run);
            result.unwrap();
            assert!((128..1024).contains(&request.payload.len()), "{} bytes", request.payload.len());
            open(&*qatzip, &destination).decode(&request).unwrap();
            assert!(guest::page_bytes(&destination, PageIndex(0)) == page);
            assert_eq!(work(&qatzip), if allowed { (1, 1) } else { (2, 0) });
        }
    });
}

#[test]
fn where_no_device_is_available_it_is_software_or_refused() {
    let none = Config { instances: 0, ..Config::default() };
    with_device("where_no_device_is_available_it_is_software_or_refused", none, |device| {
        let software = qatzip(device, true);
        assert_eq!(software.provenance(), Provenance::SoftwareBackup);
        let refused = QatzipConfig { software_backup: false, ..QatzipConfig::default() };
        let error = Qatzip::new(Arc::clone(&device.library), refused).unwrap_err();
        assert!(matches!(error, OpenError::Device { .. }), "{error:?}");
        to_and_fro(&software, 4);
        assert_eq!(work(&software), (0, 4));
    });
}

/// Moves a guest in three rounds, whose pages must all arrive. What both ends counted.
fn migrate(qatzip: &Arc<Qatzip>) -> (SendReport, ReceiveReport) {
    let (source, destination) = (guest::guest(200, PageSize::Kib4), guest::guest(200, PageSize::Kib4));
    guest::fill(&source, 1);
    let accelerators = || -> Vec<Arc<dyn Accelerator>> {
        let own: Arc<dyn Accelerator> = Arc::<Qatzip>::clone(qatzip);
        [own].into_iter().chain(cpu()).collect()
    };
    let (ours, theirs) = connections(2);
    let receiver = receive_by(accelerators(), Arc::clone(&destination), theirs);
    let config = SenderConfig { max_pages: PageCount(8), ..config(&[Method::Deflate]) };
    let mut sender = Sender::new(Arc::clone(&source), &accelerators(), ours, config).unwrap();
    send_busy_rounds(&mut sender, &source, &destination);
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    (sent, received)
}

#[test]
fn a_guest_moves_by_the_device_and_what_that_fails_at_the_cpu_does() {
    let test = "a_guest_moves_by_the_device_and_what_that_fails_at_the_cpu_does";
    let fault = Fault::Status(-13);
    let plan = FaultPlan::one(When::PerMillion(100_000), fault).and(When::At(1), fault);
    with_device(test, Config { plan, ..Config::default() }, |device| {
        let qatzip = qatzip(device, false);
        let (sent, received) = migrate(&qatzip);
        let mut given_to_another = 0;
        for (work, fallbacks) in
            [(&sent.accelerators, &sent.fallbacks), (&received.accelerators, &received.fallbacks)]
        {
            let own = &work[0];
            assert_eq!((own.accelerator.as_str(), own.provenance), ("qatzip", Provenance::StandIn));
            assert!(own.requests > 0, "{work:?}");
            given_to_another += fallbacks.device_failed_requests;
        }
        assert!(device.report().misdeeds.statuses > 0 && given_to_another > 0, "{sent:?}, {received:?}");
        let (hardware, software) = work(&qatzip);
        assert!(hardware > 0 && software == 0, "{hardware} requests by hardware, {software} by software");
    });
}
