//! The seam: what a VMM lets a migration do with its guest.

mod machine;

use std::error::Error;
use std::sync::Arc;

use pageferry_accel::guest::GuestRam;

pub use machine::{Architecture, Machine};

use crate::dirty::DirtySource;

/// A virtual machine in the hands of its VMM, at either end of a migration.
///
/// It is a handle: the guest stays the VMM's own, which goes on serving its devices meanwhile. All calls come from one
/// thread, the migration's, one at a time. At the source they come in this order:
/// `start` of [`dirty`](Self::dirty), then any number of `collect` and [`throttle`](Self::throttle), [`pause`](Self::pause),
/// `collect`, [`save_state`](Self::save_state); and, where the guest stays, [`resume`](Self::resume) (if it was
/// paused), `throttle(0)` and `stop`. From a resume on it may begin again with `collect`. At the destination, whose guest
/// waits: [`load_state`](Self::load_state), once or, where the switchover has to be repeated, again; then `resume`.
pub trait Vm: Send {
    /// The guest's memory, the same regions for as long as the migration runs.
    fn memory(&self) -> Arc<GuestRam>;

    /// What the guest needs of a host (at the source), or what the host has (at the destination).
    fn machine(&self) -> Machine;

    /// Whoever notices which pages are written: by the guest, and by devices on its behalf.
    fn dirty(&mut self) -> &mut dyn DirtySource;

    /// Stops the guest's CPUs and its devices. When it returns, nobody writes to guest memory any more.
    ///
    /// # Errors
    /// [`VmError`] if the guest may still run.
    fn pause(&mut self) -> Result<(), VmError>;

    /// Lets the guest run: where it was paused at the source, where its state says at the destination.
    ///
    /// # Errors
    /// [`VmError`] if it does not run.
    fn resume(&mut self) -> Result<(), VmError>;

    /// Takes `percent` (0 to 99) of their time from the guest's CPUs, so that it writes less; 0 gives it back.
    ///
    /// # Errors
    /// [`VmError`] if the VMM cannot.
    fn throttle(&mut self, percent: u8) -> Result<(), VmError>;

    /// The state of CPUs and devices, without guest memory, in whatever form [`load_state`](Self::load_state) reads.
    /// The guest is paused.
    ///
    /// # Errors
    /// [`VmError`] if it cannot be had.
    fn save_state(&mut self) -> Result<Vec<u8>, VmError>;

    /// Takes over the state that the source saved. Guest memory is complete, and the guest does not run yet.
    ///
    /// # Errors
    /// [`VmError`] if this host cannot run a guest of that state. The source is told, and its guest runs on.
    fn load_state(&mut self, state: &[u8]) -> Result<(), VmError>;
}

/// What a VMM says when it cannot do as asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct VmError(#[source] Box<dyn Error + Send + Sync>);

impl VmError {
    /// With the VMM's own reason.
    #[must_use]
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(reason.into())
    }
}
