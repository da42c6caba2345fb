//! The one command register of a function, which all of its queues take turns at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_bindings::idxd::command::{Command, CommandError, CommandStatus};
use pageferry_bindings::idxd::registers::{CMD, CMDSTATUS};

use super::error::Cause;
use super::registers::Registers;
use crate::idxd::function::Function;

/// A wait is not over before as many looks, however late a thread that was not scheduled is.
pub(super) const LEAST_POLLS: u32 = 100;

/// The command register: at most one command at a time, each of an owner who sees how it ended.
///
/// Portals never come here: whoever submits waits for nobody's command.
pub(super) struct CommandRegister {
    function: Arc<dyn Function>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whose command is being carried out, as far as was seen.
    running: Option<u8>,
    /// Commands that ended and whose owners have not looked yet.
    ended: Vec<(u8, CommandStatus)>,
}

/// Whether a command could be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was.
    Given,
    /// Another one is still being carried out.
    Busy,
}

impl CommandRegister {
    pub(super) fn new(function: Arc<dyn Function>) -> Self {
        Self { function, state: Mutex::default() }
    }

    /// Gives a command, if none is being carried out.
    pub(super) fn give(&self, owner: u8, command: Command) -> Result<Turn, Cause> {
        let mut state = self.state();
        self.look(&mut state)?;
        if state.running.is_some() {
            return Ok(Turn::Busy);
        }
        self.put(&mut state, owner, command)?;
        Ok(Turn::Given)
    }

    /// How the owner's command ended, or nothing as long as it is being carried out.
    pub(super) fn outcome(&self, owner: u8) -> Result<Option<CommandStatus>, Cause> {
        let mut state = self.state();
        self.look(&mut state)?;
        let at = state.ended.iter().position(|&(whose, _)| whose == owner);
        Ok(at.map(|at| state.ended.swap_remove(at).1))
    }

    /// Gives a command and waits for its end.
    pub(super) fn run(&self, command: Command, patience: Duration) -> Result<u16, Cause> {
        // No queue has this number: there are 255 at most.
        const WAITING: u8 = u8::MAX;
        let mut wait = Wait::new(patience);
        while self.give(WAITING, command)? == Turn::Busy {
            wait.once_more()?;
        }
        loop {
            if let Some(status) = self.outcome(WAITING)? {
                return match status.error() {
                    CommandError::NONE => Ok(status.result()),
                    error => Err(Cause::Command(error)),
                };
            }
            wait.once_more()?;
        }
    }

    fn put(&self, state: &mut State, owner: u8, command: Command) -> Result<(), Cause> {
        state.ended.retain(|&(whose, _)| whose != owner);
        state.running = Some(owner);
        Registers(&*self.function).write32(CMD, command.0)
    }

    /// Sees whether the command that is being carried out has ended.
    fn look(&self, state: &mut State) -> Result<(), Cause> {
        let Some(owner) = state.running else { return Ok(()) };
        let status = CommandStatus(Registers(&*self.function).status(CMDSTATUS)?);
        if !status.is_active() {
            state.running = None;
            state.ended.push((owner, status));
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait that ends: after a time, and after enough looks.
struct Wait {
    since: Instant,
    patience: Duration,
    polls: u32,
}

impl Wait {
    fn new(patience: Duration) -> Self {
        Self { since: Instant::now(), patience, polls: 0 }
    }

    /// Lets some time pass before the next look.
    fn once_more(&mut self) -> Result<(), Cause> {
        let waited = self.since.elapsed();
        self.polls += 1;
        if waited > self.patience && self.polls > LEAST_POLLS {
            return Err(Cause::TimedOut { waited, polls: self.polls });
        }
        match self.polls {
            0..10 => std::hint::spin_loop(),
            10..100 => thread::sleep(Duration::from_micros(20)),
            _ => thread::sleep(Duration::from_millis(1)),
        }
        Ok(())
    }
}
