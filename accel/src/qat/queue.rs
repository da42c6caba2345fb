//! Requests in flight on one instance: slots, deadlines, and what happens when its device restarts or is lost.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_bindings::qat::cpa::CpaStatus;

use super::events::Seen;
use super::flight::{Flight, Offer};
use super::work::Work;
use crate::dma::{Block, keep_for_ever};
use crate::queue::{self, Attachment, Completion, Failure, RefusalReason, Refused};
use crate::request::{Direction, Request};

/// An instance and the requests in it.
pub(super) struct Queue {
    work: Work,
    depth: usize,
    deadline: Duration,
    patience: Duration,
    state: Mutex<State>,
    /// The library bears one thread at a time that polls an instance.
    polling: Mutex<()>,
    /// Keeps guest memory and payloads where the device was told they are.
    attachment: Attachment,
}

struct State {
    #[expect(clippy::vec_box, reason = "a flight moves as one pointer")]
    idle: Vec<Box<Flight>>,
    #[expect(clippy::vec_box, reason = "as above")]
    busy: Vec<Box<Flight>>,
    /// Slots whose request went elsewhere before the device was done with it.
    #[expect(clippy::vec_box, reason = "as above")]
    late: Vec<Box<Flight>>,
    /// Requests that an event ended, to be collected.
    ended: Vec<Completion>,
    /// Buffers to give requests in exchange for those that the device may still have to do with.
    spares: Vec<Block>,
    condition: Condition,
    seen: Seen,
}

/// What an instance is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// It takes requests.
    Open,
    /// Its device had a fatal error then, and takes none.
    Lost(Instant),
    /// Its device restarts, and has nothing in flight.
    Restarting,
}

impl Condition {
    /// Whether a device in this condition has certainly done with a flight whose operations are all answered: what the library
    /// ended in its place may still be written to, for a moment.
    fn has_settled(&mut self, flight: &Flight) -> bool {
        if flight.abandoned && *self == Self::Open {
            // The answers came before the event that they come of.
            *self = Self::Lost(Instant::now());
        }
        match self {
            Self::Lost(since) if flight.abandoned => since.elapsed() >= LINGER,
            Self::Lost(_) | Self::Open | Self::Restarting => true,
        }
    }
}

/// How long after a fatal error a device may still finish what it had. The driver of the physical function stops it at about the
/// time when it tells the virtual functions, if it is to reset the device by itself, and leaves it as it is otherwise (Linux
/// `adf_aer.c`). What an instance has in flight then is single megabytes, which take a device milliseconds.
pub(crate) const LINGER: Duration = Duration::from_millis(50);

