//! Device models: they take the descriptors that the drivers write and answer with the records that the drivers read.
//!
//! A [`Model`] is one function, DSA or IAA as its [`Profile`] says. It is driven as the real one is: through registers
//! of BAR 0, portals of BAR 2, and memory that was mapped for it; in this process through [`Model::function`], or by a
//! server that hands on what another process asks for. It is as strict as the silicon is known to be, and where nobody
//! knows, as the profile's [`Quirks`](profile::Quirks) say. A [`FaultPlan`] has it misbehave.
//!
//! Nothing that a model did is hardware's: its provenance is `model`.

mod batch;
mod check;
mod command;
mod dsa;
mod engine;
pub mod fault;
pub mod function;
pub(crate) mod iaa;
pub mod memory;
mod perform;
pub mod profile;
mod registers;
pub mod server;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pageferry_bindings::idxd::command::CommandStatus;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::instruction::Instruction;
use pageferry_bindings::idxd::registers::{PORTAL_PAGE, PORTAL_STRIDE};

use engine::Shared;
use fault::{Fault, FaultPlan, Misdeeds, count};
use memory::DeviceMemory;
use profile::Profile;
use state::Pending;

/// A modelled function. Its thread ends when it is dropped.
pub struct Model {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// How fast a model is. Its engines and how much its queues hold are the profile's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// What passes between the end of the work and the completion record.
    pub latency: Duration,
    /// How many bytes one engine works on in a second; without it, as fast as the CPU that models it.
    pub bytes_per_s: Option<NonZeroU64>,
}

/// What became of a descriptor at a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// It is in its queue.
    Taken,
    /// It is not, and ENQCMD says so.
    Retry,
    /// It is not, and MOVDIR64B does not say so.
    Dropped,
}

/// What a model did, right or wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Descriptors that came to their end, batches and their members each counted.
    pub descriptors: u64,
    /// The bytes that they were about.
    pub bytes: u64,
    /// Descriptors that found no place: written to a full or disabled queue, or by the wrong instruction.
    pub dropped: u64,
    /// Commands that were written while another was being carried out.
    pub commands_ignored: u64,
}

#[derive(Debug, Default)]
struct Counts {
    descriptors: AtomicU64,
    bytes: AtomicU64,
}

impl Timing {
    /// Everything is done as soon as it can be.
    #[must_use]
    pub fn at_once() -> Self {
        Self::default()
    }

    fn is_at_once(self) -> bool {
        self == Self::at_once()
    }
}

