//! How the source comes to connections: at first, and anew when they broke.

use std::time::{Duration, Instant};

use super::{Source, sending};
use crate::connection::Connection;
use crate::frame::End;
use crate::migration::course::Course;
use crate::migration::error::MigrationError;
use crate::migration::handover::{Due, Message};
use crate::migration::state::{Happening, State};
use crate::receiver::Confirmed;
use crate::sender::{Outgoing, Sender, SenderConfig};

/// How long is dialled in one go, so that a cancel is heeded in between.
const SLICE: Duration = Duration::from_millis(400);

/// How long to wait before a broken connection is dialled again.
const PAUSE: Duration = Duration::from_millis(100);

impl Source {
    /// Connects, agrees with the destination, and opens the data path.
    pub(super) fn connect(&mut self, course: &Course) -> Result<Sender, MigrationError> {
        let connections = self.dial_all(course, self.config.connections)?;
        let mut outgoing = self.offer(connections)?;
        let attempt = outgoing.agreement().attempt;
        if let Some(session) = self.session {
            let confirmed_pages = self.take_up(session, outgoing.first_connection())?;
            course.reconnected(attempt, confirmed_pages);
        }
        course.tell(Happening::agreed(outgoing.agreement()));
        let config = self.sender_config(attempt);
        let sender = outgoing.open(self.ram.clone(), &self.accelerators, config).map_err(sending)?;
        course.sending(sender.watch(), sender.stop())?;
        self.session = Some(attempt);
        self.rounds_of_session = 0;
        Ok(sender)
    }

    /// Makes connections anew, for as long as the user has patience; the guest runs meanwhile.
    pub(super) fn recover(
        &mut self,
        course: &Course,
        broken: MigrationError,
    ) -> Result<Sender, MigrationError> {
        course.rest();
        let reason = broken.to_string();
        let was_paused = self.paused;
        self.resume()?;
        if was_paused {
            course.tell(Happening::SwitchoverAborted { reason: reason.clone() });
        }
        course.check()?;
        course.enter(State::Recovery);
        course.tell(Happening::Disconnected { reason: reason.clone() });
        let within = self.config.patience.recovery;
        let until = self.outages.begin();
        let mut last = broken;
        while Instant::now() < until {
            course.sleep(PAUSE)?;
            match self.connect(course) {
                Ok(sender) => {
                    self.outages.end();
                    self.collect()?;
                    return Ok(sender);
                }
                Err(error) if error.is_connection() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(MigrationError::Lost { reason, within, last: last.to_string() })
    }

    /// Makes the offer of the next attempt.
    pub(super) fn offer(&mut self, connections: Vec<Connection>) -> Result<Outgoing, MigrationError> {
        let config = self.sender_config(self.attempt);
        self.attempt += 1;
        // As long as it may be busy elsewhere: a VMM may have to make the guest before it answers.
        let within = self.config.patience.handover;
        Outgoing::offer_within(within, &self.ram, &self.accelerators, connections, &config).map_err(sending)
    }

    pub(super) fn dial_all(
        &mut self,
        course: &Course,
        count: u16,
    ) -> Result<Vec<Connection>, MigrationError> {
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(self.dial(course)?);
            course.halt_connections(&connections)?;
        }
        Ok(connections)
    }

    /// One connection. A destination that answers, even to say no, is not asked again.
    fn dial(&mut self, course: &Course) -> Result<Connection, MigrationError> {
        let until = Instant::now() + self.config.patience.connect;
        loop {
            course.check()?;
            let begun = Instant::now();
            let left = until.saturating_duration_since(begun);
            match self.dial.dial(left.min(SLICE)) {
                Ok(connection) => return Ok(connection),
                Err(_) if begun.elapsed() >= SLICE && left > SLICE => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn sender_config(&self, attempt: u32) -> SenderConfig {
        SenderConfig { attempt, machine: Some(self.vm.machine()), ..self.config.sender.clone() }
    }

    /// Asks a destination what it has of the attempt that broke off; says how many pages need not be sent again.
    fn take_up(&mut self, session: u32, connection: &mut Connection) -> Result<u64, MigrationError> {
        let before = self.pending.count();
        let due = self.standing("what it has of the migration");
        match Message::read(connection, due)? {
            Message::Receiving { attempt, confirmed } if attempt == session => self.strike_off(&confirmed),
            // It speaks of an attempt that never sent a page.
            Message::Receiving { .. } => {}
            // It has everything, and waits for a word that was never given: the guest has run on here. What was written
            // since then is pending already, if this word is lost and has to be given again.
            Message::Ready => Message::Back.write(connection)?,
            Message::Failure(reason) => return Err(MigrationError::peer(End::Destination, reason)),
            other => return Err(other.out_of_turn(due.expected).into()),
        }
        Ok(before - self.pending.count())
    }

    /// A destination's word on what it has, which grows with the guest.
    pub(super) fn standing(&self, expected: &'static str) -> Due {
        let max_bytes = u32::try_from(self.ram.pages().div_ceil(64) * 8 + 1024).unwrap_or(u32::MAX);
        Due { max_bytes, ..Due::word(expected, self.config.patience.handover) }
    }

    fn strike_off(&mut self, confirmed: &Confirmed) {
        if confirmed.rounds > self.rounds_of_session {
            // It had the whole round; its report alone was lost.
            self.pending.clear();
        } else {
            self.pending.remove(&confirmed.pages);
        }
    }
}
