//! Migrations whose connections break.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use pageferry_accel::units::PageCount;

use pageferry_engine::migration::{
    Event, FileArbiter, Happening, MigrationError, Observer, State, Whereabouts,
};

use pageferry_engine::vm::Vm;
use pageferry_tests::guest::first_difference;

use crate::{Scene, nobody, when};

/// Cuts the line at the end of a round.
fn after_round(round: u32, act: impl Fn() + Send + Sync + 'static) -> Observer {
    let done = std::sync::Once::new();
    Arc::new(move |event: &Event| {
        if event.what == Happening::Round && event.round >= round {
            done.call_once(&act);
        }
    })
}

#[test]
fn a_connection_that_breaks_before_the_switchover_is_made_anew_and_the_migration_goes_on() {
    for cut_in in [State::Rounds, State::Switchover] {
        let mut scene = Scene::new(&format!("a line that is cut in {cut_in}"));
        let _power = scene.source.power();
        scene.config.sender.max_bytes_per_s = Some(20_000_000);
        let line = scene.line.clone();
        let over = scene.begin(when(cut_in, move || line.cut()), nobody()).wait();
        over.assert_moved();
        assert_eq!(over.line.made(), 4, "cut in {cut_in}");
        assert_eq!(over.here.result.unwrap().snapshot.reconnections, 1);
    }
}

#[test]
fn what_the_destination_confirmed_is_not_sent_again() {
    let scene = Scene::new("a line that is cut after a round");
    let line = scene.line.clone();
    // A guest without power writes nothing: all that is sent again would be too much.
    let over = scene.begin(after_round(0, move || line.cut()), nobody()).wait();
    assert!(over.here.result.is_ok(), "{:?}", over.here.result.err());
    let sent = over.here.result.unwrap().snapshot.sent;
    assert_eq!(sent.pages + sent.zero_pages, 2000, "{sent:?}");
}

#[test]
fn what_came_of_a_round_that_broke_off_is_not_sent_again() {
    let mut scene = Scene::new("a line that is cut in the middle of a round");
    // The whole round would take seconds; frames are small, so that few pages are on their way when the line is cut.
    scene.config.sender.max_bytes_per_s = Some(2_000_000);
    scene.config.sender.max_pages = PageCount(8);
    let confirmed = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&confirmed);
    let observer = move |event: &Event| {
        if let Happening::Reconnected { confirmed_pages, .. } = event.what {
            seen.store(confirmed_pages, SeqCst);
        }
    };
    let line = scene.line.clone();
    let going = scene.begin(Arc::new(observer), nobody());
    let sent = || {
        let sent = going.migration.snapshot().sent;
        sent.pages + sent.zero_pages
    };
    while sent() < 1000 {
        thread::sleep(Duration::from_millis(1));
    }
    line.cut();
    let over = going.wait();
    let sent = over.here.result.expect("it is taken up again").snapshot.sent;
    let (sent, confirmed) = (sent.pages + sent.zero_pages, confirmed.load(SeqCst));
    assert!(confirmed >= 500, "{confirmed} pages are confirmed of 1000 that were sent");
    assert!(sent < 2000 + 500, "{sent} pages were sent to move 2000");
    assert_eq!(first_difference(&over.source.memory(), &over.destination.memory()), None);
}

#[test]
fn a_line_that_stays_down_leaves_the_guest_at_the_source() {
    for cut_in in [State::Rounds, State::Switchover] {
        let mut scene = Scene::new(&format!("a line that is down from {cut_in} on"));
        let _power = scene.source.power();
        scene.config.sender.max_bytes_per_s = Some(20_000_000);
        let line = scene.line.clone();
        let over = scene.begin(when(cut_in, move || line.cut_for_good()), nobody()).wait();
        let error = over.assert_stayed();
        assert!(error.contains("could not be made anew"), "{cut_in}: {error}");
    }
}

/// Cuts the line when the destination is about to run the guest: the source's word is out, the answer is not.
fn when_resumed(act: impl Fn() + Send + Sync + 'static) -> Observer {
    Arc::new(move |event: &Event| {
        if matches!(event.what, Happening::Completed { .. }) {
            act();
        }
    })
}

#[test]
fn a_source_that_did_not_hear_that_the_guest_runs_asks_again() {
    let scene = Scene::new("a word that is lost");
    let _power = scene.source.power();
    let line = scene.line.clone();
    let over = scene.begin(nobody(), when_resumed(move || line.cut())).wait();
    over.assert_moved();
}

#[test]
fn without_an_arbiter_an_end_that_cannot_tell_keeps_the_guest_paused() {
    let scene = Scene::new("ends that lose each other");
    let _power = scene.source.power();
    let line = scene.line.clone();
    // The destination has loaded the state, and its word that it is ready may or may not arrive.
    scene.destination.on_load(move || line.cut_for_good());
    let over = scene.begin(nobody(), nobody()).wait();
    // The source never heard that the other is ready: it keeps the guest.
    assert!(over.source.look().running && !over.destination.look().running);
    assert_eq!((over.here.guest, over.there.guest), (Whereabouts::Here, Whereabouts::InDoubt));
    assert!(matches!(over.there.result, Err(MigrationError::InDoubt { .. })));
}

#[test]
fn an_arbiter_gives_the_guest_to_exactly_one_end() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (loading, cut_for_good)) in
        [(false, false), (false, true), (true, false), (true, true)].into_iter().enumerate()
    {
        let mut scene = Scene::new("ends that lose each other, and an arbiter");
        scene.config.sender.migration.0[0] = u8::try_from(number).unwrap();
        let _power = scene.source.power();
        let arbiter = Arc::new(FileArbiter::new(folder.path()).unwrap());
        scene.config.arbiter = Some(arbiter.clone());
        scene.there.arbiter = Some(arbiter);
        let line = scene.line.clone();
        let cut = move || if cut_for_good { line.cut_for_good() } else { line.cut() };
        if loading {
            scene.destination.on_load(cut)
        } else {
            scene.destination.on_resume(cut)
        }
        let over = scene.begin(nobody(), nobody()).wait();
        let (here, there) = (over.source.look().running, over.destination.look().running);
        assert!(here != there, "{number}: the guest runs at the source: {here}, at the destination: {there}");
        assert_eq!(here, loading && cut_for_good, "{number}: the guest is where nobody expects it");
    }
}
