//! Batches: lists of descriptors, carried out in order.

use pageferry_bindings::idxd::completion::{DsaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::status::DsaStatus;
use pageferry_bindings::idxd::tables::QueueConfiguration;
use zerocopy::{FromZeros, IntoBytes};

use super::memory::{DeviceMemory, MemoryFault};

/// How many descriptors follow this one as members of its batch: none if it is none, or not a good one.
pub(super) fn members(descriptor: &Descriptor, queue: &QueueConfiguration) -> u32 {
    let most = 1 << queue.limits.max_batch_shift();
    if descriptor.opcode() == Opcode::BATCH && (2..=most).contains(&descriptor.bytes) {
        descriptor.bytes
    } else {
        0
    }
}

/// Reads a member of a batch.
pub(super) fn member(
    batch: &Descriptor,
    memory: &DeviceMemory,
    index: u32,
) -> Result<Descriptor, MemoryFault> {
    let mut descriptor = Descriptor::new_zeroed();
    let offset = u64::from(index) * Descriptor::BYTES as u64;
    memory.read(batch.source.wrapping_add(offset), descriptor.as_mut_bytes())?;
    Ok(descriptor)
}

/// Carries out the members of a batch by way of `perform`, which gives the status that each ends with.
pub(super) fn execute(
    batch: &Descriptor,
    memory: &DeviceMemory,
    stops_at_failure: bool,
    mut perform: impl FnMut(u32, &Descriptor) -> u8,
) -> DsaCompletion {
    let mut failed = false;
    for index in 0..batch.bytes {
        let descriptor = match member(batch, memory, index) {
            Ok(descriptor) => descriptor,
            Err(fault) => {
                let status = DsaStatus::BATCH_PAGE_FAULT.0 | if fault.write { WRITE_FAULT } else { 0 };
                return DsaCompletion { status, fault_address: fault.address, ..done(index) };
            }
        };
        if failed && descriptor.flags().contains(DescriptorFlags::FENCE) {
            return DsaCompletion { status: DsaStatus::BATCH_FAILED.0, ..done(index) };
        }
        failed |= perform(index, &descriptor) != DsaStatus::SUCCESS.0;
        if failed && stops_at_failure {
            return DsaCompletion { status: DsaStatus::BATCH_FAILED.0, ..done(index) };
        }
    }
    let status = if failed { DsaStatus::BATCH_FAILED } else { DsaStatus::SUCCESS };
    DsaCompletion { status: status.0, ..done(batch.bytes) }
}

fn done(descriptors: u32) -> DsaCompletion {
    DsaCompletion { bytes_completed: descriptors, ..DsaCompletion::default() }
}
