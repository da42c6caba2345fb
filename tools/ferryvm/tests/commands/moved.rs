//! Guests that arrive.

use crate::process::{Places, Process, ferryvm};

#[test]
fn a_guest_moves_over_every_transport_and_both_ends_report_the_same() {
    let places = Places::new();
    for (guest, listen, more) in [
        ("auto", places.socket("b"), "--connections 4 --method zstd+delta"),
        ("process", "tcp:127.0.0.1:0".to_owned(), "--method deflate --level 2"),
    ] {
        let control = places.socket("a");
        let source = Process::start(&format!(
            "run --guest {guest} --memory 64M --vcpus 2 --fill random --working-set 8M --control {control} --json"
        ));
        places.await_guest("a");
        let there = Process::start(&format!("receive --guest {guest} --listen {listen} --for 0.3 --json"));
        let to = there.address();
        let moved = ferryvm(&format!("migrate --control {control} --to {to} --json {more}")).json();
        let (left, arrived) = (source.end().json(), there.end().json());
        assert_eq!((&moved["verdict"], &moved["guest"]), (&"completed".into(), &"there".into()), "{moved}");
        assert_eq!(arrived["proof"]["held"], true, "{arrived}");
        assert_eq!(arrived["heartbeat"]["counter_went_on"], true, "{arrived}");
        assert!(arrived["heartbeat"]["gap_of_move"].is_number(), "{arrived}");
        assert_eq!(left["departure"], moved, "{left}");
        assert!(left["proof"].is_null(), "{left}");
        for figure in ["rounds", "pages", "zero_pages"] {
            assert_eq!(arrived["arrival"][figure], moved[figure], "{figure}: {arrived}\n{moved}");
        }
        for figure in ["downtime_ms", "expected_downtime_ms", "ratio", "wire_bytes"] {
            assert!(moved[figure].as_f64() > Some(0.0), "{figure}: {moved}");
        }
        assert_eq!(moved["accelerators"][0]["provenance"], "cpu", "{moved}");
    }
}

#[test]
fn a_guest_that_came_can_be_moved_on() {
    let places = Places::new();
    let first = places.guest("a", "");
    let second = format!(
        "receive --guest process --listen {} --control {}",
        places.socket("b"),
        places.socket("b.control")
    );
    let second = Process::start(&format!("{second} --prealloc --json"));
    let third = format!("receive --guest process --listen {} --prove --json", places.socket("c"));
    let third = Process::start(&third);
    second.address();
    third.address();
    let move_on = |from: &str, to: &str| {
        ferryvm(&format!("migrate --control {} --to {} --json", places.socket(from), places.socket(to)))
            .json()
    };
    assert_eq!(move_on("a", "b")["verdict"], "completed");
    places.await_guest("b.control");
    assert_eq!(move_on("b.control", "c")["verdict"], "completed");
    let (first, second, third) = (first.end().json(), second.end().json(), third.end().json());
    assert_eq!(second["departure"]["verdict"], "completed", "{second}");
    assert_eq!(third["proof"]["held"], true, "{third}");
    let written =
        [&first, &second, &third].map(|report| report["heartbeat"]["pages_written"].as_u64().unwrap());
    assert!(written.is_sorted() && written[0] > 0, "{written:?}");
    assert!(third["proof"]["pages_written"].as_u64() >= Some(written[2]), "{third}");
}

#[test]
fn a_guest_leaves_though_nobody_waits_for_the_end() {
    let places = Places::new();
    let source = places.guest("a", "");
    let there = Process::start(&format!("receive --guest process --listen {} --prove", places.socket("b")));
    let to = there.address();
    let detached = ferryvm(&format!("migrate --control {} --to {to} --detach", places.socket("a")));
    assert_eq!((detached.code, &*detached.stdout), (Some(0), ""), "{detached:?}");
    let source = source.end();
    assert!(source.stderr.contains("the guest has left for"), "{source:?}");
    assert_eq!(source.json()["departure"]["verdict"], "completed");
    let there = there.end();
    assert_eq!(there.code, Some(0), "{there:?}");
    for words in ["arrival ", "the guest felt ", "proof      held"] {
        assert!(there.stdout.contains(words), "`{words}`: {there:?}");
    }
}

#[test]
fn paths_are_those_of_who_typed_them() {
    let places = Places::new();
    let source = places.guest("a", "");
    let there = Process::start(&format!("receive --guest process --listen {} --prove", places.socket("b")));
    there.address();
    let mut typed = std::process::Command::new(env!("CARGO_BIN_EXE_ferryvm"));
    typed.args(["migrate", "--control", "unix:a", "--to", "unix:b", "--arbiter", ".", "--events", "events"]);
    let moved = typed.current_dir(places.folder()).output().unwrap();
    assert!(moved.status.success(), "{moved:?}");
    assert!(places.folder().join("events").is_file());
    assert_eq!((source.end().code, there.end().code), (Some(0), Some(0)));
}