impl Model {
    /// A model after power-on.
    ///
    /// # Errors
    /// If its thread could not be started.
    pub fn new(profile: Profile, timing: Timing, plan: FaultPlan) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared::new(profile, timing, plan));
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(shared.profile.name.to_owned());
        let worker = thread.spawn(move || theirs.run())?;
        Ok(Arc::new(Self { shared, worker: Some(worker) }))
    }

    /// What is modelled.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.shared.profile
    }

    /// The memory that it reaches, to be mapped and unmapped.
    #[must_use]
    pub fn memory(&self) -> &DeviceMemory {
        &self.shared.memory
    }

    /// The length of BAR 2 in bytes.
    #[must_use]
    pub fn portal_bytes(&self) -> u64 {
        u64::from(self.shared.profile.queues) * PORTAL_STRIDE
    }

    /// The length of BAR 0 in bytes.
    #[must_use]
    pub fn register_bytes(&self) -> u64 {
        registers::BYTES
    }

    /// Reads registers: 4 or 8 aligned bytes at `offset` of BAR 0. They are ones if the device is gone.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for any other access.
    pub fn read_register(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        check_access(offset, bytes.len())?;
        let state = self.shared.lock();
        for (word, bytes) in (offset..).step_by(4).zip(bytes.chunks_exact_mut(4)) {
            let value = if state.gone {
                u32::MAX
            } else {
                state.registers.read(&self.shared.profile, &state.occupancy, word)
            };
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    /// Writes registers: 4 or 8 aligned bytes at `offset` of BAR 0.
    ///
    /// A command is carried out later; one that is written while another is active is ignored.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for any other access.
    pub fn write_register(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_access(offset, bytes.len())?;
        let mut state = self.shared.lock();
        if state.gone {
            return Ok(());
        }
        for (word, &bytes) in (offset..).step_by(4).zip(bytes.as_chunks::<4>().0) {
            let value = u32::from_le_bytes(bytes);
            let Some(command) = state.registers.write(&self.shared.profile, word, value) else { continue };
            if state.command.is_some() {
                state.commands_ignored += 1;
                continue;
            }
            state.command = Some(Pending::new(command, state.arrived));
            state.registers.command_status = CommandStatus(CommandStatus::ACTIVE);
            self.shared.wake(&mut state);
        }
        Ok(())
    }

    /// Takes a descriptor that was written at `offset` of BAR 2.
    ///
    /// # Safety
    /// That of [`Portal::submit`](crate::idxd::portal::Portal::submit), for memory of this process.
    pub unsafe fn submit(
        &self,
        offset: u64,
        instruction: Instruction,
        descriptor: &Descriptor,
    ) -> Submission {
        let shared = &*self.shared;
        let queue = usize::try_from(offset / PORTAL_STRIDE).unwrap_or(usize::MAX);
        let page = usize::try_from(offset % PORTAL_STRIDE / PORTAL_PAGE).unwrap_or(0);
        let limited = shared.profile.quirks.limited_pages[page];
        let mut state = shared.lock();
        let unanswered = match instruction {
            Instruction::Enqcmd => Submission::Retry,
            Instruction::Movdir64b | Instruction::PlainStores => Submission::Dropped,
        };
        if state.gone {
            return unanswered;
        }
        let number = state.offered;
        state.offered += 1;
        if !shared.plan.rules.is_empty() && shared.plan.of(number).any(|fault| fault == Fault::Refuse) {
            count(&shared.misdeeds.refused);
            return unanswered;
        }
        let submission = state.submit(&shared.profile, queue, limited, instruction, descriptor);
        if submission == Submission::Taken {
            if !shared.timing.is_at_once()
                && let Some(entry) = state.entries.back_mut()
            {
                entry.submitted = Some(Instant::now());
            }
            shared.wake(&mut state);
        } else if submission == Submission::Dropped {
            shared.ring_for_error(&state);
        }
        submission
    }

    /// Resets the function, as whoever owns the bus does: all work is dropped, registers are as after power-on, and the model
    /// touches no memory any more when this returns.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] if the device is gone.
    pub fn reset(&self) -> io::Result<()> {
        self.shared.reset_function();
        if self.shared.lock().gone { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }

    /// Has interrupt `vector` write to an eventfd, or to none.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there is no such vector.
    pub fn set_interrupt(&self, vector: u16, event: Option<OwnedFd>) -> io::Result<()> {
        let mut interrupts = self.shared.interrupts.lock().unwrap_or_else(PoisonError::into_inner);
        let place = interrupts.get_mut(usize::from(vector)).ok_or(io::ErrorKind::InvalidInput)?;
        *place = event;
        Ok(())
    }

    /// What it did wrong on purpose until now.
    #[must_use]
    pub fn misdeeds(&self) -> Misdeeds {
        self.shared.misdeeds.read()
    }

    /// What it did until now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let state = self.shared.lock();
        let counts = &self.shared.counts;
        Tally {
            descriptors: counts.descriptors.load(Relaxed),
            bytes: counts.bytes.load(Relaxed),
            dropped: state.dropped,
            commands_ignored: state.commands_ignored,
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(worker) = self.worker.take() {
            // A worker that panicked has nothing left to say.
            let _ = worker.join();
        }
    }
}

/// Registers are read and written in whole words.
fn check_access(offset: u64, bytes: usize) -> io::Result<()> {
    let aligned = matches!(bytes, 4 | 8) && offset.is_multiple_of(bytes as u64);
    let end = offset.checked_add(bytes as u64);
    if aligned && end.is_some_and(|end| end <= registers::BYTES) {
        return Ok(());
    }
    let what = format!(
        "registers are read and written in aligned words of 4 or 8 bytes, not {bytes} at {offset:#x}"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}
