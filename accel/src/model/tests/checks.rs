//! Descriptors that a device must refuse, and how.

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags as F;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::{
    ApplyDeltaOperands, CrcOperands, CreateDeltaOperands, DualcastOperands,
};
use pageferry_bindings::idxd::registers::SoftwareErrorWord;
use zerocopy::{FromBytes, IntoBytes};

use super::{Rig, USUAL, dedicated, descriptor, wait_for};
use crate::model::fault::FaultPlan;
use crate::model::profile::Profile;
use crate::model::{Submission, Timing};

const ALL: [Opcode; 11] = [
    Opcode::NOOP,
    Opcode::DRAIN,
    Opcode::MEMORY_MOVE,
    Opcode::FILL,
    Opcode::COMPARE,
    Opcode::COMPARE_PATTERN,
    Opcode::CREATE_DELTA,
    Opcode::APPLY_DELTA,
    Opcode::DUALCAST,
    Opcode::CRC_GENERATION,
    Opcode::COPY_WITH_CRC,
];

/// A descriptor of an operation that succeeds, over 64 KiB at `base` of zeros.
fn good(opcode: Opcode, base: u64) -> Descriptor {
    let job = descriptor(opcode, base, base + 0x4000, 64);
    match opcode {
        Opcode::NOOP | Opcode::DRAIN => Descriptor::new(opcode, USUAL),
        Opcode::COMPARE_PATTERN | Opcode::CRC_GENERATION => Descriptor { destination: 0, ..job },
        Opcode::FILL => Descriptor { source: 0, ..job },
        Opcode::CREATE_DELTA => job.with_operands(&CreateDeltaOperands {
            delta_address: base + 0x8000,
            max_delta_bytes: 80,
            ..CreateDeltaOperands::default()
        }),
        Opcode::APPLY_DELTA => {
            job.with_operands(&ApplyDeltaOperands { delta_bytes: 10, ..ApplyDeltaOperands::default() })
        }
        Opcode::DUALCAST => job.with_operands(&DualcastOperands {
            second_destination: base + 0x8000,
            ..DualcastOperands::default()
        }),
        _ => job,
    }
}

/// The flags that each operation may have (DML `flags.hpp`), by bit, beyond those of completion records and interrupts.
fn granted(opcode: Opcode) -> &'static [u32] {
    match opcode {
        Opcode::NOOP => &[0],
        Opcode::DRAIN => &[9, 10, 18, 19],
        Opcode::MEMORY_MOVE | Opcode::APPLY_DELTA => &[0, 1, 8, 9, 10, 13, 14, 15],
        Opcode::FILL => &[0, 1, 8, 10, 13, 14, 15],
        Opcode::COMPARE => &[0, 1, 7, 9, 10],
        Opcode::COMPARE_PATTERN => &[0, 1, 7, 9],
        Opcode::CREATE_DELTA => &[0, 1, 7, 8, 9, 10, 11, 13, 14, 15],
        Opcode::DUALCAST => &[0, 1, 8, 9, 10, 11, 13, 14, 15, 16],
        Opcode::CRC_GENERATION => &[0, 1, 9, 11, 16, 17, 18],
        Opcode::COPY_WITH_CRC => &[0, 1, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18],
        _ => &[],
    }
}

#[test]
fn every_operation_takes_its_flags_and_no_others() {
    let mut rig = Rig::of(Profile::dsa_full());
    let memory = rig.block(64 << 10);
    for opcode in ALL {
        let job = good(opcode, memory.address().0);
        assert_eq!(rig.run(job).status, 1, "{opcode:?}");
        for bit in (0..24).filter(|bit| ![2, 3, 4].contains(bit)) {
            let mut flagged = job;
            flagged.flags_and_opcode |= 1 << bit;
            if bit == 16 && [Opcode::CRC_GENERATION, Opcode::COPY_WITH_CRC].contains(&opcode) {
                let seed_address = memory.address().0;
                flagged = flagged.with_operands(&CrcOperands { seed_address, ..CrcOperands::default() });
            }
            // Those of the record itself are everybody's.
            let fine = [5, 12].contains(&bit) || granted(opcode).contains(&bit);
            // A check of 0 against an expected 0 is a success; create-delta's mask of 0 accepts nothing.
            let success = if bit == 7 && opcode == Opcode::CREATE_DELTA { 2 } else { 1 };
            let answer = rig.run(flagged);
            let expected = if fine { (success, 0) } else { (0x11, 1 << bit) };
            let invalid = if answer.status == 0x11 { answer.value } else { 0 };
            assert_eq!((answer.status, invalid), expected, "{opcode:?}, flag bit {bit}");
        }
    }
}

