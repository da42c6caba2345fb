//! Accelerators that misbehave as devices do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::queue::{
    Accelerator, Attachment, Capabilities, Completion, Failure, OpenError, Provenance, Queue, RefusalReason,
    Refused,
};
use pageferry_accel::request::Request;
use pageferry_accel::run::Segment;
use pageferry_accel::units::PageCount;

use crate::guest::Noise;

/// What goes wrong, in percent of all requests, from a seed.
#[derive(Clone, Copy, Debug)]
pub struct FaultPlan {
    /// Makes the same plan go the same way, as far as threads allow.
    pub seed: u64,
    /// Requests that are refused as if the queue were full.
    pub refused: u64,
    /// Requests that are taken and fail.
    pub failed: u64,
    /// How many looks a completion keeps one waiting at most.
    pub late: u64,
    /// How completions are found.
    pub completing: Completing,
    /// How requests fail.
    pub fault: Fault,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device reports an error.
    Error,
    /// The device lets its deadline pass.
    Deadline,
    /// The device decodes to pages that are not those that were encoded.
    Misdecode,
    /// The queue is gone when the request comes.
    Gone,
}

/// How the completions of a device are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completing {
    /// A thread of the device finds them and rings.
    Ringing,
    /// Nobody rings: whoever polls finds them.
    Polled,
}

/// What a flaky accelerator did.
#[derive(Debug, Default)]
pub struct Misdeeds {
    /// Requests that it refused.
    pub refused: AtomicU64,
    /// Requests that it failed.
    pub failed: AtomicU64,
    /// Requests that it did.
    pub done: AtomicU64,
    /// Whether everything fails for now, whatever the plan says.
    pub broken: AtomicBool,
}

/// The CPU, behind queues that refuse, fail, come late and out of order.
#[derive(Debug)]
pub struct Flaky {
    plan: FaultPlan,
    misdeeds: Arc<Misdeeds>,
}

impl Flaky {
    /// Two queues that go wrong by `plan`.
    #[must_use]
    pub fn new(plan: FaultPlan) -> Self {
        Self { plan, misdeeds: Arc::default() }
    }

    /// Two queues that fail everything, in the way of `plan`, until they are told otherwise.
    #[must_use]
    pub fn broken(plan: FaultPlan) -> Self {
        let flaky = Self::new(plan);
        flaky.misdeeds.broken.store(true, SeqCst);
        flaky
    }

    /// Does from now on what the plan says.
    pub fn mend(&self) {
        self.misdeeds.broken.store(false, SeqCst);
    }

    /// What it did until now.
    #[must_use]
    pub fn misdeeds(&self) -> &Misdeeds {
        &self.misdeeds
    }

    fn inner() -> Cpu {
        Cpu::new(CpuConfig { workers: 1, depth: 4, ..CpuConfig::default() })
    }
}

impl Accelerator for Flaky {
    fn name(&self) -> &str {
        "flaky"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { queues: 2, ..Self::inner().capabilities() }
    }

    fn provenance(&self) -> Provenance {
        Provenance::StandIn
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        let open = |seed| {
            let quiet = Attachment { doorbell: Arc::default(), ..attachment.clone() };
            let inner = Self::inner().open(&quiet)?.remove(0);
            let plan = FaultPlan { seed: self.plan.seed ^ seed, ..self.plan };
            Ok(FlakyQueue::start(plan, inner, Arc::clone(&self.misdeeds), Arc::clone(&attachment.doorbell)))
        };
        (1..=2).map(open).collect()
    }
}

struct FlakyQueue {
    shared: Arc<Shared>,
    /// Finds completions where the plan says so.
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    plan: FaultPlan,
    inner: Box<dyn Queue>,
    misdeeds: Arc<Misdeeds>,
    state: Mutex<State>,
    ended: AtomicBool,
}

struct State {
    noise: Noise,
    /// Done, and not yet admitted: how many looks are left.
    late: Vec<(u64, Completion)>,
    /// What a thread has found for the poller.
    found: Vec<Completion>,
}

impl FlakyQueue {
    fn start(
        plan: FaultPlan,
        inner: Box<dyn Queue>,
        misdeeds: Arc<Misdeeds>,
        doorbell: Arc<Doorbell>,
    ) -> Box<dyn Queue> {
        let state = State { noise: Noise(plan.seed), late: Vec::new(), found: Vec::new() };
        let ended = AtomicBool::new(false);
        let shared = Arc::new(Shared { plan, inner, misdeeds, state: Mutex::new(state), ended });
        let thread = (plan.completing == Completing::Ringing).then(|| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.find_and_ring(&doorbell))
        });
        Box::new(Self { shared, thread })
    }
}

