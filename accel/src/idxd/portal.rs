//! The portal: where descriptors go.

use pageferry_bindings::idxd::descriptor::Descriptor;

/// The address of a work queue to which descriptors are written, whatever is behind it.
pub trait Portal: Send + Sync {
    /// Hands a descriptor to the device.
    ///
    /// All that was written to memory before is visible to the device (a store fence is the portal's business).
    ///
    /// # Errors
    /// [`PortalRefusal`] if the device did not take it. A dedicated queue of a real device refuses nothing: whoever submits
    /// counts what is in flight.
    ///
    /// # Safety
    /// Every address in the descriptor, and in the list of a batch, is of memory that stays mapped, and that nobody else
    /// writes (for sources) or touches (for destinations and completion records), until the completion record says that
    /// the device is done or the queue was made quiet. Live guest memory is the exception that it always is: the guest may
    /// touch what a device reads.
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal>;

    /// Whether batches are accepted: a queue that takes descriptors through `write(2)` refuses them.
    fn takes_batches(&self) -> bool {
        true
    }
}

/// Why a portal did not take a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortalRefusal {
    /// The queue is full, or above its threshold: the retry flag of ENQCMD.
    Retry,
    /// The device is not there any more.
    Gone,
}