#[test]
fn whatever_an_operation_does_not_use_must_be_zero() {
    let mut rig = Rig::of(Profile::dsa_full());
    let memory = rig.block(64 << 10);
    // Bytes that each operation uses, beyond flags, operation and record.
    let used = |opcode: Opcode| -> Vec<usize> {
        let (two, size) = (16..32, 32..36);
        match opcode {
            Opcode::NOOP | Opcode::DRAIN => vec![],
            Opcode::CRC_GENERATION => (16..24).chain(size).chain(40..44).chain(48..56).collect(),
            Opcode::COPY_WITH_CRC => two.chain(size).chain(40..44).chain(48..56).collect(),
            Opcode::COMPARE | Opcode::COMPARE_PATTERN => two.chain(size).chain(40..41).collect(),
            Opcode::CREATE_DELTA => two.chain(size).chain(40..52).chain(56..57).collect(),
            Opcode::APPLY_DELTA => two.chain(size).chain(40..44).collect(),
            Opcode::DUALCAST => two.chain(size).chain(40..48).collect(),
            _ => two.chain(size).collect(),
        }
    };
    for opcode in ALL {
        let job = good(opcode, memory.address().0);
        for byte in 16..64 {
            let mut bytes: [u8; 64] = zerocopy::transmute!(job);
            if used(opcode).contains(&byte) {
                continue;
            }
            bytes[byte] ^= 0x80;
            let changed = Descriptor::read_from_bytes(&bytes).unwrap();
            assert_eq!(rig.run(changed).status, 0x12, "{opcode:?}, byte {byte}");
        }
        for (bits, status) in [(1 << 20, 0x12), (1 << 30, 0x12), (0xf_ffff, 1), (1 << 31, 1)] {
            let changed = Descriptor { pasid_and_privilege: bits, ..job };
            assert_eq!(rig.run(changed).status, status, "{opcode:?}, first word {bits:#x}");
        }
    }
    for (opcode, byte, value) in
        [(Opcode::COMPARE, 40, 2), (Opcode::COMPARE_PATTERN, 40, 0xff), (Opcode::CREATE_DELTA, 56, 8)]
    {
        let mut job = good(opcode, memory.address().0);
        job.as_mut_bytes()[byte] = value;
        assert_eq!(rig.run(job).status, 0x12, "{opcode:?} with {value} in byte {byte}");
    }
}

