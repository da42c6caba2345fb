//! Guest memory that another process can map too, as VMMs have it that share memory with devices.

use std::io;

use super::{GuestMemory, Region};
use crate::dma::{Arena, Block};
use crate::units::Gpa;

/// Shared memory behind a memory file a region, zero at first and not allocated until it is touched.
///
/// A device model in another process reaches such memory alone.
pub struct SharedMemory {
    /// Each with the block that is all of it, and keeps it mapped. Nobody looks into the block.
    regions: Vec<(Region, Block)>,
}

// SAFETY: the pointers are plain addresses of mappings that live as long as the blocks; nothing here dereferences them.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps a region for every guest address and length in bytes.
    ///
    /// # Errors
    /// What `memfd_create`, `ftruncate` or `mmap` says, most often that there is not this much memory.
    pub fn new(layout: &[(Gpa, u64)]) -> io::Result<Self> {
        let region = |&(gpa, bytes): &(Gpa, u64)| {
            let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
            let arena = Arena::new(1, length)?;
            let block = arena.take(length).ok_or(io::ErrorKind::OutOfMemory)?;
            let file = arena.range().file;
            Ok((Region { gpa, bytes, host: block.as_ptr(), numa_node: None, file }, block))
        };
        Ok(Self { regions: layout.iter().map(region).collect::<io::Result<_>>()? })
    }
}

// SAFETY: a block keeps its mapping, readable and writable, for as long as it lives, and nobody has a reference into it.
unsafe impl GuestMemory for SharedMemory {
    fn regions(&self) -> Vec<Region> {
        self.regions.iter().map(|(region, _)| region.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    use super::*;
    use crate::guest::GuestRam;
    use crate::units::{PageIndex, PageSize};

    #[test]
    fn what_the_guest_writes_is_in_the_file_of_its_region() {
        let memory = Arc::new(SharedMemory::new(&[(Gpa(0), 1 << 16), (Gpa(1 << 32), 1 << 16)]).unwrap());
        let ram = GuestRam::new(memory, PageSize::Kib4).unwrap();
        ram.copy_in(PageIndex((1 << 20) + 3), &[7; 4096]);
        let ranges = ram.dma_ranges();
        let mut page = [0; 4096];
        let backing = ranges[1].file.as_ref().unwrap();
        backing.file.read_exact_at(&mut page, backing.offset + 3 * 4096).unwrap();
        assert_eq!(page, [7; 4096]);
        ranges[0].file.as_ref().unwrap().file.read_exact_at(&mut page, 3 * 4096).unwrap();
        assert_eq!(page, [0; 4096], "the other region has a file of its own");
    }
}
