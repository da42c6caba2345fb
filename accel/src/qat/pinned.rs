//! Pinned memory of the vendor's memory driver: what the device reads and writes besides guest memory.

use std::ptr::NonNull;
use std::sync::Arc;

use pageferry_bindings::qat::library::Libqat;

use super::refusal::{MORE_LOCKED_MEMORY, refused};
use crate::dma::HostAddress;
use crate::queue::OpenError;

/// One allocation, contiguous for the device; zeroed, and given back when it is dropped.
pub(super) struct Pinned {
    library: Arc<Libqat>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is an address range; whoever touches its bytes holds it.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

/// Where allocations begin, and parts of them that are a structure.
pub(super) const ALIGNMENT: usize = 64;

/// The most that the driver gives at once (qatlib `qae_mem_utils_common.h`).
const MOST_BYTES: usize = 64 << 20;

impl Pinned {
    /// So many bytes on this node.
    ///
    /// # Errors
    /// [`OpenError::Device`] if the driver has none.
    pub(super) fn new(
        library: &Arc<Libqat>,
        device: &str,
        bytes: usize,
        node: u32,
    ) -> Result<Self, OpenError> {
        let attempted = format!("take {bytes} bytes of pinned memory on node {node}");
        if bytes > MOST_BYTES {
            let reason = format!("the vendor's memory driver gives {MOST_BYTES} at once");
            return Err(refused(device, &attempted, reason, "use fewer or smaller pages a request"));
        }
        let node = i32::try_from(node).unwrap_or_default();
        // SAFETY: the size is not zero, and the alignment a power of two of 4 MiB at most.
        let start = unsafe { (library.allocate)(bytes.max(1), node, 4096) };
        let Some(start) = NonNull::new(start.cast::<u8>()) else {
            return Err(refused(
                device,
                &attempted,
                "the vendor's memory driver has none",
                MORE_LOCKED_MEMORY,
            ));
        };
        // SAFETY: all of it was allocated just above.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self { library: Arc::clone(library), start, bytes })
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    /// The byte at `offset`.
    ///
    /// # Panics
    /// If there are fewer bytes.
    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.bytes, "byte {offset} of {} pinned ones", self.bytes);
        // SAFETY: `offset` is within the allocation, or just behind it.
        unsafe { self.start.add(offset) }.as_ptr()
    }

    /// Where the byte at `offset` is, for a device.
    pub(super) fn address(&self, offset: usize) -> HostAddress {
        HostAddress::of(self.at(offset))
    }

    /// What the device calls the first byte.
    pub(super) fn device_address(&self) -> u64 {
        // SAFETY: the allocation is the driver's own.
        unsafe { (self.library.translate)(self.start.as_ptr().cast()) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut start = self.start.as_ptr().cast();
        // SAFETY: `new` took it from the same driver; whoever let a device write to it keeps it until that is over.
        unsafe { (self.library.free)(&raw mut start) };
    }
}
