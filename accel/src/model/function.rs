//! A model as a PCI function of this process, and its portals.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::instruction::Instruction;

use super::{Model, Submission, registers};
use crate::dma::DmaRange;
use crate::idxd::function::Function;
use crate::idxd::portal::{Portal, PortalRefusal};
use crate::queue::Provenance;

/// A model, reached as a function of a VFIO group is: I/O addresses are addresses of this process.
#[derive(Clone)]
pub struct ModelFunction {
    model: Arc<Model>,
}

/// A portal of a model.
pub struct ModelPortal {
    model: Arc<Model>,
    offset: u64,
    instruction: Instruction,
}

impl Model {
    /// This model as a function.
    #[must_use]
    pub fn function(self: &Arc<Self>) -> ModelFunction {
        ModelFunction { model: Arc::clone(self) }
    }

    /// The portal at `offset` of BAR 2, to which descriptors are written by `instruction`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if there is none.
    pub fn portal(self: &Arc<Self>, offset: u64, instruction: Instruction) -> io::Result<ModelPortal> {
        if offset >= self.portal_bytes() || !offset.is_multiple_of(Descriptor::BYTES as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no portal is at this offset of BAR 2"));
        }
        Ok(ModelPortal { model: Arc::clone(self), offset, instruction })
    }
}

impl Function for ModelFunction {
    fn name(&self) -> &str {
        self.model.profile().name
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn id(&self) -> (u16, u16) {
        self.model.profile().id
    }

    fn numa_node(&self) -> Option<u32> {
        self.model.profile().numa_node
    }

    fn bar_bytes(&self) -> (u64, u64) {
        (registers::BYTES, self.model.portal_bytes())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.model.read_register(offset, bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.model.write_register(offset, bytes)
    }

    fn portal(&self, offset: u64) -> io::Result<Box<dyn Portal>> {
        Ok(Box::new(self.model.portal(offset, Instruction::Movdir64b)?))
    }

    fn map(&self, range: &DmaRange) -> io::Result<()> {
        let address = usize::try_from(range.host.0).map_err(|_| io::ErrorKind::InvalidInput)?;
        let start = NonNull::new(std::ptr::with_exposed_provenance_mut(address));
        let start = start.ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: who maps a range keeps its memory until it was unmapped, and gives the device only addresses that may be
        // touched, as the contract of portals has it.
        unsafe { self.model.memory().map(range.host.0, start, range.bytes as u64) }
    }

    fn unmap(&self, range: &DmaRange) -> io::Result<()> {
        self.model.memory().unmap(range.host.0, range.bytes as u64)
    }

    fn reset(&self) -> io::Result<()> {
        self.model.reset()
    }

    fn interrupt(&self, vector: u16) -> io::Result<OwnedFd> {
        // SAFETY: nothing is passed but numbers.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: opened just above and nobody else's.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        self.model.set_interrupt(vector, Some(event.try_clone()?))?;
        Ok(event)
    }
}

impl Portal for ModelPortal {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        // SAFETY: the caller's contract is the same.
        match unsafe { self.model.submit(self.offset, self.instruction, descriptor) } {
            Submission::Retry => Err(PortalRefusal::Retry),
            // MOVDIR64B has no way to say so.
            Submission::Taken | Submission::Dropped => Ok(()),
        }
    }
}

impl std::fmt::Debug for ModelFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelFunction({})", self.model.profile().name)
    }
}
