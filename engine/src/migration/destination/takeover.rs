//! The destination's part of the switchover: load the state, say so, and run the guest once it is given.

use std::time::Instant;

use super::{Destination, Standing, Word};
use crate::connection::Connection;
use crate::frame::End;
use crate::migration::arbiter::Switchover;
use crate::migration::course::{Course, Halt};
use crate::migration::error::MigrationError;
use crate::migration::handle::Completed;
use crate::migration::handover::{Due, Message, while_alive};
use crate::migration::state::{Happening, State, millis};

impl Destination {
    /// Takes the device state, loads it, and runs the guest when the source says so.
    pub(super) fn take_over(
        &mut self,
        course: &Course,
        connection: &mut Connection,
    ) -> Result<Completed, MigrationError> {
        self.still_since = Instant::now();
        course.enter(State::Switchover);
        course.halt_connections(std::slice::from_ref(connection))?;
        let word = self.due("what the state of the devices is");
        let due = Due { max_bytes: self.config.max_state_bytes.max(word.max_bytes), ..word };
        let state = match Message::read(connection, due)? {
            Message::State(state) => state,
            Message::GiveUp(reason) => return Err(MigrationError::peer(End::Source, reason)),
            other => return Err(other.out_of_turn(due.expected).into()),
        };
        let loaded = while_alive(connection, || self.vm.load_state(&state));
        loaded.map_err(MigrationError::vm("load the state of its devices"))?;
        // Before the word is out: whether it arrives or not, the source may be told so again.
        self.standing = Standing::Ready;
        match self.ask(connection)? {
            Word::Go => self.run_guest(course, Some(connection)),
            Word::Back => Err(Message::Back.out_of_turn("the guest").into()),
        }
    }

    /// Says that this end is ready, and hears what the source has decided.
    pub(super) fn ask(&self, connection: &mut Connection) -> Result<Word, MigrationError> {
        Message::Ready.write(connection)?;
        let due = self.due("whether the guest is given");
        match Message::read(connection, due)? {
            Message::Go => Ok(Word::Go),
            Message::Back => Ok(Word::Back),
            Message::GiveUp(reason) => Err(MigrationError::peer(End::Source, reason)),
            other => Err(other.out_of_turn(due.expected).into()),
        }
    }

    const fn due(&self, expected: &'static str) -> Due {
        Due::word(expected, self.config.patience.handover)
    }

    /// Hears a source out that was told whether the guest runs; says whether it has heard that.
    fn is_heard(&self, connection: &mut Connection) -> bool {
        matches!(Message::read(connection, self.due("that it has heard so")), Ok(Message::Bye))
    }

    /// The guest is given: it runs here, unless the arbiter has given it to the source.
    pub(super) fn run_guest(
        &mut self,
        course: &Course,
        mut connection: Option<&mut Connection>,
    ) -> Result<Completed, MigrationError> {
        match connection.as_deref_mut() {
            Some(connection) => while_alive(connection, || self.claim_and_resume(course)),
            None => self.claim_and_resume(course),
        }?;
        let downtime = self.still_since.elapsed();
        let told = connection.as_deref_mut().map(|connection| Message::Running.write(connection));
        course.stood_still(downtime);
        let completed = Completed { downtime, expected_downtime: downtime, snapshot: course.snapshot() };
        course.end(State::Completed, Happening::Completed { downtime_ms: millis(downtime) });
        let heard = told.is_some_and(|told| told.is_ok())
            && connection.is_some_and(|connection| self.is_heard(connection));
        if !heard {
            self.answer_questions(course);
        }
        Ok(completed)
    }

    fn claim_and_resume(&mut self, course: &Course) -> Result<(), MigrationError> {
        course.commit()?;
        if let Some(arbiter) = &self.config.arbiter {
            // Where the arbiter cannot say, the claim may have been made nevertheless.
            self.has_claimed = true;
            self.has_claimed = arbiter.claim(self.switchover(), End::Destination)? == End::Destination;
            if !self.has_claimed {
                return Err(MigrationError::Arbitrated(End::Source));
            }
        }
        self.vm.resume().map_err(MigrationError::vm("run the guest"))
    }

    fn switchover(&self) -> Switchover {
        Switchover { migration: self.migration, attempt: self.handover }
    }

    /// The guest runs here. A source that did not hear of it comes back to ask, for as long as it has patience.
    fn answer_questions(&mut self, course: &Course) {
        let until = Instant::now() + self.config.patience.recovery;
        loop {
            let Ok(Some(incoming)) = self.gather_again(course, until) else { return };
            let Ok(mut receiver) = self.accept(incoming) else { continue };
            let connection = receiver.first_connection();
            if Message::Running.write(connection).is_ok() && self.is_heard(connection) {
                return;
            }
        }
    }

    /// The source did not come back. A guest that was never given is not run, unless the arbiter gives it.
    pub(super) fn alone(
        &mut self,
        course: &Course,
        reason: String,
        last: String,
    ) -> Result<Completed, MigrationError> {
        course.halt_by(Halt::Nothing)?;
        match (&self.standing, &self.config.arbiter) {
            (Standing::Receiving { .. }, _) => {
                let within = self.config.patience.recovery;
                Err(MigrationError::Lost { reason, within, last })
            }
            (Standing::Ready, None) => Err(MigrationError::InDoubt { reason, other: End::Source }),
            (Standing::Ready, Some(_)) => self.run_guest(course, None).map_err(|error| self.doubt(error)),
        }
    }

    /// Tells the source why the guest does not run here, so that it runs there. One that gave up itself knows, and one whose
    /// connection broke comes back.
    pub(super) fn tell(
        &self,
        course: &Course,
        connection: &mut Connection,
        error: MigrationError,
    ) -> MigrationError {
        // A connection that was shut since somebody cancelled can still be written to.
        let error = course.check().err().unwrap_or(error);
        if error.is_connection() || matches!(error, MigrationError::Peer { .. }) {
            return error;
        }
        let told = Message::Failure(error.to_string()).write(connection);
        let is_heard = !self.has_claimed || told.is_ok() && self.is_heard(connection);
        if is_heard { error } else { self.doubt(error) }
    }

    /// A source that has not heard that the guest does not run here is told by the arbiter that it does.
    fn doubt(&self, error: MigrationError) -> MigrationError {
        if self.has_claimed {
            MigrationError::InDoubt { reason: error.to_string(), other: End::Source }
        } else {
            error
        }
    }
}
