//! Operations against the codecs and checksums of this crate, and page faults that are resumed as DML resumes them.

use pageferry_bindings::idxd::completion::{DsaCompletion, WRITE_FAULT};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::{
    ApplyDeltaOperands, CompareOperands, CrcOperands, CreateDeltaOperands, DualcastOperands,
};
use pageferry_bindings::idxd::status::DsaStatus;

use super::crc::by_definition;
use crate::checksum::{ChecksumKind, crc32c};
use crate::codec::delta;
use crate::dma::Block;
use crate::model::fault::{Fault, FaultPlan, When};
use crate::model::profile::{Profile, Quirks};
use crate::model::tests::{Rig, USUAL, descriptor, pattern};
use crate::model::{Submission, Timing};

fn full(change: impl Fn(&mut Quirks)) -> Profile {
    let mut profile = Profile::dsa_full();
    change(&mut profile.quirks);
    profile
}

fn address(block: &Block) -> u64 {
    block.address().0
}

fn create(old: &Block, new: &Block, delta: &Block, bytes: usize, most: usize) -> Descriptor {
    let operands = CreateDeltaOperands {
        delta_address: address(delta),
        max_delta_bytes: u32::try_from(most).unwrap(),
        ..CreateDeltaOperands::default()
    };
    descriptor(Opcode::CREATE_DELTA, address(old), address(new), bytes).with_operands(&operands)
}

fn apply(delta: &Block, region: &Block, bytes: usize, delta_bytes: usize) -> Descriptor {
    let delta_bytes = u32::try_from(delta_bytes).unwrap();
    descriptor(Opcode::APPLY_DELTA, address(delta), address(region), bytes)
        .with_operands(&ApplyDeltaOperands { delta_bytes, ..ApplyDeltaOperands::default() })
}

/// Changes every `step`th word of a region.
fn change_words(region: &mut [u8], first: usize, step: usize) {
    region.chunks_exact_mut(8).skip(first).step_by(step).for_each(|word| word[3] ^= 0x5a);
}

#[test]
fn delta_records_are_those_of_the_software_codec() {
    for at_line in [false, true] {
        for progress in [false, true] {
            let rig = &mut Rig::of(full(|quirks| {
                quirks.delta_stops_at_line = at_line;
                quirks.delta_overflow_progress = progress;
            }));
            let (mut old, mut new) = (rig.block(512 << 10), rig.block(512 << 10));
            let mut record = rig.block(641 << 10);
            pattern(7, &mut old);
            for bytes in [8, 16, 64, 72, 4088, 4096, 4104, 65536, 512 << 10] {
                for (first, step) in [(0, 1), (0, 3), (5, 9), (3, 512), (bytes / 8 - 1, 1), (usize::MAX, 1)] {
                    new.copy_from_slice(&old);
                    if first != usize::MAX {
                        change_words(&mut new[..bytes], first, step);
                    }
                    check_delta(rig, &old[..], &new[..], [&old, &new], &mut record, bytes);
                }
            }
        }
    }
}

/// Makes a delta with enough room, just enough, and too little.
fn check_delta(rig: &mut Rig, old: &[u8], new: &[u8], blocks: [&Block; 2], record: &mut Block, bytes: usize) {
    let mut expected = vec![0; bytes / 8 * 10];
    let length = delta::encode(&old[..bytes], &new[..bytes], &mut expected).unwrap();
    let quirks = rig.model.profile().quirks.clone();
    for most in [bytes / 8 * 10 + 80, length.max(80), length.saturating_sub(10).max(80), 80] {
        record[..bytes / 8 * 10 + 80].fill(0xee);
        let context = format!("{bytes} bytes, record of {length} in {most}");
        let answer = rig.run(create(blocks[0], blocks[1], record, bytes, most));
        assert_eq!(answer.status, 1, "{context}");
        let written = answer.value as usize;
        if length <= most {
            assert_eq!((answer.result, written), (u8::from(length > 0), length), "{context}");
            assert_eq!(answer.bytes_completed as usize, bytes, "{context}");
        } else {
            assert_eq!(answer.result, 2, "{context}");
            let word_of = |at: usize| usize::from(u16::from_le_bytes([expected[at], expected[at + 1]]));
            if quirks.delta_stops_at_line {
                assert!(written <= most && written.is_multiple_of(10), "{context}: {written}");
                assert_ne!(
                    written.checked_sub(10).map(|at| word_of(at) / 8),
                    Some(word_of(written) / 8),
                    "{context}"
                );
                assert_eq!(
                    word_of(most) / 8,
                    word_of(written) / 8,
                    "{context}: a whole line would have fitted"
                );
            } else {
                assert_eq!(written, most, "{context}");
            }
            let covered = if quirks.delta_overflow_progress { word_of(written) * 8 } else { 0 };
            assert_eq!(answer.bytes_completed as usize, covered, "{context}");
        }
        assert_eq!(record[..written], expected[..written], "{context}");
        assert!(
            record[written..bytes / 8 * 10 + 80].iter().all(|&byte| byte == 0xee),
            "{context}: written beyond the record"
        );
    }
}

