//! A guest that writes while it is migrated: whatever is caught in between arrives as it was caught.

use std::sync::Arc;
use std::thread;

use pageferry_accel::method::Method;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::sender::SenderConfig;
use pageferry_tests::guest::{fill, first_difference, guest, memory, over};
use pageferry_tests::hammer::Hammer;
use pageferry_tests::peers::{METHODS, config, connections, receive, send};
use pageferry_tests::watchdog::Watchdog;

const ROUNDS: u32 = 12;

/// Sends a hammered guest round by round, then once more at rest, and compares.
fn migrate(methods: &[Method], page_size: PageSize) {
    let _watchdog = Watchdog::over(format!("a live guest by {methods:?}"));
    let memory = memory(160, page_size);
    let (source, destination) = (over(Arc::clone(&memory), page_size), guest(160, page_size));
    fill(&source, 3);
    let (ours, theirs) = connections(3);
    let receiver = receive(Arc::clone(&destination), theirs);
    let config = SenderConfig { max_pages: PageCount(20), ..config(methods) };
    let mut sender = send(&source, ours, config).unwrap();
    let everything = DirtyBitmap::all(&source);
    let hammer = Hammer::start(&memory, page_size, 2);
    for round in 0..ROUNDS {
        let before = hammer.writes();
        let report = sender.send_round(&everything).unwrap();
        assert_eq!((report.round, report.pages), (round, 320), "{methods:?}");
        // A guest that slept through a round has not tested it.
        while hammer.writes() == before {
            thread::yield_now();
        }
    }
    hammer.stop();
    sender.send_round(&everything).unwrap();
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    assert_eq!(first_difference(&source, &destination), None, "{methods:?}");
    assert_eq!((sent.pages, sent.zero_pages), (received.pages, received.zero_pages), "{methods:?}");
    for &method in methods {
        assert_ne!(sent.methods.of(method).pages, 0, "{method} has carried nothing");
    }
}

#[test]
fn every_method_carries_a_guest_that_writes_all_the_while() {
    METHODS.into_iter().for_each(|method| migrate(&[method], PageSize::Kib4));
}

#[test]
fn all_methods_in_one_stream_carry_a_guest_that_writes_all_the_while() {
    migrate(&METHODS, PageSize::Kib4);
    migrate(&METHODS, PageSize::Kib16);
}
