//! The laws of delta records: what every implementation must produce and what no peer may achieve.

use pageferry_accel::codec::DoesNotFit;
use pageferry_accel::codec::delta::{
    DecodeError, ENTRY_BYTES, MAX_REGION_BYTES, WORD_BYTES, decode, encode, implementations,
};
use proptest::prelude::*;

/// A region and what became of it.
#[derive(Debug, Clone)]
struct Regions {
    old: Vec<u8>,
    new: Vec<u8>,
}

fn region_bytes() -> impl Strategy<Value = usize> {
    let words = prop_oneof![
        3 => 0..=200_usize,
        2 => Just(512),
        2 => 500..=1100_usize,
        1 => 1..=MAX_REGION_BYTES / WORD_BYTES,
        1 => Just(MAX_REGION_BYTES / WORD_BYTES),
    ];
    words.prop_map(|words| words * WORD_BYTES)
}

/// Regions with one changed byte in `one_in` on average.
fn regions() -> impl Strategy<Value = Regions> {
    let one_in = prop_oneof![Just(1), Just(2), Just(8), Just(100), Just(3000), Just(100_000)];
    (region_bytes(), one_in, any::<u64>()).prop_map(|(bytes, one_in, seed)| {
        let mut random = Random(seed);
        let old: Vec<u8> = (0..bytes).map(|_| random.byte()).collect();
        let mut new = old.clone();
        for byte in new.iter_mut().chain([&mut 0]) {
            if random.next().is_multiple_of(one_in) {
                *byte ^= random.byte() | 1;
            }
        }
        Regions { old, new }
    })
}

/// Knuth's MMIX generator: enough to fill regions reproducibly.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// The record as its definition reads, word by word.
fn model(regions: &Regions) -> Vec<u8> {
    let words = regions.old.chunks(WORD_BYTES).zip(regions.new.chunks(WORD_BYTES)).zip(0_u16..=u16::MAX);
    let changed = words.filter(|((old, new), _)| old != new);
    changed.flat_map(|((_, new), offset)| [&offset.to_le_bytes(), new].concat()).collect()
}

fn entry(offset: u16, byte: u8) -> [u8; ENTRY_BYTES] {
    let mut entry = [byte; ENTRY_BYTES];
    entry[..2].copy_from_slice(&offset.to_le_bytes());
    entry
}

#[test]
fn an_entry_is_the_offset_in_words_and_the_new_word() {
    let old = vec![0; 4096];
    let mut new = old.clone();
    new[0x301 * 8 / 2] = 0x11;
    new[4095] = 0x22;
    let expected = [[0x80, 0x01, 0, 0, 0, 0, 0x11, 0, 0, 0], [0xff, 0x01, 0, 0, 0, 0, 0, 0, 0, 0x22]];
    for (name, encode) in implementations() {
        let mut out = [0; 20];
        assert_eq!(encode(&old, &new, &mut out), Ok(20), "{name}");
        assert_eq!(out, *expected.as_flattened(), "{name}");
    }
}

#[test]
fn equal_regions_have_an_empty_record_even_without_output() {
    for bytes in [0, 8, 64, 504, 4096, MAX_REGION_BYTES] {
        for (name, encode) in implementations() {
            assert_eq!(encode(&vec![7; bytes], &vec![7; bytes], &mut []), Ok(0), "{name}, {bytes} bytes");
        }
    }
}

#[test]
fn a_region_changed_in_every_word_takes_a_quarter_more_than_itself() {
    for bytes in [8, 16, 504, 512, 4096, 4104, 64 << 10, MAX_REGION_BYTES] {
        let (old, new) = (vec![0; bytes], vec![1; bytes]);
        for (name, encode) in implementations() {
            let mut out = vec![0; bytes / 4 * 5];
            assert_eq!(encode(&old, &new, &mut out), Ok(bytes / 4 * 5), "{name}, {bytes} bytes");
            let mut region = old.clone();
            assert_eq!(decode(&out, &mut region), Ok(()), "{name}, {bytes} bytes");
            assert!(region == new, "{name}, {bytes} bytes");
            assert_eq!(encode(&old, &new, &mut out[1..]), Err(DoesNotFit), "{name}, {bytes} bytes");
        }
    }
}

