//! Destinations that do not play by the rules, against a real sender.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use pageferry_accel::checksum::crc32c;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::frame::{ChecksumSet, DecodeCost, Defect, Header, Report, VERSION, encode_failure};
use pageferry_engine::handshake::{Acceptance, Answer, HandshakeError, Offer, Refusal};
use pageferry_engine::sender::{SendError, SenderConfig};
use pageferry_tests::guest::{fill, guest, page_bytes, pages};
use pageferry_tests::hostile::Frame;
use pageferry_tests::peers::{Stream, Transport, config, send};
use pageferry_tests::watchdog::Watchdog;

const PAGES: u64 = 100;

/// What a decent destination answers.
fn acceptance() -> Acceptance {
    Acceptance {
        version: VERSION,
        page_size: PageSize::Kib4,
        deflate_window_bits: 15,
        methods: MethodSet::all(),
        max_pages: 1024,
        max_payload_bytes: 1024 << 12,
        checksums: ChecksumSet::all(),
        accelerators: "cpu".to_owned(),
    }
}

/// Reads and forgets until the source ends: a destination that hangs up in a round would break its writes instead.
fn swallow(mut stream: Stream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Lets a sender run into a destination that does `what` with the offer's connection. The sender's guest is left alone, and
/// the sender stays failed.
fn meet(name: &str, what: impl Fn(Stream) + Clone + Send + 'static, check: impl Fn(&SendError) -> bool) {
    for transport in Transport::ALL {
        let _watchdog = Watchdog::over(format!("a destination that {name} over {transport:?}"));
        let source = guest(PAGES, PageSize::Kib4);
        fill(&source, 23);
        let before: Vec<_> = pages(&source).map(|page| page_bytes(&source, page)).collect();
        let (ours, theirs) = transport.pair();
        let what = what.clone();
        let destination = thread::spawn(move || {
            let mut theirs = theirs;
            Offer::read(&mut theirs).unwrap();
            what(theirs);
        });
        let config = SenderConfig { max_pages: PageCount(4), ..config(&[Method::Raw, Method::Zstd]) };
        let error = match send(&source, vec![ours.connection()], config) {
            Err(error) => error,
            Ok(mut sender) => {
                let everything = DirtyBitmap::all(&source);
                let error = sender.send_round(&everything).unwrap_err();
                assert!(matches!(sender.send_round(&everything), Err(SendError::Failed)), "{name}");
                assert!(matches!(sender.finish(), Err(SendError::Failed)), "{name}");
                error
            }
        };
        assert!(check(&error), "{name} over {transport:?}: {error} ({error:?})");
        destination.join().unwrap();
        for (page, before) in pages(&source).zip(before) {
            assert!(page_bytes(&source, page) == before, "{name}: page {page} of the source was touched");
        }
    }
}

/// The same, once the offer is accepted: `frames` come at once, while the source is still sending.
fn answer_with(name: &str, frames: fn() -> Vec<u8>, check: impl Fn(&SendError) -> bool) {
    let what = move |mut stream: Stream| {
        Answer::Accepted(acceptance()).write(&mut stream).unwrap();
        stream.write_all(&frames()).unwrap();
        swallow(stream);
    };
    meet(name, what, check);
}

#[test]
fn a_refusal_is_passed_on_in_the_destinations_words() {
    let refuse = |mut stream: Stream| {
        Answer::reject(Refusal::Unexpected, "come \u{1b}[31mback\nlater").write(&mut stream).unwrap();
    };
    meet("refuses", refuse, |error| {
        let SendError::Handshake(HandshakeError::Refused { refusal: Refusal::Unexpected, text }) = error
        else {
            return false;
        };
        text == "come \u{fffd}[31mback later"
    });
}

#[test]
fn an_answer_that_is_none_is_refused() {
    meet("hangs up", |_| {}, |error| matches!(error, SendError::Handshake(HandshakeError::Io { .. })));
    meet(
        "speaks something else",
        |mut stream| stream.write_all(b"SSH-2.0-server\r\n").unwrap(),
        |error| matches!(error, SendError::Handshake(HandshakeError::Magic { .. })),
    );
    let half = |mut stream: Stream| {
        let mut bytes = Vec::new();
        Answer::Accepted(acceptance()).write(&mut bytes).unwrap();
        stream.write_all(&bytes[..20]).unwrap();
    };
    meet("answers by half", half, |error| matches!(error, SendError::Handshake(HandshakeError::Io { .. })));
}

#[test]
fn an_acceptance_of_something_else_is_refused() {
    let other_pages =
        Acceptance { page_size: PageSize::Kib64, max_payload_bytes: 1024 << 16, ..acceptance() };
    let other_version = Acceptance { version: 7, ..acceptance() };
    let no_raw = Acceptance { methods: MethodSet::of(&[Method::Zstd]), ..acceptance() };
    for (name, answer) in
        [("has other pages", other_pages), ("speaks version 7", other_version), ("takes nothing raw", no_raw)]
    {
        let accept = move |mut stream: Stream| Answer::Accepted(answer.clone()).write(&mut stream).unwrap();
        meet(
            name,
            accept,
            |error| matches!(error, SendError::Handshake(HandshakeError::Disagreement(mismatches)) if !mismatches.is_empty()),
        );
    }
    let no_zstd = Acceptance { methods: MethodSet::of(&[Method::Zero, Method::Raw]), ..acceptance() };
    let accept = move |mut stream: Stream| Answer::Accepted(no_zstd.clone()).write(&mut stream).unwrap();
    meet("does not decode zstd", accept, |error| matches!(error, SendError::CannotDecode(Method::Zstd)));
}

#[test]
fn a_destination_that_hangs_up_is_an_error_of_the_connection() {
    let hang_up = |mut stream: Stream| Answer::Accepted(acceptance()).write(&mut stream).unwrap();
    meet("hangs up after the handshake", hang_up, |error| matches!(error, SendError::Io { channel: 0, .. }));
    let mute = |mut stream: Stream| {
        Answer::Accepted(acceptance()).write(&mut stream).unwrap();
        match &stream {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
        swallow(stream);
    };
    meet("never reports", mute, |error| matches!(error, SendError::Io { channel: 0, .. }));
}

#[test]
fn a_report_that_is_no_frame_is_refused() {
    answer_with(
        "sends rubbish",
        || vec![0x41; 52],
        |error| matches!(error, SendError::Frame(found) if matches!(found.defect, Defect::Magic { .. })),
    );
    answer_with(
        "damages its report",
        || spoiled_report(Header::BYTES + 8),
        |error| matches!(error, SendError::Frame(found) if matches!(found.defect, Defect::PayloadChecksum { .. })),
    );
    answer_with(
        "damages its header",
        || spoiled_report(40),
        |error| matches!(error, SendError::Frame(found) if matches!(found.defect, Defect::HeaderChecksum { .. })),
    );
}

#[test]
fn a_report_of_another_length_is_refused_before_it_is_read() {
    let four_gib = || {
        let mut bytes = report(0, 2 * PAGES);
        bytes[36..40].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = crc32c(&bytes[..48]).to_le_bytes();
        bytes[48..52].copy_from_slice(&checksum);
        bytes
    };
    answer_with(
        "reports in 4 GiB",
        four_gib,
        |error| matches!(error, SendError::Frame(found) if matches!(found.defect, Defect::Fixed { .. })),
    );
}

#[test]
fn a_report_that_counts_wrong_is_refused() {
    answer_with(
        "counts a page less",
        || report(0, 2 * PAGES - 1),
        |error| matches!(error, SendError::Count { round: 0, sent: 200, reported: 199 }),
    );
    answer_with("counts nothing", || report(0, 0), |error| matches!(error, SendError::Count { .. }));
    answer_with(
        "reports on another round",
        || report(1, 2 * PAGES),
        |error| matches!(error, SendError::OutOfTurn { round: 0, .. }),
    );
}

#[test]
fn a_report_whose_account_of_decoding_cannot_be_is_refused() {
    fn decoded(costs: &[(Method, u64)], queues: u16) -> Vec<u8> {
        let cost = |&(method, pages)| (method, DecodeCost { pages, cpu: Duration::MAX });
        let decoded = costs.iter().map(cost).collect();
        let mut bytes = Vec::new();
        Report { frames: PAGES / 2, pages: 2 * PAGES, queues, decoded, ..Report::default() }
            .encode(&mut bytes);
        bytes
    }
    fn found(error: &SendError, is: impl Fn(&Defect) -> bool) -> bool {
        matches!(error, SendError::Frame(found) if is(&found.defect))
    }
    const RAW: (Method, u64) = (Method::Raw, 2 * PAGES);
    answer_with(
        "decoded more pages than it has",
        || decoded(&[RAW, (Method::Zstd, u64::MAX)], 1),
        |error| found(error, |defect| matches!(defect, Defect::ReportPages { .. })),
    );
    answer_with(
        "decoded by a method that was not agreed on",
        || decoded(&[(Method::Delta, 2 * PAGES)], 1),
        |error| found(error, |defect| matches!(defect, Defect::Method { found: 6, .. })),
    );
    answer_with(
        "worked for nothing",
        || decoded(&[RAW, (Method::Zstd, 0)], 1),
        |error| found(error, |defect| matches!(defect, Defect::ReportCpu { method: Method::Zstd })),
    );
    answer_with(
        "decoded without a queue",
        || decoded(&[RAW], 0),
        |error| found(error, |defect| matches!(defect, Defect::ReportQueues)),
    );
}

#[test]
fn frames_that_only_a_source_sends_are_refused() {
    let pages = || Frame::raw(0, Run::data(PageIndex(0), PageCount(1)), 1).bytes();
    answer_with(
        "sends pages",
        pages,
        |error| matches!(error, SendError::Frame(found) if matches!(found.defect, Defect::Direction { .. })),
    );
}

#[test]
fn a_failure_in_mid_round_is_passed_on_in_the_destinations_words() {
    let fail = || {
        let mut bytes = Vec::new();
        encode_failure(0, "the disk\u{7} is full", &mut bytes);
        bytes
    };
    let said = |error: &SendError| matches!(error, SendError::Destination { reason } if reason == "the disk\u{fffd} is full");
    answer_with("gives up", fail, said);
    let and_closes = move |mut stream: Stream| {
        Answer::Accepted(acceptance()).write(&mut stream).unwrap();
        stream.write_all(&fail()).unwrap();
    };
    meet("gives up and closes", and_closes, said);
}

fn report(round: u32, pages: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let cost = DecodeCost { pages, cpu: Duration::from_nanos(pages) };
    let decoded = [(Method::Raw, cost)].into_iter().collect();
    Report { round, frames: PAGES / 2, pages, queues: 1, decoded, ..Report::default() }.encode(&mut bytes);
    bytes
}

fn spoiled_report(at: usize) -> Vec<u8> {
    let mut bytes = report(0, 2 * PAGES);
    bytes[at] ^= 1;
    bytes
}
