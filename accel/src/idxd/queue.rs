//! Requests in flight on one work queue: slots, credits, deadlines, and what happens when a device does not answer.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::announcer::Announcer;
use super::device::{Control, Device, QueueFacts, Quiet, WorkQueue};
use super::flight::{Flight, Sending, SlotSize};
use super::portal::{Portal, PortalRefusal};
use super::work::{Progress, Work};
use crate::dma::{Arena, keep_for_ever};
use crate::queue::{self, Attachment, Completion, Failure, OpenError, RefusalReason, Refused};
use crate::request::{Direction, Request};

/// How many requests a queue holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Requests in flight in each queue.
    pub requests: usize,
    /// How long a device may take for a request before its queue is made quiet and the request goes elsewhere.
    pub deadline: Duration,
}

impl Default for QueueSettings {
    /// Enough requests that a device is never without; a deadline that no healthy device meets under load.
    fn default() -> Self {
        Self { requests: 8, deadline: Duration::from_millis(250) }
    }
}

/// Opens every queue of `device` for requests of `attachment`.
pub(crate) fn open<W: Work>(
    device: &dyn Device,
    attachment: &Attachment,
    settings: QueueSettings,
    work: impl Fn(&QueueFacts) -> W,
) -> Result<Vec<Box<dyn queue::Queue>>, OpenError> {
    let known = device.queues();
    let works: Vec<W> = known.iter().map(&work).collect();
    let requests = settings.requests.max(1);
    let bytes: usize = works.iter().map(|work| SlotSize::of(work).bytes::<W>() * requests).sum();
    let no_memory = |source| OpenError::Memory { accelerator: device.name().to_owned(), source };
    let arena = Arena::new(1, bytes).map_err(no_memory)?;
    let mut memory = attachment.dma_ranges();
    memory.push(arena.range());
    let opened = device.open(&memory)?.into_iter().zip(known.iter().zip(works));
    let queues = opened.map(|(queue, (facts, planned))| {
        let size = SlotSize::of(&planned);
        // What it can do may be less once it is open: a queue that is written to takes no batches.
        let work = if queue.facts == *facts { planned } else { work(&queue.facts) };
        let flights = (0..requests).map(|_| Flight::new(&work, size, &arena).map(Box::new));
        let flights = flights.collect::<Option<_>>().ok_or(std::io::ErrorKind::OutOfMemory.into());
        let queue = Queue::new(queue, work, flights.map_err(no_memory)?, settings, attachment);
        Ok(Box::new(queue.map_err(no_memory)?) as Box<dyn queue::Queue>)
    });
    queues.collect()
}

/// A work queue and the requests in it.
struct Queue<W: Work> {
    name: Arc<str>,
    work: W,
    sending: Sending,
    settings: QueueSettings,
    numa_node: Option<u32>,
    /// Rings when the device raises an interrupt; without one, the queue is polled.
    announcer: Option<Announcer>,
    portal: Box<dyn Portal>,
    control: Box<dyn Control>,
    state: Mutex<State<W>>,
    /// Keeps guest memory and payloads where the device was told they are.
    attachment: Attachment,
}

struct State<W: Work> {
    idle: Vec<Box<Flight<W>>>,
    busy: Vec<Box<Flight<W>>>,
    /// Entries of the work queue that are free.
    credits: usize,
    condition: Condition,
}

/// What a queue is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// It takes requests.
    Open,
    /// It is being made quiet, and takes none meanwhile.
    Quieting,
    /// It takes no more requests.
    Gone,
}

