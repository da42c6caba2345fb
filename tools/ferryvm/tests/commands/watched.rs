//! What those see who watch: events, metrics.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::process::{Places, Process, ferryvm};

/// The states of a list of events, each once, and whether the figures are there.
fn states(text: &str) -> Vec<String> {
    let mut states: Vec<String> = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for figure in
            ["at_s", "round", "pages", "wire_bytes", "left_pages", "dirty_pages_per_s", "wire_bytes_per_s"]
        {
            assert!(event[figure].is_number(), "{figure}: {event}");
        }
        assert!(event["event"].is_string() && event["methods"].is_object(), "{event}");
        let state = event["state"].as_str().expect("a state").to_owned();
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    states
}

#[test]
fn events_are_lines_of_json_with_the_states_in_their_order() {
    let places = Places::new();
    let source = places.guest("a", "");
    let (listen, file) = (places.socket("b"), places.folder().join("events"));
    let there =
        format!("receive --guest process --listen {listen} --prove --json --events {}", file.display());
    let there = Process::start(&there);
    there.address();
    let moved = ferryvm(&format!("migrate --control {} --to {listen} --events -", places.socket("a")));
    assert_eq!((moved.code, source.end().code, there.end().code), (Some(0), Some(0), Some(0)), "{moved:?}");
    let order = ["handshake", "rounds", "switchover", "completed"];
    assert_eq!(states(&moved.stdout), order, "{}", moved.stdout);
    assert_eq!(states(&std::fs::read_to_string(file).unwrap()), order);
    // The result is for people, and does not stand among the events.
    assert!(moved.stderr.contains("downtime   "), "{moved:?}");
}

fn metrics(address: &str) -> String {
    let place = address.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap();
    let mut stream = TcpStream::connect(place).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn counters_are_served_before_and_after_a_migration() {
    let places = Places::new();
    let source = places.guest("a", "--metrics 127.0.0.1:0");
    let there = format!("receive --guest process --listen {} --metrics 127.0.0.1:0", places.socket("b"));
    let there = Process::start(&format!("{there} --control {} --json", places.socket("b.control")));
    let (here, to) = (source.hear("serving "), there.hear("serving "));
    for (address, end) in [(&here, "source"), (&to, "destination")] {
        let text = metrics(address);
        assert!(text.starts_with("HTTP/1.1 200") && text.contains(&format!("end=\"{end}\"")), "{text}");
    }
    let moved =
        ferryvm(&format!("migrate --control {} --to {} --json", places.socket("a"), there.address())).json();
    places.await_guest("b.control");
    let text = metrics(&to);
    let pages = format!(" {}\n", moved["pages"]);
    assert!(text.lines().any(|line| format!("{line}\n").ends_with(&pages)), "{pages} is not in {text}");
    places.runs_on("b.control", there);
    assert_eq!(source.end().code, Some(0));
}
