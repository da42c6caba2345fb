//! What the threads of a receiver share, and how any of them ends it for all.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::pool::Pool;
use pageferry_accel::queue::{Completion, Failure};
use pageferry_accel::request::{Direction, Request};

use super::gate::RoundGate;
use super::seen::SeenPages;
use super::{Confirmed, ReceiveError};
use crate::connection::{Interrupt, Writer, write_slices};
use crate::dispatcher::Dispatcher;
use crate::fallbacks::Fallbacks;
use crate::frame::{self, FrameId, Header, Kind, Limits, Report};
use crate::handshake::Agreement;
use crate::poll::{Collect, Turn};
use crate::work::Work;

/// Everything that arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiveReport {
    /// Rounds that ended.
    pub rounds: u32,
    /// Frames of pages.
    pub frames: u64,
    /// Pages that were not zero.
    pub pages: u64,
    /// Pages that were zero.
    pub zero_pages: u64,
    /// Bytes of all payloads.
    pub payload_bytes: u64,
    /// Why requests went another way than straight through a device, and how many.
    pub fallbacks: Fallbacks,
    /// What each accelerator did.
    pub accelerators: Vec<Work>,
}

impl ReceiveReport {
    /// Adds what another receiver of the same migration counted.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.frames += other.frames;
        self.pages += other.pages;
        self.zero_pages += other.zero_pages;
        self.payload_bytes += other.payload_bytes;
        self.fallbacks.absorb(&other.fallbacks);
        Work::absorb(&mut self.accelerators, &other.accelerators);
    }
}

/// What the threads of a receiver share.
pub(super) struct Crossing {
    pub(super) limits: Limits,
    pub(super) pool: Pool,
    pub(super) dispatcher: Dispatcher,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) gate: RoundGate,
    /// What came in this round.
    pub(super) seen: SeenPages,
    /// What of it is in place, verified.
    applied: SeenPages,
    tally: Mutex<Tally>,
    /// The first error, which is the cause of all others.
    failure: Mutex<Option<ReceiveError>>,
    /// Connection 0, towards the source, while frames are received.
    answers: Mutex<Option<Writer>>,
    interrupts: Vec<Interrupt>,
    ended: AtomicBool,
}

/// How long requests may take that are in flight when a connection breaks. A device that takes longer is done with by its
/// own deadline, or its memory is not used again.
const DRAIN: Duration = Duration::from_secs(5);

/// The counts of the round that is on, and of all before.
#[derive(Debug, Default)]
struct Tally {
    /// What has arrived of this round.
    round: Report,
    /// What the first channel that ended it said: its last frame's kind and number.
    end: Option<(Kind, u64)>,
    done: ReceiveReport,
}

impl Crossing {
    pub(super) fn new(
        agreement: &Agreement,
        pool: Pool,
        dispatcher: Dispatcher,
        doorbell: Arc<Doorbell>,
        interrupts: Vec<Interrupt>,
    ) -> Self {
        let limits = agreement.limits().clone();
        let channels = usize::from(agreement.channels);
        Self {
            pool,
            dispatcher,
            doorbell,
            gate: RoundGate::new(channels),
            seen: SeenPages::new(&limits.regions),
            applied: SeenPages::new(&limits.regions),
            limits,
            tally: Mutex::default(),
            failure: Mutex::default(),
            answers: Mutex::default(),
            interrupts,
            ended: AtomicBool::new(false),
        }
    }

    /// Has reports and failures go to this writer.
    pub(super) fn answer_on(&self, answers: Writer) {
        *lock(&self.answers) = Some(answers);
    }

    /// The round that is on.
    pub(super) fn round(&self) -> u32 {
        lock(&self.tally).round.round
    }

