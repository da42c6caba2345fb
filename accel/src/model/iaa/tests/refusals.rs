//! Descriptors that are not valid, and memory that is not there.

use pageferry_bindings::idxd::aecs::CompressAecs;
use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::{CompressFlags, DecompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::IaaStatus;
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::bench::{
    AECS, ALL, Bench, DESTINATION, FLAGS, ROOM, SOURCE, WHOLE, compress, decompress, statistics,
};
use super::streams::Bits;
use super::{noise, text};
use crate::checksum::crc32;

/// A change of a descriptor that makes it invalid.
type Change<'a> = &'a dyn Fn(&mut Descriptor, &mut IaaOperands);

/// A bench whose source is text and whose AECS is of fixed codes.
fn bench() -> Bench {
    let bench = Bench::with(&text(5000));
    bench.memory.write(AECS, CompressAecs::fixed().as_bytes()).unwrap();
    bench
}

#[track_caller]
fn assert_refused(descriptor: Descriptor, change: Change<'_>, status: IaaStatus) -> IaaCompletion {
    let bench = bench();
    let (mut changed, mut operands) = (descriptor, descriptor.operands());
    change(&mut changed, &mut operands);
    let completion = bench.execute(&changed.with_operands(&operands));
    assert_eq!(IaaStatus(completion.status), status);
    assert_eq!((completion.bytes_completed, completion.output_bytes), (0, 0));
    assert_eq!(bench.destination(ROOM), vec![0; ROOM as usize], "nothing was written");
    completion
}

fn valid() -> [Descriptor; 3] {
    [compress(5000, ROOM, WHOLE), statistics(5000, CompressFlags::empty()), decompress(5000, ROOM, ALL)]
}

#[test]
fn flags_that_an_operation_does_not_have_are_named() {
    let [compress, statistics, decompress] = valid();
    let common = [0, 6, 7, 17, 18, 19, 22, 23];
    for (descriptor, others) in
        [(compress, &[][..]), (statistics, &[11, 16, 20][..]), (decompress, &[11, 16, 20])]
    {
        for bit in common.iter().chain(others) {
            let set: Change<'_> = &|descriptor, _| descriptor.flags_and_opcode |= 1 << bit;
            let completion = assert_refused(descriptor, set, IaaStatus::BAD_FLAGS);
            assert_eq!(completion.invalid_flags, 1 << bit);
        }
    }
    let clear: Change<'_> =
        &|descriptor, _| descriptor.flags_and_opcode &= !DescriptorFlags::READ_AECS.bits();
    let completion = assert_refused(compress, clear, IaaStatus::BAD_FLAGS);
    assert_eq!(completion.invalid_flags, DescriptorFlags::READ_AECS.bits());
}

#[test]
fn flags_that_an_operation_has_are_taken() {
    let bits = [1, 4, 5, 8, 9, 10, 12, 13, 14, 15, 21];
    for bit in bits {
        for mut descriptor in &valid()[..2] {
            let mut changed = *descriptor;
            changed.flags_and_opcode |= 1 << bit;
            descriptor = &changed;
            assert_eq!(bench().execute(descriptor).status, 1, "bit {bit}");
        }
    }
}

#[test]
fn flags_of_the_operation_that_are_not_there_or_not_modelled_are_refused() {
    let [compress, statistics, decompress] = valid();
    let status = IaaStatus::BAD_OPERATION_FLAGS;
    for bit in 5..16 {
        let set: Change<'_> = &|descriptor, _| descriptor.operation_flags |= 1 << bit;
        assert_refused(compress, set, status);
        assert_refused(statistics, set, status);
        if bit != 9 {
            assert_refused(decompress, set, status);
        }
    }
    let clear = |bits: u16| {
        move |descriptor: &mut Descriptor, _: &mut IaaOperands| descriptor.operation_flags &= !bits
    };
    assert_refused(compress, &clear(CompressFlags::FLUSH_OUTPUT.bits()), status);
    assert_refused(decompress, &clear(DecompressFlags::ENABLE.bits()), status);
    assert_refused(decompress, &clear(DecompressFlags::FLUSH_OUTPUT.bits()), status);
}

#[test]
fn fields_that_are_not_used_are_zero() {
    let status = IaaStatus::RESERVED_FIELD;
    for descriptor in valid() {
        assert_refused(descriptor, &|_, operands| operands.filter_flags = 2, status);
        assert_refused(descriptor, &|_, operands| operands.elements = 1, status);
    }
    for descriptor in &valid()[1..] {
        assert_refused(*descriptor, &|_, operands| operands.source2 = AECS, status);
        assert_refused(*descriptor, &|_, operands| operands.source2_bytes = 1568, status);
    }
}

#[test]
fn sizes_and_alignments_are_checked() {
    let [compress, statistics, decompress] = valid();
    for descriptor in [compress, statistics, decompress] {
        assert_refused(descriptor, &|descriptor, _| descriptor.bytes = 0, IaaStatus::BAD_SIZE);
        assert_refused(descriptor, &|_, operands| operands.max_destination_bytes = 0, IaaStatus::BAD_SIZE);
    }
    assert_refused(statistics, &|_, operands| operands.max_destination_bytes = 1279, IaaStatus::BAD_SIZE);
    assert_refused(compress, &|_, operands| operands.source2_bytes = 1536, IaaStatus::BAD_SIZE);
    assert_refused(compress, &|_, operands| operands.source2_bytes = 1600, IaaStatus::BAD_SIZE);
    assert_refused(compress, &|_, operands| operands.source2_bytes = 1569, IaaStatus::MISALIGNED);
    assert_refused(compress, &|_, operands| operands.source2 += 16, IaaStatus::MISALIGNED);
}

#[test]
fn buffers_do_not_overlap_by_a_byte() {
    let [compress, statistics, decompress] = valid();
    let least = |operands: &mut IaaOperands| operands.max_destination_bytes = 1280;
    for descriptor in [compress, statistics, decompress] {
        for source in [DESTINATION - 4999, DESTINATION, DESTINATION + 1279] {
            let change: Change<'_> = &|descriptor, operands| {
                descriptor.source = source;
                least(operands);
            };
            assert_refused(descriptor, change, IaaStatus::OVERLAP);
        }
    }
    for source2 in [DESTINATION - 1536, DESTINATION + 1248] {
        let change: Change<'_> = &|_, operands| {
            operands.source2 = source2;
            least(operands);
        };
        assert_refused(compress, change, IaaStatus::OVERLAP);
    }
    let bench = bench();
    for source in [DESTINATION - 5000, DESTINATION + 1280] {
        let mut operands: IaaOperands = statistics.operands();
        least(&mut operands);
        let completion = bench.execute(&Descriptor { source, ..statistics }.with_operands(&operands));
        assert_ne!(IaaStatus(completion.status), IaaStatus::OVERLAP, "they only touch");
    }
}

