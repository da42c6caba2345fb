//! Frames whose numbers lie.

use pageferry_accel::method::Method;
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};
use pageferry_engine::frame::{Defect, FrameId, Header, Report, encode_failure};
use pageferry_engine::receiver::ReceiveError;
use pageferry_tests::hostile::{Frame, HIGH, PAGE, PAGES, RUNS};

use crate::attack::{Attack, refused, sample};

#[test]
fn a_frame_that_breaks_off_anywhere_is_named_as_far_as_it_came() {
    let frame = sample();
    let bytes = frame.bytes();
    let payload = frame.segments_at() + 16;
    for length in [0, 1, 4, 51] {
        Attack::cut_off(bytes[..length].to_vec()).run(&format!("a frame of {length} bytes"), |error| {
            matches!(error, ReceiveError::Io { channel: 0, .. })
        });
    }
    let inside = [52, 53, RUNS + 8, frame.segments_at(), payload - 1, payload, payload + 1, bytes.len() - 1];
    for length in inside {
        Attack::cut_off(bytes[..length].to_vec()).run(&format!("a frame of {length} bytes"), |error| {
            let expected = FrameId { round: 0, sequence: 1 };
            matches!(error, ReceiveError::BrokenOff { frame, channel: 0, .. } if *frame == expected)
                && error.to_string().starts_with("frame 1 of round 0 broke off")
        });
    }
}

#[test]
fn bytes_that_are_no_frame_are_refused() {
    for rubbish in
        [&b"GET / HTTP/1.1\r\nHost: destination\r\n\r\n                    "[..], &[0; 52], &[0xff; 52]]
    {
        Attack::with(rubbish.to_vec()).run("rubbish", |error| {
            matches!(error, ReceiveError::Frame(found) if matches!(found.defect, Defect::Magic { .. }))
        });
    }
    let mut flipped = sample().bytes();
    flipped[30] ^= 4;
    Attack::with(flipped).run("a bit of the header", |error| {
        refused(error, |defect| matches!(defect, Defect::HeaderChecksum { .. }))
            || error.to_string().contains("claims to be frame 1 of round 0")
    });
    let mut flipped = sample().bytes();
    flipped[RUNS + 2] ^= 1;
    Attack::with(flipped).run("a bit of the tables", |error| {
        refused(error, |defect| matches!(defect, Defect::TablesChecksum { .. }))
    });
}

