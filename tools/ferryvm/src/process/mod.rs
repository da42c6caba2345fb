//! The guest as threads of this process, where there is no KVM: the same work, the same account and the same proof.
//!
//! It is no virtual machine, and says so. What it writes reaches guest memory through [`GuestRam`](pageferry_accel::guest::GuestRam).

mod cpu;
mod marks;

use std::io;
use std::sync::Arc;

use pageferry_engine::dirty::DirtySource;
use pageferry_engine::vm::Machine;

use crate::cpu::Cpu;
use crate::memory::Memory;
use cpu::ProcessCpu;
use marks::{Marks, MarksSource};

/// A place for guest threads.
pub(crate) struct ProcessHost {
    memory: Arc<Memory>,
    marks: Arc<Marks>,
    machine: Machine,
}

impl ProcessHost {
    pub(crate) fn new(memory: &Arc<Memory>) -> io::Result<Self> {
        let marks = Arc::new(Marks::new(memory.ram()));
        Ok(Self { memory: Arc::clone(memory), marks, machine: Machine::of_this_host()? })
    }

    /// One more thread's work.
    pub(crate) fn cpu(&self, vcpu: u32) -> Box<dyn Cpu> {
        Box::new(ProcessCpu::new(Arc::clone(&self.memory), Arc::clone(&self.marks), vcpu))
    }

    /// The host's own processor: its threads see all of it.
    pub(crate) fn machine(&self) -> Machine {
        self.machine.clone()
    }

    /// Whoever notices what the threads write.
    pub(crate) fn dirty_source(&self) -> Box<dyn DirtySource> {
        Box::new(MarksSource::new(Arc::clone(&self.marks)))
    }
}
