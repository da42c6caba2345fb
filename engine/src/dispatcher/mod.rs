//! Requests to queues: near ones first, in turn, past those that are full or in quarantine, and to the next accelerator
//! when all are.

mod health;
mod lane;
mod meter;
mod order;
mod tally;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::pool::Pool;
use pageferry_accel::queue::{
    Accelerator, Attachment, Completion, Failure, OpenError, RefusalReason, Refused,
};
use pageferry_accel::request::{Direction, Request};

use crate::fallbacks::Fallbacks;
use crate::sync::{AtomicUsize, Ordering::Relaxed};
use crate::work::Work;
use lane::{Declined, Lane, Reason};
use tally::Tally;

/// The opened accelerators of a sender or a receiver, in the order of preference.
///
/// One thread submits while another polls.
pub(crate) struct Dispatcher {
    lanes: Vec<Lane>,
    doorbell: Arc<Doorbell>,
    in_flight: InFlight,
    tally: Tally,
    /// Where to look up which node pages are on, if that makes a difference anywhere.
    nodes: Option<Arc<GuestRam>>,
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

/// How many requests are with the queues, or are just being offered to them.
struct InFlight {
    /// One number for all lanes, so that of several threads that were refused at once the last one finds it to be 0.
    all: AtomicUsize,
    /// Those whose completions will not ring.
    silent: AtomicUsize,
}

impl Dispatcher {
    /// Opens every accelerator for the guest of `attachment`.
    pub(crate) fn open(
        accelerators: &[Arc<dyn Accelerator>],
        attachment: &Attachment,
    ) -> Result<Self, OpenError> {
        let lanes = accelerators.iter().map(|accelerator| Lane::open(&**accelerator, attachment));
        let lanes = lanes.collect::<Result<Vec<_>, _>>()?;
        let ram = &attachment.ram;
        let matters = lanes.iter().any(Lane::depends_on_node)
            && ram.ranges().any(|range| ram.numa_node(range.first).is_some());
        Ok(Self {
            lanes,
            doorbell: Arc::clone(&attachment.doorbell),
            in_flight: InFlight { all: AtomicUsize::new(0), silent: AtomicUsize::new(0) },
            tally: Tally::new(),
            nodes: matters.then(|| Arc::clone(ram)),
        })
    }

    /// What each accelerator did so far, in the order of preference.
    pub(crate) fn work(&self) -> Vec<Work> {
        self.lanes.iter().map(Lane::work).collect()
    }

    /// How many queues do anything in this direction.
    pub(crate) fn queues(&self, direction: Direction) -> usize {
        let able = self
            .lanes
            .iter()
            .filter(|lane| Method::ALL.into_iter().any(|method| lane.can(method, direction)));
        able.map(Lane::queues).sum()
    }

    /// CPU time of the threads of all accelerators, in what came back from them until now.
    pub(crate) fn worked(&self) -> Duration {
        self.lanes.iter().map(Lane::worked).sum()
    }

    /// How many requests all queues hold together.
    pub(crate) fn depth(&self) -> usize {
        self.lanes.iter().map(Lane::depth).sum()
    }

    /// Whether some accelerator can run `method` in this direction.
    pub(crate) fn can(&self, method: Method, direction: Direction) -> bool {
        self.capable(method, direction).next().is_some()
    }

    /// Whether the accelerator at this place of the order of preference can encode with `method`.
    pub(crate) fn can_by(&self, lane: usize, method: Method) -> bool {
        self.lanes[lane].can(method, Direction::Encode)
    }

    /// Whether every accelerator that could take a request failed on it, the last one repeatedly.
    pub(crate) fn is_exhausted(&self, request: &Request) -> bool {
        request.attempts >= self.capable(request.method, request.direction).count() + LAST_RESORT_RETRIES
    }

    fn capable(&self, method: Method, direction: Direction) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter(move |lane| lane.can(method, direction))
    }

