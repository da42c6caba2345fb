//! The scan of a process's page tables, `include/uapi/linux/fs.h` since Linux 6.7 (`ioctl_pagemap_scan(2)`).

use bitflags::bitflags;
use libc::Ioctl;

/// `PAGEMAP_SCAN`: on a `/proc/PID/pagemap`, with a [`ScanArguments`]; answers with the number of regions that were found.
pub const PAGEMAP_SCAN: Ioctl = libc::_IOWR::<ScanArguments>(b'f' as u32, 16);

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ScanArguments {
    /// The size of this structure in bytes.
    pub size: u64,
    /// What else to do.
    pub flags: ScanFlags,
    /// The address to begin at, of a page.
    pub start: u64,
    /// The address behind the last byte.
    pub end: u64,
    /// Written by the kernel: where it stopped, which is `end` when it came through.
    pub walk_end: u64,
    /// The address of the [`PageRegion`]s to fill.
    pub vec: u64,
    /// How many of them there are.
    pub vec_len: u64,
    /// How many pages to find at most; 0 for any number.
    pub max_pages: u64,
    /// Categories of which a page must not be, where it otherwise must.
    pub category_inverted: Categories,
    /// Categories of which a page must be all.
    pub category_mask: Categories,
    /// Categories of which a page must be one, if any is given.
    pub category_anyof_mask: Categories,
    /// Categories to report.
    pub return_mask: Categories,
}

/// `struct page_region`: pages that follow each other and are of the same categories.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRegion {
    /// The address of the first byte.
    pub start: u64,
    /// The address behind the last byte.
    pub end: u64,
    /// What they are, of what was asked for.
    pub categories: Categories,
}

bitflags! {
    /// `PM_SCAN_*`.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ScanFlags: u64 {
        /// Protect every page that is found, in the same step.
        const WP_MATCHING = 1 << 0;
        /// Fail with `EPERM` at memory that is not under asynchronous write protection.
        const CHECK_WPASYNC = 1 << 1;
    }

    /// `PAGE_IS_*`, those that are used.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Categories: u64 {
        /// It was written since it was protected.
        const WRITTEN = 1 << 1;
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn layouts_are_those_of_the_header() {
        assert_layout!(ScanArguments, 96, 8, {
            size: 0, flags: 8, start: 16, end: 24, walk_end: 32, vec: 40, vec_len: 48, max_pages: 56,
            category_inverted: 64, category_mask: 72, category_anyof_mask: 80, return_mask: 88,
        });
        assert_layout!(PageRegion, 24, 8, { start: 0, end: 8, categories: 16 });
        assert_eq!(PAGEMAP_SCAN, 0xc060_6610);
    }
}
