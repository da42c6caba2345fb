//! Intermediate buffers: what dynamic codes need on parts before the fourth generation.

use std::ptr;
use std::sync::Arc;

use pageferry_bindings::qat::cpa::{BufferList, FlatBuffer, InstanceHandle};
use pageferry_bindings::qat::library::Libqat;

use super::operation;
use super::pinned::{ALIGNMENT, Pinned};
use super::refusal::check;
use crate::queue::OpenError;

/// What an intermediate buffer lies in: its list, its only flat buffer, the list's metadata, its bytes.
#[derive(Clone, Copy)]
struct Intermediate {
    metadata: usize,
    data: usize,
    data_bytes: usize,
}

impl Intermediate {
    /// QATzip has them twice as long as what is compressed (`qatzip.c`).
    fn new(metadata_bytes: usize, request_bytes: usize) -> Self {
        let metadata = (size_of::<BufferList>() + size_of::<FlatBuffer>()).next_multiple_of(ALIGNMENT);
        let data = (metadata + metadata_bytes).next_multiple_of(4096);
        Self { metadata, data, data_bytes: 2 * request_bytes }
    }
}

/// As many buffers as an instance asks for, each with its list at the beginning.
///
/// # Errors
/// [`OpenError::Device`] if there is no memory for them.
pub(super) fn intermediate_buffers(
    library: &Arc<Libqat>,
    name: &str,
    handle: InstanceHandle,
    node: u32,
    request_bytes: usize,
) -> Result<Vec<Pinned>, OpenError> {
    let mut count = 0;
    // SAFETY: the library writes one number.
    let status = unsafe { (library.intermediate_buffer_count)(handle, &raw mut count) };
    check(name, "ask for the number of intermediate buffers", status)?;
    let layout = Intermediate::new(operation::metadata_bytes(library, name, handle, 1)?, request_bytes);
    let one = || {
        let pinned = Pinned::new(library, name, layout.data + layout.data_bytes, node)?;
        let flat = pinned.at(size_of::<BufferList>()).cast::<FlatBuffer>();
        let bytes = u32::try_from(layout.data_bytes).unwrap_or(u32::MAX);
        // SAFETY: list and flat buffer are in the allocation, aligned, and apart.
        unsafe {
            flat.write(FlatBuffer { bytes, data: pinned.at(layout.data) });
            pinned.at(0).cast::<BufferList>().write(BufferList {
                count: 1,
                buffers: flat,
                user: ptr::null_mut(),
                metadata: pinned.at(layout.metadata).cast(),
            });
        }
        Ok(pinned)
    };
    (0..count).map(|_| one()).collect()
}