#[test]
fn sizes_alignments_and_overlaps_have_their_own_codes() {
    let mut rig = Rig::of(Profile::dsa_full());
    let memory = rig.block(1 << 20);
    let base = memory.address().0;
    let job = |opcode| good(opcode, base);
    let delta = |change: &dyn Fn(&mut CreateDeltaOperands)| {
        let job = job(Opcode::CREATE_DELTA);
        let mut operands: CreateDeltaOperands = job.operands();
        change(&mut operands);
        job.with_operands(&operands)
    };
    let applied = |delta_bytes| {
        let operands = ApplyDeltaOperands { delta_bytes, ..ApplyDeltaOperands::default() };
        job(Opcode::APPLY_DELTA).with_operands(&operands)
    };
    let second = |second_destination| {
        let operands = DualcastOperands { second_destination, ..DualcastOperands::default() };
        job(Opcode::DUALCAST).with_operands(&operands)
    };
    let mut seeded = job(Opcode::CRC_GENERATION)
        .with_operands(&CrcOperands { seed_address: base + 2, ..CrcOperands::default() });
    seeded.flags_and_opcode |= F::SEED_FROM_MEMORY.bits();
    let mut interrupting = job(Opcode::NOOP);
    interrupting.flags_and_opcode |= F::REQUEST_INTERRUPT.bits();
    let (over, region) = ((1 << 21) + 8, (512 << 10) + 8);
    let cases = [
        ("unknown operation", Descriptor::new(Opcode(0x3f), USUAL), 0x10),
        ("operation not modelled", Descriptor::new(Opcode::CACHE_FLUSH, USUAL), 0x10),
        ("operation of IAA", Descriptor::new(Opcode::COMPRESS, USUAL), 0x10),
        ("no interrupt handle", interrupting, 0x19),
        ("handle too high", Descriptor { interrupt_handle: 9, ..interrupting }, 0x19),
        ("handle", Descriptor { interrupt_handle: 8, ..interrupting }, 1),
        ("beyond the queue's transfer", Descriptor { bytes: over, ..job(Opcode::FILL) }, 0x13),
        ("region too large", Descriptor { bytes: region, ..job(Opcode::CREATE_DELTA) }, 0x13),
        ("region too large", Descriptor { bytes: region, ..job(Opcode::APPLY_DELTA) }, 0x13),
        ("region of no words", Descriptor { bytes: 63, ..job(Opcode::CREATE_DELTA) }, 0x1c),
        ("region of no words", Descriptor { bytes: 63, ..job(Opcode::APPLY_DELTA) }, 0x1c),
        ("source 1 of a delta", Descriptor { source: base + 4, ..job(Opcode::CREATE_DELTA) }, 0x1c),
        ("source 2 of a delta", Descriptor { destination: base + 4, ..job(Opcode::CREATE_DELTA) }, 0x1c),
        ("record of a delta", delta(&|delta| delta.delta_address += 4), 0x1c),
        ("record", Descriptor { source: base + 4, ..job(Opcode::APPLY_DELTA) }, 0x1c),
        ("destination", Descriptor { destination: base + 4, ..job(Opcode::APPLY_DELTA) }, 0x1c),
        ("seed", seeded, 0x1c),
        ("no room for a line", delta(&|delta| delta.max_delta_bytes = 70), 0x15),
        ("no room for whole entries", delta(&|delta| delta.max_delta_bytes = 84), 0x15),
        ("empty record", applied(0), 0x15),
        ("record of no entries", applied(19), 0x15),
        ("record over source 1", delta(&|delta| delta.delta_address = base + 56), 0x16),
        ("record over source 2", delta(&|delta| delta.delta_address = base + 0x4000 - 72), 0x16),
        ("record beside source 2", delta(&|delta| delta.delta_address = base + 0x4000 - 80), 1),
        ("record over destination", Descriptor { source: base + 0x4038, ..job(Opcode::APPLY_DELTA) }, 0x16),
        ("copy over itself", Descriptor { destination: base + 63, ..job(Opcode::COPY_WITH_CRC) }, 0x16),
        ("destinations not alike", second(base + 0x8010), 0x17),
        ("destinations alike and one", second(base + 0x4000), 0x16),
        ("destination over source", second(base), 0x16),
    ];
    for (what, descriptor, status) in cases {
        assert_eq!(rig.run(descriptor).status, status, "{what}");
    }
    for opcode in ALL.into_iter().filter(|opcode| opcode.0 > Opcode::DRAIN.0) {
        assert_eq!(rig.run(Descriptor { bytes: 0, ..job(opcode) }).status, 0x13, "{opcode:?} of nothing");
    }
}

#[test]
fn what_is_not_confirmed_about_deltas_can_be_switched_off() {
    let mut profile = Profile::dsa_full();
    profile.quirks.delta_size_by_ten = false;
    profile.quirks.delta_overlap_refused = false;
    let mut rig = Rig::of(profile);
    let memory = rig.block(64 << 10);
    let operands = CreateDeltaOperands {
        delta_address: memory.address().0 + 8,
        max_delta_bytes: 84,
        ..CreateDeltaOperands::default()
    };
    let job = good(Opcode::CREATE_DELTA, memory.address().0).with_operands(&operands);
    assert_eq!(rig.run(job).status, 1);
}

#[test]
fn a_sapphire_rapids_has_no_deltas_and_an_iaa_has_little_of_dsa() {
    let mut dsa = Rig::of(Profile::spr_dsa());
    let memory = dsa.block(64 << 10);
    for opcode in [Opcode::CREATE_DELTA, Opcode::APPLY_DELTA] {
        assert_eq!(dsa.run(good(opcode, memory.address().0)).status, 0x10);
    }
    let mut iaa = Rig::of(Profile::spr_iaa());
    let memory = iaa.block(64 << 10);
    for opcode in ALL {
        let there = [Opcode::NOOP, Opcode::DRAIN, Opcode::MEMORY_MOVE].contains(&opcode);
        let answer = iaa.run(good(opcode, memory.address().0));
        assert_eq!(answer.status, if there { 1 } else { 0x10 }, "{opcode:?}");
    }
    assert_eq!(iaa.run(descriptor(Opcode::BATCH, memory.address().0, 0, 2)).status, 0x10);
    let mut fenced = Descriptor::new(Opcode::NOOP, USUAL | F::FENCE);
    assert_eq!(iaa.run(fenced).status, 0x11, "there are no batches to fence");
    fenced = good(Opcode::MEMORY_MOVE, memory.address().0);
    fenced.destination = fenced.source + 1;
    assert_eq!(iaa.run(fenced).status, 0x16, "an IAA's copies may not overlap");
}

