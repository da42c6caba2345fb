//! Bringing pages in that a device did not find.

use std::hint::black_box;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::dma::HostAddress;

/// Hosts have pages of at least this many bytes, and devices report addresses in no smaller unit.
pub(super) const HOST_PAGE_BYTES: u64 = 4096;

/// Reads a byte, and if its page is to be there for writing, writes what was read.
///
/// A compare-and-exchange loses nothing that somebody else writes, and writes whatever compilers know of its operands, as
/// an `or` with 0 does not.
///
/// # Safety
/// The byte is mapped, readable, and writable if `write`; nobody has a reference to it.
pub(super) unsafe fn touch(byte: HostAddress, write: bool) {
    let byte = ptr::with_exposed_provenance_mut(usize::try_from(byte.0).unwrap_or_default());
    // SAFETY: the caller vouches for the byte. The guest may use it meanwhile, which an atomic access bears with.
    let byte = unsafe { AtomicU8::from_ptr(byte) };
    let seen = black_box(byte.load(Relaxed));
    if write {
        // If it was another byte by now, then it was just written.
        let _ = black_box(byte.compare_exchange(seen, seen, Relaxed, Relaxed));
    }
}

/// Touches a byte of every page that the range has a part of.
///
/// # Safety
/// As [`touch`], for every byte of the range.
pub(super) unsafe fn touch_pages(range: &Range<u64>, write: bool) {
    let mut at = range.start;
    while at < range.end {
        // SAFETY: the caller vouches for the range.
        unsafe { touch(HostAddress(at), write) };
        at = (at | (HOST_PAGE_BYTES - 1)) + 1;
    }
}
