//! What becomes of requests when queues fail, vanish, fill up, or are far from the pages.

use std::sync::Mutex;
use std::time::Duration;

use pageferry_accel::dma::Arena;
use pageferry_accel::guest::AnonymousMemory;
use pageferry_accel::method::MethodSet;
use pageferry_accel::queue::{Capabilities, MemoryAccess, Provenance, Queue};
use pageferry_accel::units::{Gpa, PageCount, PageSize};

use pageferry_accel::codec::deflate::Window;

use super::*;

/// What a queue does with requests, as a test has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Works,
    IsLate,
    Misdecodes,
    CannotBeStopped,
    IsFull,
    IsGone,
}

/// A queue that obeys the test.
struct Obedient {
    manner: Mutex<Manner>,
    node: Option<u32>,
    #[expect(clippy::vec_box, reason = "a request moves as one pointer")]
    held: Mutex<Vec<Box<Request>>>,
    /// How many requests it was offered.
    offered: Mutex<u64>,
}

struct Device(Vec<Arc<Obedient>>);

struct Handle(Arc<Obedient>);

impl Device {
    fn new(nodes: &[Option<u32>]) -> Arc<Self> {
        let queue = |&node| {
            let (manner, held, offered) = (Mutex::new(Manner::Works), Mutex::default(), Mutex::default());
            Arc::new(Obedient { manner, node, held, offered })
        };
        Arc::new(Self(nodes.iter().map(queue).collect()))
    }

    fn of_one_queue(manner: Manner) -> Arc<Self> {
        let device = Self::new(&[None]);
        device.queue(0, manner);
        device
    }

    fn queue(&self, queue: usize, manner: Manner) {
        *self.0[queue].manner.lock().unwrap() = manner;
    }

    fn offered(&self) -> Vec<u64> {
        self.0.iter().map(|queue| *queue.offered.lock().unwrap()).collect()
    }
}

impl Accelerator for Device {
    fn name(&self) -> &str {
        "obedient"
    }

    fn capabilities(&self) -> Capabilities {
        let (methods, memory) = (MethodSet::all(), MemoryAccess::Copied);
        let (queues, depth) = (self.0.len(), 8);
        Capabilities {
            encode: methods,
            decode: methods,
            deflate_window_bits: 15,
            encode_window_bits: 12,
            queues,
            depth,
            memory,
        }
    }

    fn provenance(&self) -> Provenance {
        Provenance::StandIn
    }

    fn open(&self, _: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        Ok(self.0.iter().map(|queue| Box::new(Handle(Arc::clone(queue))) as _).collect())
    }
}

impl Queue for Handle {
    fn submit(&self, request: Box<Request>) -> Result<(), Refused> {
        *self.0.offered.lock().unwrap() += 1;
        let reason = match *self.0.manner.lock().unwrap() {
            Manner::IsFull => RefusalReason::Full,
            Manner::IsGone => RefusalReason::Gone,
            Manner::Works | Manner::IsLate | Manner::Misdecodes | Manner::CannotBeStopped => {
                self.0.held.lock().unwrap().push(request);
                return Ok(());
            }
        };
        Err(Refused { request, reason })
    }

    fn poll(&self, completions: &mut Vec<Completion>) {
        let result = match *self.0.manner.lock().unwrap() {
            Manner::IsLate => Err(Failure::Deadline { device: "obedient".into() }),
            Manner::Misdecodes => Err(Failure::ChecksumMismatch { stated: 1, computed: 2 }),
            Manner::CannotBeStopped => Err(Failure::Uncontained { device: "obedient".into() }),
            Manner::Works | Manner::IsFull | Manner::IsGone => Ok(()),
        };
        let held = std::mem::take(&mut *self.0.held.lock().unwrap());
        completions.extend(held.into_iter().map(|request| Completion { request, result: result.clone() }));
    }

    fn depth(&self) -> usize {
        8
    }

    fn rings(&self) -> bool {
        true
    }

    fn numa_node(&self) -> Option<u32> {
        self.0.node
    }
}

