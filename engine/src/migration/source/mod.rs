//! The source's end of a migration.

mod session;
mod switchover;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pageferry_accel::guest::GuestRam;
use pageferry_accel::queue::Accelerator;

use super::config::SourceConfig;
use super::convergence::{Convergence, FixedCosts, Next, RoundSeen};
use super::course::Course;
use super::error::MigrationError;
use super::handle::{Completed, Ended, Migration, Whereabouts};
use super::outages::Outages;
use super::state::{Happening, Observer, State};
use crate::dirty::DirtyBitmap;
use crate::frame::{End, Report};
use crate::sender::{SendError, Sender, SenderMemory};
use crate::transport::Dial;
use crate::vm::Vm;
use switchover::Decided;

impl Migration {
    /// Migrates the guest of `vm` to whoever `dial` reaches.
    ///
    /// `accelerators` are tried in their order; the last one, most often the CPU, is the one to fall back on. `observer` is told
    /// of every event by the migration's thread.
    ///
    /// # Errors
    /// [`MigrationError::Thread`]. Whatever else goes wrong is found by [`wait`](Self::wait), and leaves the guest running.
    pub fn start(
        vm: Box<dyn Vm>,
        dial: Box<dyn Dial>,
        accelerators: Vec<Arc<dyn Accelerator>>,
        config: SourceConfig,
        observer: Observer,
    ) -> Result<Self, MigrationError> {
        let course = Arc::new(Course::new(End::Source, observer));
        Self::spawn(course, "migration", move |course| {
            Source::new(vm, dial, accelerators, config).run(course)
        })
    }
}

/// The switchover takes the way to the destination and back as often, beside its round: the state, and the guest itself.
const HANDOVER_BARRIERS: u32 = 2;

/// Owned by the migration's thread.
struct Source {
    vm: Box<dyn Vm>,
    ram: Arc<GuestRam>,
    dial: Box<dyn Dial>,
    accelerators: Vec<Arc<dyn Accelerator>>,
    config: SourceConfig,
    convergence: Convergence,
    /// Pages that the destination may not have: those of the round that is on, or all that were found dirty after it.
    pending: DirtyBitmap,
    /// When dirty pages were last collected.
    collected: Instant,
    /// The number of the next attempt to connect.
    attempt: u32,
    /// The attempt whose data path was opened last.
    session: Option<u32>,
    /// Rounds that the destination confirmed in it.
    rounds_of_session: u32,
    /// And in all of them.
    rounds: u32,
    tracking: bool,
    paused: bool,
    throttled: bool,
    outages: Outages,
    /// The device state was sent: the destination may be ready, and may ask the arbiter for the guest.
    offered: bool,
    /// Of the sender that ended last: the guest does not wait for it to be unmapped.
    spent: Option<SenderMemory>,
}

impl Source {
    fn new(
        vm: Box<dyn Vm>,
        dial: Box<dyn Dial>,
        accelerators: Vec<Arc<dyn Accelerator>>,
        config: SourceConfig,
    ) -> Self {
        let ram = vm.memory();
        Self {
            pending: DirtyBitmap::all(&ram),
            convergence: Convergence::new(config.convergence),
            outages: Outages::new(config.patience.recovery),
            vm,
            ram,
            dial,
            accelerators,
            config,
            collected: Instant::now(),
            attempt: 0,
            session: None,
            rounds_of_session: 0,
            rounds: 0,
            tracking: false,
            paused: false,
            throttled: false,
            offered: false,
            spent: None,
        }
    }

    fn run(mut self, course: &Course) -> Ended {
        let result = self.migrate(course);
        let (guest, result) = match result {
            Ok(completed) => (Whereabouts::There, Ok(completed)),
            Err(error @ MigrationError::InDoubt { .. }) => {
                // Where the guest runs matters more than what its VMM says of this.
                let _ = self.release_guest();
                (Whereabouts::InDoubt, Err(error))
            }
            Err(error @ MigrationError::Arbitrated(End::Destination)) => (Whereabouts::There, Err(error)),
            Err(error) => (Whereabouts::Here, Err(self.keep_guest().err().unwrap_or(error))),
        };
        Ended { vm: Some(self.vm), guest, result }
    }

