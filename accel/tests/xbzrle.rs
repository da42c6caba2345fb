//! The laws of XBZRLE: what every implementation must produce and what no peer may achieve.

use pageferry_accel::codec::DoesNotFit;
use pageferry_accel::codec::xbzrle::{DecodeError, MAX_PAGE_BYTES, decode, encode, implementations};
use proptest::prelude::*;

/// A page and what became of it.
#[derive(Debug, Clone)]
struct Pages {
    old: Vec<u8>,
    new: Vec<u8>,
}

/// Sizes that the codec meets, and sizes that cut its words and blocks anywhere.
fn page_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => 0..=200_usize,
        2 => Just(4096),
        1 => 4000..=4200_usize,
        1 => Just(16 << 10),
        1 => Just(MAX_PAGE_BYTES),
        1 => 8190..=MAX_PAGE_BYTES,
    ]
}

/// Changes as runs of any length with any gap, down to single equal bytes between changed ones.
fn pages() -> impl Strategy<Value = Pages> {
    let gaps = prop_oneof![Just(1..=3_usize), Just(1..=300), Just(1..=30_000)];
    let runs = prop_oneof![Just(1..=3_usize), Just(1..=40), Just(1..=30_000)];
    (page_bytes(), gaps, runs, any::<u64>(), any::<bool>()).prop_map(
        |(bytes, gaps, runs, seed, starts_changed)| {
            let mut random = Random(seed);
            let old: Vec<u8> = (0..bytes).map(|_| random.byte()).collect();
            let mut new = old.clone();
            let mut at = if starts_changed { 0 } else { random.within(&gaps) };
            while at < bytes {
                let end = bytes.min(at + random.within(&runs));
                new[at..end].iter_mut().for_each(|byte| *byte ^= random.byte() | 1);
                at = end + random.within(&gaps);
            }
            Pages { old, new }
        },
    )
}

/// Knuth's MMIX generator: enough to fill pages reproducibly.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn within(&mut self, range: &std::ops::RangeInclusive<usize>) -> usize {
        let span = u64::try_from(range.end() - range.start() + 1).expect("a small range");
        range.start() + usize::try_from(self.next() % span).expect("within the range")
    }
}

/// The encoding as its definition reads, byte by byte.
fn model(pages: &Pages) -> Vec<u8> {
    let changed = |at: &usize| pages.old[*at] != pages.new[*at];
    let mut encoded = Vec::new();
    let mut at = 0;
    while let Some(start) = (at..pages.new.len()).find(changed) {
        let end = (start..pages.new.len()).find(|at| !changed(at)).unwrap_or(pages.new.len());
        push_length(&mut encoded, start - at);
        push_length(&mut encoded, end - start);
        encoded.extend_from_slice(&pages.new[start..end]);
        at = end;
    }
    encoded
}

fn push_length(encoded: &mut Vec<u8>, mut value: usize) {
    loop {
        let septet = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            encoded.push(septet);
            return;
        }
        encoded.push(septet | 0x80);
    }
}

fn pages_of(old: Vec<u8>, change: impl Fn(&mut [u8])) -> Pages {
    let mut new = old.clone();
    change(&mut new);
    Pages { old, new }
}

#[test]
fn the_example_of_qemus_documentation_encodes_to_its_24_bytes() {
    // QEMU docs/devel/migration: byte 1001 on, 15 bytes 01..0f; three equal; 67; one equal; 69.
    let mut expected = vec![0xe9, 0x07, 0x0f];
    expected.extend(1..=0x0f);
    expected.extend([0x03, 0x01, 0x67, 0x01, 0x01, 0x69]);
    let pages = pages_of(vec![0; 4096], |new| {
        (1..=0x0f_u8).zip(1001..).for_each(|(byte, at)| new[at] = byte);
        new[1019] = 0x67;
        new[1021] = 0x69;
    });
    for (name, encode) in implementations() {
        let mut out = [0; 4096];
        assert_eq!(encode(&pages.old, &pages.new, &mut out), Ok(24), "{name}");
        assert_eq!(out[..24], expected, "{name}");
    }
    let mut page = pages.old.clone();
    assert_eq!(decode(&expected, &mut page), Ok(()));
    assert!(page == pages.new);
}

#[test]
fn equal_pages_encode_to_nothing_even_without_output() {
    for bytes in [0, 1, 8, 63, 4096, 16 << 10, MAX_PAGE_BYTES] {
        for (name, encode) in implementations() {
            assert_eq!(encode(&vec![7; bytes], &vec![7; bytes], &mut []), Ok(0), "{name}, {bytes} bytes");
        }
    }
}

#[test]
fn a_page_changed_in_every_byte_is_one_run() {
    for (bytes, lengths) in [(8, 2), (4096, 3), (16 << 10, 4), (MAX_PAGE_BYTES, 4)] {
        let pages = pages_of(vec![0; bytes], |new| new.fill(0xff));
        for (name, encode) in implementations() {
            let mut out = vec![0; bytes + lengths];
            assert_eq!(encode(&pages.old, &pages.new, &mut out), Ok(bytes + lengths), "{name}");
            assert_eq!(encode(&pages.old, &pages.new, &mut out[1..]), Err(DoesNotFit), "{name}");
        }
    }
}

