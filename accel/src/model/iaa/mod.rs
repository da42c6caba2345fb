//! What a modelled IAA does with a descriptor: compression with the codes of an AECS, statistics for such codes,
//! decompression of raw deflate with a history of 4 KiB, and CRC64.
//!
//! As strict as the silicon where public text says how strict that is, and where none does, no more lenient than QPL and
//! Linux's `iaa_crypto` need. What is not modelled is refused, never faked:
//! * streams over several descriptors: writing an AECS back (flags 18, 19 and 22) and reading one for decompression (flag 16
//!   of 0x42) are status 0x11; output that is not flushed, which only such a stream would get back, is status 0x30;
//! * the second input (flag 17) is status 0x11; filters' fields that are not zero are status 0x12;
//! * 16-bit big-endian input, indexing by mini-blocks, ignored end bits, and what only version 2 has (dictionaries, headers
//!   made by the device) are status 0x30.
//!
//! Choices where no public text tells (a driver must depend on neither):
//! * statistics count the end-of-block symbol once if the end processing would write one, else not at all (QPL sets the
//!   count to at least 1 itself);
//! * a symbol without a code, or whose code does not fit its length, is analytics error 30; a word of an AECS that is no
//!   code at all, or an accumulator of more than 256 bytes, is analytics error 22;
//! * an AECS of any size but 1568 bytes, or a destination too small for statistics, is status 0x13;
//! * input that ends within a token, or within a header of at most 256 bytes, is success unless the check for the end
//!   was asked for: the bits would wait for the next job. A longer header that is cut is analytics error 1;
//! * a distance beyond 4096 is analytics error 17, even if it also reaches before the start, which alone is 18;
//! * symbols 286 and 287 of the fixed literal code are analytics error 11, 30 and 31 of the distances' 12;
//! * after an error, and after an overflow of compressed output, the destination holds what was written until then, and
//!   the record carries no count. After an overflow of decompressed output both counts and both checksums are of what fitted;
//!   input is counted to the last bit that was looked at;
//! * a page fault carries the exact address, and no count.

mod bits;
mod checksums;
mod compress;
mod crc64;
mod decompress;
mod huffman;
mod inflate;
mod matcher;
mod output;
mod symbols;
#[cfg(test)]
mod tests;

use pageferry_bindings::idxd::completion::{IaaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::{AnalyticsError, IaaStatus};

use super::memory::{DeviceMemory, MemoryFault};
use crate::checksum::ChecksumKind;

/// Flags that every operation here takes; what a queue or a device allows of them is not checked here.
const COMMON_FLAGS: DescriptorFlags = DescriptorFlags::BLOCK_ON_FAULT
    .union(DescriptorFlags::COMPLETION_ADDRESS_VALID)
    .union(DescriptorFlags::REQUEST_COMPLETION)
    .union(DescriptorFlags::REQUEST_INTERRUPT)
    .union(DescriptorFlags::COMPLETION_STEERING)
    .union(DescriptorFlags::TRAFFIC_CLASS_1)
    .union(DescriptorFlags::COMPLETION_TRAFFIC_CLASS);

/// Flags of operations that write to a destination.
const DESTINATION_FLAGS: DescriptorFlags = COMMON_FLAGS
    .union(DescriptorFlags::CACHE_CONTROL)
    .union(DescriptorFlags::TRAFFIC_CLASS_2)
    .union(DescriptorFlags::STRICT_ORDERING)
    .union(DescriptorFlags::DESTINATION_READBACK)
    .union(DescriptorFlags::DESTINATION_STEERING)
    .union(DescriptorFlags::CRC_RFC3720);

/// Why an operation did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// The descriptor is not valid, or asks for what is not modelled.
    Refused(IaaStatus),
    /// These flags are not valid, or not modelled.
    Flags(DescriptorFlags),
    /// The data are not valid, or do not fit.
    Analytics(AnalyticsError),
    /// Memory could not be touched.
    Fault(Operand, MemoryFault),
}

/// Which operand a fault was on, as bits 3:1 of the fault information name it: in the order of the descriptor, since no public
/// text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    Source,
    Destination,
    Source2,
}

