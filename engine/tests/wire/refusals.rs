//! Every reason to refuse a frame of pages, provoked by a frame whose checksums are right.

use pageferry_accel::checksum::ChecksumKind;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::frame::{ChecksumSet, Defect, EncodeError, Header, Limits, PagesHead, decode_tables};

use crate::samples::{RUN, SEGMENT, decode, defect, encoded, frame, limits, patched};

fn patched_defect(patches: &[(usize, &[u8])]) -> Defect {
    defect(&patched(frame(), patches), &limits())
}

#[test]
fn the_sample_itself_is_accepted() {
    let (header, runs, segments) = decode(&frame(), &limits()).unwrap();
    assert_eq!((header.pages, runs.len(), segments.len(), header.payload_bytes), (20, 3, 2, 5096));
}

#[test]
fn bytes_that_are_no_frame_are_told_from_a_damaged_one() {
    assert_eq!(patched_defect(&[(0, b"HTTP")]), Defect::Magic { found: *b"HTTP" });
    assert_eq!(patched_defect(&[(4, &[1])]), Defect::Version { found: 1, agreed: 2 });
    let mut damaged = frame();
    damaged[25] ^= 1;
    assert!(matches!(defect(&damaged, &limits()), Defect::HeaderChecksum { .. }));
    let untrusted = decode(&damaged, &limits()).unwrap_err().to_string();
    assert!(untrusted.contains("it claims to be frame 77"), "{untrusted}");
}

#[test]
fn a_header_that_states_the_unknown_is_refused() {
    let agreed = limits();
    for (patch, expected) in [
        ((5, &[0][..]), Defect::Kind { found: 0 }),
        ((5, &[8]), Defect::Kind { found: 8 }),
        ((8, &[0, 0x80]), Defect::Flags { found: 0x8000 }),
        ((11, &[1]), Defect::Reserved { found: 1 }),
        ((7, &[14]), Defect::PageShift { found: 14, agreed: PageSize::Kib4 }),
        ((6, &[7]), Defect::Method { found: 7, agreed: agreed.methods }),
        ((10, &[3]), Defect::ChecksumKind { found: 3, agreed: agreed.checksums }),
    ] {
        assert_eq!(patched_defect(&[patch]), expected);
    }
}

#[test]
fn methods_and_checksums_that_were_not_agreed_on_are_refused() {
    let methods = MethodSet::of(&[Method::Zero, Method::Raw, Method::Zstd]);
    let found = Method::Deflate.to_wire();
    let strict = Limits { methods, ..limits() };
    assert_eq!(defect(&frame(), &strict), Defect::Method { found, agreed: methods });
    let in_table = patched(frame(), &[(6, &[Method::Zstd.to_wire()])]);
    let expected = Defect::SegmentMethod { segment: 0, found, agreed: methods };
    assert_eq!(defect(&in_table, &strict), expected);
    let checksums = ChecksumSet::from_bits(2);
    let expected = Defect::ChecksumKind { found: 2, agreed: checksums };
    assert_eq!(defect(&frame(), &Limits { checksums, ..limits() }), expected);
}

#[test]
fn zero_and_raw_need_no_agreement() {
    let strict = Limits { methods: MethodSet::default(), ..limits() };
    let raw = Segment { method: Method::Raw, pages: PageCount(1), bytes: 4096 };
    let raw = patched(encoded(&[Run::data(PageIndex(1), PageCount(1))], &[raw]), &[(6, &[1])]);
    assert!(decode(&raw, &strict).is_ok());
    assert!(decode(&encoded(&[Run::zero(PageIndex(1), PageCount(1))], &[]), &strict).is_ok());
}

#[test]
fn a_header_that_counts_too_high_is_refused_before_anything_is_read() {
    const ALL: [u8; 4] = [0xff; 4];
    let max = 63;
    for (patches, expected) in [
        (&[(24, &ALL[..])][..], Defect::Runs { found: u32::MAX, max }),
        (&[(24, &[0, 0, 0, 0])], Defect::Runs { found: 0, max }),
        (&[(24, &[64, 0, 0, 0])], Defect::Runs { found: 64, max }),
        (&[(28, &ALL)], Defect::Pages { found: u32::MAX, max }),
        (&[(28, &[0, 0, 0, 0])], Defect::Pages { found: 0, max }),
        (&[(28, &[64, 0, 0, 0])], Defect::Pages { found: 64, max }),
        (&[(28, &[2, 0, 0, 0])], Defect::MoreRunsThanPages { runs: 3, pages: 2 }),
        (&[(32, &ALL)], Defect::MoreSegmentsThanPages { segments: u32::MAX, pages: 20 }),
        (&[(36, &ALL)], Defect::PayloadBytes { found: u32::MAX, max: 20 << 12 }),
        (&[(28, &[63, 0, 0, 0]), (36, &ALL)], Defect::PayloadBytes { found: u32::MAX, max: 63 << 12 }),
    ] {
        assert_eq!(patched_defect(patches), expected);
    }
    let narrow = Limits { max_payload_bytes: 4096, ..limits() };
    assert_eq!(defect(&frame(), &narrow), Defect::PayloadBytes { found: 5096, max: 4096 });
}

