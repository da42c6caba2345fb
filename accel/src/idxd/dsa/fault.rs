//! The page that faulted: whose it is, and how it is brought in.

use pageferry_bindings::idxd::completion::{DsaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::{ApplyDeltaOperands, CreateDeltaOperands};

use crate::dma::HostAddress;
use crate::idxd::touch::{HOST_PAGE_BYTES as PAGE, touch};

/// A byte of a page that faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Faulted {
    address: HostAddress,
    write: bool,
}

/// A page fault outside of everything that the descriptor names: nothing of ours to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page fault at {address}, where the descriptor has no operand")]
pub(super) struct Stray {
    address: HostAddress,
}

/// Memory that a descriptor reads, or reads and writes.
#[derive(Clone, Copy)]
struct Operand {
    address: u64,
    bytes: u64,
    written: bool,
}

/// Bit 0 of the record's fault information: the address is not valid.
const MASKED: u8 = 1;

impl Faulted {
    /// The page that `record` says `descriptor` stopped at; `None` if the device does not tell the address.
    pub(super) fn of(descriptor: &Descriptor, record: &DsaCompletion) -> Result<Option<Self>, Stray> {
        if record.fault_info & MASKED != 0 {
            return Ok(None);
        }
        let write = record.status & WRITE_FAULT != 0;
        let page = record.fault_address & !(PAGE - 1);
        let hit = |operand: &Operand| {
            let end = operand.address + operand.bytes;
            (operand.address & !(PAGE - 1)) <= page && page < end && (operand.written || !write)
        };
        let Some(operand) = operands(descriptor).into_iter().flatten().find(hit) else {
            return Err(Stray { address: HostAddress(record.fault_address) });
        };
        // The operand's own bytes alone are ours to write.
        let address = record.fault_address.clamp(operand.address, operand.address + operand.bytes - 1);
        Ok(Some(Self { address: HostAddress(address), write }))
    }

    /// Brings the page in, to be written if it was a write that faulted.
    ///
    /// # Safety
    /// The memory that the descriptor names is still mapped, readable and where it writes writable.
    pub(super) unsafe fn touch(self) {
        // SAFETY: the caller vouches for the byte, which is an operand's: nobody has a reference to it while it is.
        unsafe { touch(self.address, self.write) };
    }
}

/// What a descriptor of ours reads and writes.
fn operands(descriptor: &Descriptor) -> [Option<Operand>; 3] {
    let &Descriptor { source, destination, bytes, .. } = descriptor;
    let operand = |address, bytes: u32, written| {
        (bytes > 0).then_some(Operand { address, bytes: bytes.into(), written })
    };
    let reads = |address| operand(address, bytes, false);
    let writes = |address| operand(address, bytes, true);
    match descriptor.opcode() {
        Opcode::MEMORY_MOVE | Opcode::COPY_WITH_CRC => [reads(source), writes(destination), None],
        Opcode::COMPARE => [reads(source), reads(destination), None],
        Opcode::CREATE_DELTA => {
            let CreateDeltaOperands { delta_address, max_delta_bytes, .. } = descriptor.operands();
            [reads(source), reads(destination), operand(delta_address, max_delta_bytes, true)]
        }
        Opcode::APPLY_DELTA => {
            let ApplyDeltaOperands { delta_bytes, .. } = descriptor.operands();
            [operand(source, delta_bytes, false), writes(destination), None]
        }
        _ => [reads(source), None, None],
    }
}

#[cfg(test)]
mod tests {
    use pageferry_bindings::idxd::flags::DescriptorFlags;

    use super::*;

    fn descriptor(opcode: Opcode) -> Descriptor {
        let template = Descriptor::new(opcode, DescriptorFlags::empty());
        Descriptor { source: 0x10008, destination: 0x20000, bytes: 4096, ..template }
    }

    fn record(status: u8, fault_address: u64) -> DsaCompletion {
        DsaCompletion { status, fault_address, ..DsaCompletion::default() }
    }

    #[test]
    fn a_fault_is_ours_if_an_operand_is_in_its_page() {
        let copy = descriptor(Opcode::COPY_WITH_CRC);
        for (status, fault, touched) in [
            (0x03, 0x10000, Some(0x10008)),
            (0x03, 0x11004, Some(0x11004)),
            (0x03, 0x11800, Some(0x11007)),
            (0x03, 0x12000, None),
            (0x03, 0xf000, None),
            (0x83, 0x20fff, Some(0x20fff)),
            (0x83, 0x21000, None),
            // Nothing is written to a source.
            (0x83, 0x10008, None),
            // Read-modify-write at the edge of a destination.
            (0x03, 0x20000, Some(0x20000)),
        ] {
            let found = Faulted::of(&copy, &record(status, fault));
            let expected = touched
                .map(|address| Some(Faulted { address: HostAddress(address), write: status == 0x83 }))
                .ok_or(Stray { address: HostAddress(fault) });
            assert_eq!(found, expected, "status {status:#x} at {fault:#x}");
        }
        let hidden = DsaCompletion { fault_info: 1, ..record(3, 0xdead_0000) };
        assert_eq!(Faulted::of(&copy, &hidden), Ok(None));
    }

    #[test]
    fn every_operand_of_every_operation_is_known() {
        let delta = CreateDeltaOperands { delta_address: 0x30000, max_delta_bytes: 80, ..Default::default() };
        let create = descriptor(Opcode::CREATE_DELTA).with_operands(&delta);
        let apply = ApplyDeltaOperands { delta_bytes: 20, ..Default::default() };
        let apply = descriptor(Opcode::APPLY_DELTA).with_operands(&apply);
        let pattern = Descriptor { destination: 0, ..descriptor(Opcode::COMPARE_PATTERN) };
        for (descriptor, status, fault, ours) in [
            (create, 0x83, 0x30000, true),
            (create, 0x83, 0x31000, false),
            (create, 0x03, 0x20000, true),
            (create, 0x83, 0x20000, false),
            (apply, 0x03, 0x10000, true),
            (apply, 0x03, 0x11000, false),
            (apply, 0x83, 0x20000, true),
            (descriptor(Opcode::COMPARE), 0x03, 0x20000, true),
            (descriptor(Opcode::CRC_GENERATION), 0x03, 0x20000, false),
            (pattern, 0x03, 0, false),
            (pattern, 0x03, 0x11000, true),
        ] {
            let found = Faulted::of(&descriptor, &record(status, fault));
            assert_eq!(found.is_ok(), ours, "{:?} {status:#x} at {fault:#x}", descriptor.opcode());
        }
    }

    #[test]
    fn a_touched_byte_keeps_its_value() {
        let mut page = [7_u8; 64];
        let address = HostAddress(page.as_mut_ptr().expose_provenance() as u64 + 5);
        for write in [false, true] {
            // SAFETY: the byte is in the array.
            unsafe { Faulted { address, write }.touch() };
        }
        assert_eq!(page, [7; 64]);
    }
}
