//! The source's part of the switchover: pause, the last round, the device state, and the word that gives the guest away.

use std::time::{Duration, Instant};

use super::Source;
use crate::connection::Connection;
use crate::frame::End;
use crate::migration::course::Course;
use crate::migration::error::MigrationError;
use crate::migration::handle::Completed;
use crate::migration::handover::Message;
use crate::migration::state::{Happening, State};
use crate::sender::Sender;

/// The destination is ready, and the guest is given up: there is no way back.
pub(super) struct Decided {
    /// Since when the guest has stood still.
    since: Instant,
    expected: Duration,
    connection: Connection,
}

/// The longest text of a destination that gives up.
const WORD_BYTES: u32 = 1024;

/// How long to wait before a destination that was lost is looked for again.
const PAUSE: Duration = Duration::from_millis(100);

impl Source {
    /// Pauses the guest, sends what is left of it, and waits until the destination has it all.
    pub(super) fn switch_over(
        &mut self,
        course: &Course,
        mut sender: Sender,
        expected: Duration,
    ) -> Result<Decided, MigrationError> {
        course.enter(State::Switchover);
        let since = Instant::now();
        self.pause()?;
        self.collect()?;
        course.round(self.rounds, self.pending.count(), self.convergence.estimate());
        self.send(&mut sender)?;
        course.round(self.rounds, 0, self.convergence.estimate());
        let state = self.vm.save_state().map_err(MigrationError::vm("save the state of its devices"))?;
        let (_, mut connections) = sender.finish().map_err(super::sending)?;
        course.halt_connections(&connections)?;
        let mut connection = connections.swap_remove(0);
        self.offered = true;
        match offer_guest(course, &mut connection, state) {
            Ok(()) => Ok(Decided { since, expected, connection }),
            Err(error) => {
                if !error.is_connection() {
                    // One that cannot be told sees the connection end.
                    let _ = Message::GiveUp(error.to_string()).write(&mut connection);
                }
                self.reclaim(&error)?;
                Err(error)
            }
        }
    }

    /// A destination that is ready and hears nothing more asks the arbiter for the guest, if there is one. Before the guest runs
    /// on here, it is this end that must have it.
    fn reclaim(&mut self, error: &MigrationError) -> Result<(), MigrationError> {
        let said_no = matches!(error, MigrationError::Peer { .. });
        if !std::mem::take(&mut self.offered) || said_no || self.config.arbiter.is_none() {
            return Ok(());
        }
        match self.arbitrate(error.to_string())? {
            End::Source => Ok(()),
            End::Destination => Err(MigrationError::Arbitrated("destination")),
        }
    }

    /// Who has the guest of this switchover, as the arbiter has it.
    fn arbitrate(&self, reason: String) -> Result<End, MigrationError> {
        let other = "destination";
        let (Some(arbiter), Some(session)) = (&self.config.arbiter, self.session) else {
            return Err(MigrationError::InDoubt { reason, other });
        };
        arbiter
            .claim(self.config.sender.migration, session, End::Source)
            .map_err(|error| MigrationError::InDoubt { reason: format!("{reason}; {error}"), other })
    }

    /// Gives the guest away, and sees to it that exactly one end has it.
    pub(super) fn settle(&mut self, course: &Course, decided: Decided) -> Result<Completed, MigrationError> {
        let Decided { since, expected, mut connection } = decided;
        match give(&mut connection) {
            Ok(()) => {}
            Err(refused @ MigrationError::Peer { .. }) => return Err(refused),
            Err(lost) => {
                drop(connection);
                self.find_out(course, lost)?;
            }
        }
        let downtime = since.elapsed();
        course.stood_still(downtime);
        course.rest();
        Ok(Completed { downtime, expected_downtime: expected, snapshot: course.snapshot() })
    }

    /// The word may or may not have been heard: looks for the destination until the user's patience ends, and then asks the
    /// arbiter.
    fn find_out(&mut self, course: &Course, lost: MigrationError) -> Result<(), MigrationError> {
        let reason = lost.to_string();
        course.tell(Happening::Disconnected { reason: reason.clone() });
        let until = Instant::now() + self.config.patience.recovery;
        while Instant::now() < until {
            match self.give_again(course) {
                Ok(()) => return Ok(()),
                Err(refused @ MigrationError::Peer { .. }) => return Err(refused),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
        match self.arbitrate(reason)? {
            End::Destination => Ok(()),
            End::Source => Err(MigrationError::Arbitrated("source")),
        }
    }

    fn give_again(&mut self, course: &Course) -> Result<(), MigrationError> {
        let connections = self.dial_all(course, 1)?;
        let mut outgoing = self.offer(connections)?;
        let connection = outgoing.first_connection();
        match Message::read(connection, super::session::standing_bytes(self.ram.pages()))? {
            Message::Ready => give(connection),
            Message::Running => Ok(Message::Bye.write(connection)?),
            Message::Failure(reason) => Err(MigrationError::peer("destination", reason)),
            other => Err(other.out_of_turn("whether it is ready or runs the guest").into()),
        }
    }
}

/// Sends the state, and waits until the destination has verified and loaded everything. From then on there is no cancelling.
fn offer_guest(course: &Course, connection: &mut Connection, state: Vec<u8>) -> Result<(), MigrationError> {
    Message::State(state).write(connection)?;
    match Message::read(connection, WORD_BYTES)? {
        Message::Ready => course.commit(),
        Message::Failure(reason) => Err(MigrationError::peer("destination", reason)),
        other => Err(other.out_of_turn("its word that it is ready").into()),
    }
}

/// Says that the guest is the destination's, and waits until it runs there.
fn give(connection: &mut Connection) -> Result<(), MigrationError> {
    Message::Go.write(connection)?;
    match Message::read(connection, WORD_BYTES)? {
        Message::Running => {
            // The destination need not wait for questions. If it does not hear this, it waits in vain, and not for long.
            let _ = Message::Bye.write(connection);
            Ok(())
        }
        Message::Failure(reason) => Err(MigrationError::peer("destination", reason)),
        other => Err(other.out_of_turn("its word that the guest runs").into()),
    }
}
