//! CRC generation, and copy with CRC.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::operands::CrcOperands;

use super::{CHUNK, Job, Operand, Outcome, Stop, chunks, progress, read_chunk};
use crate::checksum::ChecksumKind;
use crate::model::memory::MemoryFault;

/// CRC-32C as polynomial, without its highest term.
const POLYNOMIAL: u32 = 0x1edc_6f41;

/// The CRC of a source.
pub(super) fn generate(job: &Job) -> Outcome {
    run(job, |_, _| Ok(()))
}

/// Copies, with the CRC of what was copied.
pub(super) fn copy(job: &Job) -> Outcome {
    run(job, |start, bytes| job.memory.write(job.descriptor.destination.wrapping_add(start as u64), bytes))
}

fn run(job: &Job, mut put: impl FnMut(usize, &[u8]) -> Result<(), MemoryFault>) -> Outcome {
    let mut crc = seed(job)?;
    let mut buffer = [0; CHUNK];
    for (start, bytes) in chunks(job.bytes()) {
        let address = job.descriptor.source.wrapping_add(start as u64);
        let (mut done, fault) = read_chunk(job.memory, address, &mut buffer[..bytes]);
        let mut fault = fault.map(|fault| (fault, Operand::First));
        if let Err(write_fault) = put(start, &buffer[..done]) {
            done = write_fault.done;
            fault = Some((write_fault, Operand::Second));
        }
        if let Some((fault, operand)) = fault {
            if job.profile.quirks.crc_pads {
                done &= !3;
            }
            let crc = update(job, crc, &buffer[..done]);
            return Err(Stop {
                fault,
                operand,
                record: DsaCompletion { value: crc, ..progress(start + done) },
            });
        }
        if job.profile.quirks.crc_pads {
            let end = bytes.next_multiple_of(4);
            buffer[bytes..end].fill(0);
            done = end;
        }
        crc = update(job, crc, &buffer[..done]);
    }
    Ok(DsaCompletion { value: crc, ..job.success(job.bytes()) })
}

fn seed(job: &Job) -> Result<u32, Stop> {
    let operands: CrcOperands = job.descriptor.operands();
    if !job.descriptor.flags().contains(DescriptorFlags::SEED_FROM_MEMORY) {
        return Ok(operands.seed);
    }
    let mut bytes = [0; 4];
    let read = job.memory.read(operands.seed_address, &mut bytes);
    read.map_err(|fault| Stop { fault, operand: Operand::Third, record: progress(0) })?;
    Ok(u32::from_le_bytes(bytes))
}

/// The CRC of what came before and `bytes`.
fn update(job: &Job, crc: u32, bytes: &[u8]) -> u32 {
    let flags = job.descriptor.flags();
    let as_is = flags.contains(DescriptorFlags::CRC_BYPASS_INVERSION);
    let unreflected = flags.contains(DescriptorFlags::CRC_BYPASS_REFLECTION);
    if !as_is && !unreflected {
        return ChecksumKind::Crc32c.update(crc, bytes);
    }
    by_definition(crc, bytes, as_is, unreflected)
}

/// With the highest term of the polynomial first, as it is written down. Unless it is taken `as_is`, the CRC is inverted
/// and reflected before and after; the bits of each byte are reflected, unless they are `unreflected`.
pub(super) fn by_definition(crc: u32, bytes: &[u8], as_is: bool, unreflected: bool) -> u32 {
    let turn = |crc: u32| if as_is { crc } else { (!crc).reverse_bits() };
    let mut register = turn(crc);
    for &byte in bytes {
        let byte = if unreflected { byte } else { byte.reverse_bits() };
        register ^= u32::from(byte) << 24;
        for _ in 0..8 {
            register = register << 1 ^ if register >> 31 == 1 { POLYNOMIAL } else { 0 };
        }
    }
    // Inverting and reflecting can be done in either order.
    turn(register)
}