/// Every lie that one field of a header or a table can tell, with all checksums right.
#[test]
fn a_field_that_lies_is_refused_by_its_name() {
    type Lie = (&'static str, usize, Vec<u8>, fn(&Defect) -> bool);
    let frame = sample();
    let segments = frame.segments_at();
    let short = u32::try_from(frame.payload.len() - 1).unwrap();
    let all_ones = || vec![0xff; 4];
    let lies: Vec<Lie> = vec![
        ("a method that nobody knows", 6, vec![99], |defect| {
            matches!(defect, Defect::Method { found: 99, .. })
        }),
        ("method zero with data", 6, vec![0], |defect| matches!(defect, Defect::ZeroWithData { .. })),
        ("pages of 64 KiB", 7, vec![16], |defect| matches!(defect, Defect::PageShift { found: 16, .. })),
        ("flags", 8, vec![1], |defect| matches!(defect, Defect::Flags { .. })),
        ("no checksum", 10, vec![0], |defect| matches!(defect, Defect::NoChecksum { .. })),
        ("a checksum that nobody knows", 10, vec![9], |defect| matches!(defect, Defect::ChecksumKind { .. })),
        ("2^32 runs", 24, all_ones(), |defect| matches!(defect, Defect::Runs { found: u32::MAX, max: 63 })),
        ("2^32 pages", 28, all_ones(), |defect| matches!(defect, Defect::Pages { found: u32::MAX, max: 63 })),
        ("a page too many", 28, vec![5], |defect| matches!(defect, Defect::PageSum { found: 4, stated: 5 })),
        ("64 pages", 28, vec![64], |defect| matches!(defect, Defect::Pages { found: 64, max: 63 })),
        ("no pages", 28, vec![0], |defect| matches!(defect, Defect::Pages { found: 0, .. })),
        ("2^32 segments", 32, all_ones(), |defect| matches!(defect, Defect::MoreSegmentsThanPages { .. })),
        ("4 GiB of payload", 36, all_ones(), |defect| matches!(defect, Defect::PayloadBytes { .. })),
        ("a byte less of payload", 36, short.to_le_bytes().to_vec(), |defect| {
            matches!(defect, Defect::PayloadSum { .. })
        }),
        ("a run behind the region", RUNS, vec![u8::try_from(PAGES - 1).unwrap()], |defect| {
            matches!(defect, Defect::RunOutside { run: 0, .. })
        }),
        ("a run far out", RUNS + 4, vec![0xff, 0xff], |defect| {
            matches!(defect, Defect::RunOutside { run: 0, .. })
        }),
        ("a run of no pages", RUNS + 6, vec![0, 0], |defect| {
            matches!(defect, Defect::RunPages { run: 0, found: 0 })
        }),
        ("a run of 4095 pages", RUNS + 6, vec![0xff, 0x0f], |defect| {
            matches!(defect, Defect::RunPages { .. })
        }),
        ("a run of neither data nor zeros", RUNS + 15, vec![0x20], |defect| {
            matches!(defect, Defect::RunContent { run: 1, found: 2 })
        }),
        ("runs that overlap", RUNS + 8, vec![5], |defect| matches!(defect, Defect::RunOrder { run: 1, .. })),
        ("a segment of 4 GiB", segments, all_ones(), |defect| matches!(defect, Defect::SegmentBytes { .. })),
        ("an empty segment", segments, vec![0; 4], |defect| matches!(defect, Defect::SegmentBytes { .. })),
        ("a segment of 65535 pages", segments + 4, vec![0xff; 2], |defect| {
            matches!(defect, Defect::SegmentPageSum { .. })
        }),
        ("a segment of no pages", segments + 4, vec![0; 2], |defect| {
            matches!(defect, Defect::SegmentPages { .. })
        }),
        ("a segment of zeros", segments + 6, vec![0], |defect| {
            matches!(defect, Defect::SegmentMethod { .. })
        }),
        ("a segment by no method", segments + 6, vec![7], |defect| {
            matches!(defect, Defect::SegmentMethod { .. })
        }),
        ("delta of two pages", segments + 6, vec![Method::Delta.to_wire()], |defect| {
            matches!(defect, Defect::SegmentPages { .. })
        }),
        ("a raw segment that is short", segments + 9, vec![0x0f], |defect| {
            matches!(defect, Defect::SegmentBytes { segment: 1, .. })
        }),
    ];
    for (name, offset, patch, expected) in lies {
        Attack::with(frame.patched(&[(offset, &patch)])).run(name, |error| refused(error, expected));
    }
}

#[test]
fn a_frame_with_more_behind_it_than_it_says_is_told_from_the_next() {
    Attack::with(vec![0x11; PAGE]).run(
        "a frame that is longer than it says",
        |error| matches!(error, ReceiveError::Frame(found) if matches!(found.defect, Defect::Magic { .. })),
    );
}

#[test]
fn a_run_across_the_border_of_two_regions_is_refused() {
    let last = PageIndex(PAGES - 1);
    for run in [Run::data(last, PageCount(2)), Run::zero(PageIndex(HIGH - 1), PageCount(2))] {
        let frame = Frame::raw(1, Run::data(run.first, PageCount(2)), 7);
        Attack::with(frame.bytes()).run("a run across a border", |error| {
            refused(error, |defect| matches!(defect, Defect::RunOutside { run: 0, .. }))
        });
    }
}

#[test]
fn frames_that_only_a_destination_sends_are_refused() {
    let (mut report, mut failure) = (Vec::new(), Vec::new());
    Report::default().encode(&mut report);
    encode_failure(0, "I am the destination", &mut failure);
    for (name, bytes) in [("a report", report), ("a failure", failure)] {
        assert!(bytes.len() > Header::BYTES);
        Attack::with(bytes).run(name, |error| {
            matches!(error, ReceiveError::Frame(found) if matches!(found.defect, Defect::Direction { .. }))
        });
    }
}
