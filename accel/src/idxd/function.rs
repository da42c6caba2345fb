//! A PCI function without a kernel driver: registers, portals, DMA mappings and interrupts behind one small trait.

use std::io;
use std::os::fd::OwnedFd;

use super::portal::Portal;
use crate::dma::DmaRange;
use crate::queue::Provenance;

/// A DSA or IAA function: of a VFIO group or iommufd, of a vfio-user server, or a model in this process.
pub trait Function: Send + Sync {
    /// Its name in messages: `0000:6a:01.0`.
    fn name(&self) -> &str;

    /// How figures that come from it must be labelled.
    fn provenance(&self) -> Provenance;

    /// Vendor and device number.
    fn id(&self) -> (u16, u16);

    /// Its NUMA node, where it is known.
    fn numa_node(&self) -> Option<u32>;

    /// The lengths of BAR 0 (registers) and BAR 2 (portals).
    fn bar_bytes(&self) -> (u64, u64);

    /// Reads registers: 4 or 8 bytes at `offset` of BAR 0.
    ///
    /// # Errors
    /// What the transport says; the device is gone then.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes registers: 4 or 8 bytes at `offset` of BAR 0.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// The portal at `offset` of BAR 2, of a dedicated queue.
    ///
    /// # Errors
    /// If it cannot be mapped, or this CPU lacks the instruction.
    fn portal(&self, offset: u64) -> io::Result<Box<dyn Portal>>;

    /// Lets the device reach a range, at the addresses that it has here.
    ///
    /// # Errors
    /// What the transport says: no such memory, too much of it locked, an address that the IOMMU does not have.
    fn map(&self, range: &DmaRange) -> io::Result<()>;

    /// Ends that.
    ///
    /// # Errors
    /// What the transport says.
    fn unmap(&self, range: &DmaRange) -> io::Result<()>;

    /// Has the function reset by whoever owns the bus; all registers are then as after power-on.
    ///
    /// # Errors
    /// If there is no such reset, or it failed.
    fn reset(&self) -> io::Result<()>;

    /// Enables MSI-X vector `vector` (1 and up are of completions) and hands out its eventfd.
    ///
    /// # Errors
    /// What the transport says.
    fn interrupt(&self, vector: u16) -> io::Result<OwnedFd>;
}
