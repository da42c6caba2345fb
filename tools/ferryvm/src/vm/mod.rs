//! The virtual machine as its owner, and a migration, has it.

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pageferry_accel::guest::GuestRam;
use pageferry_accel::units::PageIndex;
use pageferry_engine::dirty::DirtySource;
use pageferry_engine::vm::{Machine, Vm, VmError};

use crate::block::{Block, Verdict};
use crate::dirty::{Dirty, DirtyKind};
use crate::doorbell::Common;
use crate::guest::Guest;
use crate::host::{Host, HostChoice, HostError};
use crate::layout::{Layout, LayoutError, Linear, MAX_VCPUS, PAGE_BYTES};
use crate::memory::{Memory, MemoryError};
use crate::proof::{Heartbeat, Proof};
use crate::state::{GuestKind, Reader, StateError, Writer};
use crate::workload::{Fill, Pattern, Rate, Work, Workload};

/// A virtual machine of ferryvm: a guest that writes to its memory and can prove what is in it.
///
/// [`source`](Self::source) makes one that runs from [`resume`](Vm::resume) on, [`destination`](Self::destination) one that
/// waits for memory and state of another. Dropping it ends the guest.
pub struct FerryVm {
    /// First, so that the threads have ended before what they use goes.
    guest: Option<Guest>,
    dirty: Dirty,
    host: Host,
    memory: Arc<Memory>,
    rate: Rate,
    watched: Watch,
}

/// Watches a guest while a migration has its [`FerryVm`].
#[derive(Clone, Default)]
pub struct Watch {
    /// Set once there are vCPUs.
    common: Arc<OnceLock<Arc<Common>>>,
}

/// Why there is no virtual machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FerryError {
    /// The memory or the vCPUs that it is to have cannot be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There is not this much memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Nothing here runs such a guest.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The system gives no threads.
    #[error("cannot start the threads of the guest's vCPUs: {0}")]
    Threads(std::io::Error),
}

/// Why a guest gave no proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// It has no vCPUs yet.
    #[error("the guest has not arrived: load its state first")]
    NotThere,
    /// It stands still.
    #[error("the guest is paused and proves nothing: resume it first")]
    Paused,
    /// It cannot run.
    #[error("the guest has crashed: {0}")]
    Crashed(String),
    /// It took too long.
    #[error("the guest gave no proof within {0:?}: allow more time, or give it less memory")]
    Late(Duration),
}

impl FerryVm {
    /// A guest at its beginning, paused.
    ///
    /// # Errors
    /// [`FerryError`] if it cannot be had.
    pub fn source(
        layout: Layout,
        vcpus: u32,
        workload: &Workload,
        choice: impl Into<HostChoice>,
    ) -> Result<Self, FerryError> {
        let most = workload.working_set_pages.map(|pages| pages.div_ceil(u64::from(vcpus.max(1))));
        let shares = layout.shares(vcpus, most)?;
        let mut vm = Self::destination(layout, choice)?;
        vm.host.prepare();
        let Workload { pattern, fill, seed, rate, .. } = *workload;
        for (vcpu, share) in (0..).zip(&shares) {
            let work = Work { pattern, fill, seed: Work::seed_of(seed, vcpu), pages: share.pages };
            vm.memory.write_bytes(
                Linear::block(vcpu),
                zerocopy::IntoBytes::as_bytes(&Block::new(vcpu, work, share)),
            );
            // Memory is zero as it comes.
            if fill == Fill::Random {
                for page in 0..share.pages {
                    vm.memory.write_words(share.page(page), &work.content(page, 0));
                }
            }
        }
        vm.rate = rate;
        vm.create_guest(vcpus)?;
        Ok(vm)
    }

    /// A machine with memory of this layout, empty, for a guest that comes from elsewhere: to be paused until
    /// [`load_state`](Vm::load_state), which brings vCPUs and parameters.
    ///
    /// # Errors
    /// [`FerryError`] if it cannot be had.
    pub fn destination(layout: Layout, choice: impl Into<HostChoice>) -> Result<Self, FerryError> {
        let memory = Arc::new(Memory::new(layout)?);
        let (host, dirty) = Host::new(choice.into(), &memory)?;
        Ok(Self { guest: None, dirty, host, memory, rate: Rate::Unlimited, watched: Watch::default() })
    }

    /// What runs the guest.
    #[must_use]
    pub fn kind(&self) -> GuestKind {
        self.host.kind()
    }

    /// Who notices what the guest writes.
    #[must_use]
    pub fn dirty_kind(&self) -> DirtyKind {
        self.dirty.kind
    }

