use std::sync::atomic::{AtomicU8, Ordering::Release};

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};

use super::*;
use crate::dma::{Block, DmaRange};
use crate::doorbell::Doorbell;
use crate::guest::{AnonymousMemory, GuestRam};
use crate::idxd::work::Outbox;
use crate::queue::{MemoryAccess, Provenance};
use crate::units::{Gpa, PageCount, PageSize};

/// A device that does nothing until the test says so.
#[derive(Clone)]
struct Silicon(Arc<Mutex<Inside>>);

struct Inside {
    taken: Vec<Descriptor>,
    refusal: Option<PortalRefusal>,
    quiet: Quiet,
    quiesced: usize,
    facts: QueueFacts,
}

impl Silicon {
    fn new(size: usize, max_batch: usize) -> Self {
        let facts = QueueFacts {
            name: "test/wq0".into(),
            size,
            max_transfer_bytes: 1 << 21,
            max_batch,
            opcodes: OpcodeSet::of(&[Opcode::NOOP]),
            flags: DescriptorFlags::empty(),
            engines: 1,
            numa_node: Some(1),
        };
        let inside = Inside { taken: Vec::new(), refusal: None, quiet: Quiet::Ready, quiesced: 0, facts };
        Self(Arc::new(Mutex::new(inside)))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// Ends the `index`th descriptor that was taken, and its members if it is a batch.
    fn complete(&self, index: usize, status: u8) {
        let descriptor = self.inside().taken[index];
        if descriptor.opcode() == Opcode::BATCH && status <= 5 {
            for member in 0..u64::from(descriptor.bytes) {
                let at = descriptor.source + member * 64;
                // SAFETY: the list is in the slot's memory, which the queue keeps until the batch is done.
                let member = unsafe { (at as *const Descriptor).read_volatile() };
                write_status(member.completion_address, 1);
            }
        }
        write_status(descriptor.completion_address, status);
    }

    fn complete_all(&self) {
        let taken = self.inside().taken.len();
        (0..taken).for_each(|index| self.complete(index, 1));
        self.inside().taken.clear();
    }
}

fn write_status(address: u64, status: u8) {
    // SAFETY: the record is in the slot's memory, which the queue keeps until the device is done.
    unsafe { AtomicU8::from_ptr(address as *mut u8) }.store(status, Release);
}

impl Device for Silicon {
    fn name(&self) -> &str {
        "test"
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn memory(&self) -> MemoryAccess {
        MemoryAccess::Shared
    }

    fn queues(&self) -> Vec<QueueFacts> {
        vec![self.inside().facts.clone()]
    }

    fn open(&self, _: &[DmaRange]) -> Result<Vec<WorkQueue>, OpenError> {
        let (portal, control) = (Box::new(self.clone()), Box::new(self.clone()));
        Ok(vec![WorkQueue { facts: self.inside().facts.clone(), portal, control, interrupt: None }])
    }
}

impl Portal for Silicon {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        let mut inside = self.inside();
        match inside.refusal {
            Some(refusal) => Err(refusal),
            None => {
                inside.taken.push(*descriptor);
                Ok(())
            }
        }
    }
}

impl Control for Silicon {
    fn quiesce(&self) -> Quiet {
        let mut inside = self.inside();
        inside.quiesced += 1;
        inside.quiet
    }
}

/// Posts `descriptors` no-operations in each of two phases.
struct TwoPhases {
    descriptors: usize,
}

impl Work for TwoPhases {
    type Record = DsaCompletion;
    type Slot = usize;

    fn max_descriptors(&self) -> usize {
        self.descriptors
    }

    fn slot_bytes(&self) -> usize {
        64
    }

    fn slot(&self, _: Block) -> usize {
        0
    }

    fn begin(&self, _: &Request, phase: &mut usize, outbox: &mut Outbox<DsaCompletion>) {
        assert_eq!(*phase, 0, "the slot was not left as new");
        *phase = 1;
        post(outbox, self.descriptors);
    }

    fn advance(&self, _: &mut Request, phase: &mut usize, outbox: &mut Outbox<DsaCompletion>) -> Progress {
        assert_eq!(outbox.len(), self.descriptors);
        assert!((0..outbox.len()).all(|index| outbox.record(index).status == 1));
        if *phase == 2 {
            *phase = 0;
            return Progress::Done(Ok(()));
        }
        *phase = 2;
        outbox.clear();
        post(outbox, self.descriptors);
        Progress::Posted
    }

