//! The adapter for rust-vmm's `vm-memory`, so that its users need not write one.

use vm_memory::{
    GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

use super::{GuestMemory, Region};
use crate::dma::BackingFile;
use crate::units::Gpa;

/// A `GuestMemoryMmap` of rust-vmm, lent to the data path.
///
/// Cloning a `GuestMemoryMmap` shares its regions, so the VMM keeps a handle of its own.
pub struct VmMemory {
    regions: Vec<Region>,
    /// Keeps the mappings alive.
    _memory: GuestMemoryMmap,
}

// SAFETY: the pointers are plain addresses; nothing here dereferences them.
unsafe impl Send for VmMemory {}
// SAFETY: as above.
unsafe impl Sync for VmMemory {}

impl VmMemory {
    /// Lends `memory` to the data path.
    ///
    /// # Errors
    /// What `vm-memory` says of a region that has no host address.
    pub fn new(memory: GuestMemoryMmap) -> Result<Self, GuestMemoryError> {
        let regions = memory.iter().map(|region| {
            let host = region.get_host_address(MemoryRegionAddress(0))?;
            let file = region
                .file_offset()
                .map(|file| BackingFile { file: file.arc().clone(), offset: file.start() });
            Ok(Region { gpa: Gpa(region.start_addr().0), bytes: region.len(), host, numa_node: None, file })
        });
        Ok(Self { regions: regions.collect::<Result<_, GuestMemoryError>>()?, _memory: memory })
    }
}

// SAFETY: the regions are mapped readable and writable by `GuestMemoryMmap`, which lives as long as `self`.
unsafe impl GuestMemory for VmMemory {
    fn regions(&self) -> Vec<Region> {
        self.regions.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_memory::{Bytes, GuestAddress};

    use super::*;
    use crate::guest::GuestRam;
    use crate::units::{PageIndex, PageSize};

    #[test]
    fn what_the_vmm_writes_is_what_the_data_path_reads() {
        let ranges = [(GuestAddress(0), 1 << 20), (GuestAddress(1 << 32), 1 << 20)];
        let vmm: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&ranges).unwrap();
        let ram = GuestRam::new(Arc::new(VmMemory::new(vmm.clone()).unwrap()), PageSize::Kib4).unwrap();
        vmm.write_slice(b"ferry", GuestAddress((1 << 32) + 4096)).unwrap();
        let mut page = [0; 4096];
        ram.copy_out(PageIndex((1 << 20) + 1), &mut page);
        assert_eq!(&page[..5], b"ferry");
        assert_eq!(ram.pages(), 512);
    }
}