    fn migrate(&mut self, course: &Course) -> Result<Completed, MigrationError> {
        course.of(&self.ram);
        self.vm.dirty().start()?;
        self.tracking = true;
        self.collected = Instant::now();
        course.enter(State::Handshake);
        let mut sender = self.connect(course)?;
        loop {
            match self.attempt(course, sender) {
                Ok(decided) => return self.settle(course, decided),
                Err(error) if error.is_connection() => sender = self.recover(course, error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// One attempt, from the first round to the word of the destination that it is ready.
    fn attempt(&mut self, course: &Course, mut sender: Sender) -> Result<Decided, MigrationError> {
        course.enter(State::Rounds);
        let expected = self.rounds(course, &mut sender);
        let sent = expected.and_then(|expected| self.send_the_rest(course, &mut sender, expected));
        match sent {
            Ok(guest) => self.offer_guest(course, sender, guest),
            Err(error) => {
                if !error.is_connection() {
                    // A destination that is not told waits for this end to come back.
                    sender.stop().ask(&error.to_string());
                }
                Err(error)
            }
        }
    }

    /// Rounds until what is left fits the downtime; says which downtime is expected.
    fn rounds(&mut self, course: &Course, sender: &mut Sender) -> Result<Duration, MigrationError> {
        course.round(self.rounds, self.pending.count(), self.convergence.estimate());
        loop {
            course.check()?;
            let seen = self.round(sender)?;
            let next = self.convergence.after_round(&seen);
            course.round(self.rounds, seen.left_pages, self.convergence.estimate());
            course.tell(Happening::Round);
            match next {
                Next::Round => {}
                Next::Throttle(percent) => self.throttle(course, percent)?,
                Next::SwitchOver { expected, .. } => return Ok(expected),
                Next::GiveUp(reason) => return Err(MigrationError::Stalled(reason)),
            }
        }
    }

    /// Sends what is pending, and collects what was written meanwhile.
    fn round(&mut self, sender: &mut Sender) -> Result<RoundSeen, MigrationError> {
        let watch = sender.watch();
        let (begun, before) = (Instant::now(), watch.wire_bytes());
        let report = self.send(sender)?;
        let took = begun.elapsed();
        let barrier = sender.last_barrier();
        self.convergence
            .set_fixed_costs(FixedCosts { round: barrier, switchover: HANDOVER_BARRIERS * barrier });
        let collected = self.collected;
        self.collect()?;
        Ok(RoundSeen {
            pages: report.pages,
            zero_pages: report.zero_pages,
            wire_bytes: watch.wire_bytes() - before,
            took,
            left_pages: self.pending.count(),
            dirtied_over: self.collected - collected,
        })
    }

    /// Sends what is pending; then nothing is.
    fn send(&mut self, sender: &mut Sender) -> Result<Report, MigrationError> {
        let report = sender.send_round(&self.pending).map_err(sending)?;
        self.pending.clear();
        self.outages.count_use();
        self.rounds_of_session += 1;
        self.rounds += 1;
        Ok(report)
    }

    /// Adds what was written since the last time.
    fn collect(&mut self) -> Result<(), MigrationError> {
        self.vm.dirty().collect(&mut self.pending)?;
        self.collected = Instant::now();
        Ok(())
    }

    fn throttle(&mut self, course: &Course, percent: u8) -> Result<(), MigrationError> {
        self.vm.throttle(percent).map_err(MigrationError::vm("throttle the guest"))?;
        self.throttled = percent > 0;
        course.throttled(percent);
        Ok(())
    }

    fn pause(&mut self) -> Result<(), MigrationError> {
        self.vm.pause().map_err(MigrationError::vm("pause the guest"))?;
        self.paused = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), MigrationError> {
        if std::mem::take(&mut self.paused) {
            self.vm.resume().map_err(MigrationError::vm("resume the guest"))?;
        }
        Ok(())
    }

    /// The guest stays: it runs as if nothing had been.
    fn keep_guest(&mut self) -> Result<(), MigrationError> {
        self.resume()?;
        self.release_guest()
    }

    /// Whoever runs the guest from now on finds it neither slowed down nor watched.
    fn release_guest(&mut self) -> Result<(), MigrationError> {
        if self.throttled {
            self.vm.throttle(0).map_err(MigrationError::vm("give the guest its time back"))?;
        }
        if self.tracking {
            self.vm.dirty().stop()?;
        }
        Ok(())
    }
}

/// A sender that was stopped was so because somebody cancelled.
fn sending(error: SendError) -> MigrationError {
    match error {
        SendError::Stopped => MigrationError::Cancelled,
        SendError::Destination { reason } => MigrationError::peer(End::Destination, reason),
        error => error.into(),
    }
}
