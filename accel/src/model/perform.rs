//! One descriptor from check to completion record, with what the fault plan makes of it.

use pageferry_bindings::idxd::completion::{DsaCompletion, IaaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::{
    ApplyDeltaOperands, CreateDeltaOperands, DualcastOperands, IaaOperands,
};
use pageferry_bindings::idxd::status::{DsaStatus, IaaStatus};
use pageferry_bindings::idxd::tables::{QueueConfiguration, QueueControl};
use zerocopy::IntoBytes;

use super::check::{self, Rules};
use super::dsa::{self, Job};
use super::fault::{Counters, Fault, FaultPlan, count};
use super::memory::DeviceMemory;
use super::profile::Profile;
use super::{batch, iaa};
use crate::idxd::device::Kind;

/// What descriptors are carried out with.
pub(super) struct Performer<'a> {
    pub profile: &'a Profile,
    pub memory: &'a DeviceMemory,
    pub plan: &'a FaultPlan,
    pub misdeeds: &'a Counters,
    /// The queue that the descriptor came through.
    pub queue: QueueConfiguration,
    /// Told of every descriptor that is done, members of a batch before the batch.
    pub done: &'a mut dyn FnMut(Done),
}

/// A descriptor that is done.
pub(super) struct Done {
    pub descriptor: Descriptor,
    pub record: Record,
    /// Which member of a batch it was.
    pub member: Option<u16>,
}

/// A completion record of either device.
#[derive(Clone, Copy)]
pub(super) enum Record {
    Dsa(DsaCompletion),
    Iaa(IaaCompletion),
}

impl Record {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Dsa(record) => record.as_bytes(),
            Self::Iaa(record) => record.as_bytes(),
        }
    }

    pub(super) const fn status(&self) -> u8 {
        match self {
            Self::Dsa(record) => record.status,
            Self::Iaa(record) => record.status,
        }
    }

    /// The flags that are not valid, if that is what it says.
    pub(super) const fn invalid_flags(&self) -> u32 {
        match self {
            Self::Dsa(record) if record.status == DsaStatus::BAD_FLAGS.0 => record.value,
            Self::Iaa(record) => record.invalid_flags,
            Self::Dsa(_) => 0,
        }
    }
}

