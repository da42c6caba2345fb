//! The descriptors of a phase: which part of the request each is for, and what to do after a page fault.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use pageferry_bindings::idxd::completion::{IaaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::{AnalyticsError, IaaStatus};

use crate::idxd::work::Outbox;

/// A request is given up after as many phases in which a page fault was met. All pages of a descriptor that met one are
/// touched, so that the first is nearly always the last.
const MAX_FAULTS: u32 = 4;

/// Hosts have pages of at least this many bytes.
const HOST_PAGE_BYTES: u64 = 4096;

/// Which part of a request each descriptor of the phase is for.
pub(super) struct Phase {
    parts: Vec<usize>,
    /// Descriptors that met a page fault, with their parts.
    faulted: Vec<(Descriptor, usize)>,
    /// In how many phases of this request that was.
    faults: u32,
}

/// Which descriptors a phase had to post again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// None: the phase is over.
    All,
    /// As many.
    Again(u32),
}

impl Phase {
    /// Room for `parts` descriptors.
    pub(super) fn with_capacity(parts: usize) -> Self {
        Self { parts: Vec::with_capacity(parts), faulted: Vec::with_capacity(parts), faults: 0 }
    }

    /// For a new request.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.faulted.clear();
        self.faults = 0;
    }

    /// Forgets the phase that is over.
    pub(super) fn next(&mut self, outbox: &mut Outbox<IaaCompletion>) {
        outbox.clear();
        self.parts.clear();
    }

    /// Posts a descriptor for a part of the request.
    pub(super) fn post(&mut self, outbox: &mut Outbox<IaaCompletion>, part: usize, descriptor: Descriptor) {
        outbox.post(descriptor);
        self.parts.push(part);
    }

    /// Shows `done` the record of every descriptor that met no page fault, with its part; the others are posted again as a
    /// whole, with their pages touched: an IAA leaves nothing that could be gone on with.
    ///
    /// # Errors
    /// What `done` says, or that page faults do not end.
    pub(super) fn settle(
        &mut self,
        outbox: &mut Outbox<IaaCompletion>,
        mut done: impl FnMut(usize, &IaaCompletion) -> Result<(), String>,
    ) -> Result<Settled, String> {
        self.faulted.clear();
        for (index, &part) in self.parts.iter().enumerate() {
            let record = outbox.record(index);
            if is_fault(record.status) {
                let descriptor = outbox.descriptor(index);
                touch_operands(&descriptor, &record);
                self.faulted.push((descriptor, part));
            } else {
                done(part, &record)?;
            }
        }
        let Some((_, first)) = self.faulted.first() else { return Ok(Settled::All) };
        self.faults += 1;
        if self.faults > MAX_FAULTS {
            return Err(format!("part {first} of the request meets a page fault whenever it is submitted"));
        }
        self.next(outbox);
        for &(descriptor, part) in &self.faulted {
            outbox.post(descriptor);
            self.parts.push(part);
        }
        Ok(Settled::Again(u32::try_from(self.faulted.len()).unwrap_or(u32::MAX)))
    }
}

/// Whether the record is one of success.
///
/// # Errors
/// What it says, in words.
pub(super) fn succeeded(record: &IaaCompletion) -> Result<(), String> {
    match IaaStatus(record.status & !WRITE_FAULT) {
        IaaStatus::SUCCESS => Ok(()),
        status @ IaaStatus::ANALYTICS_ERROR => {
            Err(format!("{status} ({})", AnalyticsError(record.error_code)))
        }
        status => Err(status.to_string()),
    }
}

fn is_fault(status: u8) -> bool {
    matches!(IaaStatus(status & !WRITE_FAULT), IaaStatus::PAGE_FAULT | IaaStatus::PAGE_REQUEST_INVALID)
}

/// The bit of `fault_info` that says that the fault's address is not told.
const ADDRESS_MASKED: u8 = 1;

