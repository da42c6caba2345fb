//! The operations of DSA, on descriptors that were checked.

mod compare;
mod copy;
mod crc;
mod delta;
#[cfg(test)]
mod tests;

use pageferry_bindings::idxd::completion::{DsaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::status::DsaStatus;

use super::memory::{DeviceMemory, MemoryFault};
use super::profile::Profile;

/// Bytes that an operation takes at a time: a multiple of 8.
const CHUNK: usize = 4096;

/// A descriptor to be carried out, and with what.
pub(super) struct Job<'a> {
    pub descriptor: &'a Descriptor,
    pub memory: &'a DeviceMemory,
    pub profile: &'a Profile,
    /// Whether it waits for page faults.
    pub blocks: bool,
}

/// The addresses of a descriptor, by the numbers that completion records give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// Byte 16 of the descriptor.
    First = 0,
    /// Byte 24.
    Second = 1,
    /// Byte 40, or the address of a seed.
    Third = 2,
}

/// What became of an operation: done, or stopped at a fault.
type Outcome = Result<DsaCompletion, Stop>;

/// A fault, and what was done before it.
struct Stop {
    fault: MemoryFault,
    operand: Operand,
    /// The record but for status and fault.
    record: DsaCompletion,
}

/// Carries out a descriptor.
pub(super) fn execute(job: &Job) -> DsaCompletion {
    let outcome = match job.descriptor.opcode() {
        Opcode::MEMORY_MOVE => copy::memory_move(job),
        Opcode::FILL => copy::fill(job),
        Opcode::DUALCAST => copy::dualcast(job),
        Opcode::COMPARE => compare::compare(job),
        Opcode::COMPARE_PATTERN => compare::compare_pattern(job),
        Opcode::CREATE_DELTA => delta::create(job),
        Opcode::APPLY_DELTA => delta::apply(job),
        Opcode::CRC_GENERATION => crc::generate(job),
        Opcode::COPY_WITH_CRC => crc::copy(job),
        _ => Ok(job.success(0)),
    };
    outcome.unwrap_or_else(|stop| job.stopped(stop))
}

impl Job<'_> {
    /// Success, with so many bytes completed.
    fn success(&self, bytes_completed: usize) -> DsaCompletion {
        DsaCompletion { status: DsaStatus::SUCCESS.0, ..progress(bytes_completed) }
    }

    /// Success of a comparison whose result counts as it should if `expected`.
    fn judged(&self, expected: bool, record: DsaCompletion) -> DsaCompletion {
        let checks = self.descriptor.flags().contains(DescriptorFlags::CHECK_RESULT);
        let status = if checks && !expected { DsaStatus::PREDICATE_FALSE } else { DsaStatus::SUCCESS };
        DsaCompletion { status: status.0, ..record }
    }

    /// How many bytes the operation is about.
    fn bytes(&self) -> usize {
        self.descriptor.bytes as usize
    }

    fn stopped(&self, stop: Stop) -> DsaCompletion {
        let Stop { fault, operand, record } = stop;
        fault_record(self.memory, self.profile, self.blocks, fault, operand, record)
    }
}

/// The record of a descriptor that a fault stopped.
pub(super) fn fault_record(
    memory: &DeviceMemory,
    profile: &Profile,
    blocks: bool,
    fault: MemoryFault,
    operand: Operand,
    record: DsaCompletion,
) -> DsaCompletion {
    let fault_info = (operand as u8) << 1;
    if !memory.is_absent(fault.address) && !profile.quirks.unmapped_is_page_fault {
        let (status, fault_address) = (DsaStatus::TRANSLATION_ERROR.0, fault.address);
        return DsaCompletion { status, fault_info, fault_address, ..DsaCompletion::default() };
    }
    let status = if blocks { DsaStatus::PAGE_REQUEST_INVALID } else { DsaStatus::PAGE_FAULT };
    let status = if fault.write { status.0 | WRITE_FAULT } else { status.0 };
    DsaCompletion { status, fault_info, fault_address: fault.address, ..record }
}

/// A record that says how many bytes were completed.
fn progress(bytes: usize) -> DsaCompletion {
    let bytes_completed = u32::try_from(bytes).unwrap_or(u32::MAX);
    DsaCompletion { bytes_completed, ..DsaCompletion::default() }
}

/// Splits a length into chunks: where each begins, and how long it is.
fn chunks(bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..bytes).step_by(CHUNK).map(move |start| (start, CHUNK.min(bytes - start)))
}

/// What was read of a chunk, and the fault that ended it.
fn read_chunk(memory: &DeviceMemory, address: u64, into: &mut [u8]) -> (usize, Option<MemoryFault>) {
    match memory.read(address, into) {
        Ok(()) => (into.len(), None),
        Err(fault) => (fault.done, Some(fault)),
    }
}