impl Performer<'_> {
    /// Carries out what came through a portal.
    pub(super) fn perform(&mut self, number: u64, descriptor: &Descriptor) {
        let record = self.one(number, descriptor, None);
        (self.done)(Done { descriptor: *descriptor, record, member: None });
    }

    fn one(&mut self, number: u64, descriptor: &Descriptor, member: Option<u16>) -> Record {
        let rules = Rules { profile: self.profile, queue: &self.queue, member: member.is_some() };
        let faults: Vec<Fault> = self.plan.of(number).collect();
        let mut record = match check::check(descriptor, rules) {
            Err(objection) => self.of_kind(objection.record()),
            Ok(()) if faults.contains(&Fault::HardwareError) => {
                count(&self.misdeeds.hardware_errors);
                let status = DsaStatus::HARDWARE_ERROR.0;
                self.of_kind(DsaCompletion { status, ..DsaCompletion::default() })
            }
            Ok(()) => self.execute(number, descriptor, &faults),
        };
        faults.iter().for_each(|&fault| self.spoil(fault, descriptor.opcode(), &mut record));
        record
    }

    fn execute(&mut self, number: u64, descriptor: &Descriptor, faults: &[Fault]) -> Record {
        let blocks = descriptor.flags().contains(DescriptorFlags::BLOCK_ON_FAULT)
            && self.queue.control.contains(QueueControl::BLOCK_ON_FAULT);
        let absent = faults.iter().find_map(|&fault| self.absent_address(number, descriptor, fault));
        let memory = match absent {
            Some(_) if blocks => {
                count(&self.misdeeds.page_faults_awaited);
                self.memory.clone()
            }
            Some(address) => self.memory.without(address),
            None => self.memory.clone(),
        };
        let record = match (self.profile.kind, descriptor.opcode()) {
            (Kind::Dsa, Opcode::BATCH) => Record::Dsa(self.batch(number, descriptor, &memory)),
            (Kind::Iaa, Opcode::COMPRESS | Opcode::DECOMPRESS | Opcode::CRC64) => {
                Record::Iaa(self.fault_of_iaa(iaa::execute(descriptor, &memory), &memory, blocks))
            }
            _ => {
                let job = Job { descriptor, memory: &memory, profile: self.profile, blocks };
                self.of_kind(dsa::execute(&job))
            }
        };
        let faulted = [DsaStatus::PAGE_FAULT.0, DsaStatus::BATCH_PAGE_FAULT.0];
        if absent.is_some() && !blocks && faulted.contains(&(record.status() & !WRITE_FAULT)) {
            count(&self.misdeeds.page_faults);
        }
        record
    }

    fn batch(&mut self, number: u64, descriptor: &Descriptor, memory: &DeviceMemory) -> DsaCompletion {
        let stops = self.profile.quirks.batch_stops_at_failure;
        batch::execute(descriptor, memory, stops, |index, member| {
            let place = u16::try_from(index).unwrap_or(u16::MAX);
            let record = self.one(number + 1 + u64::from(index), member, Some(place));
            let status = record.status();
            (self.done)(Done { descriptor: *member, record, member: Some(place) });
            status
        })
    }

    /// The record as this device writes it.
    fn of_kind(&self, record: DsaCompletion) -> Record {
        match self.profile.kind {
            Kind::Dsa => Record::Dsa(record),
            Kind::Iaa => Record::Iaa(IaaCompletion {
                status: record.status,
                fault_info: record.fault_info,
                bytes_completed: record.bytes_completed,
                fault_address: record.fault_address,
                invalid_flags: record.value,
                ..IaaCompletion::default()
            }),
        }
    }

    /// IAA's operations report every fault as a page fault that they did not wait for.
    fn fault_of_iaa(&self, record: IaaCompletion, memory: &DeviceMemory, blocks: bool) -> IaaCompletion {
        if record.status & !WRITE_FAULT != IaaStatus::PAGE_FAULT.0 {
            return record;
        }
        let unmapped = !memory.is_absent(record.fault_address);
        if unmapped && !self.profile.quirks.unmapped_is_page_fault {
            return IaaCompletion { status: IaaStatus::TRANSLATION_ERROR.0, ..record };
        }
        if blocks {
            let status = IaaStatus::PAGE_REQUEST_INVALID.0 | record.status & WRITE_FAULT;
            return IaaCompletion { status, ..record };
        }
        record
    }

    /// Where a planned page fault is: an address of this descriptor, within what it uses there.
    fn absent_address(&self, number: u64, descriptor: &Descriptor, fault: Fault) -> Option<u64> {
        let Fault::PageFault { operand, byte } = fault else { return None };
        let operands = extents(self.profile.kind, descriptor);
        let present: Vec<_> = operands.into_iter().flatten().collect();
        let (start, bytes) = match operand {
            Some(operand) => operands.get(usize::from(operand)).copied().flatten()?,
            None => {
                let drawn = self.plan.draw(number, u64::MAX) % u64::try_from(present.len().max(1)).ok()?;
                *present.get(usize::try_from(drawn).ok()?)?
            }
        };
        let byte = byte.unwrap_or_else(|| self.plan.draw(number, u64::MAX - 1) % bytes.max(1));
        (byte < bytes).then(|| start.wrapping_add(byte))
    }

    /// Makes a record wrong as planned, where it has what is to be wrong.
    fn spoil(&self, fault: Fault, opcode: Opcode, record: &mut Record) {
        let succeeded = record.status() == DsaStatus::SUCCESS.0;
        match (fault, record) {
            (Fault::WrongCount, record) if succeeded => {
                let bytes = match record {
                    Record::Dsa(record) if opcode == Opcode::CREATE_DELTA => &mut record.value,
                    Record::Iaa(record) if record.output_bytes > 0 => &mut record.output_bytes,
                    Record::Dsa(DsaCompletion { bytes_completed, .. })
                    | Record::Iaa(IaaCompletion { bytes_completed, .. }) => bytes_completed,
                };
                *bytes ^= 1;
                count(&self.misdeeds.wrong_counts);
            }
            (Fault::WrongResult, Record::Dsa(record))
                if succeeded
                    && matches!(opcode, Opcode::COMPARE | Opcode::COMPARE_PATTERN | Opcode::CREATE_DELTA) =>
            {
                record.result = u8::from(record.result == 0);
                count(&self.misdeeds.wrong_results);
            }
            (Fault::WrongChecksum, Record::Dsa(record))
                if succeeded && matches!(opcode, Opcode::CRC_GENERATION | Opcode::COPY_WITH_CRC) =>
            {
                record.value ^= 1;
                count(&self.misdeeds.wrong_checksums);
            }
            (Fault::WrongChecksum, Record::Iaa(record))
                if succeeded && matches!(opcode, Opcode::COMPRESS | Opcode::DECOMPRESS) =>
            {
                record.crc ^= 1;
                count(&self.misdeeds.wrong_checksums);
            }
            _ => {}
        }
    }
}

/// The addresses that a descriptor names, in the order of the descriptor, each with how many bytes it uses there.
fn extents(kind: Kind, descriptor: &Descriptor) -> [Option<(u64, u64)>; 3] {
    let bytes = u64::from(descriptor.bytes);
    let (first, second) = (Some((descriptor.source, bytes)), Some((descriptor.destination, bytes)));
    match descriptor.opcode() {
        Opcode::BATCH => [Some((descriptor.source, bytes * Descriptor::BYTES as u64)), None, None],
        Opcode::MEMORY_MOVE | Opcode::COMPARE | Opcode::COPY_WITH_CRC => [first, second, None],
        Opcode::FILL => [None, second, None],
        Opcode::COMPARE_PATTERN | Opcode::CRC_GENERATION | Opcode::CRC64 => [first, None, None],
        Opcode::DUALCAST => {
            let third = descriptor.operands::<DualcastOperands>().second_destination;
            [first, second, Some((third, bytes))]
        }
        Opcode::CREATE_DELTA => {
            let operands: CreateDeltaOperands = descriptor.operands();
            [first, second, Some((operands.delta_address, operands.max_delta_bytes.into()))]
        }
        Opcode::APPLY_DELTA => {
            let record = descriptor.operands::<ApplyDeltaOperands>().delta_bytes;
            [Some((descriptor.source, record.into())), second, None]
        }
        Opcode::COMPRESS | Opcode::DECOMPRESS if kind == Kind::Iaa => {
            let operands: IaaOperands = descriptor.operands();
            let destination = (descriptor.destination, operands.max_destination_bytes.into());
            let source2 = (operands.source2, operands.source2_bytes.into());
            [first, Some(destination), Some(source2).filter(|&(address, _)| address != 0)]
        }
        _ => [None; 3],
    }
}