    /// Holds how a channel ends the round, or everything, against what the others say.
    ///
    /// # Errors
    /// [`ReceiveError::EndsApart`] if they differ.
    pub(super) fn announce_end(&self, header: &Header) -> Result<(), ReceiveError> {
        let (other_kind, other_sequence) =
            *lock(&self.tally).end.get_or_insert((header.kind, header.sequence));
        if (other_kind, other_sequence) == (header.kind, header.sequence) {
            Ok(())
        } else {
            let (frame, kind) = (header.id(), header.kind);
            Err(ReceiveError::EndsApart { frame, kind, other_kind, other_sequence })
        }
    }

    /// Ends everything when all channels have: there is nothing that was not confirmed.
    ///
    /// # Errors
    /// [`ReceiveError::Unconfirmed`] in the middle of a round, [`ReceiveError::Lost`] if it is not as many frames as
    /// the source sent.
    pub(super) fn settle_finish(&self, header: &Header) -> Result<(), ReceiveError> {
        self.wait_for_all()?;
        let tally = lock(&self.tally);
        match tally.round.frames {
            0 => tally.check_received(header.sequence),
            frames => Err(ReceiveError::Unconfirmed { frame: header.id(), frames }),
        }
    }

    /// Ends the round when all channels have, once every page of it is in place: counts, and reports to the source.
    ///
    /// # Errors
    /// [`ReceiveError::Lost`] if it is not as many frames as the source sent; what broke connection 0.
    pub(super) fn settle_round(&self, sent: u64) -> Result<Report, ReceiveError> {
        self.wait_for_all()?;
        let queues = u16::try_from(self.dispatcher.queues(Direction::Decode)).unwrap_or(u16::MAX);
        let report = Report { queues: queues.max(1), ..lock(&self.tally).end_round(sent)? };
        self.seen.clear();
        self.applied.clear();
        let mut message = Vec::new();
        report.encode(&mut message);
        self.tell(&message).map_err(|source| ReceiveError::Io { channel: 0, source })?;
        Ok(report)
    }

    /// Ends the migration for every thread; the first error is the one that is reported, to the source too.
    pub(super) fn fail(&self, error: ReceiveError) {
        let mut failure = lock(&self.failure);
        if failure.is_none() {
            let mut message = Vec::new();
            frame::encode_failure(self.round(), &error.to_string(), &mut message);
            // A source that cannot be told sees the connection end.
            let _ = self.tell(&message);
            *failure = Some(error);
        }
        drop(failure);
        self.pool.close();
        self.gate.close();
        self.interrupts.iter().for_each(|interrupt| interrupt(Shutdown::Read));
        self.stop_poller();
    }

    pub(super) fn stop_poller(&self) {
        self.ended.store(true, SeqCst);
        self.doorbell.ring();
    }

    /// What is left when all threads have ended.
    ///
    /// # Errors
    /// The first error.
    pub(super) fn land(&self) -> Result<(ReceiveReport, Writer), ReceiveError> {
        if let Some(error) = lock(&self.failure).take() {
            return Err(error);
        }
        let answers = lock(&self.answers).take().ok_or(ReceiveError::Panicked)?;
        Ok((self.report(), answers))
    }

    /// Everything that arrived in rounds that ended.
    pub(super) fn report(&self) -> ReceiveReport {
        let mut report = lock(&self.tally).done.clone();
        self.dispatcher.report(&mut report.fallbacks);
        report.accelerators = self.dispatcher.work();
        report
    }

    /// What the source need not send again, once all threads have ended; `None` while something may still be written.
    pub(super) fn confirmed(&self) -> Option<Confirmed> {
        self.dispatcher.is_idle().then(|| Confirmed { rounds: self.round(), pages: self.applied.pages() })
    }

    fn wait_for_all(&self) -> Result<(), ReceiveError> {
        // Closed means failed, and then somebody else's error is the one that counts.
        self.pool.wait_for_all().map_err(|_| ReceiveError::Panicked)
    }

    fn tell(&self, message: &[u8]) -> std::io::Result<()> {
        match &mut *lock(&self.answers) {
            Some(answers) => write_slices(answers, [message]),
            None => Ok(()),
        }
    }
}

