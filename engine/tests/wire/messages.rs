//! Frames without pages.

use std::time::Duration;

use pageferry_accel::checksum::crc32c;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_engine::frame::{
    DecodeCost, DecodeCosts, Defect, End, FrameError, Header, Kind, Limits, MAX_REASON_BYTES, Report,
    decode_reason, encode_alive, encode_failure, encode_finish, encode_give_up, encode_round_end,
};

use crate::samples::{frame, limits};

fn sample() -> Report {
    let cost = |pages, micros| DecodeCost { pages, cpu: Duration::from_micros(micros) };
    let decoded = [(Method::Raw, cost(100, 70)), (Method::Deflate, cost(400, 1 << 50))].into_iter().collect();
    Report {
        round: 5,
        frames: 10,
        pages: 600,
        zero_pages: 100,
        payload_bytes: 1 << 40,
        queues: u16::MAX,
        decoded,
    }
}

fn report() -> Vec<u8> {
    encoded(&sample())
}

fn encoded(report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    report.encode(&mut out);
    out
}

fn header(frame: &[u8]) -> Result<Header, FrameError> {
    Header::decode(frame.first_chunk().unwrap(), &limits())
}

/// Overwrites bytes of the header and makes its checksum right again.
fn patched(mut frame: Vec<u8>, offset: usize, bytes: &[u8]) -> Vec<u8> {
    frame[offset..offset + bytes.len()].copy_from_slice(bytes);
    let checksum = crc32c(&frame[..48]).to_le_bytes();
    frame[48..52].copy_from_slice(&checksum);
    frame
}

#[test]
fn a_report_arrives_as_it_was_sent() {
    let bytes = report();
    let header = header(&bytes).unwrap();
    assert_eq!((header.kind, header.round, header.sequence, header.tables_bytes()), (Kind::Report, 5, 0, 0));
    assert_eq!(Report::decode(&header, &bytes[Header::BYTES..], &limits()), Ok(sample()));
}

#[test]
fn the_ends_of_rounds_and_of_everything_have_a_header_only() {
    let mut out = Vec::new();
    encode_round_end(4, 1000, &mut out);
    encode_finish(4, 1000, &mut out);
    let (round_end, finish) = out.split_at(Header::BYTES);
    for (bytes, kind) in [(round_end, Kind::RoundEnd), (finish, Kind::Finish)] {
        assert_eq!(bytes.len(), Header::BYTES);
        let header = header(bytes).unwrap();
        assert_eq!((header.kind, header.round, header.sequence), (kind, 4, 1000));
        assert_eq!((header.tables_bytes(), header.payload_bytes), (0, 0));
    }
}

#[test]
fn a_reason_to_give_up_arrives_bounded_and_harmless() {
    for (reason, expected) in [
        ("no space\x1b[31m left\n", "no space\u{fffd}[31m left ".to_owned()),
        ("", String::new()),
        (&"é".repeat(1000), "é".repeat(MAX_REASON_BYTES / 2)),
    ] {
        for (kind, encode) in
            [(Kind::Failure, encode_failure as fn(u32, &str, &mut Vec<u8>)), (Kind::GiveUp, encode_give_up)]
        {
            let mut out = Vec::new();
            encode(2, reason, &mut out);
            let header = header(&out).unwrap();
            assert_eq!(header.kind, kind);
            assert_eq!(decode_reason(&header, &out[Header::BYTES..]), Ok(expected.clone()));
        }
    }
}

#[test]
fn a_sign_of_life_says_nothing_else() {
    let mut out = Vec::new();
    encode_alive(&mut out);
    let alive = header(&out).unwrap();
    assert_eq!((out.len(), alive.kind, alive.payload_bytes), (Header::BYTES, Kind::Alive, 0));
    let counted = header(&patched(out, 16, &[1])).unwrap_err().defect;
    let field = "the sequence number";
    assert_eq!(counted, Defect::Fixed { kind: Kind::Alive, field, found: 1, expected: 0 });
}

#[test]
fn frames_of_the_wrong_end_are_refused() {
    let (mut failure, mut give_up, mut alive) = (Vec::new(), Vec::new(), Vec::new());
    encode_failure(2, "why", &mut failure);
    encode_give_up(2, "why", &mut give_up);
    encode_alive(&mut alive);
    for (bytes, sender, other) in [
        (frame(), End::Source, End::Destination),
        (report(), End::Destination, End::Source),
        (failure, End::Destination, End::Source),
        (give_up, End::Source, End::Destination),
        (alive, End::Source, End::Destination),
    ] {
        let header = header(&bytes).unwrap();
        assert_eq!(header.sent_by(sender), Ok(()));
        let found = header.sent_by(other).unwrap_err();
        assert_eq!(found.defect, Defect::Direction { kind: header.kind });
    }
}

