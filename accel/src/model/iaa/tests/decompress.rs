//! Decompression.

use pageferry_bindings::idxd::aecs::CompressAecs;
use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::{DecompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::status::{AnalyticsError, IaaStatus};
use proptest::prelude::*;

use super::bench::{ALL, Bench, DESTINATION, ROOM, SOURCE, WHOLE, decompress, xor};
use super::streams::Bits;
use super::tables::{code_length_lengths, codes, header, header_of};
use super::{any_input, noise, sizes_and_sorts, text};
use crate::checksum::{crc32, crc32c};
use crate::codec::deflate::{Deflate, Library, Window};

/// One descriptor over a stream.
fn run(stream: &[u8], most: u32, flags: DecompressFlags) -> (IaaCompletion, Vec<u8>) {
    let bench = Bench::with(stream);
    let completion = bench.execute(&decompress(stream.len(), most, flags));
    let output = bench.destination(completion.output_bytes);
    (completion, output)
}

/// Status and error of a stream.
fn outcome(stream: &[u8]) -> (u8, u8) {
    let (completion, _) = run(stream, ROOM, ALL);
    (completion.status, completion.error_code)
}

#[track_caller]
fn assert_decodes(stream: &[u8], source: &[u8]) {
    let (completion, output) = run(stream, ROOM, ALL);
    assert_eq!(IaaStatus(completion.status), IaaStatus::SUCCESS, "{}", AnalyticsError(completion.error_code));
    assert!(output == source, "{} bytes for {}", output.len(), source.len());
    assert_eq!(completion.bytes_completed as usize, stream.len());
    assert_eq!((completion.crc, completion.xor_checksum), (crc32(source), xor(source)));
}

fn deflated(source: &[u8], level: u32, window: Window, library: &Library) -> Vec<u8> {
    let mut stream = vec![0; 2 * source.len() + 1024];
    let length = Deflate::by(library, level, window).unwrap().encode(source, &mut stream).unwrap();
    stream.truncate(length);
    stream
}

#[test]
fn what_software_deflates_with_4_kib_is_decoded_at_every_size_sort_and_level() {
    for source in sizes_and_sorts() {
        for library in [Library::BuiltIn, Library::preferred()] {
            for level in [0, 1, 3] {
                assert_decodes(&deflated(&source, level, Window::Kib4, &library), &source);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_compressed_is_decompressed(source in any_input()) {
        let (_, stream) = Bench::with(&source).compress(source.len(), &CompressAecs::fixed(), WHOLE);
        assert_decodes(&stream, &source);
        assert_decodes(&deflated(&source, 1, Window::Kib4, &Library::BuiltIn), &source);
    }

    #[test]
    fn no_bytes_make_it_panic_or_write_beyond_its_limit(
        stream in prop::collection::vec(any::<u8>(), 1..400),
        most in 1..3000_u32,
        flags in any::<u16>(),
        kind in 0..8_u8,
    ) {
        let mut stream = stream;
        // A header with each type of block, often enough.
        stream[0] = stream[0] & !7 | kind;
        let flags = ALL & DecompressFlags::from_bits_truncate(flags) | DecompressFlags::ENABLE | DecompressFlags::FLUSH_OUTPUT;
        let bench = Bench::with(&stream);
        let completion = bench.execute(&decompress(stream.len(), most, flags));
        prop_assert!([0x01, 0x0a, 0x0b].contains(&completion.status));
        prop_assert!(completion.output_bytes <= most && completion.bytes_completed as usize <= stream.len());
        prop_assert_eq!(bench.destination(most + 1)[most as usize], 0);
    }

    #[test]
    fn a_stream_with_a_wrong_bit_is_an_error_or_other_bytes_with_other_checksums(
        source in any_input(),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut stream = deflated(&source, 1, Window::Kib4, &Library::BuiltIn);
        let place = place.index(stream.len());
        stream[place] ^= 1_u8 << bit;
        let (completion, output) = run(&stream, ROOM, ALL);
        if IaaStatus(completion.status) == IaaStatus::SUCCESS {
            prop_assert_eq!((completion.crc, completion.xor_checksum), (crc32(&output), xor(&output)));
        } else {
            prop_assert!([0x0a, 0x0b].contains(&completion.status), "{:?}", completion);
        }
    }
}

#[test]
fn a_match_beyond_4_kib_is_a_bad_distance() {
    // Noise, zeroes, and the noise again, out of reach.
    let mut source = noise(3000);
    source.resize(10_000, 0);
    source.extend(noise(3000));
    assert_decodes(&deflated(&source, 1, Window::Kib4, &Library::BuiltIn), &source);
    assert_eq!(outcome(&deflated(&source, 1, Window::Kib32, &Library::BuiltIn)), (0x0a, 17));
}

/// 5000 bytes as literals, then a match of 3 at a distance.
fn far(symbol: u16, extra: u32, extra_bits: u32) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(3, 3);
    text(5000).iter().for_each(|byte| {
        bits.fixed((*byte).into());
    });
    bits.fixed(257).fixed_distance(symbol).put(extra, extra_bits).fixed(256);
    bits.bytes
}

#[test]
fn the_history_is_4_kib_to_the_byte() {
    let mut source = text(5000);
    source.extend_from_within(5000 - 4096..5000 - 4093);
    // Symbol 23 is 3073 to 4096, symbol 24 begins with 4097.
    assert_decodes(&far(23, 1023, 10), &source);
    assert_eq!(outcome(&far(24, 0, 11)), (0x0a, 17));
}

#[test]
fn the_start_of_the_data_is_kept_to_the_byte() {
    for (symbol, expected) in [(1, (1, 0)), (2, (0x0a, 18)), (29, (0x0a, 17))] {
        let mut bits = Bits::default();
        bits.put(3, 3).fixed(97).fixed(98).fixed(257).fixed_distance(symbol);
        if symbol == 29 {
            bits.put(0, 13);
        }
        assert_eq!(outcome(&bits.fixed(256).bytes), expected, "distance symbol {symbol}");
    }
}

#[test]
fn codes_that_stand_for_nothing_are_errors() {
    for symbol in [286, 287] {
        assert_eq!(outcome(&Bits::default().put(3, 3).fixed(97).fixed(symbol).fixed(256).bytes), (0x0a, 11));
    }
    for symbol in [30, 31] {
        let mut bits = Bits::default();
        bits.put(3, 3).fixed(97).fixed(257).fixed_distance(symbol).put(0, 13).fixed(256);
        assert_eq!(outcome(&bits.bytes), (0x0a, 12));
    }
    assert_eq!(outcome(&[0b111, 0]), (0x0a, 13));
}

#[test]
fn stored_blocks_are_decoded_and_their_lengths_compared() {
    let (first, second) = (noise(65_535), text(100));
    let mut bits = Bits::default();
    bits.stored(false, &first).stored(false, &[]).put(2, 3);
    second.iter().for_each(|byte| {
        bits.fixed((*byte).into());
    });
    // Thirty bytes, from a hundred before.
    bits.fixed(256)
        .put(2, 3)
        .fixed(271)
        .put(3, 2)
        .fixed_distance(13)
        .put(3, 5)
        .fixed(256)
        .stored(true, &second);
    let whole = [&first[..], &second, &second[..30], &second].concat();
    assert_decodes(&bits.bytes, &whole);
    for bit in 0..16 {
        let mut broken = Bits::default().stored(true, &second).bytes.clone();
        broken[1 + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(outcome(&broken), (0x0a, 14));
    }
}

/// Literals 97 and 98 and the end, of two bits, and one bit for length 3; two distances.
fn small_codes() -> (Vec<u8>, Vec<u8>) {
    let mut literals = vec![0; 258];
    (literals[97], literals[98], literals[256], literals[257]) = (3, 3, 2, 1);
    (literals, vec![1, 1])
}

#[test]
fn a_dynamic_block_is_decoded() {
    let (literals, distances) = small_codes();
    let mut bits = header(true, &literals, &distances);
    let (literals, distances) = (codes(&literals), codes(&distances));
    bits.code(literals[97]).code(literals[98]).code(literals[257]).code(distances[1]).code(literals[256]);
    assert_decodes(&bits.bytes, b"ababa");
}

#[test]
fn what_no_code_begins_with_is_a_bad_code() {
    // The lengths leave room: 3 of 4 bits for literals, one of two distances.
    let (mut literals, _) = small_codes();
    literals[257] = 2;
    let block = |distances: &[u8], symbols: &dyn Fn(&mut Bits)| {
        let mut bits = header(true, &literals, distances);
        symbols(&mut bits);
        bits.put(0xffff, 16).put(0xffff, 16);
        outcome(&bits.bytes)
    };
    let of = codes(&literals);
    assert_eq!(block(&[1], &|_| ()), (0x0a, 11));
    assert_eq!(block(&[1], &|bits| _ = bits.code(of[97]).code(of[257])), (0x0a, 12));
    assert_eq!(block(&[0], &|bits| _ = bits.code(of[97]).code(of[257])), (0x0a, 12));
    // Without an end the data never do.
    literals[256] = 0;
    let mut bits = header(true, &literals, &[1]);
    bits.code(codes(&literals)[97]);
    assert_eq!(outcome(&bits.bytes), (0x0a, 15));
}

/// The outcome of a dynamic header, with enough ones behind it.
fn header_outcome(
    literals: usize,
    distances: usize,
    lengths: &[u8; 19],
    symbols: &[(usize, u32, u32)],
) -> (u8, u8) {
    let mut bits = header_of(true, literals, distances, lengths, symbols);
    for _ in 0..10 {
        bits.put(u32::MAX, 32);
    }
    outcome(&bits.bytes)
}

#[test]
fn every_mistake_in_a_header_has_its_error() {
    let lengths = code_length_lengths();
    let one = |length: usize| (length, 0, 0);
    let zeroes = |count: u32| (18, count - 11, 7);
    // Literals 0 and 1 by one bit each, then zeroes up to `count`.
    let literals = |count: u32| vec![one(1), one(1), zeroes(138), zeroes(count - 140)];
    let then = |symbols: &[(usize, u32, u32)]| [&literals(257)[..], symbols].concat();

    assert_eq!(header_outcome(257, 1, &lengths, &then(&[one(1)])), (0x0a, 15), "the header itself is right");

    // 2: a code that the code-length code does not have.
    let mut sparse = [0; 19];
    (sparse[1], sparse[18]) = (1, 2);
    assert_eq!(header_outcome(257, 1, &sparse, &[]), (0x0a, 2));
    assert_eq!(header_outcome(257, 1, &[0; 19], &[]), (0x0a, 2));
    // 3 and 4: nothing before a repetition; that of the distances does not reach over to the literals.
    assert_eq!(header_outcome(257, 1, &lengths, &[(16, 0, 2)]), (0x0a, 3));
    assert_eq!(header_outcome(257, 4, &lengths, &then(&[(16, 0, 2)])), (0x0a, 4));
    // 5: no literal at all.
    assert_eq!(header_outcome(257, 1, &lengths, &[zeroes(138), zeroes(119), one(1)]), (0x0a, 5));
    // 6 and 7: more than were announced, also if the repetition would fill the distances.
    assert_eq!(header_outcome(257, 1, &lengths, &[one(1), one(1), zeroes(138), zeroes(118)]), (0x0a, 6));
    assert_eq!(header_outcome(257, 30, &lengths, &[one(1), one(1), zeroes(138), zeroes(138)]), (0x0a, 6));
    assert_eq!(header_outcome(257, 3, &lengths, &then(&[(17, 1, 3)])), (0x0a, 7));
    // 8, 9, 10: more codes than there is room for.
    assert_eq!(header_outcome(257, 1, &[4; 19], &[]), (0x0a, 8));
    assert_eq!(
        header_outcome(258, 1, &lengths, &[&literals(257)[..], &[one(1), one(1)]].concat()),
        (0x0a, 9)
    );
    assert_eq!(header_outcome(257, 3, &lengths, &then(&[one(1), one(1), one(15)])), (0x0a, 10));
    // 35 and 36: more symbols than there are.
    assert_eq!(
        header_outcome(286, 1, &lengths, &[&literals(278)[..], &[one(0); 8], &[one(1)]].concat()),
        (0x0a, 15)
    );
    assert_eq!(header_outcome(287, 1, &lengths, &[]), (0x0a, 35));
    assert_eq!(header_outcome(257, 31, &lengths, &[]), (0x0a, 36));
}

#[test]
fn a_cut_header_waits_for_more_unless_it_is_too_big() {
    // 286 literals of 15 bits and no run, each 7 bits of header.
    let mut lengths = [0; 19];
    (lengths[15], lengths[0]) = (7, 7);
    let symbols = vec![(15, 0, 0); 286];
    let bits = header_of(true, 286, 30, &lengths, &symbols);
    assert!(bits.bytes.len() > 257, "{}", bits.bytes.len());
    for (bytes, checked, unchecked) in
        [(256, (0x0a, 15), (1, 0)), (257, (0x0a, 1), (0x0a, 1)), (60, (0x0a, 15), (1, 0))]
    {
        let cut = &bits.bytes[..bytes];
        assert_eq!(outcome(cut), checked, "{bytes}");
        let (completion, _) = run(cut, ROOM, ALL - DecompressFlags::CHECK_FOR_END);
        assert_eq!((completion.status, completion.error_code), unchecked, "{bytes}");
        if unchecked.0 == 1 {
            assert_eq!((completion.bytes_completed as usize, completion.output_bytes), (bytes, 0));
        }
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_has_no_end() {
    let source = text(700);
    for stream in [
        deflated(&source, 1, Window::Kib4, &Library::BuiltIn),
        Bench::with(&source).compress(700, &CompressAecs::fixed(), WHOLE).1,
        Bits::default().stored(true, &source).bytes.clone(),
    ] {
        for bytes in 1..stream.len() {
            assert_eq!(outcome(&stream[..bytes]), (0x0a, 15), "{bytes} of {}", stream.len());
            let (completion, output) = run(&stream[..bytes], ROOM, ALL - DecompressFlags::CHECK_FOR_END);
            assert_eq!((completion.status, completion.bytes_completed as usize), (1, bytes));
            assert!(source.starts_with(&output));
            assert_eq!(completion.crc, crc32(&output));
        }
    }
}

/// Two blocks, "ab" and "cd", the second final: 52 bits.
fn two_blocks() -> Bits {
    let mut bits = Bits::default();
    bits.put(2, 3).fixed(97).fixed(98).fixed(256);
    bits.put(3, 3).fixed(99).fixed(100).fixed(256);
    bits
}

#[test]
fn decoding_stops_where_it_is_told_to() {
    use DecompressFlags as F;
    let base = F::ENABLE | F::FLUSH_OUTPUT;
    let stream = two_blocks().put(0, 12).bytes.clone();
    // One block is 3 + 8 + 8 + 7 bits.
    for (flags, output, consumed) in [
        (F::STOP_ON_END, &b"ab"[..], 4),
        (F::STOP_ON_END | F::CHECK_FOR_END, b"ab", 4),
        (F::STOP_ON_END | F::SELECT_FINAL, b"abcd", 7),
        (F::STOP_ON_END | F::CHECK_FOR_END | F::SELECT_FINAL, b"abcd", 7),
        // To the end of the input: what is behind begins a stored block, which waits for the rest.
        (F::empty(), b"abcd", 8),
        (F::CHECK_FOR_END | F::SELECT_FINAL, b"abcd", 8),
    ] {
        let (completion, bytes) = run(&stream, ROOM, base | flags);
        assert_eq!(
            (completion.status, &bytes[..], completion.bytes_completed),
            (1, output, consumed),
            "{flags:?}"
        );
    }
    // Another block behind the final one is decoded if nothing stops it, and is no final one.
    let mut more = two_blocks();
    more.put(2, 3).fixed(101).fixed(256);
    let (completion, bytes) = run(&more.bytes, ROOM, base | F::CHECK_FOR_END);
    assert_eq!((completion.status, &bytes[..]), (1, &b"abcde"[..]));
    let (completion, _) = run(&more.bytes, ROOM, base | F::CHECK_FOR_END | F::SELECT_FINAL);
    assert_eq!((completion.status, completion.error_code), (0x0a, 15));
    // What is behind a final block is an error only for those who go on.
    let junk = two_blocks().put(0b110, 3).bytes.clone();
    assert_eq!(outcome(&junk), (1, 0));
    assert_eq!(run(&junk, ROOM, base).0.error_code, 13);
}

#[test]
fn an_output_that_does_not_fit_is_told_with_what_did() {
    let source = [text(70_000), noise(5000)].concat();
    let stream = deflated(&source, 1, Window::Kib4, &Library::BuiltIn);
    for most in [1, 2, 4096, 65_536, 69_999, 70_000, 74_999_u32] {
        let (completion, output) = run(&stream, most, ALL);
        assert_eq!(
            (IaaStatus(completion.status), completion.output_bytes),
            (IaaStatus::OUTPUT_OVERFLOW, most)
        );
        let fitted = &source[..most as usize];
        assert!(output == fitted);
        assert_eq!((completion.crc, completion.xor_checksum), (crc32(fitted), xor(fitted)));
        assert!((1..=stream.len()).contains(&(completion.bytes_completed as usize)));
    }
    let (completion, output) = run(&stream, 75_000, ALL);
    assert_eq!((completion.status, output == source), (1, true), "exactly its size fits");
}

#[test]
fn output_may_be_suppressed_and_its_checksums_are_reported() {
    let source = text(200_001);
    let (_, one_block) = Bench::with(&source).compress(source.len(), &CompressAecs::fixed(), WHOLE);
    let blocks = deflated(&source, 1, Window::Kib4, &Library::BuiltIn);
    // As Linux's iaa_crypto verifies, which knows of one block, and as QPL does; the destination may be the source, and of
    // one byte.
    for (stream, flags, destination, most) in
        [(&one_block, 0x20f, SOURCE, 200_001), (&blocks, 0x215, DESTINATION, 1)]
    {
        let bench = Bench::with(stream);
        let flags = DecompressFlags::from_bits(flags).unwrap();
        let descriptor = Descriptor { destination, ..decompress(stream.len(), most, flags) };
        let completion = bench.execute(&descriptor);
        assert_eq!((completion.status, completion.output_bytes), (1, 0), "{completion:?}");
        assert_eq!((completion.crc, completion.xor_checksum), (crc32(&source), xor(&source)));
        assert_eq!(bench.destination(1), [0]);
    }
}

#[test]
fn the_checksum_may_be_that_of_rfc_3720() {
    let source = text(70_001);
    let stream = deflated(&source, 1, Window::Kib4, &Library::BuiltIn);
    let mut descriptor = decompress(stream.len(), ROOM, ALL);
    descriptor.flags_and_opcode |= DescriptorFlags::CRC_RFC3720.bits();
    assert_eq!(Bench::with(&stream).execute(&descriptor).crc, crc32c(&source));
}
