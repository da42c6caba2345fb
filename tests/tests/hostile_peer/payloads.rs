//! Payloads that are not what their frames say.

use pageferry_accel::codec::DecodeError;
use pageferry_accel::method::Method;
use pageferry_accel::queue::Failure;
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};
use pageferry_engine::frame::FrameId;
use pageferry_engine::receiver::ReceiveError;
use pageferry_tests::hostile::{Frame, PAGE};

use crate::attack::{Attack, deflated, sample};

/// Whether decoding frame 1 failed, and was reported as such.
fn failed(error: &ReceiveError, expected: impl Fn(&Failure) -> bool) -> bool {
    let ReceiveError::Pages { frame, failure } = error else { return false };
    *frame == FrameId { round: 0, sequence: 1 }
        && error.to_string().starts_with("frame 1 of round 0: ")
        && expected(failure)
}

/// One page by `method`, encoded as `payload`.
fn one_page(method: Method, payload: &[u8]) -> Frame {
    Frame::new(1, &[Run::data(PageIndex(4), PageCount(1))], &[(method, 1, payload)], &[0; PAGE])
}

fn attack_by(method: Method, payload: &[u8], name: &str) {
    Attack::with(one_page(method, payload).bytes()).run(&format!("{name} by {method}"), |error| {
        failed(error, |failure| {
            matches!(failure, Failure::Corrupt { segment: 0, method: found, .. } if *found == method)
        })
    });
}

#[test]
fn pages_that_are_not_those_of_the_checksum_do_not_reach_the_guest() {
    let mut frame = sample();
    frame.head.checksum ^= 1;
    Attack::with(frame.bytes()).run("a wrong checksum", |error| {
        failed(error, |failure| matches!(failure, Failure::ChecksumMismatch { .. }))
    });
    let mut bytes = sample().bytes();
    *bytes.last_mut().unwrap() ^= 0x80;
    Attack::with(bytes).run("a bit of a raw page", |error| {
        failed(error, |failure| matches!(failure, Failure::ChecksumMismatch { .. }))
    });
}

#[test]
fn rubbish_does_not_decode() {
    let noise: Vec<u8> = (0..600_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for method in [Method::Deflate, Method::Zstd, Method::Lz4, Method::Xbzrle, Method::Delta] {
        attack_by(method, &noise, "rubbish");
    }
}

#[test]
fn a_payload_by_another_method_than_the_frame_says_does_not_decode() {
    let payload = deflated(&[0x33; PAGE]);
    for method in [Method::Zstd, Method::Lz4, Method::Delta] {
        attack_by(method, &payload, "deflate");
    }
}

#[test]
fn segments_whose_border_is_elsewhere_do_not_decode() {
    let pages = [0x44; 2 * PAGE];
    let one = deflated(&pages[..PAGE]);
    let whole = [&*one, &*one].concat();
    let (first, second) = whole.split_at(one.len() + 1);
    let parts = [(Method::Deflate, 1, first), (Method::Deflate, 1, second)];
    let frame = Frame::new(1, &[Run::data(PageIndex(4), PageCount(2))], &parts, &pages);
    Attack::with(frame.bytes()).run("a border one byte on", |error| {
        failed(error, |failure| matches!(failure, Failure::Corrupt { segment: 0, .. }))
    });
}

#[test]
fn a_payload_that_decodes_to_less_than_its_pages_is_refused() {
    for (method, payload) in [
        (Method::Deflate, deflated(&[0x55; PAGE - 1])),
        (Method::Zstd, zstd_of_zeros(1)),
        (Method::Lz4, lz4_of_zeros(1)),
    ] {
        Attack::with(one_page(method, &payload).bytes()).run(&format!("a short page by {method}"), |error| {
            failed(error, |failure| {
                matches!(failure, Failure::Corrupt { source: DecodeError::TooShort { .. }, .. })
            })
        });
    }
}

/// A payload that inflates to a thousand times its pages and more costs no more than its pages.
#[test]
fn a_decompression_bomb_does_not_go_off() {
    let bombs = [
        (Method::Deflate, deflated(&vec![0; 3 << 20])),
        (Method::Zstd, zstd_of_zeros(8 << 10)),
        (Method::Lz4, lz4_of_zeros(1000)),
    ];
    for (method, payload) in bombs {
        assert!(payload.len() < 63 * PAGE, "{method}: {} bytes", payload.len());
        let pages = u32::try_from(payload.len() / PAGE + 1).unwrap();
        let runs = [Run::data(PageIndex(0), PageCount(1)), Run::data(PageIndex(3), PageCount(pages))];
        let bytes = vec![0; (pages as usize + 1) * PAGE];
        let frame = Frame::new(1, &runs, &[(method, pages + 1, &payload)], &bytes);
        Attack::with(frame.bytes()).run(&format!("a bomb of {method}"), |error| {
            failed(error, |failure| matches!(failure, Failure::Corrupt { .. }))
        });
    }
}

/// A page of xbzrle or delta that writes behind its end.
#[test]
fn a_difference_that_leaves_its_page_is_refused() {
    // Skip 4095 bytes, then write two.
    attack_by(Method::Xbzrle, &[0xff, 0x1f, 2, 1, 1], "a run across the end");
    // Skip 2^28 - 1 bytes.
    attack_by(Method::Xbzrle, &[0xff, 0xff, 0xff, 0x7f, 1, 1], "a run far out");
    // The first word behind the page, and the last one that 16 bits name.
    attack_by(Method::Delta, &[0, 2, 1, 1, 1, 1, 1, 1, 1, 1], "an entry behind the end");
    attack_by(Method::Delta, &[0xff, 0xff, 1, 1, 1, 1, 1, 1, 1, 1], "an entry far out");
    attack_by(Method::Delta, &[0, 0, 1, 1, 1, 1, 1, 1, 1], "half an entry");
}

/// A zstd frame (RFC 8878, 3.1.1) of `blocks` blocks that each repeat a zero 128 KiB times; of one block, 100 times.
fn zstd_of_zeros(blocks: u32) -> Vec<u8> {
    const RLE: u32 = 1 << 1;
    let repeats = if blocks == 1 { 100 } else { 128 << 10 };
    // Magic, a descriptor without content size and checksum, a window of 2 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x58];
    for block in 1..=blocks {
        let header = repeats << 3 | RLE | u32::from(block == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// An LZ4 block of a zero, a match of some 255 times `extensions` zeros before it, and five literals to end with.
fn lz4_of_zeros(extensions: usize) -> Vec<u8> {
    let mut block = vec![0x1f, 0, 1, 0];
    block.resize(block.len() + extensions, 255);
    block.push(0);
    block.extend_from_slice(&[0x50, 0, 0, 0, 0, 0]);
    block
}
