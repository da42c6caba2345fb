//! Descriptors that are ready but for their addresses.

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};
use pageferry_bindings::idxd::operands::{ApplyDeltaOperands, CreateDeltaOperands};

use crate::codec::delta::ENTRY_BYTES;
use crate::idxd::device::QueueFacts;

/// One descriptor of every operation that is used, for one page where it has a size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Templates {
    zero_test: Descriptor,
    copy: Descriptor,
    lift: Descriptor,
    compare: Descriptor,
    create_delta: Descriptor,
    place: Descriptor,
    place_with_crc: Descriptor,
    apply_delta: Descriptor,
    crc: Descriptor,
    max_delta_bytes: u32,
}

impl Templates {
    /// For pages of `page_bytes` on a queue with these facts; `block_on_fault` is heeded where the queue allows it.
    pub(super) fn new(facts: &QueueFacts, page_bytes: u32, block_on_fault: bool) -> Self {
        let waits = if block_on_fault { DescriptorFlags::BLOCK_ON_FAULT } else { DescriptorFlags::empty() };
        let reads = facts.flags & waits;
        // What is encoded is soon read again, by the device or on its way out; what is decoded is the guest's.
        let keeps = facts.flags & (waits | DescriptorFlags::CACHE_CONTROL);
        let template = |opcode, flags| Descriptor { bytes: page_bytes, ..Descriptor::new(opcode, flags) };
        Self {
            zero_test: template(Opcode::COMPARE_PATTERN, reads),
            copy: template(Opcode::COPY_WITH_CRC, keeps),
            lift: template(Opcode::MEMORY_MOVE, keeps),
            compare: template(Opcode::COMPARE, reads),
            create_delta: template(Opcode::CREATE_DELTA, keeps),
            place: template(Opcode::MEMORY_MOVE, reads),
            place_with_crc: template(Opcode::COPY_WITH_CRC, reads),
            apply_delta: template(Opcode::APPLY_DELTA, reads),
            crc: template(Opcode::CRC_GENERATION, reads),
            max_delta_bytes: max_delta_bytes(page_bytes),
        }
    }

    /// Whether the page at `source` is zero.
    pub(super) fn zero_test(&self, source: u64) -> Descriptor {
        Descriptor { source, ..self.zero_test }
    }

    /// A private copy of a page, with its CRC.
    pub(super) fn copy(&self, source: u64, destination: u64) -> Descriptor {
        Descriptor { source, destination, ..self.copy }
    }

    /// A private copy of a page into the payload.
    pub(super) fn lift(&self, source: u64, destination: u64) -> Descriptor {
        Descriptor { source, destination, ..self.lift }
    }

    /// Whether a page is its baseline.
    pub(super) fn compare(&self, old: u64, new: u64) -> Descriptor {
        Descriptor { source: old, destination: new, ..self.compare }
    }

    /// The record that makes `new` of `old`, at `delta_address`.
    pub(super) fn create_delta(&self, old: u64, new: u64, delta_address: u64) -> Descriptor {
        let operands = CreateDeltaOperands {
            delta_address,
            max_delta_bytes: self.max_delta_bytes,
            ..CreateDeltaOperands::default()
        };
        Descriptor { source: old, destination: new, ..self.create_delta }.with_operands(&operands)
    }

    /// `bytes` bytes of a payload into guest memory, with their CRC if that is asked for.
    pub(super) fn place(&self, source: u64, destination: u64, bytes: u32, crc: bool) -> Descriptor {
        let template = if crc { self.place_with_crc } else { self.place };
        Descriptor { source, destination, bytes, ..template }
    }

    /// A record over the page at `destination`.
    pub(super) fn apply_delta(&self, record: u64, delta_bytes: u32, destination: u64) -> Descriptor {
        let operands = ApplyDeltaOperands { delta_bytes, ..ApplyDeltaOperands::default() };
        Descriptor { source: record, destination, ..self.apply_delta }.with_operands(&operands)
    }

    /// The CRC of `bytes` bytes.
    pub(super) fn crc(&self, source: u64, bytes: u32) -> Descriptor {
        Descriptor { source, bytes, ..self.crc }
    }

    /// The longest delta record of a page that is worth sending.
    pub(super) fn max_delta_bytes(&self) -> u32 {
        self.max_delta_bytes
    }
}

/// Whole entries, and shorter than the page: a record as long as the page is no gain. The device asks for at least 80
/// bytes, and perhaps for whole entries (DML `validation.cpp`).
fn max_delta_bytes(page_bytes: u32) -> u32 {
    let entry = u32::try_from(ENTRY_BYTES).unwrap_or(1);
    (page_bytes - 1) / entry * entry
}

/// The operations, with their names, that a queue lacks and cannot do without.
pub(super) fn missing(opcodes: &OpcodeSet, detect_zero: bool) -> Vec<&'static str> {
    let tests_zero = detect_zero.then_some((Opcode::COMPARE_PATTERN, "compare-pattern (0x06)"));
    let deltas = (!opcodes.has(Opcode::CREATE_DELTA)).then_some((Opcode::COMPARE, "compare (0x05)"));
    [
        Some((Opcode::MEMORY_MOVE, "memory move (0x03)")),
        deltas,
        tests_zero,
        Some((Opcode::CRC_GENERATION, "CRC generation (0x10)")),
        Some((Opcode::COPY_WITH_CRC, "copy with CRC (0x11)")),
    ]
    .into_iter()
    .flatten()
    .filter(|(opcode, _)| !opcodes.has(*opcode))
    .map(|(_, name)| name)
    .collect()
}
