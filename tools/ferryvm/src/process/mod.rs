//! The guest as threads of this process, where there is no KVM: the same work, the same account and the same proof.
//!
//! It is no virtual machine, and says so. What it writes reaches guest memory through [`GuestRam`](pageferry_accel::guest::GuestRam).

mod cpu;

use std::io;
use std::sync::Arc;

use pageferry_engine::dirty::{WrittenPages, WrittenSource};
use pageferry_engine::vm::Machine;

use crate::cpu::Cpu;
use crate::dirty::{Dirty, DirtyChoice, DirtyChoiceError, DirtyKind};
use crate::memory::Memory;
use crate::state::GuestKind;
use cpu::ProcessCpu;

/// A place for guest threads.
pub(crate) struct ProcessHost {
    memory: Arc<Memory>,
    /// Where the threads mark what they write.
    marks: Option<Arc<WrittenPages>>,
    machine: Machine,
}

impl ProcessHost {
    pub(crate) fn new(memory: &Arc<Memory>) -> io::Result<Self> {
        Ok(Self { memory: Arc::clone(memory), marks: None, machine: Machine::of_this_host()? })
    }

    /// One more thread's work.
    pub(crate) fn cpu(&self, vcpu: u32) -> Box<dyn Cpu> {
        Box::new(ProcessCpu::new(Arc::clone(&self.memory), self.marks.clone(), vcpu))
    }

    /// The host's own processor: its threads see all of it.
    pub(crate) fn machine(&self) -> Machine {
        self.machine.clone()
    }

    /// Whoever notices what the threads write, as chosen: asked for before there are threads.
    pub(crate) fn track(&mut self, choice: DirtyChoice) -> Result<Dirty, DirtyChoiceError> {
        let by_userfaultfd = || Dirty::by_userfaultfd(self.memory.ram());
        match choice {
            DirtyChoice::Auto => Ok(by_userfaultfd().unwrap_or_else(|_| self.by_marks())),
            DirtyChoice::Userfaultfd => by_userfaultfd().map_err(DirtyChoiceError::not_here(choice)),
            DirtyChoice::Marks => Ok(self.by_marks()),
            DirtyChoice::Log | DirtyChoice::Ring => {
                Err(DirtyChoiceError::OtherGuest { choice, guest: GuestKind::Process })
            }
        }
    }

    fn by_marks(&mut self) -> Dirty {
        let marks = Arc::new(WrittenPages::new(self.memory.ram()));
        self.marks = Some(Arc::clone(&marks));
        Dirty { kind: DirtyKind::Marks, source: Box::new(WrittenSource::new(marks)) }
    }
}
