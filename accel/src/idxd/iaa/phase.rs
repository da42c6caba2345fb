//! The descriptors of a phase: which part of the request each is for, and what to do after a page fault.

use std::ops::Range;
use std::time::Instant;

use pageferry_bindings::idxd::completion::{IaaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::{AnalyticsError, IaaStatus};

use crate::idxd::choice::{Choice, Way};
use crate::idxd::touch::touch_pages;
use crate::idxd::work::Outbox;
use crate::request::Detours;

/// After as many phases of a request that were submitted again, the CPU does what still meets page faults. All pages of a
/// descriptor that met one are touched, so that the first is nearly always the last.
const MAX_RESUMED: u32 = 4;

/// Which part of a request each descriptor of the phase is for.
pub(super) struct Phase {
    parts: Vec<usize>,
    /// Descriptors that met a page fault and are submitted again, with their parts and what was said of the fault.
    again: Vec<(Descriptor, usize, IaaCompletion)>,
    /// When that was, if this phase is of such.
    resumed: Option<Instant>,
    /// How many phases of this request were.
    resumptions: u32,
}

/// How a descriptor ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'a> {
    /// With this record, whatever it says.
    Record(&'a IaaCompletion),
    /// With a page fault: the CPU is to do the whole of it.
    LeftToCpu,
}

impl Phase {
    /// Room for `parts` descriptors.
    pub(super) fn with_capacity(parts: usize) -> Self {
        let (parts, again) = (Vec::with_capacity(parts), Vec::with_capacity(parts));
        Self { parts, again, resumed: None, resumptions: 0 }
    }

    /// For a new request.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.again.clear();
        (self.resumed, self.resumptions) = (None, 0);
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

    /// Shows `conclude` how every descriptor ended, with its part, but for those that met a page fault and are submitted
    /// again as a whole, with their pages touched: an IAA leaves nothing that could be gone on with. Says whether there are
    /// none of these, so that the phase is over.
    ///
    /// What a page fault costs is what it keeps the request from going on: with others that are submitted again at once
    /// their number's part of the time until all have completed, touching included; on the CPU the time that it takes.
    ///
    /// # Errors
    /// What `conclude` says.
    pub(super) fn settle(
        &mut self,
        outbox: &mut Outbox<IaaCompletion>,
        choice: &mut Choice,
        detours: &mut Detours,
        mut conclude: impl FnMut(usize, Outcome<'_>) -> Result<(), String>,
    ) -> Result<bool, String> {
        let posted = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        if let Some(resumed) = self.resumed.take() {
            let each = resumed.elapsed() / posted.max(1);
            (0..posted).for_each(|_| choice.took(Way::Resume, each));
        }
        self.again.clear();
        for (index, &part) in self.parts.iter().enumerate() {
            let record = outbox.record(index);
            if !is_fault(record.status) {
                conclude(part, Outcome::Record(&record))?;
            } else if self.resumptions < MAX_RESUMED && choice.way() == Way::Resume {
                self.again.push((outbox.descriptor(index), part, record));
            } else {
                let begun = Instant::now();
                conclude(part, Outcome::LeftToCpu)?;
                choice.took(Way::Finish, begun.elapsed());
                detours.page_faults_on_cpu += 1;
            }
        }
        if self.again.is_empty() {
            return Ok(true);
        }
        self.next(outbox);
        self.resumptions += 1;
        self.resumed = Some(Instant::now());
        for &(descriptor, part, record) in &self.again {
            touch_operands(&descriptor, &record);
            outbox.post(descriptor);
            self.parts.push(part);
            detours.page_faults_resumed += 1;
        }
        Ok(false)
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
        unsafe { touch_pages(read, false) };
    }
    if is_nowhere || is_here(&destination) {
        // SAFETY: as above; the destination is ours to write, and is left as it is.
        unsafe { touch_pages(&destination, true) };
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