fn attachment() -> Attachment {
    let memory = AnonymousMemory::new(&[(Gpa(0), 4096)]).unwrap();
    let ram = Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap());
    let payloads = Arc::new(Arena::new(1, 4096).unwrap());
    let (doorbell, max_pages, baselines) = (Arc::default(), PageCount(1), None);
    Attachment { ram, doorbell, max_pages, payloads, baselines, deflate_window: Window::Kib32 }
}

fn open(devices: &[&Arc<Device>]) -> Dispatcher {
    let devices: Vec<_> = devices.iter().map(|&device| Arc::clone(device) as _).collect();
    Dispatcher::open(&devices, &attachment()).unwrap()
}

fn request() -> Box<Request> {
    Box::new(Request::with_capacity(PageCount(1), PageSize::Kib4))
}

/// Hands over a request and takes it back.
fn round_trip(dispatcher: &Dispatcher, request: Box<Request>) -> Completion {
    dispatcher.submit(request).unwrap();
    let mut completions = Vec::new();
    dispatcher.poll(&mut completions);
    assert!(dispatcher.is_idle());
    completions.pop().unwrap()
}

/// What the dispatcher has counted.
fn counts(dispatcher: &Dispatcher) -> Fallbacks {
    let mut fallbacks = Fallbacks::default();
    dispatcher.report(&mut fallbacks);
    fallbacks
}

#[test]
fn a_queue_that_fails_three_times_in_a_row_is_left_alone_until_a_probe_finds_it_working() {
    let device = Device::new(&[None, None]);
    let dispatcher = open(&[&device]);
    device.queue(0, Manner::IsLate);
    let late = (0..20).filter(|_| round_trip(&dispatcher, request()).result.is_err()).count();
    assert!(late >= 3, "{late}");
    let probes = counts(&dispatcher).probes;
    let expected =
        Fallbacks { deadline_requests: 3 + probes, quarantined_queues: 1, probes, ..Fallbacks::default() };
    assert_eq!((counts(&dispatcher), late as u64), (expected, 3 + probes));
    device.queue(0, Manner::Works);
    let readmitted = (0..3000).any(|_| {
        thread::sleep(Duration::from_millis(1));
        assert!(round_trip(&dispatcher, request()).result.is_ok());
        counts(&dispatcher).readmitted_queues == 1
    });
    assert!(readmitted, "{:?}", counts(&dispatcher));
    assert!(counts(&dispatcher).probes > probes);
    let before = device.offered();
    (0..10).for_each(|_| drop(round_trip(&dispatcher, request())));
    let after = device.offered();
    assert_eq!([after[0] - before[0], after[1] - before[1]], [5, 5], "it has its share again");
}

#[test]
fn an_accelerator_in_quarantine_leaves_its_work_to_the_next_and_the_last_one_works_regardless() {
    let (first, last) = (Device::of_one_queue(Manner::IsGone), Device::of_one_queue(Manner::Works));
    let dispatcher = open(&[&first, &last]);
    for sent in 1..=5 {
        assert!(round_trip(&dispatcher, request()).result.is_ok());
        assert_eq!(last.offered(), [sent]);
    }
    last.queue(0, Manner::IsLate);
    for sent in 6..=25 {
        assert!(round_trip(&dispatcher, request()).result.is_err());
        assert_eq!(last.offered(), [sent]);
    }
    assert_eq!(counts(&dispatcher).quarantined_queues, 2);
}

#[test]
fn an_accelerator_in_quarantine_is_better_than_none() {
    let (first, last) = (Device::of_one_queue(Manner::IsLate), Device::of_one_queue(Manner::IsGone));
    let dispatcher = open(&[&first, &last]);
    for _ in 0..3 {
        assert!(round_trip(&dispatcher, request()).result.is_err());
    }
    first.queue(0, Manner::Works);
    assert!(round_trip(&dispatcher, request()).result.is_ok());
    first.queue(0, Manner::IsGone);
    assert_eq!(dispatcher.submit(request()).unwrap_err().reason, RefusalReason::Gone);
    assert!(dispatcher.is_idle());
}

