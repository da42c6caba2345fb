//! What a vCPU is, whoever runs it.

use crate::doorbell::Doorbell;
use crate::state::{Reader, StateError, Writer};

/// Why a vCPU cannot run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crash(pub(crate) String);

/// Something that runs the guest's program.
pub(crate) trait Cpu: Send {
    /// Runs it until the gate wants it back.
    fn run(&mut self, doorbell: &mut Doorbell) -> Result<(), Crash>;

    /// What it has that is not in memory.
    fn save(&self, state: &mut Writer) -> Result<(), StateError>;

    /// Takes over what another one saved.
    fn load(&mut self, state: &mut Reader) -> Result<(), StateError>;
}