#[test]
fn the_last_word_of_the_largest_region_has_offset_65535() {
    let old = vec![0; MAX_REGION_BYTES];
    let mut new = old.clone();
    new[MAX_REGION_BYTES - 1] = 1;
    let mut out = [0; ENTRY_BYTES];
    assert_eq!(encode(&old, &new, &mut out), Ok(ENTRY_BYTES));
    assert_eq!(out, [0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn the_fastest_implementation_is_the_one_in_use() {
    let (old, new) = (vec![0; 4096], vec![1; 4096]);
    let (mut out, mut best) = (vec![0; 5120], vec![0; 5120]);
    assert_eq!(encode(&old, &new, &mut out), implementations()[0].1(&old, &new, &mut best));
    assert!(out == best);
    assert_eq!(implementations().last().map(|(name, _)| *name), Some("portable"));
}

#[test]
fn a_record_of_a_part_of_an_entry_is_refused_before_anything_is_applied() {
    for record_bytes in [1, 9, 11, 25] {
        let mut region = [0; 64];
        let record = vec![1; record_bytes];
        assert_eq!(decode(&record, &mut region), Err(DecodeError::PartialEntry { record_bytes }));
        assert_eq!(region, [0; 64]);
    }
}

#[test]
fn offsets_that_repeat_or_go_back_are_refused() {
    for offset in [0, 3, 4] {
        let record = [entry(1, 1), entry(4, 2), entry(offset, 3)];
        assert_eq!(
            decode(record.as_flattened(), &mut [0; 64]),
            Err(DecodeError::NotIncreasing { entry: 2, offset, previous: 4 })
        );
    }
}

#[test]
fn an_offset_beyond_the_region_is_refused() {
    for (offset, region_bytes) in [(8, 64), (8, 71), (u16::MAX, 64), (0, 0), (0, 7)] {
        assert_eq!(
            decode(&entry(offset, 1), &mut vec![0; region_bytes]),
            Err(DecodeError::PastRegionEnd { entry: 0, offset, region_bytes })
        );
    }
}

proptest! {
    #[test]
    fn every_implementation_writes_what_the_definition_says(regions in regions()) {
        let expected = model(&regions);
        for (name, encode) in implementations() {
            let mut out = vec![0; expected.len() + 100];
            prop_assert_eq!(encode(&regions.old, &regions.new, &mut out), Ok(expected.len()), "{}", name);
            prop_assert!(out[..expected.len()] == expected, "{} differs from the definition", name);
        }
    }

    #[test]
    fn decoding_a_record_onto_the_old_region_gives_the_new_one(regions in regions()) {
        let mut out = vec![0; regions.new.len() / 4 * 5];
        let length = encode(&regions.old, &regions.new, &mut out).expect("room for the worst case");
        let mut region = regions.old.clone();
        prop_assert_eq!(decode(&out[..length], &mut region), Ok(()));
        prop_assert!(region == regions.new, "the region differs after decoding {} bytes", length);
    }

    #[test]
    fn a_record_is_applied_exactly_if_it_is_whole_increasing_and_within_the_region(
        record in prop::collection::vec(prop_oneof![3 => Just(0), 1 => 0..9_u8, 1 => any::<u8>()], 0..64),
        region_bytes in 0..80_usize,
    ) {
        let offsets: Vec<usize> = record
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| usize::from(entry[0]) + usize::from(entry[1]) * 256)
            .collect();
        let valid = record.len() % ENTRY_BYTES == 0
            && offsets.is_sorted_by(|before, after| before < after)
            && offsets.iter().all(|offset| (offset + 1) * WORD_BYTES <= region_bytes);
        let result = decode(&record, &mut vec![0; region_bytes]);
        prop_assert_eq!(result.is_ok(), valid, "{:?} for offsets {:?}", result, offsets);
    }

    #[test]
    fn increasing_entries_within_the_region_are_applied_and_nothing_else(
        offsets in prop::collection::btree_set(0..64_u16, 0..64),
    ) {
        let record: Vec<u8> = offsets.iter().flat_map(|&offset| entry(offset, 0xee)).collect();
        let mut region = vec![0; 64 * WORD_BYTES];
        prop_assert_eq!(decode(&record, &mut region), Ok(()));
        for (word, offset) in region.chunks(WORD_BYTES).zip(0..) {
            let expected = if offsets.contains(&offset) { [0xee; WORD_BYTES] } else { [0; WORD_BYTES] };
            prop_assert_eq!(word, expected);
        }
    }
}

proptest! {
    // Each case tries every size of the output near the exact one.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_record_overflows_exactly_where_it_is_longer_than_the_output(regions in regions()) {
        let exact = model(&regions).len();
        for (name, encode) in implementations() {
            for room in exact.saturating_sub(25)..exact + 25 {
                // Bytes behind the output that nobody may touch.
                let mut out = vec![0xa5; room + 64];
                let result = encode(&regions.old, &regions.new, &mut out[..room]);
                let expected = if exact <= room { Ok(exact) } else { Err(DoesNotFit) };
                prop_assert_eq!(result, expected, "{} with room for {} of {}", name, room, exact);
                prop_assert!(out[room..].iter().all(|&byte| byte == 0xa5));
            }
        }
    }
}
