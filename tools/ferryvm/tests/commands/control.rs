//! The socket at which a process is told what to do, and those who do not know how.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::process::{Places, Process, ferryvm};

fn connect(places: &Places) -> BufReader<UnixStream> {
    BufReader::new(UnixStream::connect(places.folder().join("a")).unwrap())
}

/// The answer to a line; nothing if the connection was closed.
fn answer(stream: &mut BufReader<UnixStream>, line: &[u8]) -> Value {
    // One who is hung up on may notice while writing.
    let _ = stream.get_mut().write_all(line);
    let mut answer = String::new();
    let _ = stream.read_line(&mut answer);
    if answer.is_empty() { Value::Null } else { serde_json::from_str(&answer).unwrap() }
}

#[test]
fn what_is_no_request_is_refused_in_words_and_the_next_one_answered() {
    let places = Places::new();
    let source = places.guest("a", "");
    let mut stream = connect(&places);
    for (line, words) in [
        (&b"\n"[..], "this is no request"),
        (b"hello\n", "this is no request"),
        (b"\xff\xfe\x00\n", "this is no request"),
        (b"{\"command\":\"halt\"}\n", "unknown variant `halt`"),
        (b"{\"command\":\"status\",\"loudly\":true}\n", "unknown field `loudly`"),
        (b"{\"command\":\"migrate\"}\n", "missing field `options`"),
        (b"{\"command\":\"migrate\",\"options\":{}}\n", "--to"),
        (b"{\"command\":\"migrate\",\"options\":{\"to\":\"unix:x\",\"speed\":9}}\n", "--speed"),
        (b"{\"command\":\"migrate\",\"options\":{\"to\":[]}}\n", "neither text nor a number"),
        (b"{\"command\":\"migrate\",\"options\":{\"to\":\"unix:x\",\"connections\":65}}\n", "--connections"),
        (b"{\"command\":\"migrate\",\"options\":{\"to\":\"unix:x\",\"workers\":1000000}}\n", "--workers"),
    ] {
        let answer = answer(&mut stream, line);
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert_eq!((&answer["answer"], &answer["kind"]), (&"refused".into(), &"usage".into()), "{answer}");
        assert!(reason.contains(words) && !reason.contains("Usage:"), "`{words}`: {answer}");
    }
    assert_eq!(answer(&mut stream, b"{\"command\":\"status\"}\n")["standing"], "here");
    assert_eq!(answer(&mut stream, b"{\"command\":\"cancel\"}\n")["kind"], "busy");
    places.runs_on("a", source);
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    let places = Places::new();
    let source = places.guest("a", "");
    let mut stream = connect(&places);
    let refused = answer(&mut stream, &[b' '; 70_000]);
    assert!(
        refused["reason"].as_str().is_none_or(|reason| reason.contains("longer than 65536")),
        "{refused}"
    );
    assert_eq!(answer(&mut stream, b"{\"command\":\"status\"}\n"), Value::Null, "it is closed");
    places.runs_on("a", source);
}

#[test]
fn those_who_connect_and_say_nothing_do_not_take_all_memory() {
    let places = Places::new();
    let source = places.guest("a", "");
    let mut silent: Vec<_> = (0..40).map(|_| connect(&places)).collect();
    let refused = answer(silent.last_mut().unwrap(), b"");
    assert!(
        refused["reason"].as_str().is_some_and(|reason| reason.contains("16 are connected")),
        "{refused}"
    );
    drop(silent);
    places.await_guest("a");
    places.runs_on("a", source);
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_its_process() {
    let places = Places::new();
    let file = places.folder().join("a");
    let source = places.guest("a", "");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    ferryvm(&format!("run --memory 64M --control {}", places.socket("a")))
        .fails(1, &["cannot serve", "choose another"]);
    places.runs_on("a", source);
    assert!(!file.exists());
    let source = places.guest("a", "");
    source.interrupt();
    source.end().fails(130, &["interrupted"]);
    assert!(!file.exists());
}

#[test]
fn a_receiver_can_be_told_to_quit_before_a_guest_has_come() {
    let places = Places::new();
    let there = format!("receive --listen {} --control {}", places.socket("b"), places.socket("a"));
    let there = Process::start(&there);
    there.address();
    assert_eq!(places.status("a")["standing"], "awaited");
    let early = ferryvm(&format!("migrate --control {} --to unix:x", places.socket("a")));
    early.fails(1, &["the guest has not come yet"]);
    assert_eq!(ferryvm(&format!("control quit --control {}", places.socket("a"))).code, Some(0));
    there.end().fails(0, &["told to quit before a guest came"]);
    assert!(!places.folder().join("b").exists());
}