/// Status, operand and address of a fault, which carries nothing else.
fn fault(completion: IaaCompletion) -> (u8, u8, u64) {
    let IaaCompletion { status, fault_info, fault_address, .. } = completion;
    assert_eq!(completion, IaaCompletion { status, fault_info, fault_address, ..IaaCompletion::default() });
    (status, fault_info, fault_address)
}

#[test]
fn a_page_fault_names_the_operand_and_the_address_and_has_no_progress() {
    let bench = bench();
    let end = u64::from(ROOM);
    let change = |descriptor: Descriptor, change: Change<'_>| {
        let (mut changed, mut operands) = (descriptor, descriptor.operands());
        change(&mut changed, &mut operands);
        fault(bench.execute(&changed.with_operands(&operands)))
    };
    let stream = Bits::default().stored(true, &noise(4000)).bytes.clone();
    for descriptor in valid() {
        let beyond: Change<'_> = &|descriptor, _| descriptor.source = SOURCE + end - 4999;
        assert_eq!(change(descriptor, beyond), (0x03, 0, SOURCE + end));
    }
    bench.memory.write(SOURCE, &stream).unwrap();
    for descriptor in valid() {
        let beyond: Change<'_> = &|descriptor, _| descriptor.destination = DESTINATION + end - 16;
        assert_eq!(change(descriptor, beyond), (0x83, 1 << 1, DESTINATION + end));
        let nowhere: Change<'_> = &|descriptor, _| descriptor.destination = u64::MAX - 100;
        assert_eq!(change(descriptor, nowhere).0, 0x83);
    }
    let [compress, ..] = valid();
    let beyond: Change<'_> = &|_, operands| operands.source2 = AECS + end - 1536;
    assert_eq!(change(compress, beyond), (0x03, 2 << 1, AECS + end));
    let all: Change<'_> = &|descriptor, _| {
        descriptor.source = AECS + 4096;
        descriptor.bytes = u32::MAX;
    };
    assert_eq!(change(compress, all), (0x03, 0, AECS + end), "no memory is taken for what is not there");
}

