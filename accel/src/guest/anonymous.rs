//! Guest memory that this process maps for itself: a migration's destination, a tool, a test.

use std::io;
use std::ptr;

use super::{GuestMemory, Region};
use crate::units::Gpa;

/// Anonymous private memory, zero at first and not allocated until it is touched.
pub struct AnonymousMemory {
    regions: Vec<Region>,
}

// SAFETY: the pointers are plain addresses of mappings that live until `drop`; nothing here dereferences them.
unsafe impl Send for AnonymousMemory {}
// SAFETY: as above.
unsafe impl Sync for AnonymousMemory {}

impl AnonymousMemory {
    /// Maps a region for every guest address and length in bytes.
    ///
    /// The kernel is asked for huge pages, as VMMs do, since both ends walk all of it.
    ///
    /// # Errors
    /// What `mmap` says, most often that there is not this much memory.
    pub fn new(layout: &[(Gpa, u64)]) -> io::Result<Self> {
        let mut memory = Self { regions: Vec::with_capacity(layout.len()) };
        for &(gpa, bytes) in layout {
            let host = map(usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?)?;
            memory.regions.push(Region { gpa, bytes, host, numa_node: None, file: None });
        }
        Ok(memory)
    }
}

// SAFETY: the mappings are readable and writable, and only `drop` unmaps them.
unsafe impl GuestMemory for AnonymousMemory {
    fn regions(&self) -> Vec<Region> {
        self.regions.clone()
    }
}

impl Drop for AnonymousMemory {
    fn drop(&mut self) {
        for region in &self.regions {
            // SAFETY: `new` mapped exactly this, and whoever used the regions held `self` until now.
            unsafe { libc::munmap(region.host.cast(), usize::try_from(region.bytes).unwrap_or_default()) };
        }
    }
}

fn map(bytes: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let host =
        unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if host == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // Advice alone: where the kernel has no huge pages, small ones do.
    // SAFETY: the mapping was made just above and is nobody else's yet.
    unsafe { libc::madvise(host, bytes, libc::MADV_HUGEPAGE) };
    Ok(host.cast())
}