impl Queue {
    pub(super) fn new(
        work: Work,
        flights: impl Iterator<Item = Flight>,
        deadline: Duration,
        patience: Duration,
        attachment: &Attachment,
    ) -> std::io::Result<Self> {
        let idle: Vec<_> = flights.map(Box::new).collect();
        let depth = idle.len();
        let spares = (0..depth).map(|_| attachment.buffer()).collect::<std::io::Result<_>>()?;
        let (busy, late, ended) =
            (Vec::with_capacity(depth), Vec::with_capacity(depth), Vec::with_capacity(depth));
        let (condition, seen) = (Condition::Open, Seen::default());
        let state = Mutex::new(State { idle, busy, late, ended, spares, condition, seen });
        let polling = Mutex::new(());
        Ok(Self { work, depth, deadline, patience, state, polling, attachment: attachment.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a request, if there is room for one.
    fn board(&self) -> Result<Box<Flight>, RefusalReason> {
        let mut state = self.lock();
        if state.busy.is_empty() && (state.condition != Condition::Open || state.idle.is_empty()) {
            // Nobody polls a queue whose requests are all elsewhere, so whoever asks looks whether it has recovered.
            drop(state);
            self.tend();
            state = self.lock();
            state.free_late();
        }
        match self.follow_events(&mut state) {
            Condition::Open => state.idle.pop().ok_or(RefusalReason::Full),
            Condition::Lost(_) | Condition::Restarting => Err(RefusalReason::Gone),
        }
    }

    /// Has the library answer what is over, and say what happened.
    fn tend(&self) {
        let Ok(_one_thread) = self.polling.try_lock() else { return };
        // SAFETY: operations in flight are in slots, which are kept until they are over.
        unsafe { self.work.started.poll() };
        self.work.started.look_for_events();
    }

    /// Acts upon what happened to the device since it was last asked, and says what it is up to. While the library takes care of
    /// an event, which may last, that is a restart, and is acted upon later.
    fn follow_events(&self, state: &mut State) -> Condition {
        let started = &self.work.started;
        let Some(events) = started.events(state.seen) else { return Condition::Restarting };
        if events == state.seen {
            return state.condition;
        }
        if events.fatal != state.seen.fatal {
            state.condition = Condition::Lost(Instant::now());
        }
        if events.restarting != state.seen.restarting {
            state.condition = Condition::Restarting;
            while let Some(flight) = state.busy.pop() {
                let completion = state.land(flight, Err(self.work.failed("its device restarted")));
                state.ended.extend(completion);
            }
            while let Some(flight) = state.late.pop() {
                state.free(flight);
            }
        }
        let Seen { restarted, .. } = mem::replace(&mut state.seen, events);
        if state.condition == Condition::Restarting && events.restarted != restarted {
            if started.init_sessions(events) == CpaStatus::SUCCESS {
                state.condition = Condition::Open;
            } else {
                // Sessions that cannot be opened yet are tried again, as the event is still news then.
                state.seen.restarted = restarted;
            }
        }
        state.condition
    }

    /// What became of a request whose operations are all over.
    fn complete(&self, flight: &mut Flight) -> Result<(), Failure> {
        if let Some(status) = flight.failure.take() {
            return Err(self.work.failed(status));
        }
        if flight.abandoned {
            return Err(self.work.failed("its device had a fatal error"));
        }
        let Flight { request, slot, way, .. } = flight;
        request.as_mut().map_or(Ok(()), |request| way.complete(&self.work, request, slot))
    }

    /// Finds flights whose operations are over, and completes them. Whoever submits is held up for a look, not for the work.
    fn complete_flights(&self, completions: &mut Vec<Completion>) {
        let mut index = 0;
        let mut state = self.lock();
        while let Some(mut flight) = state.next_over(&mut index, &self.work) {
            drop(state);
            let result = self.complete(&mut flight);
            state = self.lock();
            completions.extend(state.land(flight, result));
        }
    }

    /// Sees whether anything is late, and gives it to somebody else where that is safe.
    fn enforce_deadlines(&self, state: &mut State, completions: &mut Vec<Completion>) {
        state.free_late();
        if state.busy.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut index = 0;
        while index < state.busy.len() {
            let flight = &mut state.busy[index];
            // What the library has ended is over soon, if it has ended all of it.
            let waits = now < flight.deadline || flight.abandoned && flight.is_quiet();
            if waits || !self.give_up(state, index, now, completions) {
                index += 1;
            }
        }
    }

    /// Gives up on a flight that is past its deadline. Says whether it could: a request whose pages the device may yet write to
    /// guest memory is waited for, for a while.
    fn give_up(
        &self,
        state: &mut State,
        index: usize,
        now: Instant,
        completions: &mut Vec<Completion>,
    ) -> bool {
        let State { busy, late, spares, .. } = state;
        let flight = &mut busy[index];
        let quiet = flight.is_quiet();
        let Some(request) = flight.request.as_mut() else { return false };
        let device = Arc::clone(self.work.started.name());
        if !quiet && flight.way.writes_guest_memory(request.direction) {
            if now < flight.deadline + self.patience {
                return false;
            }
            // It is kept for ever: the device may write to what it was given at any time.
            let mut flight = busy.swap_remove(index);
            if let Some(mut request) = flight.request.take() {
                // Without memory for another payload it keeps the one that it has, which the device only reads.
                let _ = request.surrender_buffers();
                completions.push(Completion { request, result: Err(Failure::Uncontained { device }) });
            }
            keep_for_ever((flight, self.attachment.clone(), Arc::clone(&self.work.started)));
            return true;
        }
        if !quiet && flight.way.is_in_payload(request.direction) {
            let Some(mut spare) = spares.pop().or_else(|| self.attachment.buffer().ok()) else {
                return false;
            };
            let bytes = request.payload.bytes().len();
            if request.direction == Direction::Decode {
                // The device only reads it, and so may the next one.
                spare[..bytes].copy_from_slice(request.payload.bytes());
            }
            request.payload.swap_buffer(&mut spare);
            flight.hostage = Some(spare);
        }
        let mut flight = busy.swap_remove(index);
        completions.extend(flight.request.take().map(|request| {
            let result = Err(Failure::Deadline { device });
            Completion { request, result }
        }));
        late.push(flight);
        true
    }
}

impl State {
    /// Hands over what is still to be, and takes out the first flight from `index` on that is over.
    fn next_over(&mut self, index: &mut usize, work: &Work) -> Option<Box<Flight>> {
        while let Some(flight) = self.busy.get_mut(*index) {
            let direction = flight.request.as_ref().map_or(Direction::Encode, |request| request.direction);
            if self.condition == Condition::Open {
                // What is refused, is offered again or makes the request fail.
                flight.offer(&work.started, self.seen, direction);
            }
            if flight.look() && self.condition.has_settled(flight) {
                return Some(self.busy.swap_remove(*index));
            }
            *index += 1;
        }
        None
    }

    /// Takes back the slots that late answers have come for.
    fn free_late(&mut self) {
        let mut index = 0;
        while let Some(flight) = self.late.get_mut(index) {
            if flight.is_quiet() && self.condition.has_settled(flight) {
                let flight = self.late.swap_remove(index);
                self.free(flight);
            } else {
                index += 1;
            }
        }
    }

    /// Empties the slot of a flight that is over.
    fn land(&mut self, mut flight: Box<Flight>, result: Result<(), Failure>) -> Option<Completion> {
        let request = flight.request.take();
        self.free(flight);
        request.map(|request| Completion { request, result })
    }

    /// Takes back a slot that the device has nothing to do with any more.
    fn free(&mut self, mut flight: Box<Flight>) {
        self.spares.extend(flight.hostage.take());
        flight.clear();
        self.idle.push(flight);
    }
}

impl queue::Queue for Queue {
    fn submit(&self, mut request: Box<Request>) -> Result<(), Refused> {
        let mut flight = match self.board() {
            Ok(flight) => flight,
            Err(reason) => return Err(Refused { request, reason }),
        };
        let Flight { slot, way, failure, .. } = &mut *flight;
        // What was posted until it failed is not handed over.
        *failure = way.begin(&self.work, &request, slot).err();
        let state = &mut *self.lock();
        let offer = match state.condition {
            Condition::Open => flight.offer(&self.work.started, state.seen, request.direction),
            Condition::Lost(_) | Condition::Restarting => Offer::Gone,
        };
        if offer != Offer::Taken && !flight.has_begun() {
            state.free(flight);
            let reason = if offer == Offer::Full { RefusalReason::Full } else { RefusalReason::Gone };
            return Err(Refused { request, reason });
        }
        request.submitted = Instant::now();
        flight.deadline = request.submitted + self.deadline;
        flight.request = Some(request);
        state.busy.push(flight);
        Ok(())
    }

    fn poll(&self, completions: &mut Vec<Completion>) {
        {
            let state = &mut *self.lock();
            completions.append(&mut state.ended);
            if state.busy.is_empty() && state.late.is_empty() {
                return;
            }
        }
        self.tend();
        self.complete_flights(completions);
        let state = &mut *self.lock();
        self.follow_events(state);
        completions.append(&mut state.ended);
        self.enforce_deadlines(state, completions);
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn rings(&self) -> bool {
        false
    }

    fn numa_node(&self) -> Option<u32> {
        Some(self.work.started.node())
    }
}

impl Drop for Queue {
    /// Waits for what is in flight; what does not end, keeps its memory and its instance for ever.
    fn drop(&mut self) {
        let begun = Instant::now();
        loop {
            self.tend();
            let state = &mut *self.lock();
            self.follow_events(state);
            let State { busy, late, condition, .. } = state;
            let mut flights = busy.iter_mut().chain(late);
            if flights.all(|flight| flight.is_quiet() && condition.has_settled(flight)) {
                return;
            }
            if begun.elapsed() >= self.patience {
                let flights = (mem::take(&mut state.busy), mem::take(&mut state.late));
                keep_for_ever((flights, self.attachment.clone(), Arc::clone(&self.work.started)));
                return;
            }
            thread::yield_now();
        }
    }
}
