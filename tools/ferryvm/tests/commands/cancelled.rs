//! Migrations that are ended on request.

use crate::process::{Places, Process, await_that, ferryvm};

/// A migration that takes too long to end by itself.
fn slow(places: &Places, to: &str) -> Process {
    let events = places.folder().join("events");
    // That of the migration before.
    let _ = std::fs::remove_file(&events);
    let migrate = format!("migrate --control {} --to {to} --max-bandwidth 100K", places.socket("a"));
    let migrate = Process::start(&format!("{migrate} --method raw --events {}", events.display()));
    await_that("the first round", || {
        std::fs::read_to_string(&events).is_ok_and(|text| text.contains("\"rounds\""))
    });
    migrate
}

#[test]
fn ctrl_c_cancels_a_migration_and_the_guest_runs_on() {
    let places = Places::new();
    let source = places.guest("a", "--fill random");
    for listen in [places.socket("b"), "tcp:127.0.0.1:0".to_owned()] {
        let there = Process::start(&format!("receive --guest process --listen {listen}"));
        let migrate = slow(&places, &there.address());
        migrate.interrupt();
        migrate.end().fails(130, &["cancel", "the guest runs on at the source"]);
        there.end().fails(1, &["cancelled at the source"]);
        assert_eq!(places.status("a")["standing"], "here");
    }
    let there = Process::start(&format!("receive --guest process --listen {} --prove", places.socket("c")));
    let to = there.address();
    let moved = ferryvm(&format!("migrate --control {} --to {to}", places.socket("a")));
    assert_eq!((moved.code, there.end().code, source.end().code), (Some(0), Some(0), Some(0)), "{moved:?}");
}

#[test]
fn ctrl_c_at_the_destination_tells_the_source_at_once() {
    let places = Places::new();
    let source = places.guest("a", "--fill random");
    let there = Process::start(&format!("receive --guest process --listen {}", places.socket("b")));
    let migrate = slow(&places, &there.address());
    there.interrupt();
    there.end().fails(130, &["cancelled"]);
    migrate.end().fails(1, &["stopped at the destination", "the guest runs on at the source"]);
    places.runs_on("a", source);
}

#[test]
fn a_migration_is_watched_and_cancelled_from_elsewhere() {
    let places = Places::new();
    let source = places.guest("a", "--fill random");
    let there = Process::start(&format!("receive --guest process --listen {}", places.socket("b")));
    let migrate = slow(&places, &there.address());
    let control = |what: &str| ferryvm(&format!("control {what} --control {}", places.socket("a")));
    let status = places.status("a");
    assert_eq!(
        (&status["standing"], &status["migration"]["state"]),
        (&"leaving".into(), &"rounds".into()),
        "{status}"
    );
    control("quit").fails(1, &["on its way", "cancel that first"]);
    control("resume").fails(1, &["the guest runs"]);
    let again = ferryvm(&format!("migrate --control {} --to unix:/nowhere", places.socket("a")));
    again.fails(1, &["on its way", "cancel that first"]);
    control("cancel").fails(0, &["is cancelled"]);
    migrate.end().fails(130, &["the migration was cancelled; the guest runs on at the source"]);
    there.end().fails(1, &["cancelled at the source"]);
    control("cancel").fails(1, &["no migration is on"]);
    places.runs_on("a", source);
}
