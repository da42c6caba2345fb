//! A function that is up: what it may reach, whether it still works, and how it is put down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use pageferry_bindings::idxd::command::{Command, CommandError, CommandNumber};
use pageferry_bindings::idxd::registers::DeviceState;
use pageferry_bindings::idxd::tables::QueueConfiguration;

use super::command::CommandRegister;
use super::error::Cause;
use super::facts::FunctionFacts;
use super::registers::Registers;
use crate::dma::DmaRange;
use crate::idxd::device::Quiet;
use crate::idxd::function::Function;

/// A function from its first mapping to its last unmapping, held by every queue of it.
pub(super) struct Session {
    pub(super) function: Arc<dyn Function>,
    pub(super) facts: FunctionFacts,
    pub(super) commands: CommandRegister,
    /// How long one command may take.
    pub(super) patience: Duration,
    /// The configuration of each queue, to be written again after its reset.
    pub(super) queues: Vec<QueueConfiguration>,
    /// Set when the whole function is given up: no portal takes anything any more.
    gone: AtomicBool,
    end: Mutex<End>,
    mapped: Mutex<Vec<DmaRange>>,
    /// Whether there is a device, or a queue, to be disabled.
    enabled: AtomicBool,
}

/// How far the function is from its end.
enum End {
    /// It works.
    Up,
    /// It is being reset.
    Coming(JoinHandle<Quiet>),
    /// It was given up.
    Here(Quiet),
}

impl Session {
    pub(super) fn new(
        function: Arc<dyn Function>,
        facts: FunctionFacts,
        patience: Duration,
        queues: Vec<QueueConfiguration>,
    ) -> Self {
        Self {
            commands: CommandRegister::new(Arc::clone(&function)),
            function,
            facts,
            patience,
            queues,
            gone: AtomicBool::new(false),
            end: Mutex::new(End::Up),
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

    /// Whether portals are closed.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Gives the whole function up: closes its portals and has it reset, by a thread, since that takes its time.
    pub(super) fn give_up(self: &Arc<Self>) {
        let mut end = self.end();
        if !matches!(*end, End::Up) {
            return;
        }
        self.gone.store(true, Ordering::Relaxed);
        let session = Arc::clone(self);
        let reset = thread::Builder::new().name("idxd-reset".into()).spawn(move || session.silence());
        *end = reset.map_or_else(|_| End::Here(self.silence()), End::Coming);
    }

    /// How far giving up is, if it was begun.
    pub(super) fn end_reached(&self) -> Option<Quiet> {
        let mut end = self.end();
        *end = match mem::replace(&mut *end, End::Here(Quiet::Never)) {
            End::Coming(reset) if reset.is_finished() => End::Here(reset.join().unwrap_or(Quiet::Never)),
            other => other,
        };
        match *end {
            End::Up => None,
            End::Coming(_) => Some(Quiet::Pending),
            End::Here(quiet) => Some(quiet),
        }
    }

    /// Resets the function, or failing that takes all memory from it.
    fn silence(&self) -> Quiet {
        let disabled = || {
            let state = self.registers().general_status().map(|status| status.state());
            matches!(state, Ok(DeviceState::Disabled))
        };
        if self.function.reset().is_ok() && disabled() {
            self.enabled.store(false, Ordering::Relaxed);
            return Quiet::Gone;
        }
        // Whatever it still does, it reaches nothing.
        if self.unmap_all().is_ok() { Quiet::Gone } else { Quiet::Never }
    }

    /// Takes back every range, also those behind one that cannot be taken back.
    fn unmap_all(&self) -> io::Result<()> {
        let mut failed = Ok(());
        self.mapped().retain(|range| match self.function.unmap(range) {
            Ok(()) => false,
            Err(error) => {
                failed = Err(error);
                true
            }
        });
        failed
    }

    /// Disables queues and device, as far as they were enabled.
    fn disable(&self) -> Result<(), Cause> {
        let run = |number, operand| match self.run(number, operand) {
            Err(Cause::Command(CommandError::QUEUE_NOT_ENABLED | CommandError::DEVICE_NOT_ENABLED)) => Ok(()),
            outcome => outcome.map(drop),
        };
        for (queue, _) in (0..).zip(&self.queues) {
            run(CommandNumber::DISABLE_QUEUE, Command::queue_mask(queue))?;
        }
        run(CommandNumber::DISABLE_DEVICE, 0)
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mapped(&self) -> MutexGuard<'_, Vec<DmaRange>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A device that does not let itself be disabled is reset. If not even that works, it still loses its memory.
        if self.enabled.load(Ordering::Relaxed) && (self.is_gone() || self.disable().is_err()) {
            drop(self.function.reset());
        }
        drop(self.unmap_all());
    }
}
