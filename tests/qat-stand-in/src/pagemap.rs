//! Physical addresses of the process's memory, from `/proc/self/pagemap` (the kernel's `admin-guide/mm/pagemap`).

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The unit of it.
pub(crate) const PAGE: usize = 4096;

const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// The physical address of a byte, or nothing if its page is absent or the kernel does not say.
pub(crate) fn physical(address: usize) -> Option<u64> {
    frames(address, 1).and_then(|frames| frames.first().copied().flatten()).map(|page| page + offset(address))
}

/// Whether the bytes from `address` on are one behind the other from physical address `first` on.
pub(crate) fn is_contiguous(address: usize, bytes: usize, first: u64) -> bool {
    let Some(mut expected) = first.checked_sub(offset(address)) else { return false };
    let Some(frames) = frames(address, bytes) else { return false };
    frames.into_iter().all(|frame| {
        let as_expected = frame == Some(expected);
        expected += PAGE as u64;
        as_expected
    })
}

const fn offset(address: usize) -> u64 {
    (address % PAGE) as u64
}

/// The physical addresses of the pages that some bytes are on.
fn frames(address: usize, bytes: usize) -> Option<Vec<Option<u64>>> {
    let first = address / PAGE;
    let last = (address + bytes.max(1) - 1) / PAGE;
    let mut entries = vec![0; (last - first + 1) * 8];
    File::open("/proc/self/pagemap").ok()?.read_exact_at(&mut entries, first as u64 * 8).ok()?;
    let frame = |entry: &[u8; 8]| {
        let entry = u64::from_le_bytes(*entry);
        (entry & PRESENT != 0 && entry & FRAME != 0).then_some((entry & FRAME) * PAGE as u64)
    };
    Some(entries.as_chunks::<8>().0.iter().map(frame).collect())
}
