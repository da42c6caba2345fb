//! A device of a few lines: does what posted descriptors say, one after the other, over this process's memory.

use std::slice;

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};
use pageferry_bindings::idxd::operands::{ApplyDeltaOperands, CrcOperands, CreateDeltaOperands};

use crate::checksum::ChecksumKind;
use crate::idxd::work::Outbox;

/// What goes wrong with a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mishap {
    /// A page fault after so many bytes, on what is read or what is written.
    Fault { after: u32, write: bool },
    /// The same, and the record does not tell where.
    HiddenFault { after: u32 },
    /// A page fault somewhere else.
    Stray,
    /// This record instead of any work.
    Answer(DsaCompletion),
}

/// What a member that fails ends of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Nothing: members behind a fence run too.
    Nothing,
    /// What is behind a fence.
    AtFence,
    /// All of it.
    AtOnce,
}

/// Says what goes wrong with a descriptor, given how many ran before it.
type Mishaps<'a> = Box<dyn FnMut(usize, &Descriptor) -> Option<Mishap> + 'a>;

pub(super) struct Engine<'a> {
    pub(super) opcodes: OpcodeSet,
    /// Asked before every descriptor.
    pub(super) mishap: Mishaps<'a>,
    /// What a member that fails ends.
    pub(super) failure_ends: Ends,
    /// Every descriptor that ran.
    pub(super) log: Vec<Descriptor>,
}

impl Engine<'_> {
    pub(super) fn new(opcodes: OpcodeSet) -> Self {
        Self { opcodes, mishap: Box::new(|_, _| None), failure_ends: Ends::AtFence, log: Vec::new() }
    }

    /// Runs a phase as one batch.
    pub(super) fn run(&mut self, outbox: &Outbox<DsaCompletion>) {
        let mut failed = false;
        for index in 0..outbox.len() {
            let descriptor = outbox.descriptor(index);
            let fenced = descriptor.flags().contains(DescriptorFlags::FENCE);
            match self.failure_ends {
                Ends::AtOnce if failed => return,
                Ends::AtFence if failed && fenced => return,
                _ => {}
            }
            let record = match (self.mishap)(self.log.len(), &descriptor) {
                None => self.work(&descriptor, None),
                Some(Mishap::Answer(record)) => record,
                Some(Mishap::Stray) => DsaCompletion { status: 3, fault_address: 8, ..Default::default() },
                Some(Mishap::Fault { after, write }) => self.work(&descriptor, Some((after, write))),
                Some(Mishap::HiddenFault { after }) => DsaCompletion {
                    fault_info: 1,
                    fault_address: 8,
                    ..self.work(&descriptor, Some((after, false)))
                },
            };
            self.log.push(descriptor);
            failed |= record.status != 1;
            let address = descriptor.completion_address as *mut DsaCompletion;
            // SAFETY: the outbox addressed one of its records, and lends none of them meanwhile.
            unsafe { address.write(record) };
        }
    }

    fn work(&self, descriptor: &Descriptor, fault: Option<(u32, bool)>) -> DsaCompletion {
        if !self.opcodes.has(descriptor.opcode()) {
            return status(0x10);
        }
        let after = fault.map(|(after, _)| after).filter(|&after| after < descriptor.bytes);
        // SAFETY: tests keep the memory that is named, and look at it when the engine is done.
        let mut record = unsafe { operate(descriptor, after.unwrap_or(descriptor.bytes)) };
        if let (Some(after), Some((_, write)), 1) = (after, fault, record.status) {
            let CreateDeltaOperands { delta_address, .. } = descriptor.operands();
            let (read, written) = match descriptor.opcode() {
                Opcode::CREATE_DELTA => (descriptor.destination, delta_address),
                Opcode::APPLY_DELTA => (descriptor.source, descriptor.destination),
                _ => (descriptor.source + u64::from(after), descriptor.destination + u64::from(after)),
            };
            let has_output = ![Opcode::COMPARE, Opcode::COMPARE_PATTERN, Opcode::CRC_GENERATION]
                .contains(&descriptor.opcode());
            let write = write && has_output;
            record.status = if write { 0x83 } else { 0x03 };
            record.fault_address = if write { written } else { read };
            record.bytes_completed = after;
        }
        record
    }
}