/// Touches what the device could not reach: the operand that the fault's address is in, or every operand if it is in none.
///
/// The address itself is not used: it comes from a device.
fn touch_operands(descriptor: &Descriptor, record: &IaaCompletion) {
    let operands: IaaOperands = descriptor.operands();
    let range = |from: u64, bytes: u32| from..from + u64::from(bytes);
    let source = range(descriptor.source, descriptor.bytes);
    let destination = range(descriptor.destination, operands.max_destination_bytes);
    let source2 = range(operands.source2, operands.source2_bytes);
    let told = record.fault_info & ADDRESS_MASKED == 0;
    let is_here = |range: &Range<u64>| told && range.contains(&record.fault_address);
    let is_nowhere = ![&source, &destination, &source2].into_iter().any(is_here);
    for read in [&source, &source2].into_iter().filter(|range| is_nowhere || is_here(range)) {
        // SAFETY: the descriptor has completed, and is one of ours: its operands are in guest memory, in the request's
        // payload and in the slot, all of which stay mapped while the request is here.
        unsafe { touch(read, read_byte) };
    }
    if is_nowhere || is_here(&destination) {
        // SAFETY: as above; the destination is ours to write, and is left as it is.
        unsafe { touch(&destination, write_byte) };
    }
}

fn read_byte(byte: &AtomicU8) {
    black_box(byte.load(Relaxed));
}

/// Writes what is there. A compare-and-exchange writes whatever compilers know of its operands, as an `or` with 0 does
/// not.
fn write_byte(byte: &AtomicU8) {
    let value = byte.load(Relaxed);
    let _ = black_box(byte.compare_exchange(value, value, Relaxed, Relaxed));
}

/// Shows `access` a byte of every page of the range.
///
/// # Safety
/// The range is mapped, readable, and writable if `access` writes; nobody has a reference to its bytes.
unsafe fn touch(range: &Range<u64>, access: impl Fn(&AtomicU8)) {
    let mut at = range.start;
    while at < range.end {
        let byte = std::ptr::with_exposed_provenance_mut(usize::try_from(at).unwrap_or_default());
        // SAFETY: the caller vouches for the range.
        access(unsafe { AtomicU8::from_ptr(byte) });
        at = (at | (HOST_PAGE_BYTES - 1)) + 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::guest::{AnonymousMemory, GuestMemory};
    use crate::units::Gpa;

    const PAGE: usize = 4096;

    /// Memory that nobody has touched, in pages of 4 KiB.
    fn untouched(pages: usize) -> (AnonymousMemory, u64) {
        let bytes = pages * PAGE;
        let memory = AnonymousMemory::new(&[(Gpa(0), bytes as u64)]).unwrap();
        let host = memory.regions()[0].host;
        // SAFETY: the mapping is whole and ours; the advice changes no byte of it.
        let advised = unsafe { libc::madvise(host.cast(), bytes, libc::MADV_NOHUGEPAGE) };
        assert_eq!(advised, 0);
        (memory, host.expose_provenance() as u64)
    }

    /// Of every page whether it is present, and whether it is this process's own (`admin-guide/mm/pagemap.rst` of Linux).
    fn pages(address: u64, count: usize) -> Vec<(bool, bool)> {
        let map = File::open("/proc/self/pagemap").unwrap();
        let entry = |page| {
            let mut entry = [0; 8];
            map.read_exact_at(&mut entry, (address / PAGE as u64 + page) * 8).unwrap();
            u64::from_le_bytes(entry)
        };
        (0..count as u64).map(entry).map(|entry| (entry >> 63 == 1, entry >> 56 & 1 == 1)).collect()
    }

    fn compression(source: u64, destination: u64) -> Descriptor {
        let operands = IaaOperands { max_destination_bytes: 8191, ..IaaOperands::default() };
        Descriptor { source, destination, bytes: 8192, ..Descriptor::default() }.with_operands(&operands)
    }

    #[test]
    fn what_is_read_is_there_after_a_page_fault_and_what_is_written_is_its_own() {
        let (absent, read, written) = ((false, false), (true, false), (true, true));
        for (fault, masked, expected) in [
            (0x1000_u64, 0, [absent, read, read, absent, absent, absent]),
            (0x4ffe, 0, [absent, absent, absent, written, written, absent]),
            (0x9999_9999, 0, [absent, read, read, written, written, absent]),
            (0x1000, 1, [absent, read, read, written, written, absent]),
        ] {
            let (memory, start) = untouched(6);
            let descriptor = compression(start + 4096, start + 3 * 4096);
            let fault_address = start + fault;
            touch_operands(
                &descriptor,
                &IaaCompletion { fault_address, fault_info: masked, ..Default::default() },
            );
            assert_eq!(pages(start, 6), expected, "a fault at {fault:#x}");
            drop(memory);
        }
    }
}
