//! Laws of frames of pages.

use pageferry_accel::checksum::ChecksumKind;
use pageferry_accel::method::Method;
use pageferry_accel::run::{Content, Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::frame::{Header, PagesHead, Report, decode_reason, decode_tables};
use proptest::prelude::*;

use crate::samples::{decode, frame, limits, patched};

/// Runs in guest memory: at most 12 of at most 5 pages, with gaps that may be none.
fn runs() -> impl Strategy<Value = Vec<Run>> {
    let steps = prop::collection::vec((0u64..200, 1u32..6, any::<bool>()), 1..12);
    (prop::sample::select(vec![0u64, 0x10_0000]), steps).prop_map(|(mut page, steps)| {
        let run = |(gap, pages, zero)| {
            let first = PageIndex(page + gap);
            page = first.0 + u64::from(pages);
            let content = if zero { Content::Zero } else { Content::Data };
            Run { first, count: PageCount(pages), content }
        };
        steps.into_iter().map(run).collect()
    })
}

/// Segments that cover `data_pages`, of lengths that their methods can produce.
fn segments(data_pages: u32, choices: &[(usize, u32, u32)]) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut left = data_pages;
    for &(method, pages, bytes) in choices.iter().cycle() {
        if left == 0 {
            break;
        }
        let method = Method::ALL[1..][method];
        let pages = if method.needs_baseline() { 1 } else { pages.min(left) };
        let bytes = match method {
            Method::Raw => pages << 12,
            Method::Xbzrle | Method::Delta => bytes % 4096,
            _ => 1 + bytes % ((pages << 12) - 1),
        };
        segments.push(Segment { method, pages: PageCount(pages), bytes });
        left -= pages;
    }
    segments
}

fn heads() -> impl Strategy<Value = (PagesHead, Vec<Run>, Vec<Segment>)> {
    let choices = prop::collection::vec((0usize..6, 1u32..9, any::<u32>()), 1..8);
    let methods = prop::sample::select(Method::ALL[1..].to_vec());
    let kinds = prop::sample::select(vec![ChecksumKind::Crc32, ChecksumKind::Crc32c]);
    (runs(), choices, methods, any::<u32>(), any::<u64>(), kinds, any::<u32>()).prop_map(
        |(runs, choices, method, round, sequence, checksum_kind, checksum)| {
            let data = runs.iter().filter(|run| run.content == Content::Data);
            let segments = segments(data.map(|run| run.count.0).sum(), &choices);
            (PagesHead { method, round, sequence, checksum_kind, checksum }, runs, segments)
        },
    )
}

fn encoded(head: &PagesHead, runs: &[Run], segments: &[Segment]) -> Vec<u8> {
    let mut out = Vec::new();
    head.encode(PageSize::Kib4, runs, segments, &mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded((head, runs, segments) in heads()) {
        let bytes = encoded(&head, &runs, &segments);
        let (header, decoded_runs, decoded_segments) = decode(&bytes, &limits()).unwrap();
        prop_assert_eq!(header.tables_bytes(), bytes.len() - Header::BYTES);
        prop_assert_eq!((header.round, header.sequence), (head.round, head.sequence));
        let expected = if segments.is_empty() {
            (Method::Zero, ChecksumKind::None, 0)
        } else {
            (head.method, head.checksum_kind, head.checksum)
        };
        prop_assert_eq!((header.method, header.checksum_kind, header.checksum), expected);
        prop_assert_eq!(header.pages, runs.iter().map(|run| run.count.0).sum::<u32>());
        prop_assert_eq!(header.payload_bytes, segments.iter().map(|segment| segment.bytes).sum::<u32>());
        prop_assert_eq!((decoded_runs, decoded_segments), (runs, segments));
    }

    #[test]
    fn a_flipped_bit_is_refused((head, runs, segments) in heads(), bit in any::<prop::sample::Index>()) {
        let mut bytes = encoded(&head, &runs, &segments);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&bytes, &limits()).is_err());
    }

    #[test]
    fn bytes_that_follow_a_valid_header_do_no_harm(
        patches in prop::collection::vec((4usize..92, any::<u8>()), 0..6),
    ) {
        let patches: Vec<_> = patches.iter().map(|(offset, byte)| (*offset, std::slice::from_ref(byte))).collect();
        let bytes = patched(frame(), &patches);
        if let Ok((header, runs, segments)) = decode(&bytes, &limits()) {
            let inside = |run: &Run| limits().regions.hold(run.first, run.count.0.into());
            prop_assert!(runs.iter().all(inside));
            prop_assert!(runs.windows(2).all(|pair| pair[0].end() <= pair[1].first));
            prop_assert_eq!(segments.iter().map(|segment| segment.bytes).sum::<u32>(), header.payload_bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), Header::BYTES..256)) {
        let bytes = patched(bytes, &[(0, b"PFRY\x02")]);
        let (head, rest) = bytes.split_first_chunk().unwrap();
        if let Ok(header) = Header::decode(head, &limits()) {
            let tables = &rest[..header.tables_bytes().min(rest.len())];
            let _ = decode_tables(&header, tables, &limits(), &mut Vec::new(), &mut Vec::new());
            let _ = Report::decode(&header, rest, &limits());
            let _ = decode_reason(&header, rest);
        }
    }
}

#[test]
fn every_single_bit_of_header_and_tables_counts() {
    let whole = frame();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bytes, &limits()).is_err(), "bit {} of byte {} went unnoticed", bit % 8, bit / 8);
    }
}

#[test]
fn frames_are_appended_to_what_is_there() {
    let (whole, runs) = (frame(), [Run::zero(PageIndex(1), PageCount(1))]);
    let head = PagesHead {
        method: Method::Zero,
        round: 0,
        sequence: 0,
        checksum_kind: ChecksumKind::None,
        checksum: 0,
    };
    let mut out = whole.clone();
    head.encode(PageSize::Kib4, &runs, &[], &mut out).unwrap();
    assert_eq!(out[..whole.len()], whole);
    assert!(decode(&out[whole.len()..], &limits()).is_ok());
}
