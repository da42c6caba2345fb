//! Frames and offers that the tests start from, and how a test breaks one without breaking its checksums.

use pageferry_accel::checksum::{ChecksumKind, crc32c};
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_engine::frame::{ChecksumSet, Defect, FrameError, Header, Limits, PagesHead, decode_tables};
use pageferry_engine::regions::{Region, Regions};

/// 16 MiB from 0 on and 16 MiB from 4 GiB on: pages 0 to 0xfff and 0x10_0000 to 0x10_0fff.
pub fn regions() -> Regions {
    let region = |gpa| Region { gpa: Gpa(gpa), bytes: 16 << 20 };
    Regions::new(PageSize::Kib4, vec![region(0), region(4 << 30)]).unwrap()
}

/// Pages of 4 KiB, at most 63 of them, every method and checksum.
pub fn limits() -> Limits {
    Limits {
        max_pages: 63,
        max_payload_bytes: 63 << 12,
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: regions(),
    }
}

/// Where the run table and the segment table of [`frame`] begin.
pub const RUN: usize = Header::BYTES;
/// See [`RUN`].
pub const SEGMENT: usize = RUN + 3 * 8;

/// Three runs of 2 data, 16 zero and 2 data pages; a segment of 3 pages of deflate and one of a raw page.
pub fn frame() -> Vec<u8> {
    let runs = [
        Run::data(PageIndex(0x100), PageCount(2)),
        Run::zero(PageIndex(0x180), PageCount(16)),
        Run::data(PageIndex(0x10_0000), PageCount(2)),
    ];
    let segments = [
        Segment { method: Method::Deflate, pages: PageCount(3), bytes: 1000 },
        Segment { method: Method::Raw, pages: PageCount(1), bytes: 4096 },
    ];
    encoded(&runs, &segments)
}

/// Header and tables of a frame of method deflate.
pub fn encoded(runs: &[Run], segments: &[Segment]) -> Vec<u8> {
    let head = PagesHead {
        method: Method::Deflate,
        round: 3,
        sequence: 77,
        checksum_kind: ChecksumKind::Crc32c,
        checksum: 0x1234_5678,
    };
    let mut out = Vec::new();
    head.encode(PageSize::Kib4, runs, segments, &mut out).unwrap();
    out
}

/// A frame's head as a receiver reads it.
pub fn decode(frame: &[u8], limits: &Limits) -> Result<(Header, Vec<Run>, Vec<Segment>), FrameError> {
    let (head, tables) = frame.split_first_chunk().expect("the sample has a header");
    let header = Header::decode(head, limits)?;
    let (mut runs, mut segments) = (Vec::new(), Vec::new());
    decode_tables(&header, tables, limits, &mut runs, &mut segments)?;
    Ok((header, runs, segments))
}

/// Overwrites bytes of a frame and makes its checksums right again.
pub fn patched(mut frame: Vec<u8>, patches: &[(usize, &[u8])]) -> Vec<u8> {
    for &(offset, bytes) in patches {
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    let tables = crc32c(&frame[Header::BYTES..]).to_le_bytes();
    frame[44..48].copy_from_slice(&tables);
    let header = crc32c(&frame[..48]).to_le_bytes();
    frame[48..52].copy_from_slice(&header);
    frame
}

/// What is wrong with a frame, after making sure that the error names it.
pub fn defect(frame: &[u8], limits: &Limits) -> Defect {
    let error = decode(frame, limits).expect_err("the frame should be refused");
    assert_eq!((error.frame.round, error.frame.sequence), (3, 77));
    assert!(error.to_string().contains("frame 77 of round 3"), "{error}");
    error.defect
}