#[test]
fn a_delta_applied_to_the_old_region_makes_the_new_one() {
    let mut rig = Rig::of(Profile::dsa_full());
    let [mut old, mut new, record] = [64 << 10, 64 << 10, 80 << 10].map(|bytes| rig.block(bytes));
    pattern(3, &mut old);
    new.copy_from_slice(&old);
    change_words(&mut new, 2, 7);
    let answer = rig.run(create(&old, &new, &record, 64 << 10, 80 << 10));
    let answer = rig.run(apply(&record, &old, 64 << 10, answer.value as usize));
    assert_eq!(answer.status, 1);
    assert_eq!(old[..], new[..]);
}

#[test]
fn a_bad_entry_ends_an_apply_before_or_after_those_in_front_of_it() {
    for applied in [true, false] {
        let mut rig = Rig::of(full(|quirks| quirks.delta_applied_before_error = applied));
        let [mut region, mut record] = [4096, 4096].map(|bytes| rig.block(bytes));
        for (second, status) in [(4, 7), (5, 7), (512, 8), (511, 1)] {
            region.fill(0);
            record[..20].fill(1);
            record[..2].copy_from_slice(&5_u16.to_le_bytes());
            record[10..12].copy_from_slice(&u16::to_le_bytes(second));
            assert_eq!(rig.run(apply(&record, &region, 4096, 20)).status, status, "word {second} after 5");
            assert_eq!(region[40] == 1, applied || status == 1, "word {second} after 5");
        }
        // More entries than there are words: the first one too many is out of order or out of range.
        let answer = rig.run(apply(&record, &region, 8, 4090));
        assert_eq!(answer.status, DsaStatus::DELTA_OFFSET_RANGE.0);
    }
}

#[test]
fn the_mask_says_which_results_of_create_delta_are_expected() {
    let mut rig = Rig::of(Profile::dsa_full());
    let [old, mut new, record] = [4096; 3].map(|bytes| rig.block(bytes));
    for (changed, result) in [(0, 0), (8, 1), (9, 2)] {
        new.fill(0);
        change_words(&mut new[..changed * 8], 0, 1);
        for expected_mask in 0..8_u8 {
            let operands = CreateDeltaOperands {
                delta_address: address(&record),
                max_delta_bytes: 80,
                expected_mask,
                ..CreateDeltaOperands::default()
            };
            let mut descriptor = create(&old, &new, &record, 4096, 80).with_operands(&operands);
            let answer = rig.run(descriptor);
            assert_eq!((answer.status, answer.result), (1, result), "the mask counts only with the flag");
            descriptor.flags_and_opcode |= DescriptorFlags::CHECK_RESULT.bits();
            let status = if expected_mask >> result & 1 == 1 { 1 } else { 2 };
            assert_eq!(rig.run(descriptor).status, status, "result {result}, mask {expected_mask:#b}");
        }
    }
}

#[test]
fn comparisons_find_the_first_difference() {
    for by_byte in [false, true] {
        let mut rig = Rig::of(full(|quirks| quirks.pattern_by_byte = by_byte));
        let [one, mut other] = [8192; 2].map(|bytes| rig.block(bytes));
        for bytes in [1, 7, 8, 13, 4096, 8190] {
            for index in
                [0, 1, 6, 7, 12, 100, 4095, 4096, 8187, 8189].into_iter().filter(|&index| index < bytes)
            {
                other[index] = 1;
                let answer = rig.run(descriptor(Opcode::COMPARE, address(&one), address(&other), bytes));
                assert_eq!((answer.status, answer.result, answer.bytes_completed as usize), (1, 1, index));
                let answer = rig.run(descriptor(Opcode::COMPARE_PATTERN, address(&other), 0, bytes));
                let exact = by_byte || index >= bytes / 8 * 8;
                let found = if exact { index } else { index / 8 * 8 };
                assert_eq!((answer.status, answer.result, answer.bytes_completed as usize), (1, 1, found));
                other[index] = 0;
            }
        }
    }
}

