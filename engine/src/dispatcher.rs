//! Requests to queues: round robin, past the full ones, and to the next accelerator when all are.

use std::sync::Arc;
use std::thread;

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::method::Method;
use pageferry_accel::pool::Pool;
use pageferry_accel::queue::{
    Accelerator, Attachment, Capabilities, Completion, OpenError, Queue, RefusalReason, Refused,
};
use pageferry_accel::request::{Direction, Request};

use crate::sync::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The opened accelerators of a sender or a receiver, in the order of preference.
///
/// One thread submits while another polls.
pub(crate) struct Dispatcher {
    lanes: Vec<Lane>,
    doorbell: Arc<Doorbell>,
    in_flight: InFlight,
    fallbacks: QueueFallbacks,
}

/// How often the last accelerator in the order of preference may fail on one request before the migration does.
const LAST_RESORT_RETRIES: usize = 2;

/// Why a request finds no queue, however long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unplaced {
    /// Every queue that could take it is gone.
    QueuesGone(Method),
    /// The migration ended meanwhile.
    PoolClosed,
}

/// One accelerator and its queues.
struct Lane {
    capabilities: Capabilities,
    queues: Vec<Box<dyn Queue>>,
    /// The queue that is tried first for the next request.
    turn: AtomicUsize,
    /// Whether its completions ring the doorbell.
    rings: bool,
}

/// How many requests are with the queues, or are just being offered to them.
struct InFlight {
    /// One number for all lanes, so that of several threads that were refused at once the last one finds it to be 0.
    all: AtomicUsize,
    /// Those whose completions will not ring.
    silent: AtomicUsize,
}

/// How often a request went to another queue than the one whose turn it was, by reason.
#[derive(Debug)]
struct QueueFallbacks {
    full: AtomicU64,
    gone: AtomicU64,
}

impl Dispatcher {
    /// Opens every accelerator for the guest of `attachment`.
    pub(crate) fn open(
        accelerators: &[Arc<dyn Accelerator>],
        attachment: &Attachment,
    ) -> Result<Self, OpenError> {
        let lanes = accelerators.iter().map(|accelerator| Lane::open(&**accelerator, attachment));
        Ok(Self {
            lanes: lanes.collect::<Result<_, _>>()?,
            doorbell: Arc::clone(&attachment.doorbell),
            in_flight: InFlight { all: AtomicUsize::new(0), silent: AtomicUsize::new(0) },
            fallbacks: QueueFallbacks { full: AtomicU64::new(0), gone: AtomicU64::new(0) },
        })
    }

    /// How many requests all queues hold together.
    pub(crate) fn depth(&self) -> usize {
        self.lanes.iter().flat_map(|lane| &lane.queues).map(|queue| queue.depth()).sum()
    }

    /// Whether some accelerator can run `method` in this direction.
    pub(crate) fn can(&self, method: Method, direction: Direction) -> bool {
        self.capable(method, direction).next().is_some()
    }

    /// Whether every accelerator that could take a request failed on it, the last one repeatedly.
    pub(crate) fn is_exhausted(&self, request: &Request) -> bool {
        request.attempts >= self.capable(request.method, request.direction).count() + LAST_RESORT_RETRIES
    }