#[test]
fn a_page_changed_in_every_second_byte_takes_half_as_much_again() {
    for bytes in [8, 4096, 16 << 10, MAX_PAGE_BYTES] {
        let pages =
            pages_of(vec![0; bytes], |new| new.iter_mut().skip(1).step_by(2).for_each(|byte| *byte = 1));
        for (name, encode) in implementations() {
            let mut out = vec![0; bytes / 2 * 3];
            assert_eq!(encode(&pages.old, &pages.new, &mut out), Ok(bytes / 2 * 3), "{name}");
            assert_eq!(encode(&pages.old, &pages.new, &mut out[1..]), Err(DoesNotFit), "{name}");
        }
    }
}

#[test]
fn no_encoding_is_longer_than_the_stated_worst_case() {
    for bytes in 0..=64 {
        let pages = pages_of(vec![0; bytes], |new| new.iter_mut().step_by(2).for_each(|byte| *byte = 1));
        let mut out = vec![0; bytes + bytes / 2 + 2];
        assert!(encode(&pages.old, &pages.new, &mut out).is_ok(), "{bytes} bytes");
    }
}

#[test]
fn the_fastest_implementation_is_the_one_in_use() {
    let pages = pages_of(vec![0; 4096], |new| new[77] = 1);
    let (mut out, mut best) = ([0; 8], [0; 8]);
    assert_eq!(
        encode(&pages.old, &pages.new, &mut out),
        implementations()[0].1(&pages.old, &pages.new, &mut best)
    );
    assert_eq!(out[..3], best[..3]);
    assert_eq!(implementations().last().map(|(name, _)| *name), Some("portable"));
}

#[test]
fn what_no_encoder_writes_is_refused_with_its_reason() {
    let page_bytes = 64;
    for (encoded, error) in [
        (&[5][..], DecodeError::TruncatedLength { at: 1 }),
        (&[0x85], DecodeError::TruncatedLength { at: 0 }),
        (&[5, 0x81], DecodeError::TruncatedLength { at: 1 }),
        (&[0x85, 0, 1, 9], DecodeError::OverlongLength { at: 0 }),
        (&[5, 0x80, 0x80, 0x80, 1], DecodeError::OverlongLength { at: 1 }),
        (&[5, 0], DecodeError::EmptyRun { at: 1 }),
        (&[5, 1, 9, 0, 1, 9], DecodeError::EmptyRun { at: 3 }),
        (&[5, 2, 9], DecodeError::TruncatedRun { at: 2, run_bytes: 2, present: 1 }),
        (&[5, 1], DecodeError::TruncatedRun { at: 2, run_bytes: 1, present: 0 }),
        (&[65, 1, 9], DecodeError::PastPageEnd { at: 0, end: 65, page_bytes }),
        (&[64, 1, 9], DecodeError::PastPageEnd { at: 1, end: 65, page_bytes }),
        (&[62, 3, 9, 9, 9], DecodeError::PastPageEnd { at: 1, end: 65, page_bytes }),
        (&[0xff, 0xff, 0x7f, 1, 9], DecodeError::PastPageEnd { at: 0, end: 0x1f_ffff, page_bytes }),
    ] {
        assert_eq!(decode(encoded, &mut vec![0; page_bytes]), Err(error), "{encoded:x?}");
    }
}

#[test]
fn a_run_may_end_with_the_page() {
    let mut page = [0; 64];
    assert_eq!(decode(&[62, 2, 8, 9], &mut page), Ok(()));
    assert_eq!(page[61..], [0, 8, 9]);
}

proptest! {
    #[test]
    fn every_implementation_writes_what_the_definition_says(pages in pages()) {
        let expected = model(&pages);
        for (name, encode) in implementations() {
            let mut out = vec![0; expected.len() + 100];
            prop_assert_eq!(encode(&pages.old, &pages.new, &mut out), Ok(expected.len()), "{}", name);
            prop_assert!(out[..expected.len()] == expected, "{} differs from the definition", name);
        }
    }

    #[test]
    fn decoding_an_encoding_onto_the_old_page_gives_the_new_one(pages in pages()) {
        let mut out = vec![0; pages.new.len() * 3 / 2 + 2];
        let length = encode(&pages.old, &pages.new, &mut out).expect("room for the worst case");
        let mut page = pages.old.clone();
        prop_assert_eq!(decode(&out[..length], &mut page), Ok(()));
        prop_assert!(page == pages.new, "the page differs after decoding {} bytes", length);
    }

    #[test]
    fn arbitrary_bytes_decode_or_fail_but_never_panic(
        encoded in prop::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..200),
        page_bytes in page_bytes(),
    ) {
        let _ = decode(&encoded, &mut vec![0; page_bytes]);
    }

    #[test]
    fn a_damaged_encoding_decodes_or_fails_but_never_panics(
        pages in pages(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut encoded = model(&pages);
        prop_assume!(!encoded.is_empty());
        let at = at.index(encoded.len());
        encoded[at] = byte;
        if cut {
            encoded.truncate(at);
        }
        let _ = decode(&encoded, &mut pages.old.clone());
    }
}

proptest! {
    // Each case tries every size of the output near the exact one.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_encoding_overflows_exactly_where_it_is_longer_than_the_output(pages in pages()) {
        let exact = model(&pages).len();
        for (name, encode) in implementations() {
            for room in exact.saturating_sub(80)..exact + 80 {
                // Bytes behind the output that nobody may touch.
                let mut out = vec![0xa5; room + 64];
                let result = encode(&pages.old, &pages.new, &mut out[..room]);
                let expected = if exact <= room { Ok(exact) } else { Err(DoesNotFit) };
                prop_assert_eq!(result, expected, "{} with room for {} of {}", name, room, exact);
                prop_assert!(out[room..].iter().all(|&byte| byte == 0xa5));
            }
        }
    }
}