#[test]
fn comparisons_are_judged_by_the_expected_result_if_the_flag_says_so() {
    for equal_is_progress in [false, true] {
        let mut rig = Rig::of(full(|quirks| quirks.equal_is_progress = equal_is_progress));
        let [one, mut other] = [64; 2].map(|bytes| rig.block(bytes));
        for result in [0, 1] {
            other[9] = result;
            for expected_result in [0, 1] {
                let operands = CompareOperands { expected_result, ..CompareOperands::default() };
                for (opcode, second) in [(Opcode::COMPARE, address(&one)), (Opcode::COMPARE_PATTERN, 0)] {
                    let mut descriptor =
                        descriptor(opcode, address(&other), second, 64).with_operands(&operands);
                    let answer = rig.run(descriptor);
                    let done = if result == 1 { if opcode == Opcode::COMPARE { 9 } else { 8 } } else { 64 };
                    let done = if result == 0 && !equal_is_progress { 0 } else { done };
                    assert_eq!((answer.status, answer.result, answer.bytes_completed), (1, result, done));
                    descriptor.flags_and_opcode |= DescriptorFlags::CHECK_RESULT.bits();
                    let status = if expected_result == result { 1 } else { 2 };
                    assert_eq!(rig.run(descriptor).status, status, "{result}, expected {expected_result}");
                }
            }
        }
    }
}

#[test]
fn moves_that_overlap_are_moves_all_the_same() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let mut memory = rig.block(40_000);
    for (from, to, bytes) in
        [(0, 1, 30_000), (1, 0, 30_000), (0, 4096, 9000), (5000, 904, 9000), (3, 3, 100), (0, 20_000, 20_000)]
    {
        pattern(9, &mut memory);
        let mut expected = memory.to_vec();
        expected.copy_within(from..from + bytes, to);
        let at = |offset: usize| address(&memory) + offset as u64;
        let answer = rig.run(descriptor(Opcode::MEMORY_MOVE, at(from), at(to), bytes));
        assert_eq!((answer.status, answer.bytes_completed as usize), (1, bytes));
        assert!(memory[..] == expected[..], "{bytes} bytes from {from} to {to}");
    }
}

#[test]
fn a_fill_repeats_its_pattern_from_the_destination_on() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let mut memory = rig.block(10_000);
    let pattern = 0x0807_0605_0403_0201_u64;
    for (start, bytes) in [(0, 8), (3, 1), (5, 4099), (1, 9000)] {
        memory.fill(0);
        rig.run(descriptor(Opcode::FILL, pattern, address(&memory) + start as u64, bytes));
        for (index, &byte) in memory.iter().enumerate() {
            let inside = (start..start + bytes).contains(&index);
            let expected = if inside { pattern.to_le_bytes()[(index - start) % 8] } else { 0 };
            assert_eq!(byte, expected, "byte {index} of {bytes} from {start}");
        }
    }
}

fn crc(opcode: Opcode, source: u64, destination: u64, bytes: usize, seed: u32) -> Descriptor {
    descriptor(opcode, source, destination, bytes)
        .with_operands(&CrcOperands { seed, ..CrcOperands::default() })
}

