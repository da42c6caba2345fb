//! CRC64: a CRC of up to 64 bits by any polynomial.

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::status::IaaStatus;

use super::{COMMON_FLAGS, Failure, check_flags, check_reserved, read_source};
use crate::model::memory::DeviceMemory;

/// Begin with ones and invert the result, in the bits that the CRC has (QPL `ADC64F_INVCRC`).
const INVERT: u16 = 1 << 14;
/// The lowest bit of a byte comes first, and the result is reflected (QPL `ADC64F_BE`).
const REFLECT: u16 = 1 << 15;

/// Executes a descriptor of opcode 0x44.
pub(super) fn crc64(descriptor: &Descriptor, memory: &DeviceMemory) -> Result<IaaCompletion, Failure> {
    check_flags(descriptor, COMMON_FLAGS)?;
    // Bytes 40 to 55 are reserved, the polynomial follows.
    let [reserved, reserved2, polynomial]: [u64; 3] = descriptor.operands();
    check_reserved(&[descriptor.destination, reserved, reserved2])?;
    if descriptor.operation_flags & !(INVERT | REFLECT) != 0 {
        return Err(IaaStatus::BAD_OPERATION_FLAGS.into());
    }
    if descriptor.bytes == 0 {
        return Err(IaaStatus::BAD_SIZE.into());
    }
    let crc = crc(&read_source(descriptor, memory)?, polynomial, descriptor.operation_flags);
    let [low, high] = [crc & u64::from(u32::MAX), crc >> 32].map(|half| u32::try_from(half).unwrap_or(0));
    Ok(IaaCompletion {
        status: IaaStatus::SUCCESS.0,
        bytes_completed: descriptor.bytes,
        max_or_last: low,
        sum: high,
        ..IaaCompletion::default()
    })
}

/// The CRC by a polynomial whose highest power is left out and whose next one is bit 63; it is as long as the polynomial,
/// and at the upper end, or at the lower if reflected.
fn crc(bytes: &[u8], polynomial: u64, flags: u16) -> u64 {
    // Every bit from the polynomial's lowest on.
    let inversion = if flags & INVERT != 0 { !0_u64 << polynomial.trailing_zeros().min(63) } else { 0 };
    let shifted = |crc: u64| (crc << 1) ^ if crc >> 63 == 1 { polynomial } else { 0 };
    let table: Vec<u64> = (0..256_u64).map(|byte| (0..8).fold(byte << 56, |crc, _| shifted(crc))).collect();
    let crc = bytes.iter().fold(inversion, |crc, &byte| {
        let byte = if flags & REFLECT != 0 { byte.reverse_bits() } else { byte };
        let [.., first] = crc.to_le_bytes();
        (crc << 8) ^ table[usize::from(first ^ byte)]
    });
    let crc = crc ^ inversion;
    if flags & REFLECT != 0 { crc.reverse_bits() } else { crc }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums_come_out() {
        // "Catalogue of parametrised CRC algorithms": CRC-64/ECMA-182, CRC-64/XZ, CRC-32/ISO-HDLC, CRC-32/BZIP2.
        let ecma = 0x42f0_e1eb_a9ea_3693;
        let ieee = 0x04c1_1db7 << 32;
        for (polynomial, flags, check) in [
            (ecma, 0, 0x6c40_df5f_0b49_7347),
            (ecma, INVERT | REFLECT, 0x995d_c9bb_df19_39fa),
            (ieee, INVERT | REFLECT, 0xcbf4_3926),
            (ieee, INVERT, 0xfc89_1918 << 32),
        ] {
            assert_eq!(crc(b"123456789", polynomial, flags), check, "{polynomial:#x}, flags {flags:#x}");
        }
    }
}
