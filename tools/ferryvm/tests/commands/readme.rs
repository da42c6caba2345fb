//! The commands that the README shows.

use crate::process::{Places, Process, ferryvm};

const README: &str = include_str!("../../../../README.md");

#[test]
fn the_three_commands_of_the_readme_move_a_guest() {
    let places = Places::new();
    let folder = places.folder().display();
    let typed: Vec<String> = README
        .lines()
        .filter_map(|line| line.strip_prefix("cargo run --release --bin ferryvm -- "))
        .map(|line| line.replace("/tmp/ferry.", &format!("{folder}/")))
        .collect();
    let [run, receive, migrate] = &typed[..] else { panic!("they are {typed:?}") };
    let source = Process::start(&format!("{run} --guest process"));
    places.await_guest("control");
    // As long as the README says is too long for a test.
    let there = Process::start(&format!("{} --guest process", receive.replace("--for 10s", "--for 0.2s")));
    there.address();
    let moved = ferryvm(migrate);
    assert_eq!(moved.code, Some(0), "{moved:?}");
    let there = there.end();
    assert!(there.code == Some(0) && there.stdout.contains("the guest felt "), "{there:?}");
    assert_eq!(source.end().code, Some(0));
}
