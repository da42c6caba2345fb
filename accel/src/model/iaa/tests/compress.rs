//! Compression and statistics.

use flate2::{Decompress, FlushDecompress, Status};
use pageferry_bindings::idxd::aecs::{CompressAecs, HuffmanCode};
use pageferry_bindings::idxd::flags::{CompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::status::{AnalyticsError, IaaStatus};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::bench::{AECS, Bench, DESTINATION, ROOM, WHOLE, compress, xor};
use super::streams::Bits;
use super::{any_input, noise, sizes_and_sorts, tables, text};
use crate::checksum::{ChecksumKind, crc32, crc32c};
use crate::model::iaa::matcher::Token;
use crate::model::iaa::matcher::tests::all_tokens;

/// What another library makes of a stream, and how many bytes of it that takes.
fn inflated(stream: &[u8], bytes: usize) -> (Vec<u8>, usize) {
    let mut output = vec![0; bytes + 1];
    let mut decoder = Decompress::new(false);
    let status = decoder.decompress(stream, &mut output, FlushDecompress::Finish).unwrap();
    assert_eq!(status, Status::StreamEnd);
    output.truncate(usize::try_from(decoder.total_out()).unwrap());
    (output, usize::try_from(decoder.total_in()).unwrap())
}

fn assert_round_trip(source: &[u8], aecs: &CompressAecs, flags: CompressFlags) -> Vec<u8> {
    let bench = Bench::with(source);
    let (completion, stream) = bench.compress(source.len(), aecs, flags);
    let (decoded, read) = inflated(&stream, source.len());
    assert!(decoded == source, "{} bytes became {}", source.len(), decoded.len());
    assert_eq!(read, stream.len(), "there is nothing behind the end");
    assert_eq!(completion.bytes_completed as usize, source.len());
    assert_eq!((completion.crc, completion.xor_checksum), (crc32(source), xor(source)));
    stream
}

#[test]
fn every_size_and_sort_comes_back_from_fixed_and_dynamic_codes() {
    for source in sizes_and_sorts() {
        let fixed = assert_round_trip(&source, &CompressAecs::fixed(), WHOLE);
        let bench = Bench::with(&source);
        let aecs = tables::dynamic(&bench.statistics(source.len(), CompressFlags::empty()));
        let dynamic = assert_round_trip(&source, &aecs, WHOLE);
        if source == text(256 << 10) {
            assert!(dynamic.len() < fixed.len() && fixed.len() < source.len() / 3);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_input_comes_back_from_fixed_and_dynamic_codes(source in any_input(), literals_only in any::<bool>()) {
        let literals = if literals_only { CompressFlags::LITERALS_ONLY } else { CompressFlags::empty() };
        assert_round_trip(&source, &CompressAecs::fixed(), WHOLE | literals);
        let bench = Bench::with(&source);
        let aecs = tables::dynamic(&bench.statistics(source.len(), literals));
        assert_round_trip(&source, &aecs, WHOLE | literals);
    }

    #[test]
    fn statistics_count_what_a_compression_writes(source in any_input(), literals_only in any::<bool>()) {
        let literals = if literals_only { CompressFlags::LITERALS_ONLY } else { CompressFlags::empty() };
        let histogram = Bench::with(&source).statistics(source.len(), literals);
        let tokens = all_tokens(&source, literals_only);
        let matches = tokens.iter().filter(|token| matches!(token, Token::Match { .. })).count();
        let sum = |counts: &[u32]| counts.iter().sum::<u32>() as usize;
        prop_assert_eq!(sum(&histogram.literal_lengths[..256]), tokens.len() - matches);
        prop_assert_eq!(histogram.literal_lengths[256], 0);
        prop_assert_eq!(sum(&histogram.literal_lengths[257..]), matches);
        prop_assert_eq!(sum(&histogram.distances), matches);
        prop_assert!(!literals_only || matches == 0);
    }
}

#[test]
fn statistics_are_counts_of_symbols_with_an_end_only_where_one_would_be_written() {
    // One literal, and a match of 20 bytes at distance 1.
    let bench = Bench::with(&[7; 21]);
    for (flags, ends) in [
        (CompressFlags::empty(), 0),
        (CompressFlags::END_OF_BLOCK, 1),
        (CompressFlags::STORED_BLOCK, 1),
        (CompressFlags::END_OF_BLOCK | CompressFlags::STORED_BLOCK, 1),
    ] {
        let histogram = bench.statistics(21, flags);
        let counted = |counts: &[u32]| -> Vec<(usize, u32)> {
            counts.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect()
        };
        let literals: Vec<_> =
            [(7, 1), (256, ends), (269, 1)].into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted(&histogram.literal_lengths), literals);
        assert_eq!(counted(&histogram.distances), [(0, 1)]);
    }
}

#[test]
fn statistics_report_the_checksums_and_their_size() {
    let source = text(5001);
    let completion = Bench::with(&source).execute(&super::bench::statistics(5001, CompressFlags::empty()));
    assert_eq!((completion.status, completion.bytes_completed, completion.output_bytes), (1, 5001, 1280));
    assert_eq!((completion.crc, completion.xor_checksum), (crc32(&source), xor(&source)));
}

#[test]
fn the_stream_is_the_accumulator_the_tokens_and_the_end_to_the_bit() {
    let bench = Bench::with(b"\x01\x90abcabcabcabc");
    let mut aecs = CompressAecs::fixed();
    // A header that is no header, of 13 bits.
    aecs.accumulator[..2].copy_from_slice(&[0xa5, 0xff]);
    aecs.accumulator_bits = 13;
    let mut tokens = Bits::default();
    tokens.put(0x1fa5, 13).fixed(1).fixed(0x90).fixed(97).fixed(98).fixed(99);
    // Nine bytes from three before.
    tokens.fixed(263).fixed_distance(2);
    let mut ended = tokens.clone();
    ended.fixed(256);
    let (mut open, mut last) = (ended.clone(), ended.clone());
    open.stored(false, &[]);
    last.stored(true, &[]);
    let (end, stored) = (CompressFlags::END_OF_BLOCK, CompressFlags::STORED_BLOCK);
    for (flags, expected) in
        [(CompressFlags::empty(), &tokens), (end, &ended), (stored, &open), (end | stored, &last)]
    {
        let (completion, output) = bench.compress(14, &aecs, CompressFlags::FLUSH_OUTPUT | flags);
        assert_eq!(output, expected.bytes, "{flags:?}");
        assert_eq!(u32::from(completion.output_bits), expected.len % 8, "{flags:?}");
    }
}

#[test]
fn a_block_that_is_not_final_and_a_stored_block_that_is_make_a_stream() {
    let source = text(3000);
    let mut aecs = CompressAecs::fixed();
    aecs.accumulator[0] = 0b010;
    assert_round_trip(&source, &aecs, WHOLE | CompressFlags::STORED_BLOCK);
    // Two jobs, of which the first ends at a byte: with a stored block that is not final.
    let (_, mut stream) = Bench::with(&source).compress(
        source.len(),
        &aecs,
        CompressFlags::FLUSH_OUTPUT | CompressFlags::STORED_BLOCK,
    );
    let (_, second) = Bench::with(&source).compress(source.len(), &CompressAecs::fixed(), WHOLE);
    stream.extend(second);
    assert!(inflated(&stream, 6000).0 == [&source[..], &source].concat());
}

#[test]
fn an_output_of_exactly_its_size_fits_and_a_byte_less_is_an_overflow() {
    for source in [noise(5000), text(5000), vec![0; 5000]] {
        let bench = Bench::with(&source);
        let (whole, _) = bench.compress(5000, &CompressAecs::fixed(), WHOLE);
        let fits = bench.execute(&compress(5000, whole.output_bytes, WHOLE));
        assert_eq!((fits.status, fits.output_bytes), (1, whole.output_bytes));
        for less in [1, 2, whole.output_bytes - 1] {
            let most = whole.output_bytes - less;
            bench.memory.write(DESTINATION, &[0xee; 10_000]).unwrap();
            let completion = bench.execute(&compress(5000, most, WHOLE));
            assert_eq!(IaaStatus(completion.status), IaaStatus::ANALYTICS_ERROR);
            assert_eq!(AnalyticsError(completion.error_code), AnalyticsError::COMPRESS_OVERFLOW);
            assert_eq!((completion.output_bytes, completion.bytes_completed), (0, 0));
            let destination = bench.destination(most + 1);
            assert_eq!(destination[most as usize], 0xee, "nothing is written beyond the limit");
        }
    }
}

#[test]
fn checksums_go_on_from_those_of_the_aecs() {
    let source = text(4000);
    let bench = Bench::with(&source[1000..]);
    for kind in [ChecksumKind::Crc32, ChecksumKind::Crc32c] {
        let mut aecs = CompressAecs::fixed();
        aecs.crc = kind.of(&source[..1000]);
        aecs.xor_checksum = xor(&source[..1000]).into();
        bench.memory.write(AECS, aecs.as_bytes()).unwrap();
        let mut descriptor = compress(3000, ROOM, WHOLE);
        if kind == ChecksumKind::Crc32c {
            descriptor.flags_and_opcode |= DescriptorFlags::CRC_RFC3720.bits();
        }
        let completion = bench.execute(&descriptor);
        let crc = if kind == ChecksumKind::Crc32c { crc32c(&source) } else { crc32(&source) };
        assert_eq!((completion.crc, completion.xor_checksum), (crc, xor(&source)), "{kind:?}");
    }
}

#[test]
fn a_symbol_without_a_code_is_an_error_and_one_that_is_not_used_is_none() {
    let bench = Bench::with(b"aaaaaaaaaaaaab");
    let change = |change: &dyn Fn(&mut CompressAecs)| {
        let mut aecs = CompressAecs::fixed();
        change(&mut aecs);
        bench.memory.write(AECS, aecs.as_bytes()).unwrap();
        let completion = bench.execute(&compress(14, ROOM, WHOLE));
        (completion.status, completion.error_code)
    };
    assert_eq!(change(&|aecs| aecs.literal_lengths[99] = 0), (1, 0));
    assert_eq!(change(&|aecs| aecs.literal_lengths[98] = 0), (0x0a, 30));
    assert_eq!(change(&|aecs| aecs.literal_lengths[256] = 0), (0x0a, 30));
    assert_eq!(change(&|aecs| aecs.distances[0] = 0), (0x0a, 30));
    assert_eq!(change(&|aecs| aecs.distances[1] = 0), (1, 0));
    // A code of two bits that has a third.
    let wide = HuffmanCode { bits: 7, length: 2 }.encode();
    assert_eq!(change(&|aecs| aecs.literal_lengths[98] = wide), (0x0a, 30));
    // Bits that no code has.
    assert_eq!(change(&|aecs| aecs.literal_lengths[99] |= 1 << 19), (0x0a, 22));
    assert_eq!(change(&|aecs| aecs.accumulator_bits = 2048), (1, 0));
    assert_eq!(change(&|aecs| aecs.accumulator_bits = 2049), (0x0a, 22));
}
