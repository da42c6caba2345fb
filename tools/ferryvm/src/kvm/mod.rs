//! The guest as a virtual machine of KVM.

mod boot;
mod cpu;
mod dirty;
mod features;
mod program;
mod registers;
mod slots;

use std::sync::Arc;
use std::thread::JoinHandle;

use kvm_ioctls::{Kvm, VmFd};
use pageferry_accel::guest::TrackingError;
use pageferry_engine::vm::Machine;
use vmm_sys_util::errno::Error;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler, unblock_signal};

use crate::cpu::{Cpu, Crash};
use crate::dirty::{Dirty, DirtyChoice, DirtyChoiceError};
use crate::memory::Memory;
use cpu::KvmCpu;
use dirty::Rings;
use features::Processor;
use slots::Slots;

/// A virtual machine with memory and no vCPUs yet.
pub(crate) struct KvmHost {
    vm: Arc<VmFd>,
    slots: Slots,
    processor: Arc<Processor>,
    /// Where KVM's dirty rings were chosen.
    rings: Option<Rings>,
}

/// Why there is no virtual machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// There is no KVM, or it may not be used.
    #[error(
        "cannot open /dev/kvm: {source}; load the kvm module and let this user open it, or use --guest process"
    )]
    Open {
        /// What the system said.
        source: std::io::Error,
    },
    /// KVM refused.
    #[error("KVM cannot {attempt}: {source}")]
    Refused {
        /// What was tried.
        attempt: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// A vCPU has no dirty ring.
    #[error(transparent)]
    Ring(TrackingError),
}

impl KvmHost {
    /// A virtual machine with this memory.
    pub(crate) fn new(memory: &Memory) -> Result<Self, KvmError> {
        let kvm = Kvm::new().map_err(|error| KvmError::Open { source: error.into() })?;
        let processor = Processor::of_this_host(&kvm).map_err(cannot("say what it shows a guest"))?;
        let vm = Arc::new(kvm.create_vm().map_err(cannot("create a virtual machine"))?);
        let slots = Slots::new(Arc::clone(&vm), Arc::clone(memory.mapped()));
        let slots = slots.map_err(cannot("give a virtual machine its memory"))?;
        register_signal_handler(kick_signal(), on_kick).map_err(cannot("be interrupted by a signal"))?;
        Ok(Self { vm, slots, processor: Arc::new(processor), rings: None })
    }

    /// Whoever notices what the guest writes, as chosen: asked for once, and before there are vCPUs.
    pub(crate) fn track(&mut self, choice: DirtyChoice, memory: &Memory) -> Result<Dirty, DirtyChoiceError> {
        let (dirty, rings) = dirty::source(choice, &self.slots, memory)?;
        self.rings = rings;
        Ok(dirty)
    }

    /// Writes what a guest needs to begin into its memory.
    pub(crate) fn prepare(memory: &Memory) {
        boot::prepare(memory);
    }

    /// One more vCPU.
    pub(crate) fn cpu(&self, vcpu: u32) -> Result<Box<dyn Cpu>, KvmError> {
        let fd = self.vm.create_vcpu(vcpu.into()).map_err(cannot("create a vCPU"))?;
        let adopt = |rings: &Rings| rings.adopt(&self.slots, &fd);
        let reaper = self.rings.as_ref().map(adopt).transpose().map_err(KvmError::Ring)?;
        let cpu = KvmCpu::new(fd, vcpu, self.slots.clone(), Arc::clone(&self.processor), reaper);
        Ok(Box::new(cpu.map_err(cannot("set up a vCPU"))?))
    }

    /// What guests are shown here.
    pub(crate) fn machine(&self) -> Machine {
        self.processor.machine.clone()
    }
}

/// Brings a thread out of the guest. Comes the signal just before it enters, it is lost, and has to be sent again.
pub(crate) fn kick(thread: &JoinHandle<()>) {
    // A thread that is gone needs no kick.
    let _ = thread.kill(kick_signal());
}

/// Lets kicks reach the thread that calls this, whatever the one that started it had blocked.
fn let_kicks_in() -> Result<(), Crash> {
    unblock_signal(kick_signal()).map_err(|error| Crash(format!("its thread cannot be interrupted: {error}")))
}

fn kick_signal() -> libc::c_int {
    SIGRTMIN()
}

/// That it comes is all.
extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

fn cannot(attempt: &'static str) -> impl FnOnce(Error) -> KvmError {
    move |error| KvmError::Refused { attempt, source: error.into() }
}