#[test]
fn crcs_are_the_ordinary_ones_unless_flags_say_otherwise() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let [mut source, destination, mut seed] = [10_000, 10_000, 64].map(|bytes| rig.block(bytes));
    pattern(4, &mut source);
    for bytes in [1, 3, 4, 4096, 4100, 9999] {
        let whole = crc32c(&source[..bytes]);
        assert_eq!(rig.run(crc(Opcode::CRC_GENERATION, address(&source), 0, bytes, 0)).value, whole);
        let copied = rig.run(crc(Opcode::COPY_WITH_CRC, address(&source), address(&destination), bytes, 0));
        assert_eq!((copied.status, copied.value, copied.bytes_completed as usize), (1, whole, bytes));
        assert_eq!(destination[..bytes], source[..bytes]);
        let before = 0x1234_5678_u32;
        let went_on = ChecksumKind::Crc32c.update(before, &source[..bytes]);
        assert_eq!(rig.run(crc(Opcode::CRC_GENERATION, address(&source), 0, bytes, before)).value, went_on);
        assert_eq!(by_definition(before, &source[..bytes], false, false), went_on);
        seed[8..12].copy_from_slice(&before.to_le_bytes());
        let operands = CrcOperands { seed_address: address(&seed) + 8, ..CrcOperands::default() };
        let mut from_memory =
            crc(Opcode::CRC_GENERATION, address(&source), 0, bytes, 0).with_operands(&operands);
        from_memory.flags_and_opcode |= DescriptorFlags::SEED_FROM_MEMORY.bits();
        assert_eq!(rig.run(from_memory).value, went_on);
        for (flags, as_is, unreflected) in [
            (DescriptorFlags::CRC_BYPASS_INVERSION, true, false),
            (DescriptorFlags::CRC_BYPASS_REFLECTION, false, true),
            (DescriptorFlags::CRC_BYPASS_INVERSION | DescriptorFlags::CRC_BYPASS_REFLECTION, true, true),
        ] {
            let mut bypass = crc(Opcode::CRC_GENERATION, address(&source), 0, bytes, before);
            bypass.flags_and_opcode |= flags.bits();
            assert_eq!(rig.run(bypass).value, by_definition(before, &source[..bytes], as_is, unreflected));
        }
    }
}

#[test]
fn raw_crcs_are_those_of_the_catalogue() {
    // CRC-32/BZIP2 differs from this polynomial's only in it; by hand: one byte 0x80 into an empty register, as it is.
    assert_eq!(by_definition(0, &[0x80], true, true), by_definition(0, &[0x01], true, false));
    assert_eq!(by_definition(0, b"123456789", false, false), 0xe306_9283);
    assert_eq!(by_definition(0, &[1], true, true), 0x1edc_6f41);
}

#[test]
fn a_crc_of_an_odd_size_may_count_zeros_behind_it() {
    let mut rig = Rig::of(full(|quirks| quirks.crc_pads = true));
    let mut source = rig.block(4096);
    pattern(4, &mut source);
    let mut padded = source[..5].to_vec();
    padded.resize(8, 0);
    assert_eq!(rig.run(crc(Opcode::CRC_GENERATION, address(&source), 0, 5, 0)).value, crc32c(&padded));
}

#[test]
fn a_dualcast_writes_twice() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let [mut source, one, other] = [9000; 3].map(|bytes| rig.block(bytes));
    pattern(5, &mut source);
    let operands = DualcastOperands { second_destination: address(&other), ..DualcastOperands::default() };
    let job = descriptor(Opcode::DUALCAST, address(&source), address(&one), 9000).with_operands(&operands);
    assert_eq!(rig.run(job).status, 1);
    assert!(one[..] == source[..] && other[..] == source[..]);
}

/// Goes on from a page fault as DML does (`partial_completion.hpp`), and as the model's profile has it where DML guesses.
fn resume(job: &Descriptor, answer: &DsaCompletion) -> Descriptor {
    let n = u64::from(answer.bytes_completed);
    let mut next = *job;
    if job.opcode() != Opcode::APPLY_DELTA {
        next.bytes -= answer.bytes_completed;
    }
    match job.opcode() {
        Opcode::MEMORY_MOVE if answer.result == 1 => {}
        Opcode::FILL => next.destination += n,
        Opcode::COMPARE_PATTERN => next.source += n,
        Opcode::MEMORY_MOVE | Opcode::COMPARE => {
            (next.source, next.destination) = (job.source + n, job.destination + n)
        }
        Opcode::DUALCAST => {
            (next.source, next.destination) = (job.source + n, job.destination + n);
            let mut operands: DualcastOperands = job.operands();
            operands.second_destination += n;
            next = next.with_operands(&operands);
        }
        Opcode::CRC_GENERATION | Opcode::COPY_WITH_CRC => {
            next.source += n;
            if job.opcode() == Opcode::COPY_WITH_CRC {
                next.destination += n;
            }
            next = next.with_operands(&CrcOperands { seed: answer.value, ..job.operands() });
        }
        Opcode::APPLY_DELTA => {
            next.source += n;
            let delta_bytes = job.operands::<ApplyDeltaOperands>().delta_bytes - answer.bytes_completed;
            next = next.with_operands(&ApplyDeltaOperands { delta_bytes, ..ApplyDeltaOperands::default() });
        }
        Opcode::CREATE_DELTA => {
            (next.source, next.destination) = (job.source + n, job.destination + n);
            let mut operands: CreateDeltaOperands = job.operands();
            operands.delta_address += u64::from(answer.value);
            operands.max_delta_bytes -= answer.value;
            next = next.with_operands(&operands);
        }
        other => panic!("nothing to resume of {other:?}"),
    }
    next
}

