//! Decompression.

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DecompressFlags;
use pageferry_bindings::idxd::status::IaaStatus;

use super::checksums::Checksums;
use super::inflate::{Broken, Rules, inflate};
use super::output::Output;
use super::{
    DESTINATION_FLAGS, Failure, Operand, check_flags, check_overlap, check_reserved, crc_kind, operands,
    read_source,
};
use crate::model::memory::DeviceMemory;

/// Executes a descriptor of opcode 0x42.
pub(super) fn decompress(descriptor: &Descriptor, memory: &DeviceMemory) -> Result<IaaCompletion, Failure> {
    check_flags(descriptor, DESTINATION_FLAGS)?;
    let operands = operands(descriptor)?;
    check_reserved(&[operands.source2, operands.source2_bytes.into()])?;
    let flags =
        DecompressFlags::from_bits(descriptor.operation_flags).ok_or(IaaStatus::BAD_OPERATION_FLAGS)?;
    let suppressed = flags.contains(DecompressFlags::SUPPRESS_OUTPUT);
    if !flags.contains(DecompressFlags::ENABLE)
        || !(suppressed || flags.contains(DecompressFlags::FLUSH_OUTPUT))
    {
        return Err(IaaStatus::BAD_OPERATION_FLAGS.into());
    }
    if descriptor.bytes == 0 || operands.max_destination_bytes == 0 {
        return Err(IaaStatus::BAD_SIZE.into());
    }
    if !suppressed {
        let destination = (descriptor.destination, operands.max_destination_bytes);
        check_overlap((descriptor.source, descriptor.bytes), destination)?;
    }
    let source = read_source(descriptor, memory)?;

    let mut checksums = Checksums::new(crc_kind(descriptor), 0, 0);
    let mut written = 0;
    let rules = Rules {
        stop: flags.contains(DecompressFlags::STOP_ON_END),
        check: flags.contains(DecompressFlags::CHECK_FOR_END),
        select_final: flags.contains(DecompressFlags::SELECT_FINAL),
    };
    let most = if suppressed { u64::MAX } else { operands.max_destination_bytes.into() };
    let mut output = Output::new(most, |bytes: &[u8]| {
        checksums.update(bytes);
        if !suppressed {
            memory.write(descriptor.destination + written, bytes)?;
            written += bytes.len() as u64;
        }
        Ok(())
    });
    let inflated = inflate(&source, rules, &mut output);
    let status = match inflated.end {
        Ok(()) => IaaStatus::SUCCESS,
        Err(Broken::Full) => IaaStatus::OUTPUT_OVERFLOW,
        Err(Broken::Stream(error)) => return Err(error.into()),
        Err(Broken::Sink(fault)) => return Err(Failure::Fault(Operand::Destination, fault)),
    };
    Ok(IaaCompletion {
        status: status.0,
        bytes_completed: u32::try_from(inflated.consumed).map_err(|_| IaaStatus::BAD_SIZE)?,
        output_bytes: u32::try_from(written).map_err(|_| IaaStatus::BAD_SIZE)?,
        crc: checksums.crc,
        xor_checksum: checksums.xor,
        ..IaaCompletion::default()
    })
}