#[test]
fn a_request_waits_for_a_full_queue_rather_than_go_to_one_in_quarantine() {
    let (first, last) = (Device::of_one_queue(Manner::IsLate), Device::of_one_queue(Manner::IsFull));
    let dispatcher = open(&[&first, &last]);
    for _ in 0..3 {
        assert!(round_trip(&dispatcher, request()).result.is_err());
    }
    let refused = dispatcher.submit(request()).map_err(|refused| refused.reason);
    let Fallbacks { probes, queue_full_requests, .. } = counts(&dispatcher);
    // A machine that takes its time finds a probe due.
    let expected = if probes == 0 { (Err(RefusalReason::Full), 1) } else { (Ok(()), 0) };
    assert_eq!((refused, queue_full_requests), expected);
}

#[test]
fn pages_that_a_device_does_not_decode_are_judged_by_the_last_accelerator() {
    let devices = [Manner::Misdecodes, Manner::Works, Manner::Works].map(Device::of_one_queue);
    let [first, between, last] = &devices;
    let dispatcher = open(&[first, between, last]);
    let misdecoded = || {
        let request = Box::new(Request { direction: Direction::Decode, ..*request() });
        round_trip(&dispatcher, request)
    };
    let completion = misdecoded();
    assert!(completion.result.is_err() && !dispatcher.is_exhausted(&completion.request));
    assert!(round_trip(&dispatcher, completion.request).result.is_ok());
    assert_eq!((between.offered(), last.offered()), (vec![0], vec![1]));
    last.queue(0, Manner::Misdecodes);
    let completion = misdecoded();
    assert!(!dispatcher.is_exhausted(&completion.request));
    let completion = round_trip(&dispatcher, completion.request);
    assert!(completion.result.is_err() && dispatcher.is_exhausted(&completion.request), "it is the judge");
    assert_eq!((between.offered(), counts(&dispatcher).misdecoded_requests), (vec![0], 3));
}

#[test]
fn a_request_of_a_device_that_may_still_write_to_the_guest_is_nobody_elses() {
    let (first, last) = (Device::of_one_queue(Manner::CannotBeStopped), Device::of_one_queue(Manner::Works));
    let dispatcher = open(&[&first, &last]);
    let completion =
        round_trip(&dispatcher, Box::new(Request { direction: Direction::Decode, ..*request() }));
    assert!(completion.result.is_err() && dispatcher.is_exhausted(&completion.request));
}

#[test]
fn requests_go_to_queues_next_to_their_pages_and_to_others_when_those_are_full() {
    let device = Device::new(&[Some(0), Some(1), Some(0), Some(1)]);
    let dispatcher = open(&[&device]);
    let lane = &dispatcher.lanes[0];
    let submit = |node| lane.submit(request(), node, &dispatcher.tally).is_ok();
    assert!((0..6).all(|_| submit(Some(1))));
    assert_eq!(device.offered(), [0, 3, 0, 3]);
    [1, 3].into_iter().for_each(|queue| device.queue(queue, Manner::IsFull));
    assert!((0..4).all(|_| submit(Some(1))));
    assert_eq!(device.offered(), [2, 7, 2, 7]);
    [1, 3].into_iter().for_each(|queue| device.queue(queue, Manner::Works));
    assert!((0..4).all(|_| submit(None)));
    assert_eq!(device.offered(), [3, 8, 3, 8]);
}

/// A request that is to begin with this accelerator.
fn preferring(lane: usize) -> Box<Request> {
    Box::new(Request { preferred: lane, ..*request() })
}

#[test]
fn a_request_begins_with_the_accelerator_that_it_prefers_and_says_which_one_had_it() {
    let devices = [Manner::Works; 3].map(Device::of_one_queue);
    let dispatcher = open(&devices.each_ref());
    for (preferred, taken_by) in [(0, 0), (1, 1), (2, 2), (3, 0), (usize::MAX, 0)] {
        let completion = round_trip(&dispatcher, preferring(preferred));
        assert_eq!(completion.request.lane, taken_by, "{preferred} was preferred");
    }
    assert_eq!(devices.map(|device| device.offered()), [[3], [1], [1]]);
}