#[test]
fn a_frame_of_zero_pages_has_nothing_else() {
    let zero = encoded(&[Run::zero(PageIndex(1), PageCount(2))], &[]);
    assert!(decode(&zero, &limits()).is_ok());
    let with = |patch| defect(&patched(zero.clone(), &[patch]), &limits());
    for (patch, segments, payload_bytes, checksum_kind, checksum) in [
        ((32, &[1][..]), 1, 0, 0, 0),
        ((36, &[1]), 0, 1, 0, 0),
        ((10, &[2]), 0, 0, 2, 0),
        ((40, &[1]), 0, 0, 0, 1),
    ] {
        let expected = Defect::ZeroWithData { segments, payload_bytes, checksum_kind, checksum };
        assert_eq!(with(patch), expected);
    }
    assert_eq!(with((6, &[2])), Defect::NoSegments { method: Method::Deflate });
    assert_eq!(patched_defect(&[(10, &[0])]), Defect::NoChecksum { segments: 2 });
}

#[test]
fn tables_that_are_damaged_or_of_another_length_are_refused() {
    let whole = frame();
    let mut damaged = whole.clone();
    damaged[RUN] ^= 1;
    assert!(matches!(defect(&damaged, &limits()), Defect::TablesChecksum { .. }));
    for found in [0, 8, 39, 41] {
        let mut tables = whole[RUN..].to_vec();
        tables.resize(found, 0);
        let cut = [&whole[..RUN], &tables].concat();
        assert_eq!(defect(&cut, &limits()), Defect::TablesLength { found, stated: 40 });
    }
}

#[test]
fn runs_that_lie_are_refused() {
    for (patch, expected) in [
        ((RUN + 7, &[0x20][..]), Defect::RunContent { run: 0, found: 2 }),
        ((RUN + 7, &[0xf0]), Defect::RunContent { run: 0, found: 15 }),
        ((RUN + 6, &[0, 0]), Defect::RunPages { run: 0, found: 0 }),
        ((RUN + 6, &[1, 4]), Defect::RunPages { run: 0, found: 1025 }),
        ((RUN + 6, &[3, 0]), Defect::PageSum { found: 21, stated: 20 }),
        ((RUN + 6, &[1, 0]), Defect::PageSum { found: 19, stated: 20 }),
        (
            (RUN + 8, &[1, 1]),
            Defect::RunOrder { run: 1, first: PageIndex(0x101), previous_end: PageIndex(0x102) },
        ),
        (
            (RUN + 8, &[0, 0]),
            Defect::RunOrder { run: 1, first: PageIndex(0), previous_end: PageIndex(0x102) },
        ),
    ] {
        assert_eq!(patched_defect(&[patch]), expected);
    }
}

#[test]
fn runs_outside_guest_memory_are_refused() {
    for (patch, first) in [
        // The last page of the first region and one behind it.
        ((RUN + 8 + 8, &[0xff, 0x0f, 0, 0, 0, 0][..]), 0xfff),
        // The hole between the regions.
        ((RUN + 8 + 8, &[0, 0x10, 0, 0, 0, 0]), 0x1000),
        // The last page of the second region and one behind it.
        ((RUN + 8 + 8, &[0xff, 0x0f, 0x10, 0, 0, 0]), 0x10_0fff),
        // The highest page number there is.
        ((RUN + 8 + 8, &[0xff; 6]), 0xffff_ffff_ffff),
    ] {
        let expected = Defect::RunOutside { run: 2, first: PageIndex(first), pages: 2 };
        assert_eq!(patched_defect(&[patch]), expected);
    }
}

#[test]
fn segments_that_lie_are_refused() {
    let agreed = limits().methods;
    let deflate = Method::Deflate;
    for (patches, expected) in [
        (&[(SEGMENT + 7, &[1][..])][..], Defect::SegmentReserved { segment: 0, found: 1 }),
        (&[(SEGMENT + 6, &[0])], Defect::SegmentMethod { segment: 0, found: 0, agreed }),
        (&[(SEGMENT + 6, &[9])], Defect::SegmentMethod { segment: 0, found: 9, agreed }),
        (&[(SEGMENT + 4, &[0, 0])], Defect::SegmentPages { segment: 0, method: deflate, found: 0 }),
        (&[(SEGMENT + 6, &[5])], Defect::SegmentPages { segment: 0, method: Method::Xbzrle, found: 3 }),
        (&[(SEGMENT + 6, &[6])], Defect::SegmentPages { segment: 0, method: Method::Delta, found: 3 }),
        (&[(SEGMENT + 4, &[2, 0])], Defect::SegmentPageSum { found: 3, data_pages: 4 }),
        (&[(SEGMENT + 4, &[0xff, 0xff])], Defect::SegmentPageSum { found: 65536, data_pages: 4 }),
        (&[(SEGMENT, &[0xe9, 3])], Defect::PayloadSum { found: 5097, stated: 5096 }),
        (&[(36, &[0xe9])], Defect::PayloadSum { found: 5096, stated: 5097 }),
    ] {
        assert_eq!(patched_defect(patches), expected);
    }
}

