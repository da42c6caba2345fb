//! Every layout against the offsets that its source gives, and registers as real parts report them.

use std::mem::{align_of, offset_of, size_of};

use zerocopy::{FromBytes, IntoBytes};

use super::aecs::{CompressAecs, DecompressAecs, Histogram, HuffmanCode};
use super::command::{Command, CommandError, CommandNumber, CommandStatus};
use super::completion::{DsaCompletion, IaaCompletion};
use super::descriptor::Descriptor;
use super::flags::DescriptorFlags;
use super::opcode::{Opcode, OpcodeSet};
use super::operands::{
    ApplyDeltaOperands, CompareOperands, CrcOperands, CreateDeltaOperands, DualcastOperands, IaaOperands,
};
use super::registers::{
    DeviceState, EngineCapabilities, GeneralCapabilities, GeneralConfiguration, GeneralStatus,
    GroupCapabilities, InterruptCause, QueueCapabilities, ResetNeeded, SoftwareError, SoftwareErrorWord,
    TableOffsets,
};
use super::tables::{
    GroupConfiguration, GroupFlags, InterruptPermission, QueueConfiguration, QueueControl, QueueLimits,
    QueueState, QueueStatus,
};

#[test]
fn descriptors_are_laid_out_as_the_kernel_says() {
    assert_layout!(Descriptor, 64, 64, {
        pasid_and_privilege: 0, flags_and_opcode: 4, completion_address: 8, source: 16, destination: 24, bytes: 32,
        interrupt_handle: 36, operation_flags: 38, operands: 40,
    });
    let descriptor = Descriptor::new(Opcode::COMPRESS, DescriptorFlags::from_bits_retain(0x1_010c));
    assert_eq!(descriptor.as_bytes()[4..8], [0x0c, 0x01, 0x01, 0x43]);
    assert_eq!(descriptor.opcode(), Opcode::COMPRESS);
    assert_eq!(descriptor.flags().bits(), 0x1_010c);
}

#[test]
fn operands_are_laid_out_behind_byte_40() {
    assert_layout!(CompareOperands, 24, 1, { expected_result: 0, reserved: 1 });
    assert_layout!(CreateDeltaOperands, 24, 8, {
        delta_address: 0, max_delta_bytes: 8, reserved: 12, expected_mask: 16, reserved2: 17,
    });
    assert_layout!(ApplyDeltaOperands, 24, 4, { delta_bytes: 0, reserved: 4 });
    assert_layout!(CrcOperands, 24, 8, { seed: 0, reserved: 4, seed_address: 8, reserved2: 16 });
    assert_layout!(DualcastOperands, 24, 8, { second_destination: 0, reserved: 8 });
    assert_layout!(IaaOperands, 24, 8, {
        source2: 0, max_destination_bytes: 8, source2_bytes: 12, filter_flags: 16, elements: 20,
    });
    let operands = IaaOperands { source2: 0x1234, source2_bytes: 1568, ..IaaOperands::default() };
    let descriptor = Descriptor::new(Opcode::COMPRESS, DescriptorFlags::READ_AECS).with_operands(&operands);
    assert_eq!(descriptor.as_bytes()[40..48], 0x1234_u64.to_le_bytes());
    assert_eq!(descriptor.as_bytes()[52..56], 1568_u32.to_le_bytes());
    assert_eq!(descriptor.operands::<IaaOperands>(), operands);
}

#[test]
fn completion_records_are_laid_out_as_the_kernel_says() {
    assert_layout!(DsaCompletion, 32, 32, {
        status: 0, result: 1, fault_info: 2, reserved: 3, bytes_completed: 4, fault_address: 8, value: 16,
        reserved2: 20,
    });
    assert_layout!(IaaCompletion, 64, 64, {
        status: 0, error_code: 1, fault_info: 2, reserved: 3, bytes_completed: 4, fault_address: 8,
        invalid_flags: 16, reserved2: 20, output_bytes: 24, output_bits: 28, reserved3: 29, xor_checksum: 30,
        crc: 32, min_or_first: 36, max_or_last: 40, sum: 44, reserved4: 48,
    });
}