    fn abandon(&self, phase: &mut usize) {
        *phase = 0;
    }
}

fn post(outbox: &mut Outbox<DsaCompletion>, descriptors: usize) {
    (0..descriptors).for_each(|_| outbox.post(Descriptor::new(Opcode::NOOP, DescriptorFlags::empty())));
}

/// Of requests that are to be late.
const SOON: Duration = Duration::from_millis(300);

fn queue(silicon: &Silicon, descriptors: usize, requests: usize) -> Box<dyn queue::Queue> {
    queue_with(silicon, descriptors, requests, Duration::from_secs(3600))
}

fn queue_with(
    silicon: &Silicon,
    descriptors: usize,
    requests: usize,
    deadline: Duration,
) -> Box<dyn queue::Queue> {
    let memory = AnonymousMemory::new(&[(Gpa(0), 4096)]).unwrap();
    let attachment = Attachment {
        ram: Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap()),
        doorbell: Arc::new(Doorbell::default()),
        max_pages: PageCount(1),
        payloads: Arc::new(Arena::new(1, 4096).unwrap()),
        baselines: None,
        deflate_window: crate::codec::deflate::Window::Kib32,
    };
    let settings = QueueSettings { requests, deadline };
    open(silicon, &attachment, settings, |_| TwoPhases { descriptors }).unwrap().remove(0)
}

fn request() -> Box<Request> {
    Box::new(Request::with_capacity(PageCount(1), PageSize::Kib4))
}

fn poll(queue: &dyn queue::Queue) -> Vec<Completion> {
    let mut completions = Vec::new();
    queue.poll(&mut completions);
    completions
}

fn refusal(queue: &dyn queue::Queue) -> RefusalReason {
    queue.submit(request()).unwrap_err().reason
}

#[test]
fn a_request_goes_through_its_phases_and_comes_back() {
    let silicon = Silicon::new(8, 1);
    let queue = queue(&silicon, 3, 2);
    queue.submit(request()).unwrap();
    assert_eq!(silicon.inside().taken.len(), 3);
    assert!(poll(&*queue).is_empty());
    silicon.complete(0, 1);
    silicon.complete(2, 1);
    assert!(poll(&*queue).is_empty(), "one of the three is not done");
    silicon.complete_all();
    assert!(poll(&*queue).is_empty(), "the second phase begins");
    assert_eq!(silicon.inside().taken.len(), 3);
    silicon.complete_all();
    assert!(poll(&*queue)[0].result.is_ok());
    assert_eq!(queue.numa_node(), Some(1));
}

#[test]
fn what_the_entries_of_the_queue_do_not_hold_waits_for_credits() {
    let silicon = Silicon::new(4, 1);
    let queue = queue(&silicon, 3, 3);
    queue.submit(request()).unwrap();
    queue.submit(request()).unwrap();
    assert_eq!(silicon.inside().taken.len(), 4, "three and one");
    assert_eq!(refusal(&*queue), RefusalReason::Full);
    silicon.complete_all();
    poll(&*queue);
    assert!(silicon.inside().taken.len() <= 4);
    let mut done = 0;
    for _ in 0..8 {
        silicon.complete_all();
        done += poll(&*queue).len();
        assert!(silicon.inside().taken.len() <= 4, "more in flight than the queue has entries");
    }
    assert_eq!(done, 2);
}

#[test]
fn slots_bound_what_is_in_flight() {
    let silicon = Silicon::new(64, 1);
    let queue = queue(&silicon, 1, 2);
    queue.submit(request()).unwrap();
    queue.submit(request()).unwrap();
    assert_eq!(refusal(&*queue), RefusalReason::Full);
}

#[test]
fn many_descriptors_go_as_batches_and_one_that_is_left_over_goes_alone() {
    let silicon = Silicon::new(8, 4);
    let queue = queue(&silicon, 9, 1);
    queue.submit(request()).unwrap();
    let sizes: Vec<_> =
        silicon.inside().taken.iter().map(|taken| (taken.opcode() == Opcode::BATCH, taken.bytes)).collect();
    assert_eq!(sizes, [(true, 4), (true, 4), (false, 0)]);
    silicon.complete_all();
    poll(&*queue);
    silicon.complete_all();
    assert!(poll(&*queue)[0].result.is_ok());
}

#[test]
fn a_batch_that_did_not_run_fails_the_request() {
    let silicon = Silicon::new(8, 4);
    let queue = queue(&silicon, 4, 1);
    queue.submit(request()).unwrap();
    silicon.complete(0, 0x14);
    let completion = poll(&*queue).remove(0);
    assert!(matches!(&completion.result, Err(Failure::Device { status, .. }) if status.contains("0x14")));
    queue.submit(completion.request).unwrap();
}