#[test]
fn an_opcode_of_another_device_is_refused() {
    let bench = bench();
    for opcode in [0x05, 0x41, 0x50] {
        let completion = bench.execute(&Descriptor::new(Opcode(opcode), FLAGS));
        assert_eq!(IaaStatus(completion.status), IaaStatus::BAD_OPCODE);
    }
}

#[test]
fn crc64_takes_a_polynomial_and_nothing_else() {
    let bench = bench();
    let valid = Descriptor {
        source: SOURCE,
        bytes: 5000,
        operation_flags: 0xc000,
        ..Descriptor::new(Opcode::CRC64, FLAGS)
    };
    // The CRC of gzip, by its polynomial.
    let operands = [0, 0, 0x04c1_1db7_u64 << 32];
    let completion = bench.execute(&valid.with_operands(&operands));
    assert_eq!((completion.status, completion.bytes_completed), (1, 5000));
    assert_eq!((completion.max_or_last, completion.sum), (crc32(&text(5000)), 0));
    let high = bench.execute(&Descriptor { operation_flags: 0, ..valid }.with_operands(&operands));
    assert_eq!(high.max_or_last, 0);
    assert_ne!(high.sum, 0);
    for (descriptor, operands, status) in [
        (Descriptor { destination: 8, ..valid }, operands, IaaStatus::RESERVED_FIELD),
        (valid, [1, 0, 1], IaaStatus::RESERVED_FIELD),
        (valid, [0, 1, 1], IaaStatus::RESERVED_FIELD),
        (Descriptor { operation_flags: 1, ..valid }, operands, IaaStatus::BAD_OPERATION_FLAGS),
        (Descriptor { bytes: 0, ..valid }, operands, IaaStatus::BAD_SIZE),
        (Descriptor { source: 0, ..valid }, operands, IaaStatus::PAGE_FAULT),
    ] {
        assert_eq!(IaaStatus(bench.execute(&descriptor.with_operands(&operands)).status), status);
    }
}

/// An address in, at the edge of, or outside what is mapped.
fn any_address() -> impl Strategy<Value = u64> {
    let base = prop::sample::select(&[0, SOURCE, DESTINATION, AECS, u64::MAX - 0x2000][..]);
    (base, prop_oneof![Just(0), 0..0x2000_u64, u64::from(ROOM) - 0x100..u64::from(ROOM)])
        .prop_map(|(base, offset)| base.saturating_add(offset) & !31)
}

proptest! {
    #[test]
    fn no_descriptor_makes_it_panic_or_goes_without_a_status(
        opcode in 0x42..=0x44_u8,
        (flags, operation_flags) in (prop_oneof![Just(0x1_000c), Just(0xc), any::<u32>()], 0..0x20_u16),
        (source, destination, source2) in (any_address(), any_address(), any_address()),
        (bytes, most) in (prop_oneof![0..0x3000_u32, any::<u32>()], prop_oneof![0..0x3000_u32, any::<u32>()]),
        source2_bytes in prop_oneof![Just(0), Just(1568), any::<u32>()],
    ) {
        let flags = DescriptorFlags::from_bits_retain(flags & 0xff_ffff);
        let descriptor = Descriptor { source, destination, bytes, operation_flags, ..Descriptor::new(Opcode(opcode), flags) };
        let operands = IaaOperands { source2, source2_bytes, max_destination_bytes: most, ..IaaOperands::default() };
        let completion = bench().execute(&descriptor.with_operands(&operands));
        prop_assert_ne!(completion.status, 0);
        prop_assert!(completion.output_bytes <= most.max(1280));
    }
}
