//! What a device looks at before it does anything: operation, flags, reserved fields, sizes, alignments, overlaps.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::{
    ApplyDeltaOperands, CrcOperands, CreateDeltaOperands, DualcastOperands,
};
use pageferry_bindings::idxd::registers::GeneralCapabilities;
use pageferry_bindings::idxd::status::DsaStatus;
use pageferry_bindings::idxd::tables::{QueueConfiguration, QueueControl};
use zerocopy::{FromZeros, IntoBytes};

use super::profile::Profile;
use crate::codec::delta::{ENTRY_BYTES, MAX_REGION_BYTES};
use crate::idxd::device::Kind;

/// The least that the most bytes of a delta record may be: the entries of one line of 64 bytes.
const LEAST_DELTA_BYTES: u32 = 80;

/// Suppress the implicit readbacks of a drain (flags 18 and 19); flags 16 and 17 say which addresses to read back.
const DRAIN_SUPPRESS: DescriptorFlags = DescriptorFlags::from_bits_retain(3 << 18);
const DRAIN_READBACK_1: DescriptorFlags = DescriptorFlags::from_bits_retain(1 << 16);
const DRAIN_READBACK_2: DescriptorFlags = DescriptorFlags::from_bits_retain(1 << 17);
const SECOND_STEERING: DescriptorFlags = DescriptorFlags::from_bits_retain(1 << 16);

/// What a descriptor is checked against.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub profile: &'a Profile,
    /// The queue that it came through.
    pub queue: &'a QueueConfiguration,
    /// Whether it is a member of a batch.
    pub member: bool,
}

/// Why a descriptor is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Objection {
    pub status: DsaStatus,
    /// The flags that are not valid.
    pub flags: DescriptorFlags,
}

impl From<DsaStatus> for Objection {
    fn from(status: DsaStatus) -> Self {
        Self { status, flags: DescriptorFlags::empty() }
    }
}

impl Objection {
    /// As a completion record tells it.
    pub(super) fn record(self) -> DsaCompletion {
        DsaCompletion { status: self.status.0, value: self.flags.bits(), ..DsaCompletion::default() }
    }
}

/// What a completion record's address must be aligned to.
const fn record_alignment(kind: Kind) -> u64 {
    match kind {
        Kind::Dsa => 32,
        Kind::Iaa => 64,
    }
}

/// Checks all of a descriptor.
pub(super) fn check(descriptor: &Descriptor, rules: Rules) -> Result<(), Objection> {
    let opcode = descriptor.opcode();
    let Rules { profile, queue, member } = rules;
    let has_record = descriptor.flags().contains(DescriptorFlags::COMPLETION_ADDRESS_VALID);
    if has_record && !descriptor.completion_address.is_multiple_of(record_alignment(profile.kind)) {
        return Err(DsaStatus::COMPLETION_MISALIGNED.into());
    }
    if !profile.does(opcode) || member && matches!(opcode, Opcode::BATCH | Opcode::DRAIN) {
        return Err(DsaStatus::BAD_OPCODE.into());
    }
    check_flags(descriptor, rules)?;
    if queue.control.contains(QueueControl::DEDICATED) {
        // Privilege and PASID are those of the queue.
    } else if !member && descriptor.pasid_and_privilege >> 31 == 1 {
        return Err(DsaStatus(0x1d).into());
    }
    check_reserved(descriptor, rules)?;
    check_interrupt(descriptor, profile)?;
    if opcode == Opcode::BATCH {
        return check_batch(descriptor, queue);
    }
    let size = u64::from(descriptor.bytes);
    if size == 0 && takes_size(opcode) || size > 1 << queue.limits.max_transfer_shift() {
        return Err(DsaStatus::BAD_SIZE.into());
    }
    match opcode {
        Opcode::MEMORY_MOVE if !profile.general.contains(GeneralCapabilities::OVERLAP_COPY) => {
            apart(&[first(descriptor), second(descriptor)])
        }
        Opcode::COPY_WITH_CRC => {
            check_seed(descriptor)?;
            apart(&[first(descriptor), second(descriptor)])
        }
        Opcode::CRC_GENERATION => check_seed(descriptor),
        Opcode::DUALCAST => check_dualcast(descriptor),
        Opcode::CREATE_DELTA => check_create(descriptor, profile),
        Opcode::APPLY_DELTA => check_apply(descriptor),
        _ => Ok(()),
    }
}

/// Whether an operation has a transfer size that must not be 0. Those of IAA see to theirs themselves.
pub(super) fn takes_size(opcode: Opcode) -> bool {
    (Opcode::MEMORY_MOVE.0..=Opcode::COPY_WITH_CRC.0).contains(&opcode.0)
}