    fn capable(&self, method: Method, direction: Direction) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter(move |lane| lane.capabilities.can(method, direction))
    }

    /// Hands a request to a queue, or back if no queue that could take it has room.
    ///
    /// A request that failed before goes past as many accelerators, but not past the last.
    ///
    /// # Errors
    /// [`Refused`] is [`RefusalReason::Gone`] if every such queue is, and will never take it.
    pub(crate) fn submit(&self, mut request: Box<Request>) -> Result<(), Refused> {
        let (method, direction) = (request.method, request.direction);
        let passed = request.attempts.min(self.capable(method, direction).count().saturating_sub(1));
        let mut reason = RefusalReason::Gone;
        // Counted before it is there, so that a poller never sees it completed and not yet in flight.
        self.in_flight.all.fetch_add(1, Relaxed);
        for lane in self.capable(method, direction).skip(passed) {
            let Err(refused) = self.submit_to(lane, request) else { return Ok(()) };
            request = refused.request;
            if refused.reason == RefusalReason::Full {
                reason = RefusalReason::Full;
            }
        }
        self.in_flight.all.fetch_sub(1, Relaxed);
        Err(Refused { request, reason })
    }

    fn submit_to(&self, lane: &Lane, request: Box<Request>) -> Result<(), Refused> {
        if lane.rings {
            return lane.submit(request, &self.fallbacks);
        }
        self.in_flight.silent.fetch_add(1, Relaxed);
        let submitted = lane.submit(request, &self.fallbacks);
        if submitted.is_ok() {
            // Behind the count: a poller that this wakes, or keeps awake, sees that it must poll.
            self.doorbell.ring();
        } else {
            self.in_flight.silent.fetch_sub(1, Relaxed);
        }
        submitted
    }

    /// Hands a request to a queue; waits, while there is room in none, for one to come back to `pool`.
    ///
    /// # Errors
    /// [`Unplaced`] if none will ever come.
    pub(crate) fn place(&self, mut request: Box<Request>, pool: &Pool) -> Result<(), Unplaced> {
        loop {
            let mark = pool.returns();
            let Err(refused) = self.submit(request) else { return Ok(()) };
            request = refused.request;
            if refused.reason == RefusalReason::Gone {
                return Err(Unplaced::QueuesGone(request.method));
            }
            if self.is_idle() {
                // Refused though nothing of ours is there: somebody else's work fills the queue, and will not tell.
                thread::yield_now();
            } else if pool.wait_for_return(mark).is_err() {
                return Err(Unplaced::PoolClosed);
            }
        }
    }

    /// Hands over what waits, as far as there is room. Says whether the rest can sleep until something comes back:
    /// it cannot while nothing is out, as when a device shared with others refused.
    ///
    /// # Errors
    /// [`Refused`] if every queue that could take a request is gone.
    #[expect(clippy::vec_box, reason = "a request moves as one pointer")]
    pub(crate) fn submit_waiting(&self, waiting: &mut Vec<Box<Request>>) -> Result<bool, Refused> {
        while let Some(request) = waiting.pop() {
            match self.submit(request) {
                Ok(()) => {}
                Err(refused) if refused.reason == RefusalReason::Gone => return Err(refused),
                Err(refused) => {
                    waiting.push(refused.request);
                    return Ok(!self.is_idle());
                }
            }
        }
        Ok(true)
    }

    /// Whether nothing is in flight, so that nothing will come back and make room.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.all.load(Relaxed) == 0
    }

    /// Appends whatever completed on any queue.
    pub(crate) fn poll(&self, completions: &mut Vec<Completion>) {
        for lane in &self.lanes {
            let before = completions.len();
            lane.queues.iter().for_each(|queue| queue.poll(completions));
            let found = completions.len() - before;
            self.in_flight.all.fetch_sub(found, Relaxed);
            if !lane.rings {
                self.in_flight.silent.fetch_sub(found, Relaxed);
            }
        }
    }

    /// Whether something is in flight whose completion will not ring.
    pub(crate) fn must_poll(&self) -> bool {
        self.in_flight.silent.load(Relaxed) > 0
    }

    /// Requests that a full queue passed on, and those that a queue that is gone did.
    pub(crate) fn fallbacks(&self) -> (u64, u64) {
        (self.fallbacks.full.load(Relaxed), self.fallbacks.gone.load(Relaxed))
    }
}

impl Lane {
    fn open(accelerator: &dyn Accelerator, attachment: &Attachment) -> Result<Self, OpenError> {
        let queues = accelerator.open(attachment)?;
        Ok(Self {
            capabilities: accelerator.capabilities(),
            rings: queues.iter().all(|queue| queue.rings()),
            queues,
            turn: AtomicUsize::new(0),
        })
    }

    fn submit(&self, mut request: Box<Request>, fallbacks: &QueueFallbacks) -> Result<(), Refused> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let mut reason = RefusalReason::Gone;
        for offset in 0..self.queues.len() {
            match self.queues[(turn + offset) % self.queues.len()].submit(request) {
                Ok(()) => return Ok(()),
                Err(refused) => {
                    request = refused.request;
                    let counter = match refused.reason {
                        RefusalReason::Full => {
                            reason = RefusalReason::Full;
                            &fallbacks.full
                        }
                        RefusalReason::Gone => &fallbacks.gone,
                    };
                    counter.fetch_add(1, Relaxed);
                }
            }
        }
        Err(Refused { request, reason })
    }
}
