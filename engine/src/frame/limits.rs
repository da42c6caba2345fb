//! What the handshake agreed on, and every frame is held against.

use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::units::PageSize;

use super::ChecksumSet;
use crate::regions::Regions;

/// The most pages a frame may ever have, whatever the peers agree on.
pub const MAX_PAGES: u32 = 1024;

/// What the handshake agreed on, and every frame is held against.
///
/// Made by [`crate::handshake::agree`], which keeps `max_pages` within 1 to [`MAX_PAGES`] and `max_payload_bytes`
/// within one page to `max_pages` pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most pages a frame has.
    pub max_pages: u32,
    /// The most bytes a payload has.
    pub max_payload_bytes: u32,
    /// The methods that may occur.
    pub methods: MethodSet,
    /// The checksums that may occur.
    pub checksums: ChecksumSet,
    /// The memory that runs may name, and the size of its pages.
    pub regions: Regions,
}

impl Limits {
    /// The size of a page.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.regions.page_size()
    }

    /// The most bytes that the two tables of a frame take together.
    #[must_use]
    pub fn max_tables_bytes(&self) -> usize {
        self.max_pages as usize * (super::tables::RUN_BYTES + super::tables::SEGMENT_BYTES)
    }

    /// Whether frames may name `method`: zero and raw always, others if both peers have them.
    #[must_use]
    pub fn allow(&self, method: Method) -> bool {
        matches!(method, Method::Zero | Method::Raw) || self.methods.contains(method)
    }
}
