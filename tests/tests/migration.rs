//! Whole migrations from one guest's memory into another's.

use std::sync::Arc;

use pageferry_accel::method::Method;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::sender::SenderConfig;
use pageferry_tests::guest::{Noise, fill, first_difference, guest, pages, scribble};
use pageferry_tests::peers::{METHODS, WORKERS, config, connections, receive, send};

/// Sends everything, then twice what changed since, and compares the guests.
fn migrate(config: SenderConfig, page_size: PageSize, channels: usize) {
    let (source, destination) = (guest(300, page_size), guest(300, page_size));
    fill(&source, 1);
    let (ours, theirs) = connections(channels);
    let receiver = receive(Arc::clone(&destination), theirs);
    let mut sender = send(&source, ours, config).unwrap();
    let mut dirty = DirtyBitmap::all(&source);
    let mut noise = Noise(5);
    for round in 0..3 {
        let report = sender.send_round(&dirty).unwrap();
        assert_eq!((report.round, report.pages), (round, dirty.count()));
        assert_eq!(first_difference(&source, &destination), None, "after round {round}");
        dirty.clear();
        for page in pages(&source).filter(|page| page.0 % 3 != 1) {
            scribble(&source, page, &mut noise);
            dirty.set(page);
        }
    }
    sender.send_round(&dirty).unwrap();
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    assert_eq!(first_difference(&source, &destination), None);
    assert_eq!((sent.rounds, sent.frames, sent.pages), (4, received.frames, received.pages));
    assert_eq!(sent.zero_pages, received.zero_pages);
    assert_eq!(METHODS.iter().map(|&method| sent.methods.of(method).pages).sum::<u64>(), sent.pages);
}

#[test]
fn every_method_moves_a_guest_through_several_rounds() {
    for method in METHODS {
        migrate(config(&[method]), PageSize::Kib4, 1);
    }
}

#[test]
fn all_methods_in_one_stream_over_many_connections_move_a_guest() {
    for connections in [7, 64] {
        migrate(config(&METHODS), PageSize::Kib4, connections);
    }
}

#[test]
fn every_page_size_and_request_size_moves_a_guest() {
    for page_size in [PageSize::Kib16, PageSize::Kib64] {
        migrate(config(&METHODS), page_size, 2);
    }
    for max_pages in [1, 8, 256, 1024] {
        migrate(SenderConfig { max_pages: PageCount(max_pages), ..config(&METHODS) }, PageSize::Kib4, 2);
    }
}

#[test]
fn a_cache_that_holds_few_baselines_costs_bytes_and_no_pages() {
    migrate(SenderConfig { baseline_bytes: 50 << 12, ..config(&[Method::Xbzrle]) }, PageSize::Kib4, 2);
}

#[test]
fn both_ends_know_which_attempt_it_is_and_whose_accelerators_do_what() {
    let (source, destination) = (guest(4, PageSize::Kib4), guest(4, PageSize::Kib4));
    let (ours, theirs) = connections(2);
    let receiver = receive(Arc::clone(&destination), theirs);
    let sender = send(&source, ours, SenderConfig { attempt: 3, ..config(&[Method::Raw]) }).unwrap();
    let agreement = sender.agreement();
    assert_eq!(agreement.attempt, 3);
    assert_eq!((&agreement.source_accelerators[..], &agreement.destination_accelerators[..]), ("cpu", "cpu"));
    sender.finish().unwrap();
    receiver.join().unwrap().unwrap();
}

#[test]
fn the_destination_says_what_decoding_took_it_by_method() {
    let (source, destination) = (guest(300, PageSize::Kib4), guest(300, PageSize::Kib4));
    fill(&source, 5);
    let (ours, theirs) = connections(2);
    let receiver = receive(Arc::clone(&destination), theirs);
    let asked = [Method::Raw, Method::Zstd, Method::Deflate];
    let mut sender = send(&source, ours, config(&asked)).unwrap();
    for _ in 0..2 {
        let report = sender.send_round(&DirtyBitmap::all(&source)).unwrap();
        assert_eq!((report.queues, report.zero_pages), (WORKERS, 150));
        let costs: Vec<_> = report.decoded.iter().filter(|(_, cost)| cost.pages > 0).collect();
        assert_eq!(costs.iter().map(|(_, cost)| cost.pages).sum::<u64>(), 450, "{costs:?}");
        assert!(
            costs.iter().all(|(method, cost)| asked.contains(method) && !cost.cpu.is_zero()),
            "{costs:?}"
        );
        assert_eq!(costs.len(), asked.len(), "{costs:?}");
    }
    sender.finish().unwrap();
    receiver.join().unwrap().unwrap();
}
