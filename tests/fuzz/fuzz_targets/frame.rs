#![no_main]
//! Frames of any peer: nothing panics, runs stay within guest memory, and what is accepted encodes to the same bytes.

use libfuzzer_sys::fuzz_target;
use pageferry_engine::frame::{
    Header, Kind, Limits, PagesHead, Report, decode_reason, decode_tables, encode_failure,
};
use pageferry_fuzz::peer::{limits, sealed_frame};

fuzz_target!(|data: &[u8]| {
    let Some((&selector, frame)) = data.split_first() else { return };
    let Some((head, rest)) = frame.split_first_chunk() else { return };
    let limits = limits(selector);
    hold(head, rest, &limits);
    if let Some(head) = sealed_frame(frame) {
        hold(&head, rest, &limits);
    }
});

fn hold(head: &[u8; Header::BYTES], rest: &[u8], limits: &Limits) {
    let Ok(header) = Header::decode(head, limits) else { return };
    assert!(header.tables_bytes() <= limits.max_tables_bytes());
    assert!(header.payload_bytes <= limits.max_payload_bytes.max(1024));
    match header.kind {
        Kind::Pages => hold_tables(&header, head, rest, limits),
        Kind::Report => hold_report(&header, head, rest, limits),
        Kind::Failure => hold_failure(&header, rest),
        _ => {}
    }
}

fn hold_tables(header: &Header, head: &[u8; Header::BYTES], rest: &[u8], limits: &Limits) {
    let Some(tables) = rest.get(..header.tables_bytes()) else { return };
    let (mut runs, mut segments) = (Vec::new(), Vec::new());
    if decode_tables(header, tables, limits, &mut runs, &mut segments).is_err() {
        assert!(runs.is_empty() && segments.is_empty());
        return;
    }
    assert!(runs.iter().all(|run| limits.regions.hold(run.first, run.count.0.into())));
    assert!(runs.windows(2).all(|pair| pair[0].end() <= pair[1].first));
    let again = PagesHead {
        method: header.method,
        round: header.round,
        sequence: header.sequence,
        checksum_kind: header.checksum_kind,
        checksum: header.checksum,
    };
    let mut out = Vec::new();
    again.encode(limits.page_size(), &runs, &segments, &mut out).expect("what was decoded can be encoded");
    assert_eq!(out, [head, tables].concat());
}

fn hold_report(header: &Header, head: &[u8; Header::BYTES], rest: &[u8], limits: &Limits) {
    let Some(payload) = rest.get(..Report::BYTES) else { return };
    if let Ok(report) = Report::decode(header, payload, limits) {
        let mut out = Vec::new();
        report.encode(&mut out);
        assert_eq!(out, [head, payload].concat());
    }
}

fn hold_failure(header: &Header, rest: &[u8]) {
    let Some(payload) = rest.get(..header.payload_bytes as usize) else { return };
    if let Ok(reason) = decode_reason(header, payload) {
        assert!(!reason.chars().any(char::is_control));
        encode_failure(header.round, &reason, &mut Vec::new());
    }
}