#[test]
fn a_page_fault_resumes_to_the_same_bytes_as_without() {
    const BYTES: usize = 20_000;
    for opcode in [
        Opcode::MEMORY_MOVE,
        Opcode::FILL,
        Opcode::COMPARE,
        Opcode::COMPARE_PATTERN,
        Opcode::DUALCAST,
        Opcode::CRC_GENERATION,
        Opcode::COPY_WITH_CRC,
        Opcode::CREATE_DELTA,
        Opcode::APPLY_DELTA,
    ] {
        let (expected, none) = outcome(FaultPlan::none(), opcode, BYTES);
        let mut faults = 0;
        for operand in 0..3 {
            for byte in [0, 1, 108, 4096, 9999, 19_999] {
                let fault = Fault::PageFault { operand: Some(operand), byte: Some(byte) };
                let (memory, met) = outcome(FaultPlan::one(When::At(0), fault), opcode, BYTES);
                assert!(memory == expected, "{opcode:?}, operand {operand}, byte {byte}, {met} faults");
                faults += met;
            }
        }
        assert_eq!(none, 0);
        assert!(faults >= 4, "only {faults} faults of {opcode:?}");
    }
}

/// Runs one operation to its end, through all page faults. Gives all that it made, and how many faults there were.
fn outcome(plan: FaultPlan, opcode: Opcode, bytes: usize) -> (Vec<u8>, u64) {
    let mut rig = Rig::new(Profile::dsa_full(), Timing::at_once(), plan);
    let [mut first, mut second, mut third] = [32_768; 3].map(|bytes| rig.block(bytes));
    let mut job = descriptor(opcode, address(&first), address(&second), bytes);
    let mut changed: Vec<u8> = (0..bytes).map(|index| (index * index / 7).to_le_bytes()[0]).collect();
    match opcode {
        Opcode::COMPARE => second[bytes - 1] = 1,
        Opcode::COMPARE_PATTERN => {
            first[bytes - 1] = 1;
            job.destination = 0;
        }
        Opcode::CREATE_DELTA => {
            second[..bytes].copy_from_slice(&changed);
            change_words(&mut changed, 1, 3);
            first[..bytes].copy_from_slice(&changed);
            job = create(&first, &second, &third, bytes, bytes / 8 * 10);
        }
        Opcode::APPLY_DELTA => {
            let length = delta::encode(&second[..bytes], &changed, &mut first).unwrap();
            job = apply(&first, &second, bytes, length);
        }
        _ => first[..bytes].copy_from_slice(&changed),
    }
    match opcode {
        Opcode::FILL => job.source = 0x1122_3344_5566_7788,
        Opcode::CRC_GENERATION => job.destination = 0,
        Opcode::DUALCAST => {
            let second_destination = address(&third);
            job = job.with_operands(&DualcastOperands { second_destination, ..DualcastOperands::default() });
        }
        _ => {}
    }
    let (mut answer, mut base, mut delta_bytes) = (rig.run(job), 0, 0);
    while answer.status & !WRITE_FAULT == DsaStatus::PAGE_FAULT.0 {
        assert_ne!(answer.fault_address, 0);
        let before = base;
        base += answer.bytes_completed as usize;
        job = resume(&job, &answer);
        if opcode == Opcode::CREATE_DELTA {
            add_to_offsets(&mut third[delta_bytes..delta_bytes + answer.value as usize], before);
            delta_bytes += answer.value as usize;
        }
        answer = rig.run(job);
    }
    assert_eq!(answer.status, 1, "{opcode:?}");
    let mut made = vec![answer.result];
    if opcode == Opcode::CREATE_DELTA {
        let end = delta_bytes + answer.value as usize;
        add_to_offsets(&mut third[delta_bytes..end], base);
        third[end..].fill(0);
    } else {
        made.extend(answer.value.to_le_bytes());
    }
    if matches!(opcode, Opcode::COMPARE | Opcode::COMPARE_PATTERN) {
        made.extend((base + answer.bytes_completed as usize).to_le_bytes());
    }
    [&first, &second, &third].into_iter().for_each(|block| made.extend_from_slice(block));
    (made, rig.model.misdeeds().page_faults)
}

