//! Memory for a guest that arrives.

use std::io;
use std::sync::Arc;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::units::Gpa;
use pageferry_engine::handshake::Offer;

use crate::guest_memory::{self, MemoryKind};
use crate::plan::MemoryPlan;
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
    let memory = guest_memory::map(&layout, kind).map_err(|source| Refused::Memory { guest, source })?;
    if prealloc && let Err(error) = memory.populate() {
        warn(&format!(
            "memory could not be allocated beforehand ({error}); its page faults are measured too"
        ));
    }
    Ok(Arc::new(GuestRam::new(memory, offer.page_size())?))
}
