//! The source's part of the switchover: pause, the last round, the device state, and the word that gives the guest away.

use std::time::{Duration, Instant};

use super::Source;
use crate::connection::Connection;
use crate::frame::End;
use crate::migration::arbiter::Switchover;
use crate::migration::course::Course;
use crate::migration::error::MigrationError;
use crate::migration::handle::Completed;
use crate::migration::handover::{Due, Message};
use crate::migration::state::{Happening, State};
use crate::sender::Sender;

/// A guest that is paused, and whose memory is at the destination.
pub(super) struct Paused {
    /// Since when.
    since: Instant,
    expected: Duration,
    /// Of its CPUs and devices.
    state: Vec<u8>,
}

/// The destination is ready, and the guest is given up: there is no way back.
pub(super) struct Decided {
    /// Since when the guest has stood still.
    since: Instant,
    expected: Duration,
    connection: Connection,
}

/// How long to wait before a destination that was lost is looked for again.
const PAUSE: Duration = Duration::from_millis(100);

impl Source {
    /// Pauses the guest and sends what is left of its memory.
    pub(super) fn send_the_rest(
        &mut self,
        course: &Course,
        sender: &mut Sender,
        expected: Duration,
    ) -> Result<Paused, MigrationError> {
        course.enter(State::Switchover);
        let since = Instant::now();
        self.pause()?;
        self.collect()?;
        self.send(sender)?;
        course.round(self.rounds, 0, self.convergence.estimate());
        let state = self.vm.save_state().map_err(MigrationError::vm("save the state of its devices"))?;
        Ok(Paused { since, expected, state })
    }

    /// Sends the device state, and waits until the destination has it all.
    pub(super) fn offer_guest(
        &mut self,
        course: &Course,
        sender: Sender,
        Paused { since, expected, state }: Paused,
    ) -> Result<Decided, MigrationError> {
        self.spent = Some(sender.memory());
        let (_, mut connections) = sender.finish().map_err(super::sending)?;
        let mut connection = connections.swap_remove(0);
        self.offered = true;
        match send_state(course, &mut connection, state, self.config.patience.handover) {
            Ok(()) => Ok(Decided { since, expected, connection }),
            Err(error) => {
                // A connection that was shut since somebody cancelled can still be written to.
                let error = course.check().err().unwrap_or(error);
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
            End::Destination => Err(MigrationError::Arbitrated(End::Destination)),
        }
    }

    /// Who has the guest of this switchover, as the arbiter has it.
    fn arbitrate(&self, reason: String) -> Result<End, MigrationError> {
        let other = End::Destination;
        let (Some(arbiter), Some(attempt)) = (&self.config.arbiter, self.session) else {
            return Err(MigrationError::InDoubt { reason, other });
        };
        let switchover = Switchover { migration: self.config.sender.migration, attempt };
        arbiter
            .claim(switchover, End::Source)
            .map_err(|error| MigrationError::InDoubt { reason: format!("{reason}; {error}"), other })
    }

    /// Gives the guest away, and sees to it that exactly one end has it.
    pub(super) fn settle(&mut self, course: &Course, decided: Decided) -> Result<Completed, MigrationError> {
        let Decided { since, expected, mut connection } = decided;
        match give(&mut connection, self.config.patience.handover) {
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
            End::Source => Err(MigrationError::Arbitrated(End::Source)),
        }
    }

    fn give_again(&mut self, course: &Course) -> Result<(), MigrationError> {
        let connections = self.dial_all(course, 1)?;
        let mut outgoing = self.offer(connections)?;
        let connection = outgoing.first_connection();
        let due = self.standing("whether it is ready or runs the guest");
        match Message::read(connection, due)? {
            Message::Ready => give(connection, due.within),
            Message::Running => Ok(Message::Bye.write(connection)?),
            Message::Failure(reason) => Err(MigrationError::peer(End::Destination, reason)),
            other => Err(other.out_of_turn(due.expected).into()),
        }
    }
}

/// Sends the state, and waits until the destination has verified and loaded everything. From then on there is no cancelling.
fn send_state(
    course: &Course,
    connection: &mut Connection,
    state: Vec<u8>,
    within: Duration,
) -> Result<(), MigrationError> {
    course.halt_connections(std::slice::from_ref(connection))?;
    Message::State(state).write_within(connection, within)?;
    let due = Due::word("that it is ready", within);
    match Message::read(connection, due)? {
        Message::Ready => course.commit(),
        Message::Failure(reason) => Err(MigrationError::peer(End::Destination, reason)),
        other => Err(other.out_of_turn(due.expected).into()),
    }
}

/// Says that the guest is the destination's, and waits until it runs there.
fn give(connection: &mut Connection, within: Duration) -> Result<(), MigrationError> {
    Message::Go.write(connection)?;
    let due = Due::word("that the guest runs", within);
    let given = match Message::read(connection, due)? {
        Message::Running => Ok(()),
        Message::Failure(reason) => Err(MigrationError::peer(End::Destination, reason)),
        other => return Err(other.out_of_turn(due.expected).into()),
    };
    // The destination need not wait for questions. If it does not hear this, it waits in vain, and not for long.
    let _ = Message::Bye.write(connection);
    given
}