#[test]
fn a_segment_has_a_length_that_its_method_can_produce() {
    let page = 4096;
    for (method, pages, bytes, possible) in [
        (Method::Raw, 1, page, true),
        (Method::Raw, 1, page - 1, false),
        (Method::Raw, 1, page + 1, false),
        (Method::Raw, 2, 2 * page, true),
        (Method::Deflate, 2, 1, true),
        (Method::Deflate, 2, 2 * page - 1, true),
        (Method::Deflate, 2, 2 * page, false),
        (Method::Deflate, 1, 0, false),
        (Method::Zstd, 1, 0, false),
        (Method::Zstd, 1, page, false),
        (Method::Lz4, 1, 0, false),
        (Method::Lz4, 1, page, false),
        (Method::Xbzrle, 1, 0, true),
        (Method::Xbzrle, 1, page - 1, true),
        (Method::Xbzrle, 1, page, false),
        (Method::Delta, 1, 0, true),
        (Method::Delta, 1, page - 1, true),
        (Method::Delta, 1, page, false),
        (Method::Delta, 1, u32::MAX, false),
    ] {
        // A raw page before it keeps the payload of the frame within its bounds.
        let raw = Segment { method: Method::Raw, pages: PageCount(8), bytes: 8 * page };
        let segment = Segment { method, pages: PageCount(pages), bytes: 0 };
        let runs = [Run::data(PageIndex(1), PageCount(8 + pages))];
        let mut bytes_on_wire = encoded(&runs, &[raw, segment]);
        let payload = (8 * page).saturating_add(bytes).min((8 + pages) * page);
        bytes_on_wire = patched(
            bytes_on_wire,
            &[(36, &payload.to_le_bytes()), (Header::BYTES + 8 + 8, &bytes.to_le_bytes())],
        );
        let found = decode(&bytes_on_wire, &limits()).map_err(|error| error.defect);
        if possible {
            assert!(found.is_ok(), "{method} with {bytes} bytes for {pages} pages: {found:?}");
        } else {
            let pages = u16::try_from(pages).unwrap();
            assert_eq!(found.unwrap_err(), Defect::SegmentBytes { segment: 1, method, pages, found: bytes });
        }
    }
}

#[test]
fn a_refused_frame_leaves_nothing_in_the_tables() {
    let bytes = patched(frame(), &[(SEGMENT + 8 + 7, &[1])]);
    let header = Header::decode(bytes.first_chunk().unwrap(), &limits()).unwrap();
    let (mut runs, mut segments) = (vec![Run::zero(PageIndex(9), PageCount(1))], Vec::new());
    assert!(decode_tables(&header, &bytes[RUN..], &limits(), &mut runs, &mut segments).is_err());
    assert!(runs.is_empty() && segments.is_empty());
}

#[test]
fn what_the_format_has_no_room_for_is_not_encoded() {
    let head = PagesHead {
        method: Method::Raw,
        round: 0,
        sequence: 0,
        checksum_kind: ChecksumKind::Crc32c,
        checksum: 0,
    };
    let mut out = vec![7];
    for (first, pages) in [(1 << 48, 1), (0, 0), (0, 1025), (0, 1 << 16)] {
        let run = Run::data(PageIndex(first), PageCount(pages));
        let found = head.encode(PageSize::Kib4, &[run], &[], &mut out);
        assert!(matches!(found, Err(EncodeError::Run { .. })), "{found:?}");
    }
    let segment = |pages, bytes| Segment { method: Method::Raw, pages: PageCount(pages), bytes };
    let found = head.encode(PageSize::Kib4, &[], &[segment(1 << 16, 1)], &mut out);
    assert!(matches!(found, Err(EncodeError::Segment { .. })), "{found:?}");
    let found = head.encode(PageSize::Kib4, &[], &[segment(1, u32::MAX), segment(1, 1)], &mut out);
    assert!(matches!(found, Err(EncodeError::TooLarge { .. })), "{found:?}");
    assert_eq!(out, [7], "a frame that was not encoded leaves nothing behind");
}