#[test]
fn a_queue_that_says_retry_is_full_and_leaves_no_trace() {
    let silicon = Silicon::new(8, 1);
    let queue = queue(&silicon, 2, 1);
    silicon.inside().refusal = Some(PortalRefusal::Retry);
    assert_eq!(refusal(&*queue), RefusalReason::Full);
    silicon.inside().refusal = None;
    queue.submit(request()).unwrap();
}

#[test]
fn a_device_that_is_gone_takes_nothing_more() {
    let silicon = Silicon::new(8, 1);
    let queue = queue(&silicon, 2, 1);
    silicon.inside().refusal = Some(PortalRefusal::Gone);
    assert_eq!(refusal(&*queue), RefusalReason::Gone);
    silicon.inside().refusal = None;
    assert_eq!(refusal(&*queue), RefusalReason::Gone);
}

#[test]
fn a_request_that_is_late_comes_back_only_when_the_device_is_quiet() {
    let silicon = Silicon::new(8, 1);
    let queue = queue_with(&silicon, 2, 2, SOON);
    silicon.inside().quiet = Quiet::Pending;
    queue.submit(request()).unwrap();
    thread::sleep(SOON);
    assert!(poll(&*queue).is_empty());
    assert_eq!(refusal(&*queue), RefusalReason::Full);
    assert!(silicon.inside().quiesced > 0);
    silicon.inside().quiet = Quiet::Ready;
    let completion = poll(&*queue).remove(0);
    assert!(matches!(completion.result, Err(Failure::Deadline { .. })), "{completion:?}");
    silicon.inside().taken.clear();
    queue.submit(completion.request).unwrap();
    silicon.complete_all();
    poll(&*queue);
    silicon.complete_all();
    assert!(poll(&*queue)[0].result.is_ok(), "all credits and slots are back");
}

#[test]
fn what_completes_while_its_queue_is_drained_is_not_lost() {
    let silicon = Silicon::new(8, 1);
    let queue = queue_with(&silicon, 1, 2, SOON);
    silicon.inside().quiet = Quiet::Pending;
    queue.submit(request()).unwrap();
    thread::sleep(SOON);
    poll(&*queue);
    silicon.complete_all();
    silicon.inside().quiet = Quiet::Ready;
    assert!(poll(&*queue).is_empty());
    assert!(poll(&*queue).is_empty(), "the second phase begins");
    silicon.complete_all();
    assert!(poll(&*queue)[0].result.is_ok());
}

#[test]
fn buffers_of_a_device_that_cannot_be_stopped_are_never_seen_again() {
    let silicon = Silicon::new(8, 1);
    let queue = queue_with(&silicon, 1, 1, SOON);
    silicon.inside().quiet = Quiet::Never;
    let late = request();
    let buffer = late.payload.address();
    queue.submit(late).unwrap();
    thread::sleep(SOON);
    let completion = poll(&*queue).remove(0);
    assert!(matches!(completion.result, Err(Failure::Device { .. })), "{completion:?}");
    assert_ne!(completion.request.payload.address(), buffer);
    assert_eq!(refusal(&*queue), RefusalReason::Gone);
    // The device writes after all, to memory that is still there.
    silicon.complete_all();
}

#[test]
fn a_device_that_may_still_write_to_guest_memory_ends_the_migration_there() {
    let silicon = Silicon::new(8, 1);
    let queue = queue_with(&silicon, 1, 1, SOON);
    silicon.inside().quiet = Quiet::Never;
    let mut late = request();
    late.reset(Direction::Decode);
    queue.submit(late).unwrap();
    thread::sleep(SOON);
    assert!(matches!(poll(&*queue)[0].result, Err(Failure::Uncontained { .. })));
}

#[test]
fn a_queue_that_is_dropped_with_work_in_it_waits_until_the_device_is_quiet() {
    let silicon = Silicon::new(8, 1);
    let queue = queue(&silicon, 1, 1);
    silicon.inside().quiet = Quiet::Pending;
    queue.submit(request()).unwrap();
    let later = silicon.clone();
    let device = thread::spawn(move || {
        while later.inside().quiesced < 10 {
            thread::yield_now();
        }
        later.complete_all();
        later.inside().quiet = Quiet::Ready;
    });
    drop(queue);
    assert!(silicon.inside().quiesced >= 10);
    device.join().unwrap();
}