#[test]
fn tables_are_laid_out_as_the_kernel_says() {
    assert_layout!(QueueConfiguration, 32, 4, {
        size: 0, reserved: 2, threshold: 4, reserved2: 6, control: 8, limits: 12, occupancy_interrupt: 16,
        occupancy_limit: 20, status: 24, reserved3: 28,
    });
    assert_eq!(QueueConfiguration::BYTES, 32);
    assert_eq!(QueueConfiguration::STATUS_OFFSET, 24);
    assert_layout!(GroupConfiguration, 64, 8, { queues: 0, engines: 32, flags: 40, reserved: 48 });
    assert_eq!(GroupConfiguration::BYTES, 64);
    assert_eq!(size_of::<InterruptPermission>(), 8);
    assert_layout!(SoftwareError, 32, 8, {
        what: 0, batch_index: 8, reserved: 10, invalid_flags: 12, fault_address: 16, reserved2: 24,
    });
    assert_eq!(size_of::<TableOffsets>(), 16);
    assert_eq!(size_of::<OpcodeSet>(), 32);
}

#[test]
fn aecs_and_histogram_are_laid_out_as_qpl_says() {
    assert_layout!(CompressAecs, 1568, 32, {
        crc: 0, xor_checksum: 4, reserved: 8, accumulator_bits: 28, accumulator: 32, literal_lengths: 288,
        reserved2: 1432, distances: 1440, reserved3: 1560,
    });
    assert_eq!(CompressAecs::BYTES, 1568);
    assert_layout!(Histogram, 1280, 4, {
        literal_lengths: 0, reserved: 1144, distances: 1152, reserved2: 1272,
    });
    assert_eq!(Histogram::BYTES, 1280);
    assert_layout!(DecompressAecs, 5376, 32, {
        crc: 0, xor_checksum: 4, filter_low: 8, filter_high: 12, output_modifier_index: 16, drop_output_bytes: 20,
        reserved: 24, output_accumulator: 168, output_accumulator_bits: 176, index_bit_offset: 180,
        input_queue: 184, input_queue_bits: 440, end_of_block: 472, drop_input_bits: 476, format: 477,
        reserved2: 478, first_table_index: 480, number_of_codes: 500, first_code: 520, first_length_code: 540,
        reserved3: 560, literal_length_symbols: 808, parser_state: 1076, parser: 1078, symbols: 1088,
        reserved4: 1232, history_pointer: 1252, reserved5: 1254, history: 1256, reserved6: 5352,
    });
    assert_eq!(DecompressAecs::BYTES, 5376);
    assert_eq!(DecompressAecs::SHORT_BYTES, 0x4e0);
}

#[test]
fn fixed_codes_are_the_words_that_the_kernel_loads() {
    let aecs = CompressAecs::fixed();
    for (symbol, &word) in (0_u32..).zip(&aecs.literal_lengths) {
        let expected = match symbol {
            0..144 => 0x4_0030 + symbol,
            144..256 => 0x4_8190 + symbol - 144,
            256..280 => 0x3_8000 + symbol - 256,
            _ => 0x4_00c0 + symbol - 280,
        };
        assert_eq!(word, expected, "literal or length {symbol}");
    }
    for (symbol, &word) in (0_u32..).zip(&aecs.distances) {
        assert_eq!(word, 0x2_8000 + symbol, "distance {symbol}");
    }
    assert_eq!((aecs.accumulator[0], aecs.accumulator_bits), (0x03, 3));
    let rest = aecs.as_bytes()[..32].iter().chain(&aecs.as_bytes()[33..288]);
    assert_eq!(rest.map(|&byte| u32::from(byte)).sum::<u32>(), 3, "only the header's bits and their number");
}

#[test]
fn huffman_codes_survive_their_words() {
    for length in 0..=15_u8 {
        for bits in [0, 1, 0x5555, 0x7fff] {
            let code = HuffmanCode { bits, length };
            assert_eq!(HuffmanCode::decode(code.encode()), code);
            assert_eq!(code.encode(), u32::from(bits) + 0x8000 * u32::from(length));
        }
    }
}

