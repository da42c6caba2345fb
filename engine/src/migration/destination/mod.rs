//! The destination's end of a migration.

mod arrival;
mod gather;
mod takeover;

use std::sync::Arc;
use std::time::Instant;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::queue::Accelerator;

pub use arrival::Arrival;

use super::config::DestinationConfig;
use super::course::{Course, Halt};
use super::error::MigrationError;
use super::handle::{Completed, Ended, Whereabouts};
use super::handover::Message;
use super::outages::Outages;
use super::state::{Happening, State};
use crate::connection::{Connection, PeerIdentity};
use crate::frame::End;
use crate::handshake::MigrationId;
use crate::receiver::{Confirmed, Host, Incoming, ReceiveError, Receiver};
use crate::transport::Listen;
use crate::vm::Vm;
use gather::{Wanted, gather};

/// Owned by the migration's thread.
struct Destination {
    vm: Box<dyn Vm>,
    ram: Arc<GuestRam>,
    host: Host,
    listen: Box<dyn Listen>,
    accelerators: Vec<Arc<dyn Accelerator>>,
    config: DestinationConfig,
    migration: MigrationId,
    /// Who began it, if that was proven.
    peer: Option<PeerIdentity>,
    /// The attempt that is on, or was last.
    attempt: u32,
    /// The attempt by which everything came.
    handover: u32,
    standing: Standing,
    outages: Outages,
    /// The arbiter has given the guest to this end, or may have.
    has_claimed: bool,
    /// Since when the guest has stood still, as far as this end can know.
    still_since: Instant,
}

/// What a source is told that comes back.
enum Standing {
    /// These pages of an attempt are here, and more are to come.
    Receiving { attempt: u32, confirmed: Confirmed },
    /// Everything is here and loaded.
    Ready,
}

/// What comes after the source has come back.
enum Back {
    /// More pages.
    Rounds(Receiver),
    /// The guest runs here.
    Done(Box<Completed>),
}

impl Destination {
    fn run(mut self, course: &Course, incoming: Incoming) -> Ended {
        let result = self.migrate(course, incoming);
        let guest = match &result {
            Ok(_) => Whereabouts::Here,
            Err(MigrationError::InDoubt { .. }) => Whereabouts::InDoubt,
            Err(_) => Whereabouts::There,
        };
        Ended { vm: Some(self.vm), guest, result }
    }

    fn migrate(&mut self, course: &Course, incoming: Incoming) -> Result<Completed, MigrationError> {
        course.of(&self.ram);
        course.enter(State::Handshake);
        let mut receiver = self.accept(incoming)?;
        course.tell(Happening::agreed(receiver.agreement()));
        loop {
            match self.attempt(course, receiver) {
                Ok(completed) => return Ok(completed),
                Err(error) if error.is_connection() => match self.recover(course, error)? {
                    Back::Rounds(again) => receiver = again,
                    Back::Done(completed) => return Ok(*completed),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives until the source has sent everything, and takes the guest over.
    fn attempt(&mut self, course: &Course, receiver: Receiver) -> Result<Completed, MigrationError> {
        course.enter(State::Rounds);
        let watch = receiver.watch();
        course.receiving(watch.clone())?;
        let outcome = receiver.run_and_tell(&|_| course.round_received());
        let confirmed = watch.confirmed();
        drop(watch);
        course.rest();
        let Some(confirmed) = confirmed else {
            return Err(match outcome.err() {
                // Whoever cancelled wants no more of those pages.
                Some(ReceiveError::Stopped) => MigrationError::Cancelled,
                error => MigrationError::Unsettled(error.map_or_else(String::new, |error| error.to_string())),
            });
        };
        if !confirmed.is_nothing() {
            self.outages.count_use();
            self.standing = Standing::Receiving { attempt: self.attempt, confirmed };
        }
        self.handover = self.attempt;
        let (_, mut connections) = outcome.map_err(receiving)?;
        let connection = &mut connections[0];
        self.take_over(course, connection).map_err(|error| self.tell(course, connection, error))
    }

    /// Accepts the connections of an attempt.
    fn accept(&mut self, incoming: Incoming) -> Result<Receiver, MigrationError> {
        let attempt = incoming.offer().attempt;
        let receiver = incoming.on(self.host.clone()).accept(Arc::clone(&self.ram), &self.accelerators)?;
        // One that is refused has not taken the place of those that may still come.
        self.attempt = attempt;
        Ok(receiver)
    }

    /// Waits for the source to come back, and tells it what is here.
    fn recover(&mut self, course: &Course, broken: MigrationError) -> Result<Back, MigrationError> {
        course.check()?;
        course.enter(State::Recovery);
        let reason = broken.to_string();
        course.tell(Happening::Disconnected { reason: reason.clone() });
        let until = self.outages.begin();
        let mut last = "it did not come back".to_owned();
        while let Some(incoming) = self.gather_again(course, until)? {
            let attempt = incoming.offer().attempt;
            match self.meet(course, incoming) {
                Ok(back) => {
                    self.outages.end();
                    course.reconnected(attempt, 0);
                    return Ok(back);
                }
                Err(error) if error.is_connection() => last = error.to_string(),
                // It was told why it does not fit. The source that was lost may still come.
                Err(MigrationError::Receive(error @ ReceiveError::Refused { .. })) => {
                    last = error.to_string();
                    course.tell(Happening::Refused { reason: last.clone() });
                }
                Err(error) => return Err(error),
            }
        }
        self.alone(course, reason, last).map(|completed| Back::Done(Box::new(completed)))
    }

    /// Tells a source that came back what is here, and hears what comes next.
    fn meet(&mut self, course: &Course, incoming: Incoming) -> Result<Back, MigrationError> {
        let mut receiver = self.accept(incoming)?;
        let connection = receiver.first_connection();
        if let Standing::Receiving { attempt, confirmed } = &self.standing {
            Message::Receiving { attempt: *attempt, confirmed: confirmed.clone() }.write(connection)?;
            return Ok(Back::Rounds(receiver));
        }
        course.halt_by(Halt::Connections(vec![Arc::clone(&connection.interrupt)]))?;
        let heard = self.hear(course, connection).map_err(|error| self.tell(course, connection, error))?;
        match heard {
            Some(completed) => Ok(Back::Done(Box::new(completed))),
            None => {
                self.standing =
                    Standing::Receiving { attempt: self.attempt, confirmed: Confirmed::default() };
                Ok(Back::Rounds(receiver))
            }
        }
    }

    /// Runs the guest if a source that came back says so; nothing if more pages will come.
    fn hear(
        &mut self,
        course: &Course,
        connection: &mut Connection,
    ) -> Result<Option<Completed>, MigrationError> {
        match self.ask(connection)? {
            Word::Go => self.run_guest(course, Some(connection)).map(Some),
            Word::Back => Ok(None),
        }
    }

    pub(super) fn gather_again(
        &mut self,
        course: &Course,
        until: Instant,
    ) -> Result<Option<Incoming>, MigrationError> {
        let wanted =
            Wanted::Again { migration: self.migration, after: self.attempt, peer: self.peer.as_ref() };
        gather(&mut *self.listen, wanted, Some(until), self.config.patience.connect, course)
    }
}

/// What a source says to a destination that is ready.
enum Word {
    Go,
    Back,
}

/// A receiver that was stopped was so because somebody cancelled.
fn receiving(error: ReceiveError) -> MigrationError {
    match error {
        ReceiveError::Stopped => MigrationError::Cancelled,
        ReceiveError::Source { reason } => MigrationError::peer(End::Source, reason),
        error => error.into(),
    }
}