impl<W: Work> Queue<W> {
    fn new(
        queue: WorkQueue,
        work: W,
        idle: Vec<Box<Flight<W>>>,
        settings: QueueSettings,
        attachment: &Attachment,
    ) -> std::io::Result<Self> {
        let WorkQueue { facts, portal, control, interrupt } = queue;
        let sending = Sending {
            max_batch: if portal.takes_batches() { facts.max_batch.max(1) } else { 1 },
            interrupt: interrupt.as_ref().map(|interrupt| interrupt.handle),
        };
        let announce = |interrupt| Announcer::start(interrupt, &attachment.doorbell, settings.deadline);
        let busy = Vec::with_capacity(idle.len());
        let state = State { busy, idle, credits: facts.size, condition: Condition::Open };
        Ok(Self {
            name: facts.name.into(),
            work,
            sending,
            settings,
            numa_node: facts.numa_node,
            announcer: interrupt.map(announce).transpose()?,
            portal,
            control,
            state: Mutex::new(state),
            attachment: attachment.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, status: impl Into<String>) -> Failure {
        Failure::Device { device: Arc::clone(&self.name), status: status.into() }
    }

    /// A slot for a request, if there is room for one.
    fn board(&self) -> Result<Box<Flight<W>>, RefusalReason> {
        let mut state = self.lock();
        match state.condition {
            Condition::Open if state.credits > 0 => state.idle.pop().ok_or(RefusalReason::Full),
            Condition::Open | Condition::Quieting => Err(RefusalReason::Full),
            Condition::Gone => Err(RefusalReason::Gone),
        }
    }

    /// Goes on with a flight whose phase is complete: with the next phase, or with what became of its request.
    fn go_on(&self, flight: &mut Flight<W>) -> Option<Result<(), Failure>> {
        if let Some(status) = flight.broken_batch() {
            self.work.abandon(&mut flight.slot);
            return Some(Err(self.failed(format!("a batch ended with status {:#04x}", status.0))));
        }
        let request = flight.request.as_mut()?;
        match self.work.advance(request, &mut flight.slot, &mut flight.outbox) {
            Progress::Posted => {
                flight.arrange(self.sending);
                None
            }
            Progress::Done(result) => Some(result),
        }
    }

    /// Finds completed phases, and sees whether anything is late. Whoever submits is held up for a look, not for the work.
    fn poll_open(&self, completions: &mut Vec<Completion>) {
        let mut index = 0;
        let mut state = self.lock();
        while let Some(mut flight) = state.next_complete(&mut index, &*self.portal) {
            drop(state);
            let outcome = self.go_on(&mut flight);
            state = self.lock();
            match outcome {
                Some(result) => completions.extend(state.land(flight, result)),
                // It is sent when its turn comes again.
                None => state.busy.push(flight),
            }
        }
        if !state.busy.is_empty() {
            let now = Instant::now();
            if state.busy.iter().any(|flight| now >= flight.deadline) {
                state.condition = Condition::Quieting;
            }
        }
    }

    /// Looks whether the device is quiet by now; if so, gives back what it had not completed.
    fn poll_quieting(&self, state: &mut State<W>, completions: &mut Vec<Completion>) {
        let quiet = self.control.quiesce();
        state.condition = match quiet {
            Quiet::Pending => return,
            Quiet::Ready => Condition::Open,
            Quiet::Gone | Quiet::Never => Condition::Gone,
        };
        let now = Instant::now();
        let mut index = 0;
        while index < state.busy.len() {
            let flight = &mut state.busy[index];
            let complete = flight.look(&mut state.credits);
            if quiet == Quiet::Ready && complete {
                // It goes on where it was, with as much time again.
                flight.deadline = now + self.settings.deadline;
                index += 1;
                continue;
            }
            let failure = if now >= flight.deadline {
                Failure::Deadline { device: Arc::clone(&self.name) }
            } else {
                self.failed("its queue was reset")
            };
            state.credits += flight.outstanding();
            if quiet == Quiet::Never && !complete {
                completions.extend(self.give_up_memory(state, index));
            } else {
                let mut flight = state.busy.swap_remove(index);
                self.work.abandon(&mut flight.slot);
                completions.extend(state.land(flight, Err(failure)));
            }
        }
    }

    /// The device may write to what it was given at any time: none of it is used again.
    fn give_up_memory(&self, state: &mut State<W>, index: usize) -> Option<Completion> {
        let mut flight = state.busy.swap_remove(index);
        let mut request = flight.request.take()?;
        keep_for_ever((flight, self.attachment.clone()));
        let failure = match request.surrender_buffers() {
            Ok(()) => self.failed("it cannot be stopped; its buffers are given up"),
            Err(error) => {
                self.failed(format!("it cannot be stopped, and there is no memory beside its own: {error}"))
            }
        };
        let failure = match request.direction {
            Direction::Encode => failure,
            Direction::Decode => Failure::Uncontained { device: Arc::clone(&self.name) },
        };
        Some(Completion { request, result: Err(failure) })
    }
}

impl<W: Work> State<W> {
    /// Sends what credits allow, and takes out the first flight from `index` on whose phase is complete.
    fn next_complete(&mut self, index: &mut usize, portal: &dyn Portal) -> Option<Box<Flight<W>>> {
        while self.condition != Condition::Quieting
            && let Some(flight) = self.busy.get_mut(*index)
        {
            if let Err(PortalRefusal::Gone) = flight.send(portal, &mut self.credits) {
                self.condition = Condition::Quieting;
                break;
            }
            if flight.look(&mut self.credits) {
                return Some(self.busy.swap_remove(*index));
            }
            *index += 1;
        }
        None
    }

    /// Empties the slot of a flight that is over.
    fn land(&mut self, mut flight: Box<Flight<W>>, result: Result<(), Failure>) -> Option<Completion> {
        let request = flight.request.take();
        flight.clear();
        self.idle.push(flight);
        request.map(|request| Completion { request, result })
    }
}

impl<W: Work> queue::Queue for Queue<W> {
    fn submit(&self, mut request: Box<Request>) -> Result<(), Refused> {
        let mut flight = match self.board() {
            Ok(flight) => flight,
            Err(reason) => return Err(Refused { request, reason }),
        };
        self.work.begin(&request, &mut flight.slot, &mut flight.outbox);
        flight.arrange(self.sending);
        let state = &mut *self.lock();
        let sent = match state.condition {
            Condition::Open => flight.send(&*self.portal, &mut state.credits),
            Condition::Quieting | Condition::Gone => Err(PortalRefusal::Retry),
        };
        if let (Err(refusal), false) = (sent, flight.has_begun()) {
            self.work.abandon(&mut flight.slot);
            flight.clear();
            state.idle.push(flight);
            let reason = match refusal {
                PortalRefusal::Retry => RefusalReason::Full,
                PortalRefusal::Gone => {
                    // What it still has, if anything, is looked for by the next poll.
                    state.condition =
                        if state.busy.is_empty() { Condition::Gone } else { Condition::Quieting };
                    RefusalReason::Gone
                }
            };
            return Err(Refused { request, reason });
        }
        request.submitted = Instant::now();
        flight.deadline = request.submitted + self.settings.deadline;
        flight.request = Some(request);
        if !flight.has_begun() && self.announcer.is_some() {
            // There is nothing for the device to do, and so nothing that it would announce.
            self.attachment.doorbell.ring();
        }
        state.busy.push(flight);
        Ok(())
    }

    fn poll(&self, completions: &mut Vec<Completion>) {
        self.poll_open(completions);
        let state = &mut *self.lock();
        if state.condition == Condition::Quieting {
            self.poll_quieting(state, completions);
        }
    }

    fn depth(&self) -> usize {
        self.settings.requests
    }

    fn rings(&self) -> bool {
        self.announcer.is_some()
    }

    fn numa_node(&self) -> Option<u32> {
        self.numa_node
    }
}

/// How long a queue that is dropped with requests in it is waited for, until its memory is given up.
const PATIENCE: Duration = Duration::from_secs(10);

impl<W: Work> Drop for Queue<W> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.busy.retain_mut(|flight| !flight.look(&mut state.credits));
        if state.busy.is_empty() {
            return;
        }
        let begun = Instant::now();
        let quiet = loop {
            match self.control.quiesce() {
                Quiet::Pending if begun.elapsed() < PATIENCE => thread::yield_now(),
                quiet => break quiet,
            }
        };
        if matches!(quiet, Quiet::Pending | Quiet::Never) {
            keep_for_ever((mem::take(&mut state.busy), self.attachment.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