/// Moves the words that a part of a record names as far as the part began behind the region's start.
fn add_to_offsets(record: &mut [u8], base: usize) {
    for entry in record.as_chunks_mut::<10>().0 {
        let offset = usize::from(u16::from_le_bytes([entry[0], entry[1]])) + base / 8;
        entry[..2].copy_from_slice(&u16::try_from(offset).unwrap().to_le_bytes());
    }
}

#[test]
fn a_backward_move_that_faults_says_so_and_goes_on_from_its_end() {
    let fault = Fault::PageFault { operand: Some(0), byte: Some(5000) };
    let mut rig = Rig::new(Profile::spr_dsa(), Timing::at_once(), FaultPlan::one(When::At(0), fault));
    let mut memory = rig.block(40_000);
    pattern(9, &mut memory);
    let mut expected = memory.to_vec();
    expected.copy_within(0..20_000, 100);
    let job = descriptor(Opcode::MEMORY_MOVE, address(&memory), address(&memory) + 100, 20_000);
    let answer = rig.run(job);
    assert_eq!((answer.status, answer.result), (3, 1));
    // From the end, the absent part of a page is met where the page ends.
    assert_eq!((answer.bytes_completed, answer.fault_address), (20_000 - 8192, address(&memory) + 8191));
    assert_eq!(rig.run(resume(&job, &answer)).status, 1);
    assert!(memory[..] == expected[..]);
}

#[test]
fn faults_count_fills_in_words_unless_told_otherwise() {
    for (in_words, done) in [(true, 104), (false, 108)] {
        let mut profile = Profile::spr_dsa();
        profile.quirks.fill_progress_in_words = in_words;
        let fault = Fault::PageFault { operand: Some(1), byte: Some(108) };
        let mut rig = Rig::new(profile, Timing::at_once(), FaultPlan::one(When::At(0), fault));
        let memory = rig.block(4096);
        let answer = rig.run(descriptor(Opcode::FILL, 1, address(&memory), 4096));
        assert_eq!((answer.status, answer.bytes_completed), (0x83, done));
        assert_eq!((answer.fault_info, answer.fault_address), (2, address(&memory) + 108));
    }
}

#[test]
fn unmapped_memory_is_a_fault_of_the_kind_that_the_profile_has() {
    let beyond = 0x7000_0000_0000;
    for (page_fault, blocks, status) in
        [(true, false, 3), (true, true, 4), (false, false, 0x22), (false, true, 0x22)]
    {
        let mut rig = Rig::of(full(|quirks| quirks.unmapped_is_page_fault = page_fault));
        let memory = rig.block(4096);
        let mut job = descriptor(Opcode::MEMORY_MOVE, beyond, address(&memory), 64);
        if blocks {
            job.flags_and_opcode |= DescriptorFlags::BLOCK_ON_FAULT.bits();
        }
        let answer = rig.run(job);
        assert_eq!((answer.status, answer.fault_address), (status, beyond));
    }
}

#[test]
fn a_move_beyond_the_last_address_is_a_fault() {
    let mut rig = Rig::of(Profile::spr_dsa());
    for (source, destination) in
        [(u64::MAX - 99, u64::MAX - 90), (u64::MAX - 90, u64::MAX - 99), (u64::MAX - 9, 5)]
    {
        let answer = rig.run(descriptor(Opcode::MEMORY_MOVE, source, destination, 5000));
        assert_eq!((answer.status, answer.bytes_completed), (3, 0), "{source:#x} to {destination:#x}");
    }
}

#[test]
fn success_without_a_request_leaves_the_record_alone() {
    let rig = Rig::of(Profile::spr_dsa());
    let memory = rig.block(4096);
    let mut quiet = descriptor(Opcode::FILL, 1, address(&memory), 64);
    quiet.flags_and_opcode &= !DescriptorFlags::REQUEST_COMPLETION.bits();
    assert_eq!(rig.submit(0, quiet), Submission::Taken);
    assert_eq!(rig.submit(1, Descriptor::new(Opcode::DRAIN, USUAL)), Submission::Taken);
    assert_eq!(rig.record(1).status, 1);
    assert_eq!((rig.status(0), memory[0]), (0, 1), "done, and nothing said");
    quiet.bytes = 0;
    rig.submit(2, quiet);
    assert_eq!(rig.record(2).status, DsaStatus::BAD_SIZE.0, "an error is told all the same");
}
