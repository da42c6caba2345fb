//! How a device reaches memory that is not of the vendor's driver: guest RAM and payloads.
//!
//! In the order in which they are tried:
//!
//! 1. Shared virtual memory: the device takes the addresses of this process.
//! 2. The vendor's memory driver maps memory of ours for the device (qatlib 26.02 and later, through VFIO). It pins it.
//! 3. Where the driver's own memory is at physical addresses (no IOMMU between, as with the out-of-tree driver), so is ours,
//!    if it stays where it is: huge pages, or locked memory where the kernel does not move such.
//!
//! What is reached by none of them is copied into the driver's own memory.

use std::ffi::c_void;
use std::sync::Arc;

use pageferry_bindings::qat::cpa::TranslateFn;
use pageferry_bindings::qat::library::Libqat;

use super::physical::{Frames, Registered};
use super::pinned::Pinned;
use crate::dma::{DmaRange, HostAddress};

/// What a device reaches.
pub(super) enum Reach {
    /// All of this process.
    Shared,
    /// Memory that was mapped for it, and the driver's own.
    Mapped(Vec<Mapping>),
    /// Memory whose physical addresses are known, and the driver's own.
    Physical(Vec<Arc<Frames>>),
}

/// Memory that the vendor's driver mapped for the device, contiguous there too.
pub(super) struct Mapping {
    library: Arc<Libqat>,
    start: HostAddress,
    bytes: usize,
}

/// The most that is mapped at once (qatlib `qae_mem.h`: 2 GiB).
const MOST_BYTES: usize = 1 << 31;

impl Reach {
    /// The best way to `memory`. `shared`: the device takes addresses of this process; `sample` is some of the driver's memory.
    pub(super) fn new(library: &Arc<Libqat>, shared: bool, memory: &[DmaRange], sample: &Pinned) -> Self {
        if shared {
            return Self::Shared;
        }
        let mapped: Vec<_> = memory.iter().flat_map(|range| map(library, range)).collect();
        if mapped.is_empty() && Frames::are_addresses_of(sample) {
            return Self::Physical(memory.iter().filter_map(Frames::of_pinned).map(Arc::new).collect());
        }
        Self::Mapped(mapped)
    }

    /// How many of the `bytes` bytes at `from` the device reaches as one buffer: none, if not even the first.
    pub(super) fn contiguous(&self, from: HostAddress, bytes: usize) -> usize {
        match self {
            Self::Shared => bytes,
            Self::Mapped(mappings) => {
                let left = mappings.iter().find_map(|mapping| mapping.left_from(from));
                left.map_or(0, |left| left.min(bytes))
            }
            Self::Physical(frames) => {
                frames.iter().find_map(|frames| frames.contiguous(from, bytes)).unwrap_or(0)
            }
        }
    }

    /// Whether it reaches all of `memory`.
    pub(super) fn holds(&self, memory: &[DmaRange]) -> bool {
        memory.iter().all(|range| {
            let (mut from, mut left) = (range.host, range.bytes);
            while left > 0 {
                let here = self.contiguous(from, left);
                if here == 0 {
                    return false;
                }
                (from, left) = (from.offset(here), left - here);
            }
            true
        })
    }

    /// By what the library is to translate addresses.
    pub(super) fn translation(&self, library: &Libqat) -> TranslateFn {
        match self {
            Self::Shared => itself,
            Self::Mapped(_) => library.translate,
            Self::Physical(_) => super::physical::translate,
        }
    }

    /// Makes what a queue works with known to the translation, where that is ours, for as long as the result lives.
    pub(super) fn register(&self, pinned: &[&Pinned]) -> Option<Registered> {
        let Self::Physical(frames) = self else { return None };
        let pinned = pinned.iter().map(|pinned| Arc::new(Frames::of_driver(pinned)));
        Some(Registered::new(frames.iter().cloned().chain(pinned).collect()))
    }
}

extern "C" fn itself(address: *mut c_void) -> u64 {
    address as u64
}

/// Maps all of a range, or nothing of it.
fn map(library: &Arc<Libqat>, range: &DmaRange) -> Vec<Mapping> {
    let mut mapped = Vec::new();
    for offset in (0..range.bytes).step_by(MOST_BYTES) {
        let bytes = MOST_BYTES.min(range.bytes - offset);
        let start = range.host.offset(offset);
        let Some(map_memory) = library.map_memory else { return Vec::new() };
        // SAFETY: the attachment keeps the range mapped in this process until the mapping is undone. The device does with it
        // what requests say.
        if unsafe { map_memory(start.0 as *mut c_void, bytes) } == 0 {
            return Vec::new();
        }
        mapped.push(Mapping { library: Arc::clone(library), start, bytes });
    }
    mapped
}

impl Mapping {
    fn left_from(&self, from: HostAddress) -> Option<usize> {
        let offset = usize::try_from(from.0.checked_sub(self.start.0)?).ok()?;
        self.bytes.checked_sub(offset).filter(|left| *left > 0)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(unmap_memory) = self.library.unmap_memory {
            // SAFETY: it was mapped like this, and the queue that held it has nothing in flight any more.
            unsafe { unmap_memory(self.start.0 as *mut c_void, self.bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use pageferry_qat_stand_in::{Config, StandIn};

    use super::super::config::section;
    use super::super::service::Service;
    use super::*;
    use crate::dma::Arena;

    const PAGE: usize = 4096;

    #[test]
    fn a_buffer_ends_with_its_mapping_and_what_is_beside_all_of_them_is_not_reached() {
        let folder = tempfile::tempdir().unwrap();
        let library = StandIn::load(folder.path(), Config::default()).library();
        let _service = Service::start(Arc::clone(&library), &section()).unwrap();
        let sample = Pinned::new(&library, "one", PAGE, 0).unwrap();
        let arena = Arena::new(4, 4 * PAGE).unwrap();
        let whole = DmaRange { bytes: 12 * PAGE, ..arena.range() };
        let start = whole.host;
        let at = |page: usize| start.offset(page * PAGE);
        let part = |page, pages: usize| DmaRange { host: at(page), bytes: pages * PAGE, file: None };
        // The last part is not mapped.
        let reach = Reach::new(&library, false, &[part(0, 8), part(8, 4)], &sample);
        assert_eq!(reach.contiguous(at(0), 12 * PAGE), 8 * PAGE);
        assert_eq!(reach.contiguous(at(7).offset(1), 2), 2);
        assert_eq!(reach.contiguous(at(7), 2 * PAGE), PAGE);
        assert_eq!(reach.contiguous(at(8), 8 * PAGE), 4 * PAGE);
        assert_eq!(reach.contiguous(at(12), 1), 0);
        assert!(reach.holds(&[whole]), "in two mappings");
        assert!(!reach.holds(&[part(11, 2)]));
    }
}
