//! Guest memory as the data path sees it: regions behind one small trait, and copies that bear with a running guest.

mod anonymous;
#[cfg(feature = "kvm")]
pub mod kvm;
pub(crate) mod live;
mod ram;
mod shared;
mod tracking;
#[cfg(feature = "vm-memory")]
mod vm_memory;
mod write_protection;

pub use anonymous::AnonymousMemory;
pub use ram::{GuestRam, LayoutError, PageRange};
pub use shared::SharedMemory;
pub use tracking::TrackingError;
#[cfg(feature = "vm-memory")]
pub use vm_memory::VmMemory;
pub use write_protection::WriteProtection;

use std::io;

use crate::dma::BackingFile;
use crate::units::Gpa;

/// A contiguous part of guest memory and where this process has it mapped.
#[derive(Clone, Debug)]
pub struct Region {
    /// The guest physical address of its first byte.
    pub gpa: Gpa,
    /// Its length in bytes.
    pub bytes: u64,
    /// The address of its first byte in this process.
    pub host: *mut u8,
    /// The NUMA node that its pages are on, where that is known and one.
    pub numa_node: Option<u32>,
    /// The file that is mapped there, if it is one: what a device model in another process maps too.
    pub file: Option<BackingFile>,
}

/// Whoever owns guest memory: a VMM, a mapped image, a test.
///
/// This trait is all that the data path asks of a VMM's memory, so that no version of any memory crate is forced on
/// it. Implement it for the type that keeps the mappings alive.
///
/// # Safety
/// For as long as `self` lives, every region that [`regions`](Self::regions) ever returned stays mapped, readable and
/// writable at its host address. Others (vCPUs, devices) may read and write the bytes at any time.
pub unsafe trait GuestMemory: Send + Sync {
    /// The regions, in any order.
    fn regions(&self) -> Vec<Region>;

    /// Has all of it allocated now and not page by page as it is written, as a VM with preallocated memory has.
    ///
    /// # Errors
    /// What `madvise` says: that there is not this much memory, or no such advice (it came with Linux 5.14).
    fn populate(&self) -> io::Result<()> {
        for region in self.regions() {
            let bytes = usize::try_from(region.bytes).unwrap_or_default();
            // SAFETY: the trait's contract has exactly this mapped, and writable; populating changes no byte of it.
            if unsafe { libc::madvise(region.host.cast(), bytes, libc::MADV_POPULATE_WRITE) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}
