//! What a selector is told before it begins.

use pageferry_accel::method::Method;
use pageferry_accel::queue::{Capabilities, MemoryAccess};
use pageferry_accel::units::{PageIndex, PageSize};
use serde::{Deserialize, Serialize};

use super::single::single;
use super::way::Way;

/// What an accelerator is to a selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneTerms {
    /// Whether the CPU does its work, so that its time is CPU time.
    pub on_cpu: bool,
    /// Whether what it sent is known to the byte, so that it may become a baseline.
    pub keeps_copies: bool,
    /// How many requests it works on at the same time.
    pub queues: u32,
}

/// Everything that a selector's decisions rest on, but for what it is shown later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// The ways that there are: at least one that needs no baseline.
    pub ways: Vec<Way>,
    /// The accelerators, in the order of preference.
    pub lanes: Vec<LaneTerms>,
    /// The page behind the last one of the guest.
    pub end: u64,
    /// The guest's page size, in bytes.
    pub page_bytes: u32,
    /// The most pages of a request.
    pub max_pages: u32,
    /// How much guest memory is decided on at once, in bytes: a power of two.
    pub region_bytes: u64,
    /// How many CPUs the sender may use, 0.25 for a quarter of one.
    pub cpus: f64,
    /// The most bytes a second that may be sent, if there is a limit.
    pub max_bytes_per_s: Option<u64>,
    /// How many requests the destination decodes at the same time, as far as is known.
    pub destination_workers: u32,
}

/// The region that design and measurements speak of.
pub const REGION_BYTES: u64 = 2 << 20;

impl LaneTerms {
    /// What an accelerator of such capabilities is. Work on private copies is the CPU's; so is what DSA copies, whose bytes are
    /// known too, as its ability to encode raw pages shows.
    #[must_use]
    pub fn of(capabilities: &Capabilities) -> Self {
        let on_cpu = capabilities.memory == MemoryAccess::Copied;
        Self {
            on_cpu,
            keeps_copies: on_cpu || capabilities.encode.contains(Method::Raw),
            queues: u32::try_from(capabilities.queues).unwrap_or(u32::MAX).max(1),
        }
    }
}

impl Terms {
    /// The page size, as a number to calculate with.
    pub(super) fn page_bytes(&self) -> f32 {
        single(self.page_bytes.into())
    }

    pub(super) fn end(&self) -> PageIndex {
        PageIndex(self.end)
    }

    /// The page size; 4 KiB if it is none that exists.
    pub(super) fn page_size(&self) -> PageSize {
        [PageSize::Kib4, PageSize::Kib16, PageSize::Kib64]
            .into_iter()
            .find(|size| size.bytes() == self.page_bytes as usize)
            .unwrap_or(PageSize::Kib4)
    }
}