#[test]
fn general_capabilities_of_sapphire_rapids_are_understood() {
    let dsa = GeneralCapabilities(0x40_915f_0107);
    let expected = GeneralCapabilities::BLOCK_ON_FAULT
        | GeneralCapabilities::OVERLAP_COPY
        | GeneralCapabilities::CACHE_CONTROL_MEMORY
        | GeneralCapabilities::DESTINATION_READBACK
        | GeneralCapabilities::CONFIGURABLE;
    assert!(dsa.contains(expected));
    assert!(!dsa.intersects(
        GeneralCapabilities::CACHE_CONTROL_CACHE
            | GeneralCapabilities::COMMAND_CAPABILITY
            | GeneralCapabilities::DRAIN_READBACK
            | GeneralCapabilities::BATCH_CONTINUATION
    ));
    assert_eq!((dsa.max_transfer_shift(), dsa.max_batch_shift()), (31, 10));
    assert_eq!((dsa.event_log(), dsa.interrupt_message_multiplier()), (0, 8));

    let iaa = GeneralCapabilities(0x7_1f10_901f_0105);
    assert_eq!((iaa.max_transfer_shift(), iaa.max_batch_shift()), (31, 0));
    assert!(iaa.contains(GeneralCapabilities::BLOCK_ON_FAULT | GeneralCapabilities::CONFIGURABLE));
    assert!(iaa.contains(GeneralCapabilities::DECOMPRESSION | GeneralCapabilities::INDEXING));
    assert!(!iaa.contains(GeneralCapabilities::OVERLAP_COPY));
    assert_eq!(GeneralCapabilities(3 << 13).event_log(), 3);
}

#[test]
fn capabilities_of_queues_groups_and_engines_are_understood() {
    let queues = QueueCapabilities(1 << 54 | 1 << 49 | 1 << 48 | 2 << 24 | 8 << 16 | 128);
    assert_eq!((queues.total_size(), queues.queues(), queues.configuration_stride()), (128, 8, 128));
    assert_eq!(QueueCapabilities(8 << 16 | 128).configuration_stride(), 32);
    assert!(queues.contains(QueueCapabilities::SHARED | QueueCapabilities::DEDICATED));
    assert!(queues.contains(QueueCapabilities::OPERATION_CONFIGURATION));
    assert!(!queues.contains(QueueCapabilities::ATS_CONTROL));
    assert!(QueueCapabilities(1 << 55).contains(QueueCapabilities::PRS_CONTROL));
    let groups = GroupCapabilities(1 << 17 | 96 << 8 | 4);
    assert_eq!((groups.groups(), groups.read_buffers()), (4, 96));
    assert!(groups.contains(GroupCapabilities::READ_BUFFER_LIMIT));
    assert_eq!(EngineCapabilities(0xff00 | 8).engines(), 8);
    let tables = TableOffsets([0x0060_0020_0004_0010, 0x0080]);
    assert_eq!((tables.groups(), tables.queues()), (0x1000, 0x400));
    assert_eq!((tables.interrupt_permissions(), tables.interrupt_messages()), (0x2000, 0x6000));
    assert_eq!(tables.performance(), 0x8000);
}

#[test]
fn the_state_of_a_device_is_understood() {
    assert_eq!(GeneralStatus(0).state(), DeviceState::Disabled);
    assert_eq!(GeneralStatus(1).state(), DeviceState::Enabled);
    assert_eq!(GeneralStatus(2).state(), DeviceState::Draining);
    let halted = GeneralStatus(0b0111);
    assert_eq!((halted.state(), halted.reset_needed()), (DeviceState::Halted, ResetNeeded::Function));
    assert_eq!(GeneralStatus(0b1111).reset_needed(), ResetNeeded::Cold);
    assert_eq!(InterruptCause::HANDLES_REVOKED.bits(), 0x8000_0000);
    assert_eq!(InterruptCause::all().bits(), 0x8000_003f);
    assert_eq!(GeneralConfiguration(0x60).read_buffer_limit(), 96);
    let error = SoftwareErrorWord(0xa_bcde << 40 | 0x43 << 32 | 7 << 16 | 0x1a << 8 | 0b10_1001);
    assert!(error.contains(
        SoftwareErrorWord::VALID | SoftwareErrorWord::QUEUE_VALID | SoftwareErrorWord::WRITE_FAULT
    ));
    assert!(!error.contains(SoftwareErrorWord::OVERFLOW));
    assert_eq!((error.error(), error.queue()), (0x1a, 7));
    assert_eq!((error.opcode(), error.pasid()), (Opcode::COMPRESS, 0xa_bcde));
}

