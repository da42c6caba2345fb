//! A descriptor on the CPU: what is left of one whose page fault the device is not to wait for.

use std::{ptr, slice};

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::{ApplyDeltaOperands, CrcOperands, CreateDeltaOperands};
use pageferry_bindings::idxd::status::DsaStatus;

use super::OVERFLOW;
use crate::checksum::ChecksumKind;
use crate::codec::delta;
use crate::guest::live;

/// Does what `descriptor` says and returns the record that a device would have written.
///
/// `scratch` is a private page as long as the guest's.
///
/// # Safety
/// The descriptor is one of ours and no device works on it: what it names is mapped, what it writes is private to its
/// request or guest memory, and whatever it names that is not aligned to 8 bytes is private, as guest memory is aligned.
pub(super) unsafe fn run(descriptor: &Descriptor, scratch: &mut [u8]) -> DsaCompletion {
    let &Descriptor { source, destination, bytes, .. } = descriptor;
    let bytes = bytes as usize;
    let mut record = DsaCompletion { status: DsaStatus::SUCCESS.0, ..DsaCompletion::default() };
    match descriptor.opcode() {
        Opcode::MEMORY_MOVE => {
            // SAFETY: both ranges are the descriptor's.
            unsafe { in_chunks(bytes, scratch, source, |at, chunk| write(destination + at, chunk)) };
        }
        Opcode::COMPARE_PATTERN => {
            let pattern = destination.to_le_bytes();
            // SAFETY: the range is the descriptor's.
            unsafe {
                in_chunks(bytes, scratch, source, |_, chunk| {
                    record.result |= u8::from(chunk.as_chunks::<8>().0.iter().any(|word| *word != pattern));
                });
            }
        }
        Opcode::COMPARE => {
            // SAFETY: what is compared is private: baselines and copies.
            record.result = u8::from(unsafe { private(source, bytes) != private(destination, bytes) });
        }
        Opcode::CRC_GENERATION | Opcode::COPY_WITH_CRC => {
            let copies = descriptor.opcode() == Opcode::COPY_WITH_CRC;
            record.value = descriptor.operands::<CrcOperands>().seed;
            // SAFETY: both ranges are the descriptor's.
            unsafe {
                in_chunks(bytes, scratch, source, |at, chunk| {
                    record.value = ChecksumKind::Crc32c.update(record.value, chunk);
                    if copies {
                        write(destination + at, chunk);
                    }
                });
            }
        }
        Opcode::CREATE_DELTA => {
            let CreateDeltaOperands { delta_address, max_delta_bytes, .. } = descriptor.operands();
            // SAFETY: sources and room of a delta are private: baselines, copies, payload.
            let (old, new, room) = unsafe {
                let room = private_mut(delta_address, max_delta_bytes as usize);
                (private(source, bytes), private(destination, bytes), room)
            };
            match delta::encode(old, new, room) {
                Ok(bytes) => {
                    record.result = u8::from(bytes > 0);
                    record.value = u32::try_from(bytes).unwrap_or(u32::MAX);
                }
                Err(_) => record.result = OVERFLOW,
            }
        }
        Opcode::APPLY_DELTA => {
            let ApplyDeltaOperands { delta_bytes, .. } = descriptor.operands();
            let page = &mut scratch[..bytes];
            // SAFETY: the record is private, the range is the descriptor's.
            let delta = unsafe {
                read(destination, page);
                private(source, delta_bytes as usize)
            };
            match delta::decode(delta, page) {
                // SAFETY: as above.
                Ok(()) => unsafe { write(destination, page) },
                Err(error) => record.status = refusal(error).0,
            }
        }
        _ => record.status = DsaStatus::BAD_OPCODE.0,
    }
    record
}

/// What a device says of such a delta record.
fn refusal(error: delta::DecodeError) -> DsaStatus {
    match error {
        delta::DecodeError::NotIncreasing { .. } => DsaStatus::DELTA_OFFSET_ORDER,
        delta::DecodeError::PastRegionEnd { .. } => DsaStatus::DELTA_OFFSET_RANGE,
        _ => DsaStatus::BAD_DELTA_SIZE,
    }
}

/// Shows private copies of `bytes` bytes from `source` on, in order, each with how far it is from the beginning.
///
/// # Safety
/// As [`read`].
unsafe fn in_chunks(bytes: usize, scratch: &mut [u8], source: u64, mut look: impl FnMut(u64, &[u8])) {
    let mut at = 0;
    while at < bytes {
        let length = scratch.len().min(bytes - at);
        let chunk = &mut scratch[..length];
        // SAFETY: the chunk is in the range that the caller vouches for.
        unsafe { read(source + at as u64, chunk) };
        look(at as u64, chunk);
        at += length;
    }
}

/// Copies from memory that may be live.
///
/// # Safety
/// As many bytes at `address` are mapped, and private if they are not aligned to 8 bytes.
unsafe fn read(address: u64, into: &mut [u8]) {
    if address.is_multiple_of(8) && into.len().is_multiple_of(8) {
        // SAFETY: mapped by the caller's word; aligned.
        unsafe { live::copy_out(pointer(address), into) }
    } else {
        // SAFETY: private by the caller's word, as it is not aligned.
        into.copy_from_slice(unsafe { private(address, into.len()) });
    }
}

/// Copies to memory that may be live.
///
/// # Safety
/// As many bytes at `address` are mapped writable, and private if they are not aligned to 8 bytes.
unsafe fn write(address: u64, from: &[u8]) {
    if address.is_multiple_of(8) && from.len().is_multiple_of(8) {
        // SAFETY: mapped by the caller's word; aligned.
        unsafe { live::copy_in(pointer(address), from) }
    } else {
        // SAFETY: private by the caller's word, as it is not aligned.
        unsafe { private_mut(address, from.len()) }.copy_from_slice(from);
    }
}

/// # Safety
/// As many bytes are there, and nobody writes to them for as long as they are used.
unsafe fn private<'a>(address: u64, bytes: usize) -> &'a [u8] {
    // SAFETY: the caller's word.
    unsafe { slice::from_raw_parts(pointer(address), bytes) }
}

/// # Safety
/// As many bytes are there, and nobody else touches them for as long as they are used.
pub(super) unsafe fn private_mut<'a>(address: u64, bytes: usize) -> &'a mut [u8] {
    // SAFETY: the caller's word.
    unsafe { slice::from_raw_parts_mut(pointer(address), bytes) }
}

fn pointer(address: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or_default())
}
