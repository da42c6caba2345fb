//! Requests to queues: round robin, past the full ones, and to the next accelerator when all are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::method::Method;
use pageferry_accel::queue::{
    Accelerator, Attachment, Capabilities, Completion, OpenError, Queue, RefusalReason, Refused,
};
use pageferry_accel::request::{Direction, Request};

/// The opened accelerators of a sender or a receiver, in the order of preference.
///
/// One thread submits while another polls.
pub(crate) struct Dispatcher {
    lanes: Vec<Lane>,
    doorbell: Arc<Doorbell>,
    fallbacks: QueueFallbacks,
}

/// How often the last accelerator in the order of preference may fail on one request before the migration does.
const LAST_RESORT_RETRIES: usize = 2;

/// One accelerator and its queues.
struct Lane {
    capabilities: Capabilities,
    queues: Vec<Box<dyn Queue>>,
    /// The queue that is tried first for the next request.
    turn: AtomicUsize,
    /// Whether its completions ring the doorbell.
    rings: bool,
    /// One order for all lanes, so that of several threads that were refused the last one finds them all empty.
    in_flight: AtomicUsize,
}

/// How often a request went to another queue than the one whose turn it was, by reason.
#[derive(Debug, Default)]
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
            fallbacks: QueueFallbacks::default(),
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
        for lane in self.capable(method, direction).skip(passed) {
            let Err(refused) = lane.submit(request, &self.fallbacks) else {
                if !lane.rings {
                    self.doorbell.ring();
                }
                return Ok(());
            };
            request = refused.request;
            if refused.reason == RefusalReason::Full {
                reason = RefusalReason::Full;
            }
        }
        Err(Refused { request, reason })
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
        self.lanes.iter().all(|lane| lane.in_flight.load(SeqCst) == 0)
    }

    /// Appends whatever completed on any queue.
    pub(crate) fn poll(&self, completions: &mut Vec<Completion>) {
        self.lanes.iter().for_each(|lane| lane.poll(completions));
    }

    /// Whether something is in flight whose completion will not ring.
    pub(crate) fn must_poll(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.rings && lane.in_flight.load(SeqCst) > 0)
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
            in_flight: AtomicUsize::new(0),
        })
    }

    fn submit(&self, mut request: Box<Request>, fallbacks: &QueueFallbacks) -> Result<(), Refused> {
        let turn = self.turn.fetch_add(1, Relaxed);
        // Counted before it is there, so that a poller never sees it completed and not yet in flight.
        self.in_flight.fetch_add(1, SeqCst);
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
        self.in_flight.fetch_sub(1, SeqCst);
        Err(Refused { request, reason })
    }

    fn poll(&self, completions: &mut Vec<Completion>) {
        let before = completions.len();
        self.queues.iter().for_each(|queue| queue.poll(completions));
        self.in_flight.fetch_sub(completions.len() - before, SeqCst);
    }
}