impl From<IaaStatus> for Failure {
    fn from(status: IaaStatus) -> Self {
        Self::Refused(status)
    }
}

impl From<AnalyticsError> for Failure {
    fn from(error: AnalyticsError) -> Self {
        Self::Analytics(error)
    }
}

/// Executes a descriptor, and returns the record of it, complete but for where it goes. Whether the device and the queue have
/// the operation, allow its flags and its size, and where the record goes, is checked elsewhere.
pub(crate) fn execute(descriptor: &Descriptor, memory: &DeviceMemory) -> IaaCompletion {
    let result = match descriptor.opcode() {
        Opcode::COMPRESS => compress::compress(descriptor, memory),
        Opcode::DECOMPRESS => decompress::decompress(descriptor, memory),
        Opcode::CRC64 => crc64::crc64(descriptor, memory),
        _ => Err(IaaStatus::BAD_OPCODE.into()),
    };
    result.unwrap_or_else(record)
}

/// The record of a failure.
fn record(failure: Failure) -> IaaCompletion {
    let with = |status: IaaStatus| IaaCompletion { status: status.0, ..IaaCompletion::default() };
    match failure {
        Failure::Refused(status) => with(status),
        Failure::Flags(flags) => IaaCompletion { invalid_flags: flags.bits(), ..with(IaaStatus::BAD_FLAGS) },
        Failure::Analytics(error) => {
            IaaCompletion { error_code: error.0, ..with(IaaStatus::ANALYTICS_ERROR) }
        }
        Failure::Fault(operand, MemoryFault { address, write, .. }) => IaaCompletion {
            status: IaaStatus::PAGE_FAULT.0 | if write { WRITE_FAULT } else { 0 },
            fault_info: match operand {
                Operand::Source => 0,
                Operand::Destination => 1,
                Operand::Source2 => 2,
            } << 1,
            fault_address: address,
            ..IaaCompletion::default()
        },
    }
}

/// Refuses flags that are not among those allowed.
fn check_flags(descriptor: &Descriptor, allowed: DescriptorFlags) -> Result<(), Failure> {
    let others = DescriptorFlags::from_bits_retain(descriptor.flags().bits() & !allowed.bits());
    if others.is_empty() { Ok(()) } else { Err(Failure::Flags(others)) }
}

/// Refuses what must be zero and is not.
fn check_reserved(fields: &[u64]) -> Result<(), Failure> {
    if fields.iter().all(|&field| field == 0) { Ok(()) } else { Err(IaaStatus::RESERVED_FIELD.into()) }
}

/// Refuses buffers of which the second is written and that share a byte.
fn check_overlap(read: (u64, u32), written: (u64, u32)) -> Result<(), Failure> {
    let end = |(start, bytes): (u64, u32)| start.saturating_add(bytes.into());
    if read.0 < end(written) && written.0 < end(read) { Err(IaaStatus::OVERLAP.into()) } else { Ok(()) }
}

/// Source 1, taken at once.
fn read_source(descriptor: &Descriptor, memory: &DeviceMemory) -> Result<Vec<u8>, Failure> {
    let fault = |fault| Failure::Fault(Operand::Source, fault);
    let bytes = usize::try_from(descriptor.bytes).map_err(|_| IaaStatus::BAD_SIZE)?;
    // Before there is memory for what may be anything.
    memory.check(descriptor.source, bytes, false).map_err(fault)?;
    let mut source = vec![0; bytes];
    memory.read(descriptor.source, &mut source).map_err(fault)?;
    Ok(source)
}

/// The operands behind byte 40, but those of filters, which must be zero.
fn operands(descriptor: &Descriptor) -> Result<IaaOperands, Failure> {
    let operands: IaaOperands = descriptor.operands();
    check_reserved(&[operands.filter_flags.into(), operands.elements.into()])?;
    Ok(operands)
}

/// Which CRC the flags ask for.
fn crc_kind(descriptor: &Descriptor) -> ChecksumKind {
    if descriptor.flags().contains(DescriptorFlags::CRC_RFC3720) {
        ChecksumKind::Crc32c
    } else {
        ChecksumKind::Crc32
    }
}