#[test]
fn fields_of_pages_have_one_value_in_a_report() {
    let kind = Kind::Report;
    for (offset, field, found, expected) in [
        (6, "the method", 1, 0),
        (7, "the page shift", 12, 0),
        (10, "the checksum kind", 1, 2),
        (16, "the sequence number", 1, 0),
        (24, "the number of runs", 1, 0),
        (28, "the number of pages", 1, 0),
        (32, "the number of segments", 1, 0),
        (36, "the length of the payload", 37, 134),
        (44, "the checksum of the tables", 1, 0),
    ] {
        let bytes = patched(report(), offset, &[u8::try_from(found).unwrap()]);
        let defect = header(&bytes).unwrap_err().defect;
        assert_eq!(defect, Defect::Fixed { kind, field, found, expected });
    }
}

#[test]
fn a_reason_longer_than_allowed_or_a_round_end_with_a_payload_is_refused() {
    let mut failure = Vec::new();
    encode_failure(2, "why", &mut failure);
    let mut round_end = Vec::new();
    encode_round_end(2, 0, &mut round_end);
    for (bytes, kind, expected) in [(failure, Kind::Failure, 1024), (round_end, Kind::RoundEnd, 0)] {
        let defect = header(&patched(bytes, 36, &[0xff; 4])).unwrap_err().defect;
        let field = "the length of the payload";
        assert_eq!(defect, Defect::Fixed { kind, field, found: 0xffff_ffff, expected });
    }
}

#[test]
fn a_payload_that_is_damaged_cut_or_of_another_frame_is_refused() {
    let bytes = report();
    let own = header(&bytes).unwrap();
    let payload = &bytes[Header::BYTES..];
    let defect =
        |header: &Header, payload: &[u8]| Report::decode(header, payload, &limits()).unwrap_err().defect;
    assert_eq!(defect(&own, &payload[..133]), Defect::PayloadLength { found: 133, stated: 134 });
    let mut damaged = payload.to_vec();
    damaged[8] ^= 1;
    assert!(matches!(defect(&own, &damaged), Defect::PayloadChecksum { .. }));
    let other = header(&patched(bytes.clone(), 12, &[6])).unwrap();
    assert_eq!(defect(&other, payload), Defect::ReportRound { found: 5 });
    let expected = Defect::UnexpectedKind { found: Kind::Report, expected: Kind::Failure };
    assert_eq!(decode_reason(&own, payload).unwrap_err().defect, expected);
}

#[test]
fn a_report_that_is_at_odds_with_itself_or_with_what_was_agreed_is_refused() {
    let refused = |report: &Report| {
        let bytes = encoded(report);
        let header = header(&bytes).unwrap();
        Report::decode(&header, &bytes[Header::BYTES..], &limits()).unwrap_err().defect
    };
    let of = |costs: &[(Method, u64, u64)]| {
        let cost = |&(method, pages, nanoseconds)| {
            (method, DecodeCost { pages, cpu: Duration::from_nanos(nanoseconds) })
        };
        costs.iter().map(cost).collect::<DecodeCosts>()
    };
    let sample = sample();
    assert_eq!(refused(&Report { queues: 0, ..sample }), Defect::ReportQueues);
    let pages = sample.pages;
    let miscounted = |zero_pages| Defect::ReportPages { pages, zero_pages };
    for zero_pages in [99, 101, 601, u64::MAX] {
        assert_eq!(refused(&Report { zero_pages, ..sample }), miscounted(zero_pages));
    }
    assert_eq!(refused(&Report { decoded: of(&[(Method::Raw, 501, 1)]), ..sample }), miscounted(100));
    let overflowing = of(&[(Method::Raw, u64::MAX, 1), (Method::Deflate, 501, 1)]);
    assert_eq!(refused(&Report { decoded: overflowing, ..sample }), miscounted(100));
    let for_nothing = of(&[(Method::Raw, 500, 1), (Method::Deflate, 0, 1)]);
    let expected = Defect::ReportCpu { method: Method::Deflate };
    assert_eq!(refused(&Report { decoded: for_nothing, ..sample }), expected);
    let narrow = Limits { methods: MethodSet::of(&[Method::Raw]), ..limits() };
    let bytes = encoded(&sample);
    let found =
        Report::decode(&header(&bytes).unwrap(), &bytes[Header::BYTES..], &narrow).unwrap_err().defect;
    assert_eq!(found, Defect::Method { found: 2, agreed: narrow.methods });
}