    /// A way to watch the guest, also while a migration has this.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.watched.clone()
    }

    /// Has the guest write so much from now on, here and wherever it goes.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
        if let Some(common) = self.watched.common.get() {
            common.set_rate(rate);
        }
    }

    /// Where page number `page` of those is that a vCPU writes: for who wants to damage one. None if it has no such page.
    #[must_use]
    pub fn page(&self, vcpu: u32, page: u64) -> Option<PageIndex> {
        let block = (vcpu < MAX_VCPUS).then(|| self.memory.block(vcpu))??;
        let share = self.is_sound(vcpu, &block).then(|| block.share())?;
        (page < share.pages).then(|| self.memory.layout().page(share.page(page)))?
    }

    fn create_guest(&mut self, vcpus: u32) -> Result<(), FerryError> {
        let work = self.memory.block(0).and_then(|block| block.work());
        let is_idle = work.is_some_and(|work| work.pattern == Pattern::Idle);
        let common = Arc::new(Common::new(Arc::clone(&self.memory), vcpus, is_idle, self.rate));
        let cpus = (0..vcpus).map(|vcpu| self.host.cpu(vcpu)).collect::<Result<_, _>>()?;
        self.guest =
            Some(Guest::new(Arc::clone(&common), cpus, self.host.kick()).map_err(FerryError::Threads)?);
        // There is one guest a machine, so that it is not set yet.
        let _ = self.watched.common.set(common);
        Ok(())
    }

    fn guest(&self) -> Result<&Guest, VmError> {
        self.guest.as_ref().ok_or_else(|| VmError::new(ProveError::NotThere))
    }

    fn load(&mut self, state: &[u8]) -> Result<(), FerryStateError> {
        let mut reader = Reader::new(state)?;
        let (kind, vcpus) = (reader.kind(), reader.vcpus());
        if kind != self.kind() {
            return Err(StateError::Kind { state: kind, here: self.kind() }.into());
        }
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(StateError::Damaged("it has no vCPUs, or too many").into());
        }
        for vcpu in 0..vcpus {
            let is_program = self.memory.block(vcpu).is_some_and(|block| self.is_sound(vcpu, &block));
            is_program.then_some(()).ok_or(StateError::Memory { vcpu })?;
        }
        self.rate = reader.take_rate()?;
        match &self.guest {
            None => self.create_guest(vcpus)?,
            Some(guest) if guest.vcpus() != vcpus => {
                return Err(StateError::Vcpus { state: vcpus, here: guest.vcpus() }.into());
            }
            Some(_) => {}
        }
        if let Some(guest) = &self.guest {
            guest.load(&mut reader)?;
        }
        Ok(reader.finish()?)
    }

    /// Whether a block that came from elsewhere speaks of this memory.
    fn is_sound(&self, vcpu: u32, block: &Block) -> bool {
        let share = block.share();
        let pages = share.pages.min(self.memory.layout().bytes() / PAGE_BYTES);
        let ends = [share.table.0.checked_add(8 * pages), share.first.0.checked_add(pages * PAGE_BYTES)];
        block.own_address == Linear::block(vcpu).0
            && block.work().is_some()
            && pages == share.pages
            && ends.iter().all(|end| end.is_some_and(|end| end <= self.memory.layout().bytes()))
    }
}

/// What can go wrong when state is taken over.
#[derive(Debug, thiserror::Error)]
enum FerryStateError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Vm(#[from] FerryError),
}

impl Vm for FerryVm {
    fn memory(&self) -> Arc<GuestRam> {
        Arc::clone(self.memory.ram())
    }

    fn machine(&self) -> Machine {
        self.host.machine()
    }

    fn dirty(&mut self) -> &mut dyn DirtySource {
        &mut *self.dirty.source
    }

    fn pause(&mut self) -> Result<(), VmError> {
        self.guest()?.pause().map_err(VmError::new)
    }

    fn resume(&mut self) -> Result<(), VmError> {
        if let Some(reason) = self.watched.crash() {
            return Err(VmError::new(ProveError::Crashed(reason)));
        }
        self.guest()?.resume();
        Ok(())
    }

    fn throttle(&mut self, percent: u8) -> Result<(), VmError> {
        if let Some(common) = self.watched.common.get() {
            common.set_throttle(percent);
        }
        Ok(())
    }

    fn save_state(&mut self) -> Result<Vec<u8>, VmError> {
        let guest = self.guest()?;
        let mut writer = Writer::new(self.kind(), guest.vcpus());
        writer.put_rate(self.rate);
        guest.save(&mut writer).map_err(VmError::new)?;
        Ok(writer.finish())
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), VmError> {
        self.load(state).map_err(VmError::new)
    }
}

impl Watch {
    /// What was felt of the guest so far; nothing if it is not there yet.
    #[must_use]
    pub fn heartbeat(&self) -> Option<Heartbeat> {
        self.common.get().map(|common| Heartbeat::of(common))
    }

    /// Why the guest cannot run on, if it cannot.
    #[must_use]
    pub fn crash(&self) -> Option<String> {
        self.common.get()?.gate.crash()
    }

    /// Has the guest walk all of its memory and say whether it is what it wrote. It has to run, and writes nothing
    /// else meanwhile.
    ///
    /// # Errors
    /// [`ProveError`] if it does not say.
    pub fn prove(&self, within: Duration) -> Result<Proof, ProveError> {
        let common = self.common.get().ok_or(ProveError::NotThere)?;
        if !common.gate.is_open() {
            return Err(ProveError::Paused);
        }
        let until = Instant::now() + within;
        common.vcpus.iter().for_each(|vcpu| vcpu.ask());
        let answers = common.vcpus.iter().map(|vcpu| {
            let has_crashed = || common.gate.crash().is_some();
            vcpu.wait_for_answer(until, has_crashed)
        });
        let verdicts: Option<Vec<Verdict>> = answers.collect();
        match (verdicts, common.gate.crash()) {
            (Some(verdicts), _) => Ok(Proof::of(&verdicts)),
            (None, Some(reason)) => Err(ProveError::Crashed(reason)),
            (None, None) => Err(ProveError::Late(within)),
        }
    }
}