impl Tally {
    fn check_received(&self, sent: u64) -> Result<(), ReceiveError> {
        let received = self.done.frames + self.round.frames;
        if received == sent {
            Ok(())
        } else {
            Err(ReceiveError::Lost { round: self.round.round, received, sent })
        }
    }

    fn count(&mut self, request: &Request) {
        let (pages, data_pages) = (u64::from(request.pages().0), u64::from(request.data_pages().0));
        self.round.frames += 1;
        self.round.pages += pages;
        self.round.zero_pages += pages - data_pages;
        self.round.decoded.add(request.method, data_pages, request.cpu);
        self.round.payload_bytes += request.payload.len() as u64;
        self.done.fallbacks.add(request.detours);
    }

    fn end_round(&mut self, sent: u64) -> Result<Report, ReceiveError> {
        self.check_received(sent)?;
        let ended = self.round;
        self.end = None;
        self.done.rounds += 1;
        self.done.frames += ended.frames;
        self.done.pages += ended.pages - ended.zero_pages;
        self.done.zero_pages += ended.zero_pages;
        self.done.payload_bytes += ended.payload_bytes;
        self.round = Report { round: ended.round.wrapping_add(1), ..Report::default() };
        Ok(ended)
    }
}

/// The receiver's poller: counts what was verified, and gives the request back.
pub(super) struct Recycler<'a> {
    crossing: &'a Crossing,
    /// Requests that failed in a device, on their way to the next.
    #[expect(clippy::vec_box, reason = "a request moves as one pointer")]
    waiting: Vec<Box<Request>>,
    /// When to stop waiting for what is in flight, once the migration has ended.
    until: Option<Instant>,
}

impl<'a> Recycler<'a> {
    pub(super) fn new(crossing: &'a Crossing) -> Self {
        Self { crossing, waiting: Vec::new(), until: None }
    }

    /// A device that failed says little about the pages: the next accelerator may do better.
    fn decode_again(&mut self, request: Box<Request>, failure: Failure) {
        if self.crossing.dispatcher.is_exhausted(&request) {
            let frame = FrameId { round: request.round, sequence: request.sequence };
            self.crossing.fail(ReceiveError::Pages { frame, failure });
            self.crossing.pool.put(request);
        } else {
            self.waiting.push(request);
        }
    }
}

impl Recycler<'_> {
    /// What is in flight when the migration ends is waited for: a request that came late would land on top of what a source
    /// sends that has taken the migration up again.
    fn drain(&mut self) -> Turn {
        let until = *self.until.get_or_insert_with(|| Instant::now() + DRAIN);
        if self.crossing.dispatcher.is_idle() || Instant::now() >= until {
            return Turn::Stop;
        }
        Turn::Rest
    }
}

impl Collect for Recycler<'_> {
    fn collect(&mut self, completion: Completion) {
        let Completion { request, result } = completion;
        match result {
            Ok(()) => {
                lock(&self.crossing.tally).count(&request);
                request.runs.iter().for_each(|&run| _ = self.crossing.applied.mark(run));
                self.crossing.pool.put(request);
            }
            Err(failure) => self.decode_again(request, failure),
        }
    }

    fn turn(&mut self) -> Turn {
        if self.crossing.ended.load(SeqCst) {
            return self.drain();
        }
        match self.crossing.dispatcher.submit_waiting(&mut self.waiting) {
            Ok(true) => Turn::Rest,
            Ok(false) => Turn::Yield,
            Err(refused) => {
                self.crossing.fail(ReceiveError::QueuesGone(refused.request.method));
                Turn::Stop
            }
        }
    }

    /// Once the migration has ended, a device that never answers is not waited for for ever.
    fn patience(&self) -> Duration {
        if self.until.is_some() { Duration::from_millis(10) } else { Duration::MAX }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
