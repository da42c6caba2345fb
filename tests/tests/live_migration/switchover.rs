//! Migrations whose connections hold.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pageferry_accel::method::Method;
use pageferry_engine::migration::{Event, Happening, MigrationError, State};
use pageferry_tests::peers;
use pageferry_tests::puppet::Refuses;

use crate::{Scene, nobody, when};

#[test]
fn a_guest_that_writes_moves_whole_by_every_method_and_all_in_turn() {
    let alone = peers::METHODS.map(|method| vec![method]);
    for methods in alone.into_iter().chain([peers::METHODS.to_vec()]) {
        for connections in [1, 4] {
            let mut scene = Scene::new(&format!("a migration by {methods:?} over {connections} connections"));
            let _power = scene.source.power();
            scene.config.sender = peers::config(&methods);
            scene.config.connections = connections;
            scene.begin(nobody(), nobody()).wait().assert_moved();
        }
    }
}

#[test]
fn every_state_and_round_is_told_with_its_figures() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let scene = Scene::new("a migration that is watched");
    let _power = scene.source.power();
    let seen = Arc::clone(&events);
    let over =
        scene.begin(Arc::new(move |event: &Event| seen.lock().unwrap().push(event.clone())), nobody()).wait();
    over.assert_moved();
    let events = events.lock().unwrap();
    let states: Vec<_> = events
        .iter()
        .filter(|event| matches!(event.what, Happening::State))
        .map(|event| event.state)
        .collect();
    assert_eq!(states, [State::Handshake, State::Rounds, State::Switchover]);
    let rounds: Vec<_> = events.iter().filter(|event| event.what == Happening::Round).collect();
    assert!(!rounds.is_empty());
    assert!(rounds.iter().all(|event| event.sent_pages_per_s > 0.0 && event.wire_bytes > 0), "{rounds:?}");
    let last = events.last().unwrap();
    assert_eq!(last.state, State::Completed);
    let completed = over.here.result.unwrap();
    let Happening::Completed { downtime_ms } = last.what else { panic!("the last event is {last:?}") };
    assert!((downtime_ms - completed.downtime.as_secs_f64() * 1e3).abs() < 1e-6);
    assert_eq!(
        completed.snapshot.sent.pages + completed.snapshot.sent.zero_pages,
        last.pages + last.zero_pages
    );
    assert!(last.pages + last.zero_pages >= 2000, "all pages were sent: {last:?}");
    assert!(last.methods.values().sum::<u64>() == last.pages, "{last:?}");
}

#[test]
fn a_vmm_that_cannot_do_as_asked_leaves_the_guest_at_the_source() {
    for (refuses, words) in [(Refuses::Pause, "pause the guest"), (Refuses::Save, "save the state")] {
        let scene = Scene::new("a VMM that refuses");
        let _power = scene.source.power();
        scene.source.refuse(refuses);
        let over = scene.begin(nobody(), nobody()).wait();
        let error = over.assert_stayed();
        assert!(error.contains(words), "{refuses:?}: {error}");
        let there = over.there.result.unwrap_err().to_string();
        assert!(there.contains("the source gave up") && there.contains(words), "{refuses:?}: {there}");
    }
}

#[test]
fn a_destination_that_cannot_run_the_guest_says_so_and_the_source_runs_it() {
    for (refuses, words) in [(Refuses::Load, "load the state"), (Refuses::Resume, "run the guest")] {
        let scene = Scene::new("a destination that refuses");
        let _power = scene.source.power();
        scene.destination.refuse(refuses);
        let error = scene.begin(nobody(), nobody()).wait().assert_stayed();
        assert!(error.contains("the destination gave up") && error.contains(words), "{refuses:?}: {error}");
    }
}

#[test]
fn a_migration_is_cancelled_from_either_end_within_a_second_and_the_other_is_told() {
    for at_source in [true, false] {
        let mut scene = Scene::new("a migration that is cancelled");
        let _power = scene.source.power();
        // So slow that it would take minutes.
        scene.config.sender.max_bytes_per_s = Some(20_000);
        let going = scene.begin(nobody(), nobody());
        while going.migration.snapshot().sent.frames == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let begun = Instant::now();
        if at_source {
            assert!(going.migration.cancel());
        } else {
            going.cancel_destination();
        }
        let over = going.wait();
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "a cancel that waits for the link: {:?}",
            begun.elapsed()
        );
        over.assert_stayed();
        let (cancelled, told) = if at_source {
            (over.here.result, over.there.result)
        } else {
            (over.there.result, over.here.result)
        };
        let is_cancelled = matches!(cancelled, Err(MigrationError::Cancelled));
        assert!(is_cancelled, "cancelled at the source: {at_source}; {:?}", cancelled.err());
        let told = told.unwrap_err().to_string();
        assert!(told.contains("gave up"), "{told}");
    }
}

#[test]
fn nothing_can_be_cancelled_any_more_once_the_guest_is_given() {
    let scene = Scene::new("a migration that is cancelled too late");
    let _power = scene.source.power();
    let going = scene.begin(nobody(), nobody());
    let cancel = Arc::new(going.migration.canceller());
    let receiving = going.wait();
    assert!(!cancel());
    receiving.assert_moved();
}

#[test]
fn a_cancel_at_any_time_leaves_exactly_one_guest() {
    for state in [State::Handshake, State::Rounds, State::Switchover] {
        let (hand, handed) = channel::<Box<dyn Fn() -> bool + Send>>();
        // Taken, and not shared: an observer that kept the canceller would keep the migration, which keeps the observer.
        let handed = Mutex::new(Some(handed));
        let scene = Scene::new(&format!("a migration that is cancelled in {state}"));
        let _power = scene.source.power();
        let act = move || {
            // The migration's own thread waits for the observer; another one cancels.
            let handed = handed.lock().unwrap().take().expect("this happens once");
            std::thread::spawn(move || handed.recv().is_ok_and(|cancel| cancel()));
        };
        let going = scene.begin(when(state, act), nobody());
        hand.send(Box::new(going.migration.canceller())).expect("whoever cancels waits for it");
        let over = going.wait();
        if over.here.result.is_ok() { over.assert_moved() } else { drop(over.assert_stayed()) }
    }
}

#[test]
fn a_link_that_is_too_slow_for_the_guest_is_given_up_when_asked_so() {
    let mut scene = Scene::new("a guest that writes too fast");
    let _power = scene.source.power();
    scene.config.sender = peers::config(&[Method::Raw]);
    scene.config.sender.max_bytes_per_s = Some(3_000_000);
    scene.config.convergence.on_stall = pageferry_engine::migration::OnStall::GiveUp;
    scene.config.convergence.downtime_limit = Duration::from_millis(5);
    let over = scene.begin(nobody(), nobody()).wait();
    over.assert_stayed();
    assert!(matches!(over.here.result, Err(MigrationError::Stalled(_))), "{:?}", over.here.result.err());
}