fn status(status: u8) -> DsaCompletion {
    DsaCompletion { status, ..DsaCompletion::default() }
}

/// The first `bytes` bytes of an operation.
///
/// # Safety
/// What the descriptor names is memory of this process that nobody else touches.
unsafe fn operate(descriptor: &Descriptor, bytes: u32) -> DsaCompletion {
    let &Descriptor { source, destination, .. } = descriptor;
    let length = bytes as usize;
    // SAFETY: the caller's word.
    let read = |address: u64| unsafe { slice::from_raw_parts(address as *const u8, length) };
    // SAFETY: the caller's word.
    let write = |address: u64, bytes: usize| unsafe { slice::from_raw_parts_mut(address as *mut u8, bytes) };
    let aligned = |addresses: &[u64]| addresses.iter().all(|address| address % 8 == 0);
    let mut record = status(1);
    match descriptor.opcode() {
        Opcode::MEMORY_MOVE => write(destination, length).copy_from_slice(read(source)),
        Opcode::COMPARE => record.result = u8::from(read(source) != read(destination)),
        Opcode::COMPARE_PATTERN => {
            let pattern = destination.to_le_bytes();
            record.result = u8::from(read(source).chunks(8).any(|word| word != pattern));
        }
        Opcode::CRC_GENERATION | Opcode::COPY_WITH_CRC => {
            let seed = descriptor.operands::<CrcOperands>().seed;
            record.value = ChecksumKind::Crc32c.update(seed, read(source));
            if descriptor.opcode() == Opcode::COPY_WITH_CRC {
                write(destination, length).copy_from_slice(read(source));
            }
        }
        Opcode::CREATE_DELTA => {
            let CreateDeltaOperands { delta_address, max_delta_bytes, .. } = descriptor.operands();
            if !aligned(&[source, destination, delta_address]) || !descriptor.bytes.is_multiple_of(8) {
                return status(0x1c);
            }
            if max_delta_bytes < 80 || !max_delta_bytes.is_multiple_of(10) {
                return status(0x15);
            }
            let words = read(source).chunks(8).zip(read(destination).chunks(8)).enumerate();
            let mut delta = Vec::new();
            for (offset, (_, new)) in words.filter(|(_, (old, new))| old != new) {
                delta.extend(u16::try_from(offset).unwrap().to_le_bytes());
                delta.extend(new);
            }
            let room = max_delta_bytes as usize;
            record.result = if delta.len() > room { 2 } else { u8::from(!delta.is_empty()) };
            delta.truncate(room);
            write(delta_address, delta.len()).copy_from_slice(&delta);
            record.value = u32::try_from(delta.len()).unwrap();
        }
        Opcode::APPLY_DELTA => {
            let ApplyDeltaOperands { delta_bytes, .. } = descriptor.operands();
            if !aligned(&[source, destination]) {
                return status(0x1c);
            }
            if !delta_bytes.is_multiple_of(10) || delta_bytes == 0 {
                return status(0x15);
            }
            // SAFETY: the caller's word.
            let delta = unsafe { slice::from_raw_parts(source as *const u8, delta_bytes as usize) };
            let page = write(destination, descriptor.bytes as usize);
            let mut next = 0;
            for entry in delta.chunks(10) {
                let offset = usize::from(u16::from_le_bytes([entry[0], entry[1]]));
                if offset < next {
                    return status(0x07);
                }
                if offset * 8 >= page.len() {
                    return status(0x08);
                }
                // Nobody says how far a device comes: here it applies a part of what it was told to.
                if offset * 8 < length {
                    page[offset * 8..offset * 8 + 8].copy_from_slice(&entry[2..]);
                }
                next = offset + 1;
            }
        }
        _ => return status(0x10),
    }
    record
}