/// The flags that an operation may have, GENCAP aside.
fn allowed(kind: Kind, opcode: Opcode) -> DescriptorFlags {
    use DescriptorFlags as F;
    let (tc1, tc2, tc3) = (F::TRAFFIC_CLASS_1, F::TRAFFIC_CLASS_2, F::TRAFFIC_CLASS_3);
    let writes = F::CACHE_CONTROL | F::STRICT_ORDERING | F::DESTINATION_READBACK | F::DESTINATION_STEERING;
    let works = F::FENCE | F::BLOCK_ON_FAULT;
    let crc = F::SEED_FROM_MEMORY | F::CRC_BYPASS_INVERSION | F::CRC_BYPASS_REFLECTION;
    let drain = tc1 | tc2 | DRAIN_SUPPRESS | DRAIN_READBACK_1 | DRAIN_READBACK_2;
    let own = match opcode {
        Opcode::NOOP => F::FENCE,
        Opcode::BATCH => tc1,
        Opcode::DRAIN => drain,
        Opcode::MEMORY_MOVE => works | writes | tc1 | tc2,
        Opcode::FILL => works | writes | tc2,
        Opcode::COMPARE => works | F::CHECK_RESULT | tc1 | tc2,
        Opcode::COMPARE_PATTERN => works | F::CHECK_RESULT | tc1,
        Opcode::CREATE_DELTA => works | writes | F::CHECK_RESULT | tc1 | tc2 | tc3,
        Opcode::APPLY_DELTA => works | writes | tc1 | tc2,
        Opcode::DUALCAST => works | writes | tc1 | tc2 | tc3 | SECOND_STEERING,
        Opcode::CRC_GENERATION => works | tc1 | tc3 | crc,
        Opcode::COPY_WITH_CRC => works | writes | tc1 | tc2 | tc3 | crc,
        // Which of them each of IAA's own operations takes, it says itself.
        Opcode::DECOMPRESS | Opcode::COMPRESS | Opcode::CRC64 => {
            works | writes | tc1 | tc2 | tc3 | F::from_bits_retain(0xff << 16)
        }
        _ => F::empty(),
    };
    let own = if kind == Kind::Iaa { own - F::FENCE } else { own };
    own | F::COMPLETION_ADDRESS_VALID
        | F::REQUEST_COMPLETION
        | F::REQUEST_INTERRUPT
        | F::COMPLETION_STEERING
        | F::COMPLETION_TRAFFIC_CLASS
}

fn check_flags(descriptor: &Descriptor, rules: Rules) -> Result<(), Objection> {
    use DescriptorFlags as F;
    let Rules { profile, queue, .. } = rules;
    let flags = descriptor.flags();
    let mut bad = flags.difference(allowed(profile.kind, descriptor.opcode()));
    let can = |what| profile.general.contains(what);
    let mut gate = |flag: DescriptorFlags, open: bool| {
        if flags.contains(flag) && !open {
            bad |= flag;
        }
    };
    gate(F::CACHE_CONTROL, can(GeneralCapabilities::CACHE_CONTROL_MEMORY));
    gate(F::DESTINATION_READBACK, can(GeneralCapabilities::DESTINATION_READBACK));
    let blocks = can(GeneralCapabilities::BLOCK_ON_FAULT)
        && (queue.control.contains(QueueControl::BLOCK_ON_FAULT) || !profile.quirks.blocking_refused);
    gate(F::BLOCK_ON_FAULT, blocks);
    if descriptor.opcode() == Opcode::DRAIN {
        gate(DRAIN_READBACK_1, can(GeneralCapabilities::DRAIN_READBACK));
        gate(DRAIN_READBACK_2, can(GeneralCapabilities::DRAIN_READBACK));
    }
    gate(F::REQUEST_COMPLETION, flags.contains(F::COMPLETION_ADDRESS_VALID));
    if bad.is_empty() { Ok(()) } else { Err(Objection { status: DsaStatus::BAD_FLAGS, flags: bad }) }
}

/// Whatever an operation does not use must be zero.
fn check_reserved(descriptor: &Descriptor, rules: Rules) -> Result<(), Objection> {
    let opcode = descriptor.opcode();
    let mut rest = *descriptor;
    // PASID and privilege; in a batch the batch's count.
    rest.pasid_and_privilege &= if rules.member { 0 } else { 0x7ff0_0000 };
    (rest.flags_and_opcode, rest.completion_address) = (0, 0);
    if descriptor.flags().contains(DescriptorFlags::REQUEST_INTERRUPT) {
        rest.interrupt_handle = 0;
    }
    let drains = opcode == Opcode::DRAIN;
    if opcode != Opcode::NOOP && (!drains || descriptor.flags().contains(DRAIN_READBACK_1)) {
        rest.source = 0;
    }
    if !matches!(opcode, Opcode::NOOP | Opcode::BATCH | Opcode::CRC_GENERATION)
        && (!drains || descriptor.flags().contains(DRAIN_READBACK_2))
    {
        rest.destination = 0;
    }
    if takes_size(opcode) || opcode == Opcode::BATCH {
        rest.bytes = 0;
    }
    let operands = &mut rest.operands;
    match opcode {
        // One bit says which result is expected.
        Opcode::COMPARE | Opcode::COMPARE_PATTERN => operands[0] &= !1,
        Opcode::CREATE_DELTA => {
            operands[..12].zero();
            operands[16] &= !7;
        }
        Opcode::APPLY_DELTA => operands[..4].zero(),
        Opcode::DUALCAST => operands[..8].zero(),
        Opcode::CRC_GENERATION | Opcode::COPY_WITH_CRC => {
            operands[..4].zero();
            operands[8..16].zero();
        }
        // What is reserved there, those operations know.
        Opcode::DECOMPRESS | Opcode::COMPRESS | Opcode::CRC64 => {
            (rest.bytes, rest.operation_flags) = (0, 0);
            operands.zero();
        }
        _ => {}
    }
    let clean = rest.as_bytes().iter().all(|&byte| byte == 0);
    if clean { Ok(()) } else { Err(DsaStatus::RESERVED_FIELD.into()) }
}