#[test]
fn a_request_goes_from_the_accelerator_that_it_prefers_to_the_others_in_their_order() {
    let devices = [Manner::Works; 3].map(Device::of_one_queue);
    let dispatcher = open(&devices.each_ref());
    for (full, taken_by) in [(&[1][..], 0), (&[1, 0], 2), (&[0, 2], 1)] {
        let manner = |lane| if full.contains(&lane) { Manner::IsFull } else { Manner::Works };
        (0..3).for_each(|lane| devices[lane].queue(0, manner(lane)));
        assert_eq!(round_trip(&dispatcher, preferring(1)).request.lane, taken_by, "{full:?} are full");
    }
    devices.iter().for_each(|device| device.queue(0, Manner::IsFull));
    assert_eq!(dispatcher.submit(preferring(1)).unwrap_err().reason, RefusalReason::Full);
}

#[test]
fn a_failed_request_goes_past_as_many_as_it_failed_on_from_the_one_that_it_prefers_on() {
    let devices = [Manner::IsLate; 3].map(Device::of_one_queue);
    let dispatcher = open(&devices.each_ref());
    let (mut request, mut lanes) = (preferring(1), Vec::new());
    while !dispatcher.is_exhausted(&request) {
        let completion = round_trip(&dispatcher, request);
        assert!(completion.result.is_err());
        request = completion.request;
        lanes.push(request.lane);
    }
    assert_eq!(lanes, [1, 0, 2, 2, 2], "and never past the last");
    request.reset(Direction::Encode);
    assert_eq!(round_trip(&dispatcher, request).request.lane, 0, "it prefers none any more");
}

#[test]
fn the_last_accelerator_judges_what_does_not_decode_wherever_a_request_began() {
    let devices = [Manner::Misdecodes; 3].map(Device::of_one_queue);
    let dispatcher = open(&devices.each_ref());
    for (preferred, judged_by) in [(0, &[0, 2][..]), (1, &[1, 2]), (2, &[2])] {
        let mut request = Box::new(Request { direction: Direction::Decode, ..*preferring(preferred) });
        let mut lanes = Vec::new();
        while !dispatcher.is_exhausted(&request) {
            request = round_trip(&dispatcher, request).request;
            lanes.push(request.lane);
        }
        assert_eq!(lanes, judged_by, "{preferred} was preferred");
    }
}

#[test]
fn an_accelerator_that_cannot_run_the_method_is_preferred_in_vain() {
    let [able, unable] = [Manner::Works; 2].map(Device::of_one_queue);
    let attached: [Arc<dyn Accelerator>; 2] = [able.clone(), Arc::new(OnlyRaw(unable.clone()))];
    let dispatcher = Dispatcher::open(&attached, &attachment()).unwrap();
    let of = |method| Box::new(Request { method, ..*preferring(1) });
    assert_eq!(round_trip(&dispatcher, of(Method::Zstd)).request.lane, 0);
    assert_eq!(round_trip(&dispatcher, of(Method::Raw)).request.lane, 1);
    able.queue(0, Manner::IsLate);
    let mut request = of(Method::Zstd);
    let failed = (0..).find(|_| {
        request = round_trip(&dispatcher, std::mem::replace(&mut request, preferring(0))).request;
        dispatcher.is_exhausted(&request)
    });
    assert_eq!((failed, unable.offered()), (Some(LAST_RESORT_RETRIES), vec![1]));
}

/// A device that does no more than send pages as they are.
struct OnlyRaw(Arc<Device>);

impl Accelerator for OnlyRaw {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        let methods = MethodSet::of(&[Method::Raw]);
        Capabilities { encode: methods, decode: methods, ..self.0.capabilities() }
    }

    fn provenance(&self) -> Provenance {
        self.0.provenance()
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        self.0.open(attachment)
    }
}
