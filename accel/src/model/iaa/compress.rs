//! Compression, and the statistics for it.

use pageferry_bindings::idxd::aecs::{CompressAecs, Histogram, HuffmanCode};
use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::{CompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::{AnalyticsError, IaaStatus};
use zerocopy::{FromZeros, IntoBytes};

use super::bits::{BitWriter, TooLong};
use super::checksums::Checksums;
use super::matcher::{Token, tokens};
use super::symbols::{self, DISTANCES, END_OF_BLOCK, LITERAL_LENGTHS, Symbol};
use super::{
    DESTINATION_FLAGS, Failure, Operand, check_flags, check_overlap, check_reserved, crc_kind, operands,
    read_source,
};
use crate::model::memory::DeviceMemory;

/// A value of the AECS that cannot be (QPL `hw_status.h`).
const AECS_ERROR: AnalyticsError = AnalyticsError(22);
/// A symbol came up that has no code (QPL `hw_status.h`).
const NO_CODE: AnalyticsError = AnalyticsError(30);
/// What an AECS must be aligned to.
const AECS_ALIGNMENT: u32 = 32;

const _: () = assert!(CompressAecs::BYTES == 1568 && Histogram::BYTES == 1280);

/// Executes a descriptor of opcode 0x43.
pub(super) fn compress(descriptor: &Descriptor, memory: &DeviceMemory) -> Result<IaaCompletion, Failure> {
    let flags = CompressFlags::from_bits(descriptor.operation_flags);
    let statistics = flags.is_some_and(|flags| flags.contains(CompressFlags::STATISTICS));
    let source2 =
        DescriptorFlags::READ_AECS | DescriptorFlags::TRAFFIC_CLASS_3 | DescriptorFlags::SOURCE2_STEERING;
    check_flags(descriptor, if statistics { DESTINATION_FLAGS } else { DESTINATION_FLAGS | source2 })?;
    let operands = operands(descriptor)?;
    let flags = flags.ok_or(IaaStatus::BAD_OPERATION_FLAGS)?;
    if descriptor.bytes == 0 || operands.max_destination_bytes == 0 {
        return Err(IaaStatus::BAD_SIZE.into());
    }
    if statistics {
        count(descriptor, &operands, flags, memory)
    } else {
        encode(descriptor, &operands, flags, memory)
    }
}

/// Statistics mode: how often each symbol would be written.
fn count(
    descriptor: &Descriptor,
    operands: &IaaOperands,
    flags: CompressFlags,
    memory: &DeviceMemory,
) -> Result<IaaCompletion, Failure> {
    check_reserved(&[operands.source2, operands.source2_bytes.into()])?;
    let bytes = u32::try_from(Histogram::BYTES).map_err(|_| IaaStatus::BAD_SIZE)?;
    if operands.max_destination_bytes < bytes {
        return Err(IaaStatus::BAD_SIZE.into());
    }
    check_overlap((descriptor.source, descriptor.bytes), (descriptor.destination, bytes))?;
    let source = read_source(descriptor, memory)?;
    let mut histogram = Histogram::new_zeroed();
    let _: Result<(), std::convert::Infallible> =
        tokens(&source, flags.contains(CompressFlags::LITERALS_ONLY), |token| {
            match token {
                Token::Literal(byte) => histogram.literal_lengths[usize::from(byte)] += 1,
                Token::Match { length, distance } => {
                    histogram.literal_lengths[usize::from(symbols::of_length(length).number)] += 1;
                    histogram.distances[usize::from(symbols::of_distance(distance).number)] += 1;
                }
            }
            Ok(())
        });
    if flags.intersects(CompressFlags::END_OF_BLOCK | CompressFlags::STORED_BLOCK) {
        histogram.literal_lengths[END_OF_BLOCK] = 1;
    }
    write(descriptor, memory, histogram.as_bytes())?;
    let mut checksums = Checksums::new(crc_kind(descriptor), 0, 0);
    checksums.update(&source);
    Ok(success(descriptor, checksums, bytes, 0))
}

/// Compression with the codes of an AECS.
fn encode(
    descriptor: &Descriptor,
    operands: &IaaOperands,
    flags: CompressFlags,
    memory: &DeviceMemory,
) -> Result<IaaCompletion, Failure> {
    if !descriptor.flags().contains(DescriptorFlags::READ_AECS) {
        return Err(Failure::Flags(DescriptorFlags::READ_AECS));
    }
    if !flags.contains(CompressFlags::FLUSH_OUTPUT) {
        return Err(IaaStatus::BAD_OPERATION_FLAGS.into());
    }
    if !operands.source2.is_multiple_of(AECS_ALIGNMENT.into())
        || !operands.source2_bytes.is_multiple_of(AECS_ALIGNMENT)
    {
        return Err(IaaStatus::MISALIGNED.into());
    }
    if operands.source2_bytes as usize != CompressAecs::BYTES {
        return Err(IaaStatus::BAD_SIZE.into());
    }
    let destination = (descriptor.destination, operands.max_destination_bytes);
    check_overlap((descriptor.source, descriptor.bytes), destination)?;
    check_overlap((operands.source2, operands.source2_bytes), destination)?;

    let mut aecs = CompressAecs::empty();
    let fault = |fault| Failure::Fault(Operand::Source2, fault);
    memory.read(operands.source2, aecs.as_mut_bytes()).map_err(fault)?;
    let codes = Codes::of(&aecs).ok_or(AECS_ERROR)?;
    let source = read_source(descriptor, memory)?;

    let mut writer = BitWriter::new(operands.max_destination_bytes as usize);
    let encoded = write_stream(&source, &aecs, &codes, flags, &mut writer);
    let output_bits = match encoded {
        Err(Unwritten::NoCode) => return Err(NO_CODE.into()),
        Err(Unwritten::TooLong) => Err(TooLong),
        Ok(()) => {
            let bits = writer.partial_bits();
            writer.align().map(|()| bits)
        }
    };
    let output = writer.into_bytes();
    write(descriptor, memory, &output)?;
    let output_bits = output_bits.map_err(|TooLong| AnalyticsError::COMPRESS_OVERFLOW)?;

    let xor = aecs.xor_checksum.to_le_bytes();
    let mut checksums = Checksums::new(crc_kind(descriptor), aecs.crc, u16::from_le_bytes([xor[0], xor[1]]));
    checksums.update(&source);
    let output_bytes = u32::try_from(output.len()).map_err(|_| IaaStatus::BAD_SIZE)?;
    Ok(success(descriptor, checksums, output_bytes, output_bits.to_le_bytes()[0]))
}

/// Why a stream is not whole.
enum Unwritten {
    NoCode,
    TooLong,
}

impl From<TooLong> for Unwritten {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

/// Writes the accumulator, the tokens, and the end.
fn write_stream(
    source: &[u8],
    aecs: &CompressAecs,
    codes: &Codes,
    flags: CompressFlags,
    writer: &mut BitWriter,
) -> Result<(), Unwritten> {
    let mut left = aecs.accumulator_bits;
    for &byte in &aecs.accumulator {
        let bits = left.min(8);
        writer.put(u64::from(byte) & !(u64::MAX << bits), bits)?;
        left -= bits;
    }
    tokens(source, flags.contains(CompressFlags::LITERALS_ONLY), |token| codes.write(token, writer))?;
    // End processing, bits 3:2: an end-of-block symbol, and with bit 3 an empty stored block, final if both are set.
    if flags.intersects(CompressFlags::END_OF_BLOCK | CompressFlags::STORED_BLOCK) {
        let (bits, count) = codes.literal_lengths[END_OF_BLOCK].usable()?;
        writer.put(bits, count)?;
    }
    if flags.contains(CompressFlags::STORED_BLOCK) {
        writer.put(flags.contains(CompressFlags::END_OF_BLOCK).into(), 3)?;
        writer.align()?;
        // Its length, 0, and the complement of it.
        writer.put(0xffff_0000, 32)?;
    }
    Ok(())
}

/// The codes of an AECS as they are written: the first bit lowest.
struct Codes {
    literal_lengths: [Code; LITERAL_LENGTHS],
    distances: [Code; DISTANCES],
}

/// A code, or none: then its length is 0.
#[derive(Clone, Copy, Default)]
struct Code {
    bits: u32,
    length: u32,
}

impl Codes {
    /// `None` if the AECS holds what cannot be.
    fn of(aecs: &CompressAecs) -> Option<Self> {
        let all = aecs.literal_lengths.iter().chain(&aecs.distances);
        let foreign_bits = all.fold(0, |bits, word| bits | word) >> 19;
        let too_many = aecs.accumulator_bits as usize > 8 * aecs.accumulator.len();
        (foreign_bits == 0 && !too_many).then(|| Self {
            literal_lengths: aecs.literal_lengths.map(Code::of),
            distances: aecs.distances.map(Code::of),
        })
    }

    #[inline]
    fn write(&self, token: Token, writer: &mut BitWriter) -> Result<(), Unwritten> {
        let (bits, count) = match token {
            Token::Literal(byte) => self.literal_lengths[usize::from(byte)].usable()?,
            Token::Match { length, distance } => {
                let length = with_extra(&self.literal_lengths, symbols::of_length(length))?;
                let distance = with_extra(&self.distances, symbols::of_distance(distance))?;
                (length.0 | distance.0 << length.1, length.1 + distance.1)
            }
        };
        Ok(writer.put(bits, count)?)
    }
}

/// A symbol's code and its extra bits, and how many bits that is.
#[inline]
fn with_extra(codes: &[Code], symbol: Symbol) -> Result<(u64, u32), Unwritten> {
    let (bits, count) = codes[usize::from(symbol.number)].usable()?;
    Ok((bits | u64::from(symbol.extra) << count, count + u32::from(symbol.extra_bits)))
}

impl Code {
    fn of(word: u32) -> Self {
        let HuffmanCode { bits, length } = HuffmanCode::decode(word);
        let (bits, length) = (u32::from(bits), u32::from(length));
        if length == 0 || bits >> length != 0 {
            return Self::default();
        }
        Self { bits: bits.reverse_bits() >> (32 - length), length }
    }

    #[inline]
    fn usable(self) -> Result<(u64, u32), Unwritten> {
        if self.length == 0 { Err(Unwritten::NoCode) } else { Ok((self.bits.into(), self.length)) }
    }
}

fn write(descriptor: &Descriptor, memory: &DeviceMemory, bytes: &[u8]) -> Result<(), Failure> {
    let fault = |fault| Failure::Fault(Operand::Destination, fault);
    memory.write(descriptor.destination, bytes).map_err(fault)
}

fn success(
    descriptor: &Descriptor,
    checksums: Checksums,
    output_bytes: u32,
    output_bits: u8,
) -> IaaCompletion {
    IaaCompletion {
        status: IaaStatus::SUCCESS.0,
        bytes_completed: descriptor.bytes,
        output_bytes,
        output_bits,
        crc: checksums.crc,
        xor_checksum: checksums.xor,
        ..IaaCompletion::default()
    }
}
