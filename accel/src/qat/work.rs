//! What an instance works with, for one sender or receiver.

use std::sync::Arc;

use super::instance::Started;
use crate::checksum::{ChecksumKind, PageCrc};
use crate::guest::GuestRam;
use crate::queue::Failure;
use crate::units::PageSize;

/// An instance, and what requests need besides it.
pub(super) struct Work {
    pub(super) started: Arc<Started>,
    pub(super) ram: Arc<GuestRam>,
    pub(super) page_size: PageSize,
    pub(super) detect_zero: bool,
    pub(super) crc32: PageCrc,
}

impl Work {
    pub(super) fn new(started: Arc<Started>, ram: &Arc<GuestRam>, detect_zero: bool) -> Self {
        let page_size = ram.page_size();
        let crc32 = PageCrc::new(ChecksumKind::Crc32, page_size.bytes());
        Self { started, ram: Arc::clone(ram), page_size, detect_zero, crc32 }
    }

    /// A failure of the instance's.
    pub(super) fn failed(&self, status: impl Into<String>) -> Failure {
        Failure::Device { device: Arc::clone(self.started.name()), status: status.into() }
    }
}
