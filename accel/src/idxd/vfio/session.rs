//! A function that is up: what it may reach, whether it still works, and how it is put down.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pageferry_bindings::idxd::command::{Command, CommandError, CommandNumber};

use super::command::CommandRegister;
use super::error::Cause;
use super::facts::FunctionFacts;
use super::plan::Plan;
use super::registers::Registers;
use crate::dma::DmaRange;
use crate::idxd::device::Quiet;
use crate::idxd::function::Function;

/// A function from its first mapping to its last unmapping, held by every queue of it.
pub(super) struct Session {
    pub(super) function: Arc<dyn Function>,
    pub(super) facts: FunctionFacts,
    pub(super) plan: Plan,
    /// Whether descriptors may ask for interrupts.
    pub(super) interrupts: bool,
    /// How long one command may take.
    pub(super) patience: Duration,
    pub(super) commands: CommandRegister,
    /// What queues name their interrupts by, as it was told to those who use them.
    handles: Mutex<Vec<u16>>,
    /// What portals look at: a [`Door`].
    door: AtomicU8,
    fate: Mutex<Fate>,
    /// How often the whole function was reset under its queues.
    resets: AtomicU64,
    mapped: Mutex<Vec<DmaRange>>,
    /// Whether there is a device, or a queue, to be disabled.
    enabled: AtomicBool,
}

/// Whether portals take descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Door {
    Open,
    /// Not while the function is being reset.
    Closed,
    /// Never again.
    Gone,
}

/// How the function is.
pub(super) enum Fate {
    Up,
    /// It is being reset.
    Resetting(JoinHandle<Quiet>),
    /// It was given up.
    Over(Quiet),
}

impl Session {
    pub(super) fn new(
        function: Arc<dyn Function>,
        facts: FunctionFacts,
        plan: Plan,
        interrupts: bool,
        patience: Duration,
    ) -> Self {
        Self {
            commands: CommandRegister::new(Arc::clone(&function)),
            function,
            facts,
            plan,
            interrupts,
            patience,
            handles: Mutex::default(),
            door: AtomicU8::new(Door::Open as u8),
            fate: Mutex::new(Fate::Up),
            resets: AtomicU64::new(0),
            mapped: Mutex::default(),
            enabled: AtomicBool::new(false),
        }
    }

    pub(super) fn registers(&self) -> Registers<'_> {
        Registers(&*self.function)
    }

    pub(super) fn run(&self, number: CommandNumber, operand: u32) -> Result<u16, Cause> {
        self.commands.run(Command::new(number, operand), self.patience)
    }

    /// Lets the function reach a range for as long as this session.
    pub(super) fn map(&self, range: &DmaRange) -> io::Result<()> {
        self.function.map(range)?;
        self.mapped().push(range.clone());
        Ok(())
    }

    /// The device is about to be enabled: the end of the session disables it.
    pub(super) fn will_be_enabled(&self) {
        self.enabled.store(true, Ordering::Relaxed);
    }

    /// Whether portals take descriptors.
    pub(super) fn door(&self) -> Door {
        match self.door.load(Ordering::Acquire) {
            0 => Door::Open,
            1 => Door::Closed,
            _ => Door::Gone,
        }
    }

    pub(super) fn set_door(&self, door: Door) {
        self.door.store(door as u8, Ordering::Release);
    }

    /// How often the whole function was reset: all that its queues had before is gone then.
    pub(super) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Acquire)
    }

    /// The whole function was just reset.
    pub(super) fn count_reset(&self) {
        self.resets.fetch_add(1, Ordering::Release);
    }

    /// Takes back every range, also those behind one that cannot be taken back.
    pub(super) fn unmap_all(&self) -> io::Result<()> {
        let mut outcome = Ok(());
        self.mapped().retain(|range| match self.function.unmap(range) {
            Ok(()) => false,
            Err(error) => {
                outcome = Err(error);
                true
            }
        });
        outcome
    }

    /// Disables queues and device, as far as they were enabled.
    fn disable(&self) -> Result<(), Cause> {
        let run = |number, operand| match self.run(number, operand) {
            Err(Cause::Command(CommandError::QUEUE_NOT_ENABLED | CommandError::DEVICE_NOT_ENABLED)) => Ok(()),
            outcome => outcome.map(drop),
        };
        for (queue, _) in (0..).zip(&self.plan.queues) {
            run(CommandNumber::DISABLE_QUEUE, Command::queue_mask(queue))?;
        }
        run(CommandNumber::DISABLE_DEVICE, 0)
    }

    pub(super) fn handles(&self) -> MutexGuard<'_, Vec<u16>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mapped(&self) -> MutexGuard<'_, Vec<DmaRange>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A device that does not let itself be disabled is reset. If not even that works, it still loses its memory.
        let enabled = self.enabled.load(Ordering::Relaxed);
        if enabled && (self.door() == Door::Gone || self.disable().is_err()) {
            drop(self.function.reset());
        }
        drop(self.unmap_all());
    }
}