#[test]
fn commands_and_their_outcome_have_their_bits() {
    assert_eq!(Command::new(CommandNumber::RESET_DEVICE, 0).0, 5 << 20);
    let enable = Command::new(CommandNumber::ENABLE_QUEUE, 3).with_interrupt();
    assert_eq!(enable.0, 0x8060_0003);
    assert_eq!((enable.number(), enable.operand()), (CommandNumber::ENABLE_QUEUE, 3));
    assert!(enable.raises_interrupt() && !Command(6 << 20).raises_interrupt());
    assert_eq!(Command::queue_mask(0), 1);
    assert_eq!(Command::queue_mask(7), 0x80);
    assert_eq!(Command::queue_mask(17), 0x1_0002);
    let status = CommandStatus(0x8000_0000);
    assert!(status.is_active());
    let done = CommandStatus::done(CommandError::BUS_MASTER_OFF, 0x1234);
    assert_eq!(done.0, 0x12_3412);
    assert_eq!((done.is_active(), done.result()), (false, 0x1234));
    assert_eq!(done.error().to_string(), "0x12: bus mastering is off");
    assert_eq!(CommandError(0x99).to_string(), "0x99: a code that the documents do not name");
}

#[test]
fn a_queue_as_sapphire_rapids_had_it_is_understood() {
    let words: [u32; 8] = [0x10, 0, 0x1000_00a3, 0x15f, 0, 0, 0x4000_0000, 0];
    let queue = QueueConfiguration::read_from_bytes(words.as_bytes()).unwrap();
    assert_eq!((queue.size, queue.threshold), (16, 0));
    let control = QueueControl::DEDICATED | QueueControl::BLOCK_ON_FAULT | QueueControl::PASID_ENABLE;
    assert_eq!(queue.control, control.with_priority(10));
    assert_eq!((queue.control.priority(), queue.control.pasid()), (10, 0));
    assert_eq!(queue.control.with_pasid(0xf_fffe).pasid(), 0xf_fffe);
    assert_eq!(queue.control.with_pasid(0xf_fffe).0, 0x1fff_fea3);
    assert_eq!(queue.limits, QueueLimits::new(31, 10));
    assert_eq!((queue.limits.max_transfer_shift(), queue.limits.max_batch_shift()), (31, 10));
    assert_eq!(queue.status, QueueStatus::new(QueueState::Enabled, 0));
    let busy = QueueStatus::new(QueueState::Busy, 5);
    assert_eq!((busy.0, busy.state(), busy.occupancy()), (0x8000_0005, QueueState::Busy, 5));
    assert_eq!(QueueControl::PRIVILEGED.0, 1 << 29);
}

#[test]
fn groups_and_interrupt_permissions_have_their_bits() {
    let group = GroupFlags::CLASSES_1;
    assert_eq!((group.traffic_class_a(), group.traffic_class_b()), (1, 1));
    let group = GroupFlags(2 << 36 | 1 << 32 | 0x42 << 20 | 0x17 << 8 | 1 << 7 | 0b101_011);
    assert_eq!((group.traffic_class_a(), group.traffic_class_b()), (3, 5));
    assert!(group.uses_read_buffer_limit());
    assert_eq!((group.read_buffers_reserved(), group.read_buffers_allowed()), (0x17, 0x42));
    assert_eq!((group.descriptor_progress_limit(), group.batch_progress_limit()), (1, 2));
    let permission = InterruptPermission::PASID_ENABLE.with_pasid(0xf_1234);
    assert_eq!((permission.0, permission.pasid()), (0xf123_4008, 0xf_1234));
    assert_eq!(InterruptPermission::IGNORE.0, 4);
}

#[test]
fn operations_of_sapphire_rapids_lack_delta_records() {
    let dsa = OpcodeSet([0x1_003f_027d, 0, 0, 0]);
    assert!(!dsa.has(Opcode::CREATE_DELTA) && !dsa.has(Opcode::APPLY_DELTA));
    assert!(dsa.has(Opcode::COMPARE) && dsa.has(Opcode::COMPARE_PATTERN) && dsa.has(Opcode::CACHE_FLUSH));
    let iaa = OpcodeSet([0xd, 0x7f_331c, 0, 0]);
    assert!(iaa.has(Opcode::COMPRESS) && iaa.has(Opcode::DECOMPRESS) && iaa.has(Opcode::CRC64));
    assert!(!iaa.has(Opcode::BATCH));
    assert_eq!(OpcodeSet::of(&[Opcode::NOOP, Opcode::COMPRESS]), OpcodeSet([1, 8, 0, 0]));
}
