//! Parts of a request that are compressed each on its own.

use std::fmt;

use crate::dma::HostAddress;
use crate::units::{PageCount, PageIndex};

/// Pages that follow each other, and what became of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) first: PageIndex,
    pub(super) pages: PageCount,
    pub(super) source: HostAddress,
    /// Where its part of the payload begins: as many bytes before it as pages are before it, so that any piece fits.
    pub(super) offset: usize,
    /// Its encoded bytes and the checksum of its pages; nothing if it did not shrink.
    pub(super) encoded: Option<Encoded>,
    /// Whether the CPU did it, so that the device has nothing more to do with it.
    pub(super) by_software: bool,
}

/// What pages were compressed to: so many bytes, and the checksum of the pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded {
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

impl Piece {
    /// How what was made of it differs from what it should be, in words.
    pub(super) fn differs(&self, how: fmt::Arguments<'_>) -> String {
        format!("what it made of the {} pages from {} on {how}", self.pages, self.first)
    }

    /// It has another checksum than it was compressed with.
    pub(super) fn has_checksum(&self, decoded: u32, compressed: u32) -> String {
        self.differs(format_args!("has the checksum {decoded:08x} when decoded, not {compressed:08x}"))
    }
}