impl Queue for FlakyQueue {
    fn submit(&self, request: Box<Request>) -> Result<(), Refused> {
        let Shared { plan, inner, misdeeds, .. } = &*self.shared;
        let mut state = self.shared.lock();
        let broken = misdeeds.broken.load(SeqCst);
        if !broken && state.noise.chance(plan.refused) {
            misdeeds.refused.fetch_add(1, SeqCst);
            return Err(Refused { request, reason: RefusalReason::Full });
        }
        if !broken && !state.noise.chance(plan.failed) {
            drop(state);
            let taken = inner.submit(request);
            let counter = if taken.is_ok() { &misdeeds.done } else { &misdeeds.refused };
            counter.fetch_add(1, SeqCst);
            return taken;
        }
        misdeeds.failed.fetch_add(1, SeqCst);
        let Some(failure) = plan.fault.failure() else {
            return Err(Refused { request, reason: RefusalReason::Gone });
        };
        let looks = state.noise.below(plan.late + 1);
        state.late.push((looks, failed(request, failure)));
        Ok(())
    }

    fn poll(&self, completions: &mut Vec<Completion>) {
        match self.shared.plan.completing {
            Completing::Ringing => completions.append(&mut self.shared.lock().found),
            Completing::Polled => self.shared.look(completions),
        }
    }

    fn depth(&self) -> usize {
        self.shared.inner.depth()
    }

    fn rings(&self) -> bool {
        self.shared.plan.completing == Completing::Ringing
    }

    fn has_threads(&self) -> bool {
        self.shared.inner.has_threads()
    }
}

impl Drop for FlakyQueue {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap_or_default());
    }
}

impl Shared {
    /// Finds what is done, and admits to it late and in any order.
    fn look(&self, admitted: &mut Vec<Completion>) {
        let mut done = Vec::new();
        self.inner.poll(&mut done);
        let State { noise, late, .. } = &mut *self.lock();
        late.extend(done.into_iter().map(|completion| (noise.below(self.plan.late + 1), completion)));
        for index in (0..late.len()).rev() {
            match late[index].0.checked_sub(1) {
                Some(looks) => late[index].0 = looks,
                None => admitted.push(late.swap_remove(index).1),
            }
        }
    }

    fn find_and_ring(&self, doorbell: &Doorbell) {
        let mut found = Vec::new();
        while !self.ended.load(SeqCst) {
            self.look(&mut found);
            if !found.is_empty() {
                self.lock().found.append(&mut found);
                doorbell.ring();
            }
            thread::yield_now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    /// What is reported of it, if the request is taken at all.
    fn failure(self) -> Option<Failure> {
        let device = "flaky".into();
        match self {
            Self::Error => Some(Failure::Device { device, status: "made to fail by the test".into() }),
            Self::Deadline => Some(Failure::Deadline { device }),
            Self::Misdecode => Some(Failure::ChecksumMismatch { stated: 1, computed: 2 }),
            Self::Gone => None,
        }
    }
}

/// As a device leaves a request that it failed half way: with rubbish where the result was to be.
fn failed(mut request: Box<Request>, failure: Failure) -> Completion {
    if request.direction == pageferry_accel::request::Direction::Encode {
        request.payload.buffer().iter_mut().step_by(7).for_each(|byte| *byte ^= 0x5a);
        request.payload.set_filled(1);
        request.segments.push(Segment { method: Method::Lz4, pages: PageCount(9), bytes: 1 });
    }
    Completion { request, result: Err(failure) }
}

/// An accelerator that promises every method and has only queues that are gone, or none.
#[derive(Clone, Copy, Debug)]
pub struct Absent {
    /// How many queues it has.
    pub queues: usize,
    /// What it promises.
    pub methods: MethodSet,
}

impl Accelerator for Absent {
    fn name(&self) -> &str {
        "absent"
    }

    fn capabilities(&self) -> Capabilities {
        let cpu = Flaky::inner().capabilities();
        Capabilities { encode: self.methods, decode: self.methods, queues: self.queues, ..cpu }
    }

    fn provenance(&self) -> Provenance {
        Provenance::StandIn
    }

    fn open(&self, _: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        Ok((0..self.queues).map(|_| Box::new(Gone) as Box<dyn Queue>).collect())
    }
}

struct Gone;

impl Queue for Gone {
    fn submit(&self, request: Box<Request>) -> Result<(), Refused> {
        Err(Refused { request, reason: RefusalReason::Gone })
    }

    fn poll(&self, _: &mut Vec<Completion>) {}

    fn depth(&self) -> usize {
        1
    }

    fn rings(&self) -> bool {
        true
    }
}
