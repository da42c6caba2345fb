//! Memory for a guest, by who can map it.

use std::io;
use std::sync::Arc;

use pageferry_accel::guest::{AnonymousMemory, GuestMemory, SharedMemory};
use pageferry_accel::units::Gpa;

/// Who can map a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    /// This process alone; it is the quickest, with huge pages.
    Private,
    /// Devices that live in other processes, too.
    Shared,
}

/// Memory of this layout, not allocated before it is touched.
///
/// # Errors
/// What the system says, most often that there is not this much.
pub(crate) fn map(layout: &[(Gpa, u64)], kind: MemoryKind) -> io::Result<Arc<dyn GuestMemory>> {
    Ok(match kind {
        MemoryKind::Private => Arc::new(AnonymousMemory::new(layout)?),
        MemoryKind::Shared => Arc::new(SharedMemory::new(layout)?),
    })
}