    /// The accelerators that can take a request, by their places in the order of preference: the one that it prefers, then
    /// the others.
    fn walk<'a>(&'a self, request: &Request) -> impl DoubleEndedIterator<Item = usize> + Clone + use<'a> {
        let Request { method, direction, preferred, .. } = *request;
        let first = (preferred < self.lanes.len()).then_some(preferred);
        let others = (0..self.lanes.len()).filter(move |&lane| lane != preferred);
        first.into_iter().chain(others).filter(move |&lane| self.lanes[lane].can(method, direction))
    }

    /// Those that a request has still before it: it goes past as many as it failed on, but not past the last that could
    /// take it.
    fn ahead<'a>(&'a self, request: &Request) -> impl DoubleEndedIterator<Item = &'a Lane> + Clone + use<'a> {
        let mut ahead = self.walk(request);
        let last = ahead.clone().count().saturating_sub(1);
        if let Some(passed) = request.attempts.min(last).checked_sub(1) {
            ahead.nth(passed);
        }
        ahead.map(|lane| &self.lanes[lane])
    }

    /// Hands a request to a queue, or back if no queue that could take it has room.
    ///
    /// It is offered to the accelerator that it prefers, then to the others in the order of preference. A request that failed before goes past as many accelerators, but not past the last. Queues in quarantine get it
    /// only to be probed, or if there are no others.
    ///
    /// # Errors
    /// [`Refused`] is [`RefusalReason::Gone`] if every such queue is, and will never take it.
    pub(crate) fn submit(&self, mut request: Box<Request>) -> Result<(), Refused> {
        let node =
            self.nodes.as_ref().zip(request.runs.first()).and_then(|(ram, run)| ram.numa_node(run.first));
        let lanes = self.ahead(&request);
        let mut reason = Reason::Gone;
        // Counted before it is there, so that a poller never sees it completed and not yet in flight.
        self.in_flight.all.fetch_add(1, Relaxed);
        for lane in lanes.clone() {
            let submitted = self.hand_to(lane, || lane.submit(request, node, &self.tally));
            let Err(declined) = submitted else { return Ok(()) };
            request = declined.request;
            reason = reason.min(declined.reason);
        }
        if reason == Reason::Quarantined {
            // Nothing else is there to wait for. The last accelerator is the one to fall back on.
            for lane in lanes.rev() {
                let forced = self.hand_to(lane, || lane.force(request, &self.tally));
                let Err(declined) = forced else { return Ok(()) };
                request = declined.request;
                reason = declined.reason;
                if reason == Reason::Full {
                    break;
                }
            }
        }
        self.in_flight.all.fetch_sub(1, Relaxed);
        let reason = if reason == Reason::Full { RefusalReason::Full } else { RefusalReason::Gone };
        Err(Refused { request, reason })
    }

    fn hand_to(&self, lane: &Lane, hand: impl FnOnce() -> Result<(), Declined>) -> Result<(), Declined> {
        if lane.rings() {
            return hand();
        }
        self.in_flight.silent.fetch_add(1, Relaxed);
        let handed = hand();
        if handed.is_ok() {
            // Behind the count: a poller that this wakes, or keeps awake, sees that it must poll.
            self.doorbell.ring();
        } else {
            self.in_flight.silent.fetch_sub(1, Relaxed);
        }
        handed
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

    /// Appends whatever completed on any queue. A request that failed has its attempts counted.
    pub(crate) fn poll(&self, completions: &mut Vec<Completion>) {
        for (index, lane) in self.lanes.iter().enumerate() {
            let before = completions.len();
            lane.poll(completions, &self.tally);
            let found = &mut completions[before..];
            self.in_flight.all.fetch_sub(found.len(), Relaxed);
            if !lane.rings() {
                self.in_flight.silent.fetch_sub(found.len(), Relaxed);
            }
            for Completion { request, result } in found {
                request.lane = index;
                if let Err(failure) = result {
                    request.attempts = self.attempts_after(failure, index, request);
                }
            }
        }
    }

    /// How many attempts a request counts that failed on the accelerator `lane`.
    ///
    /// Pages that do not decode to what the frame says end the migration, if it is the last accelerator that finds them
    /// so: that is the judge. Another one may be what is broken.
    fn attempts_after(&self, failure: &Failure, lane: usize, request: &Request) -> usize {
        let accelerators = self.capable(request.method, request.direction).count();
        let next = request.attempts + 1;
        match failure {
            Failure::Corrupt { .. } | Failure::ChecksumMismatch { .. } => {
                let judges = [self.walk(request).next_back(), self.walk(request).max()];
                if judges.contains(&Some(lane)) {
                    accelerators + LAST_RESORT_RETRIES
                } else {
                    next.max(accelerators - 1)
                }
            }
            // No page of the guest is safe any more, whoever decodes it again.
            Failure::Uncontained { .. } => accelerators + LAST_RESORT_RETRIES,
            _ => next,
        }
    }

    /// Whether something is in flight whose completion will not ring.
    pub(crate) fn must_poll(&self) -> bool {
        self.in_flight.silent.load(Relaxed) > 0
    }

    /// Writes what happened to requests and queues into `fallbacks`.
    pub(crate) fn report(&self, fallbacks: &mut Fallbacks) {
        self.tally.report(fallbacks);
    }
}
