//! Making one queue quiet, a step a call.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pageferry_bindings::idxd::command::{Command, CommandError, CommandNumber, CommandStatus};
use pageferry_bindings::idxd::tables::QueueState;

use super::bring_up::write_queue;
use super::command::{LEAST_POLLS, Turn};
use super::error::Cause;
use super::session::Session;
use crate::idxd::device::{Control, Quiet};

/// Makes a queue quiet: gives it a little time to end what it has, aborts the rest, resets it and enables it again where
/// that is needed. If its device does none of that, the whole function is reset and brought up again.
///
/// The command that drains a queue is not used. Whoever asks for quiet has a descriptor that does not complete; a drain would
/// wait for it too, and hold the one command register, which all queues share, for as long.
pub(super) struct QueueQuieter {
    session: Arc<Session>,
    queue: u8,
    /// How long the queue may go on.
    linger: Duration,
    under_way: Mutex<Option<Step>>,
}

/// A step on the way to quiet.
struct Step {
    stage: Stage,
    since: Instant,
    polls: u32,
    /// Whether the stage's command was given; before that, others have the register.
    given: bool,
    /// How often the function had been reset when this began: one more reset, and the queue is quiet.
    resets: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Linger,
    Abort,
    Reset,
    Enable,
}

/// What comes after a look at a step.
enum Next {
    Wait,
    Stage(Stage),
    Ready,
}

impl QueueQuieter {
    pub(super) fn new(session: Arc<Session>, queue: u8, linger: Duration) -> Self {
        Self { session, queue, linger, under_way: Mutex::new(None) }
    }

    /// Looks at a step. An error means that the queue alone cannot be made quiet.
    fn look(&self, step: &mut Step) -> Result<Next, Cause> {
        step.polls += 1;
        let waited = step.since.elapsed();
        let late = |patience| waited > patience && step.polls > LEAST_POLLS;
        let timed_out = Cause::TimedOut { waited, polls: step.polls };
        let Some(command) = self.command(step.stage) else {
            let over =
                waited > self.linger || self.session.facts.is_empty(self.session.registers(), self.queue)?;
            return Ok(if over { Next::Stage(Stage::Abort) } else { Next::Wait });
        };
        if !step.given {
            return match self.session.commands.give(self.queue, command)? {
                Turn::Given => {
                    *step = Step { given: true, since: Instant::now(), polls: 0, ..*step };
                    Ok(Next::Wait)
                }
                // Another queue's command has its own end.
                Turn::Busy if late(self.session.patience * 2) => Err(timed_out),
                Turn::Busy => Ok(Next::Wait),
            };
        }
        match self.session.commands.outcome(self.queue)? {
            Some(status) => self.ended(step.stage, status),
            None if late(self.session.patience) => Err(timed_out),
            None => Ok(Next::Wait),
        }
    }

    fn ended(&self, stage: Stage, status: CommandStatus) -> Result<Next, Cause> {
        let state = self.session.facts.queue_state(self.session.registers(), self.queue)?;
        match (stage, status.error()) {
            (Stage::Abort | Stage::Enable, CommandError::NONE) if state == QueueState::Enabled => {
                Ok(Next::Ready)
            }
            // What could not be aborted may still be reset, which aborts too.
            (Stage::Linger | Stage::Abort, _) => Ok(Next::Stage(Stage::Reset)),
            (Stage::Reset, CommandError::NONE) => {
                write_queue(&self.session, self.queue, &self.session.plan.queues[usize::from(self.queue)])?;
                Ok(Next::Stage(Stage::Enable))
            }
            (Stage::Enable, CommandError::NONE) => Err(Cause::NotEnabled(state)),
            (Stage::Reset | Stage::Enable, error) => Err(Cause::Command(error)),
        }
    }

    /// The command of a stage; lingering has none.
    fn command(&self, stage: Stage) -> Option<Command> {
        let mask = Command::queue_mask(self.queue);
        match stage {
            Stage::Linger => None,
            Stage::Abort => Some(Command::new(CommandNumber::ABORT_QUEUE, mask)),
            Stage::Reset => Some(Command::new(CommandNumber::RESET_QUEUE, mask)),
            Stage::Enable => Some(Command::new(CommandNumber::ENABLE_QUEUE, self.queue.into())),
        }
    }
}

impl Control for QueueQuieter {
    fn quiesce(&self) -> Quiet {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = self.session.reset_outcome() {
            if outcome == Quiet::Ready {
                *under_way = None;
            }
            return outcome;
        }
        let resets = self.session.resets();
        let new = |stage| Step { stage, since: Instant::now(), polls: 0, given: false, resets };
        let step = under_way.get_or_insert_with(|| new(Stage::Linger));
        let next = if step.resets == resets { self.look(step) } else { Ok(Next::Ready) };
        match next {
            Ok(Next::Wait) => {}
            Ok(Next::Stage(stage)) => *step = new(stage),
            Ok(Next::Ready) => {
                *under_way = None;
                return Quiet::Ready;
            }
            Err(_) => self.session.reset(),
        }
        Quiet::Pending
    }
}
