//! Memory for guests: those that are sent, and those that arrive.

use std::io;
use std::sync::Arc;

use pageferry_accel::guest::{AnonymousMemory, GuestMemory, GuestRam, SharedMemory};
use pageferry_accel::units::Gpa;
use pageferry_engine::handshake::Offer;

use crate::plan::{DevicePlan, MemoryPlan};
use crate::quantity::ByteSize;

/// A migration that the destination would have to refuse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refused {
    #[error(
        "the guest has {guest} of memory, {max} are allowed here: raise recv's --max-memory or send a smaller guest"
    )]
    TooLarge { guest: ByteSize, max: ByteSize },
    #[error("the destination cannot allocate {guest} for the guest: {source}; send a smaller guest")]
    Memory { guest: ByteSize, source: io::Error },
    #[error(transparent)]
    Layout(#[from] pageferry_accel::guest::LayoutError),
}

/// Who can map a guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryKind {
    /// This process alone; it is the quickest, with huge pages.
    Private,
    /// Devices that live in other processes, too.
    Shared,
}

impl MemoryKind {
    /// What the accelerators of one end need.
    pub(crate) fn of(device: &DevicePlan) -> Self {
        if device.accelerators.have_other_processes() { Self::Shared } else { Self::Private }
    }
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

/// Memory of the layout that the source offers.
pub(crate) fn allocate(
    offer: &Offer,
    plan: MemoryPlan,
    kind: MemoryKind,
    warn: &dyn Fn(&str),
) -> Result<Arc<GuestRam>, Refused> {
    let MemoryPlan { max, prealloc } = plan;
    let regions = offer.regions.as_slice();
    let bytes = regions.iter().map(|region| region.bytes).fold(0, u64::saturating_add);
    let guest = ByteSize(bytes);
    if guest > max {
        return Err(Refused::TooLarge { guest, max });
    }
    let layout: Vec<(Gpa, u64)> = regions.iter().map(|region| (region.gpa, region.bytes)).collect();
    let memory = map(&layout, kind).map_err(|source| Refused::Memory { guest, source })?;
    if prealloc && let Err(error) = memory.populate() {
        warn(&format!(
            "memory could not be allocated beforehand ({error}); its page faults are measured too"
        ));
    }
    Ok(Arc::new(GuestRam::new(memory, offer.page_size())?))
}
