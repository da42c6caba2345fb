//! DSA and IAA through the kernel's idxd driver: work queues of type `user`, found in sysfs, opened as character devices.
//!
//! Devices translate this process's addresses themselves (shared virtual memory), so nothing is mapped for them. How an
//! operator sets such queues up is in `accel/src/idxd/OPERATORS.md`; the facts are those of Linux 6.12
//! (`Documentation/ABI/stable/sysfs-driver-dma-idxd`, `drivers/dma/idxd/cdev.c`).

mod device;
mod error;
#[cfg(test)]
mod fixture;
mod line;
mod node;
mod portal;
pub mod sysfs;

use std::path::PathBuf;

pub use device::{Found, KernelDevice, at, find};
pub use error::{KernelError, NodeError, Unusable, UnusableQueue};
pub use portal::{MappedPortal, WrittenPortal};

/// Where the kernel shows its devices, and what is behind their nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The folder of devices, work queues and engines.
    pub sysfs: PathBuf,
    /// The folder that has the nodes: `dsa/wqD.Q`, `iax/wqD.Q`.
    pub nodes: PathBuf,
    /// What is behind the nodes.
    pub behind: Behind,
}

impl Default for Host {
    /// The folders of a real host, and real devices.
    fn default() -> Self {
        Self { sysfs: sysfs::ROOT.into(), nodes: "/dev".into(), behind: Behind::Device }
    }
}

/// What is behind the nodes of work queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The kernel's driver: nodes must be character devices, and figures are of hardware.
    Device,
    /// A model that reads descriptors from the files that nodes are, which are mapped. It is given 64-byte stores where the
    /// CPU has them, else plain ones.
    MappedModel,
    /// A model that gets descriptors through `write(2)` alone, as newer kernels do with the unprivileged.
    WrittenModel,
}
