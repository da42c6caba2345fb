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

/// Makes a queue quiet: drains it; if that takes too long, aborts it, resets it and enables it again; if that fails too,
/// gives the whole function up.
pub(super) struct QueueQuieter {
    pub(super) session: Arc<Session>,
    pub(super) queue: u8,
    /// How long a drain may take.
    pub(super) drain: Duration,
    pub(super) under_way: Mutex<Option<Step>>,
}

/// A command on the way to quiet.
pub(super) struct Step {
    stage: Stage,
    since: Instant,
    polls: u32,
    /// Whether the command was given; before that, others have the register.
    given: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Drain,
    Abort,
    Reset,
    Enable,
}

/// What comes after a look at a step.
enum Next {
    Wait,
    Stage(Stage),
    /// The next stage's command was given already.
    Given(Stage),
    Ready,
}

impl Step {
    fn new(stage: Stage) -> Self {
        Self { stage, since: Instant::now(), polls: 0, given: false }
    }
}

impl Control for QueueQuieter {
    fn quiesce(&self) -> Quiet {
        if let Some(end) = self.session.end_reached() {
            return end;
        }
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let step = under_way.get_or_insert_with(|| Step::new(Stage::Drain));
        match self.look(step) {
            Ok(Next::Wait) => {}
            Ok(Next::Stage(stage)) => *step = Step::new(stage),
            Ok(Next::Given(stage)) => *step = Step { given: true, ..Step::new(stage) },
            Ok(Next::Ready) => {
                *under_way = None;
                return Quiet::Ready;
            }
            Err(_) => self.session.give_up(),
        }
        Quiet::Pending
    }
}

impl QueueQuieter {
    /// Looks at a step. An error means that the queue alone cannot be made quiet.
    fn look(&self, step: &mut Step) -> Result<Next, Cause> {
        step.polls += 1;
        let waited = step.since.elapsed();
        let patience = if step.stage == Stage::Drain { self.drain } else { self.session.patience };
        let late = waited > patience && step.polls > LEAST_POLLS;
        let late_error = Cause::TimedOut { waited, polls: step.polls };
        if !step.given {
            match self.session.commands.give(self.queue, self.command(step.stage))? {
                Turn::Given => {
                    *step = Step { given: true, ..Step::new(step.stage) };
                }
                // Another queue's command ends in its own time, and this one's has not even begun.
                Turn::Busy if waited > patience + 4 * self.session.patience && step.polls > LEAST_POLLS => {
                    return Err(late_error);
                }
                Turn::Busy => {}
            }
            return Ok(Next::Wait);
        }
        let Some(status) = self.session.commands.outcome(self.queue)? else {
            return match step.stage {
                _ if !late => Ok(Next::Wait),
                // Whichever of the two ends first: nothing is left in the queue then, and it is reset.
                Stage::Drain => {
                    self.session.commands.give_over(self.queue, self.command(Stage::Abort))?;
                    Ok(Next::Given(Stage::Abort))
                }
                _ => Err(late_error),
            };
        };
        self.ended(step.stage, status)
    }

    fn ended(&self, stage: Stage, status: CommandStatus) -> Result<Next, Cause> {
        let enabled = || -> Result<bool, Cause> {
            let state = self.session.registers().queue_state(&self.session.facts, self.queue)?;
            Ok(state == QueueState::Enabled)
        };
        match (stage, status.error()) {
            (Stage::Drain, CommandError::NONE) => {
                Ok(if enabled()? { Next::Ready } else { Next::Stage(Stage::Reset) })
            }
            (Stage::Drain, _) => Ok(Next::Stage(Stage::Abort)),
            // What could not be aborted may still be reset, which aborts too.
            (Stage::Abort, _) => Ok(Next::Stage(Stage::Reset)),
            (Stage::Reset, CommandError::NONE) => {
                write_queue(&self.session, self.queue, &self.session.queues[usize::from(self.queue)])?;
                Ok(Next::Stage(Stage::Enable))
            }
            (Stage::Enable, CommandError::NONE) if enabled()? => Ok(Next::Ready),
            (Stage::Reset | Stage::Enable, error) => Err(Cause::Command(error)),
        }
    }

    fn command(&self, stage: Stage) -> Command {
        let mask = Command::queue_mask(self.queue);
        match stage {
            Stage::Drain => Command::new(CommandNumber::DRAIN_QUEUE, mask),
            Stage::Abort => Command::new(CommandNumber::ABORT_QUEUE, mask),
            Stage::Reset => Command::new(CommandNumber::RESET_QUEUE, mask),
            Stage::Enable => Command::new(CommandNumber::ENABLE_QUEUE, self.queue.into()),
        }
    }
}
