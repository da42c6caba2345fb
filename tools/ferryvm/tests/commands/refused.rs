//! Migrations that do not take place, and what is said about that at both ends.

use crate::process::{Ended, Places, Process, ferryvm};

fn refused(places: &Places, receive: &str, migrate: &str) -> (Ended, Ended) {
    let there = Process::start(&format!("receive --guest process --listen {} {receive}", places.socket("b")));
    there.address();
    let control = places.socket("a");
    let migrated = ferryvm(&format!("migrate --control {control} --to {} {migrate}", places.socket("b")));
    (migrated, there.end())
}

#[test]
fn a_host_that_lacks_memory_and_features_says_all_of_it_at_both_ends() {
    let places = Places::new();
    let source = places.guest("a", "");
    for (receive, words) in [
        ("--max-memory 32M", &["memory"][..]),
        ("--cpu-features no-such-feature", &["features"]),
        ("--max-memory 32M --prealloc --cpu-features no-such-feature", &["memory", "features"]),
    ] {
        let (migrated, received) = refused(&places, receive, "");
        migrated.fails(6, words);
        migrated.fails(6, &["the guest runs on at the source"]);
        received.fails(6, words);
    }
    places.runs_on("a", source);
}

#[test]
fn features_that_only_the_destination_has_are_no_obstacle() {
    let places = Places::new();
    let features = |of: &str| {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == of));
        line.map(|line| line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(","))
    };
    let Some(all) = features("flags").or_else(|| features("Features")) else {
        println!("skipped: this processor has no features that Linux names");
        return;
    };
    let (fewer, last) = all.rsplit_once(',').unwrap();
    let source = places.guest("a", "");
    let (migrated, _) = refused(&places, &format!("--cpu-features {fewer}"), "");
    migrated.fails(6, &[last]);
    let (migrated, received) = refused(&places, &format!("--prove --cpu-features {all},another"), "");
    assert_eq!((migrated.code, received.code), (Some(0), Some(0)), "{migrated:?} {received:?}");
    assert_eq!(source.end().code, Some(0));
}

#[test]
fn a_guest_that_writes_faster_than_the_link_carries_stays_where_giving_up_was_asked_for() {
    let places = Places::new();
    let source = places.guest("a", "--pattern random --rate max --working-set 1M");
    let slow = "--method raw --max-bandwidth 2M --downtime 20ms --on-stall give-up --json";
    let (migrated, received) = refused(&places, "", slow);
    migrated.fails(5, &["writes as fast as its memory is sent", "the guest runs on at the source"]);
    let outcome: serde_json::Value = serde_json::from_str(&migrated.stdout).unwrap();
    assert_eq!((&outcome["verdict"], &outcome["guest"]), (&"stalled".into(), &"here".into()), "{outcome}");
    received.fails(1, &["writes as fast as its memory is sent"]);
    places.runs_on("a", source);
}

#[test]
fn an_accelerator_that_cannot_be_had_is_said_before_anything_moves() {
    let places = Places::new();
    let source = places.guest("a", "");
    let missing = "--accelerator qat:/nowhere/libqat.so";
    ferryvm(&format!("receive --listen {} {missing}", places.socket("b")))
        .fails(3, &["--accelerator: qat:/nowhere"]);
    let migrate = format!("migrate --control {} --to unix:/nowhere", places.socket("a"));
    ferryvm(&format!("{migrate} {missing}")).fails(3, &["--accelerator: qat:/nowhere"]);
    ferryvm(&format!("{migrate} --accelerator vfio-user:/nowhere")).fails(2, &["in another process"]);
    let (migrated, _) = refused(&places, "--prove", &format!("{missing},cpu --json"));
    migrated.fails(0, &["warning: going on without qat:/nowhere"]);
    assert_eq!(migrated.json()["accelerators"][0]["accelerator"], "cpu");
    assert_eq!(source.end().code, Some(0));
}

#[test]
fn options_that_mean_nothing_are_wrong_usage() {
    let places = Places::new();
    let source = places.guest("a", "");
    let control = places.socket("a");
    for (arguments, words) in [
        (format!("migrate --control {control} --to unix:x --on-stall wait"), "force:TIME"),
        (
            format!("migrate --control {control} --to unix:x --on-stall throttle:50,1,40"),
            "INITIAL no more than MAX",
        ),
        (format!("migrate --control {control} --to unix:x --level 3 --method raw"), "--level has no effect"),
        (format!("migrate --control {control} --to unix:x --window 8K"), "use 4K or 32K"),
        (format!("migrate --control {control} --to unix:x --arbiter /nowhere"), "--arbiter"),
        (format!("migrate --control {control} --to unix:x --events - --json"), "give events a file"),
        (format!("migrate --control {control} --to host:1"), "is no address"),
        ("migrate --control tcp:127.0.0.1:1 --to unix:x".to_owned(), "does not leave the machine"),
        ("receive --listen unix:x --for 1 --prove".to_owned(), "cannot be used with"),
    ] {
        ferryvm(&arguments).fails(2, &[words]);
    }
    ferryvm("migrate --control unix:/nowhere --to unix:x").fails(1, &["nobody serves unix:/nowhere"]);
    places.runs_on("a", source);
}