/// Vector 0 is of errors and commands; descriptors have the others.
fn check_interrupt(descriptor: &Descriptor, profile: &Profile) -> Result<(), Objection> {
    let asks = descriptor.flags().contains(DescriptorFlags::REQUEST_INTERRUPT);
    if asks && !(1..profile.vectors).contains(&descriptor.interrupt_handle) {
        return Err(DsaStatus::BAD_INTERRUPT.into());
    }
    Ok(())
}

fn check_batch(descriptor: &Descriptor, queue: &QueueConfiguration) -> Result<(), Objection> {
    if descriptor.bytes < 2 || descriptor.bytes > 1 << queue.limits.max_batch_shift() {
        return Err(DsaStatus::BAD_COUNT.into());
    }
    if !descriptor.source.is_multiple_of(64) {
        return Err(DsaStatus::LIST_MISALIGNED.into());
    }
    Ok(())
}

fn check_seed(descriptor: &Descriptor) -> Result<(), Objection> {
    let operands: CrcOperands = descriptor.operands();
    let from_memory = descriptor.flags().contains(DescriptorFlags::SEED_FROM_MEMORY);
    if from_memory && !operands.seed_address.is_multiple_of(4) {
        return Err(DsaStatus::MISALIGNED.into());
    }
    Ok(())
}

fn check_dualcast(descriptor: &Descriptor) -> Result<(), Objection> {
    let second_destination = descriptor.operands::<DualcastOperands>().second_destination;
    if (descriptor.destination ^ second_destination) & 0xfff != 0 {
        return Err(DsaStatus::DUALCAST_ALIGNMENT.into());
    }
    let third = Extent { start: second_destination, bytes: descriptor.bytes.into() };
    apart(&[first(descriptor), second(descriptor), third])
}

fn check_create(descriptor: &Descriptor, profile: &Profile) -> Result<(), Objection> {
    let operands: CreateDeltaOperands = descriptor.operands();
    check_region(descriptor.bytes)?;
    words(&[descriptor.source, descriptor.destination, operands.delta_address])?;
    let most = operands.max_delta_bytes;
    let odd = profile.quirks.delta_size_by_ten && !most.is_multiple_of(10);
    if most < LEAST_DELTA_BYTES || odd {
        return Err(DsaStatus::BAD_DELTA_SIZE.into());
    }
    let record = Extent { start: operands.delta_address, bytes: most.into() };
    if profile.quirks.delta_overlap_refused {
        apart(&[first(descriptor), record])?;
        apart(&[second(descriptor), record])?;
    }
    Ok(())
}

fn check_apply(descriptor: &Descriptor) -> Result<(), Objection> {
    let bytes = descriptor.operands::<ApplyDeltaOperands>().delta_bytes;
    check_region(descriptor.bytes)?;
    words(&[descriptor.source, descriptor.destination])?;
    if bytes == 0 || !u64::from(bytes).is_multiple_of(ENTRY_BYTES as u64) {
        return Err(DsaStatus::BAD_DELTA_SIZE.into());
    }
    apart(&[Extent { start: descriptor.source, bytes: bytes.into() }, second(descriptor)])
}

/// The size of what a delta record is about.
fn check_region(bytes: u32) -> Result<(), Objection> {
    if bytes as usize > MAX_REGION_BYTES {
        return Err(DsaStatus::BAD_SIZE.into());
    }
    words(&[bytes.into()])
}

fn words(values: &[u64]) -> Result<(), Objection> {
    let aligned = values.iter().all(|value| value.is_multiple_of(8));
    if aligned { Ok(()) } else { Err(DsaStatus::MISALIGNED.into()) }
}

/// Some memory that a descriptor names.
#[derive(Clone, Copy)]
struct Extent {
    start: u64,
    bytes: u64,
}

fn first(descriptor: &Descriptor) -> Extent {
    Extent { start: descriptor.source, bytes: descriptor.bytes.into() }
}

fn second(descriptor: &Descriptor) -> Extent {
    Extent { start: descriptor.destination, bytes: descriptor.bytes.into() }
}

/// No two of these overlap.
fn apart(extents: &[Extent]) -> Result<(), Objection> {
    let pairs = extents
        .iter()
        .enumerate()
        .flat_map(|(index, one)| extents[index + 1..].iter().map(move |other| (one, other)));
    for (one, other) in pairs {
        let (low, high) = if one.start <= other.start { (one, other) } else { (other, one) };
        if high.start - low.start < low.bytes {
            return Err(DsaStatus::OVERLAP.into());
        }
    }
    Ok(())
}