#[test]
fn flags_of_faults_are_for_queues_that_have_them() {
    for (refused, status) in [(true, 0x11), (false, 1)] {
        let mut profile = Profile::spr_dsa();
        profile.quirks.blocking_refused = refused;
        let mut rig = Rig::off(profile, Timing::at_once(), FaultPlan::none());
        let mut queue = dedicated(16);
        queue.control -= pageferry_bindings::idxd::tables::QueueControl::BLOCK_ON_FAULT;
        rig.enable(&[queue]);
        let memory = rig.block(64 << 10);
        let mut job = good(Opcode::FILL, memory.address().0);
        job.flags_and_opcode |= F::BLOCK_ON_FAULT.bits();
        assert_eq!(rig.run(job).status, status);
    }
}

#[test]
fn what_no_record_can_tell_is_told_by_the_error_register() {
    let rig = Rig::of(Profile::spr_dsa());
    let unmapped = 0x7000_0000_0000;
    let noop = Descriptor::new(Opcode::NOOP, USUAL);
    let no_address = Descriptor::new(Opcode::FILL, F::empty());
    let no_valid_address = Descriptor::new(Opcode::NOOP, F::REQUEST_COMPLETION);
    let misaligned = rig.record_address(0) + 16;
    for (job, error, fault_address, invalid_flags) in [
        (Descriptor { completion_address: misaligned, ..noop }, 0x1b, 0, 0),
        (Descriptor { completion_address: unmapped, ..noop }, 0x1a, unmapped, 0),
        (no_address, 0x13, 0, 0),
        (no_valid_address, 0x11, 0, 8),
    ] {
        assert_eq!(rig.submit_as_is(&job), Submission::Taken);
        let told = wait_for("an error", || {
            Some(rig.software_error()).filter(|error| error.what.contains(SoftwareErrorWord::VALID))
        });
        let what = told.what;
        assert_eq!(
            (what.error(), told.fault_address, told.invalid_flags),
            (error, fault_address, invalid_flags)
        );
        assert_eq!((what.queue(), what.opcode()), (0, job.opcode()));
        assert!(what.contains(SoftwareErrorWord::DESCRIPTOR_VALID | SoftwareErrorWord::QUEUE_VALID));
        assert_eq!(rig.read(pageferry_bindings::idxd::registers::INTCAUSE) & 1, 1);
        rig.write(pageferry_bindings::idxd::registers::INTCAUSE, &1_u32.to_le_bytes());
        rig.write(pageferry_bindings::idxd::registers::SWERR, &3_u32.to_le_bytes());
        assert_eq!(rig.software_error(), pageferry_bindings::idxd::registers::SoftwareError::default());
        assert_eq!(rig.status(0), 0);
    }
}

#[test]
fn whatever_is_submitted_the_next_descriptor_is_done_too() {
    for (seed, profile) in [(1, Profile::dsa_full()), (2, Profile::spr_iaa())] {
        let rig = Rig::of(profile);
        let memory = rig.block(64 << 10);
        let near = memory.address().0;
        let plan = FaultPlan { seed, rules: Vec::new() };
        for number in 0..4000 {
            let mut purpose = 0;
            let mut draw = |choices: u64| {
                purpose += 1;
                plan.draw(number, purpose) % choices
            };
            let mut word = || match draw(8) {
                0 => 0,
                1 => u64::MAX - draw(200),
                2 => draw(u64::MAX),
                3 => near + draw(64 << 10),
                _ => near + draw(1 << 10) * 64,
            };
            let mut job = Descriptor { source: word(), destination: word(), ..Descriptor::default() };
            for operand in job.operands.chunks_exact_mut(8) {
                operand.copy_from_slice(&word().to_le_bytes());
            }
            let opcode = match draw(4) {
                0 => draw(0x100),
                1 => 0x42 + draw(3),
                _ => draw(0x12),
            };
            let flags = (1 << draw(24)) & draw(1 << 24) | if draw(4) > 0 { USUAL.bits().into() } else { 0 };
            job.flags_and_opcode = u32::try_from(opcode << 24 | flags).unwrap();
            job.bytes = u32::try_from(match draw(3) {
                0 => draw(100) * 8,
                1 => draw(1 << 20),
                _ => draw(1 << 32),
            })
            .unwrap();
            job.completion_address = rig.record_address(0) + if draw(8) == 0 { 8 } else { 0 };
            assert_eq!(rig.submit_as_is(&job), Submission::Taken);
            rig.submit(1, Descriptor::new(Opcode::NOOP, USUAL));
            rig.record(1);
            // SAFETY: the model has done all that it was given.
            unsafe { rig.records.as_ptr().add(64).write_volatile(0) };
        }
    }
}
