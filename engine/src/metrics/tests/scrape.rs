//! What a client gets from the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::super::http::MOST_HEAD_BYTES;
use super::{Metrics, MetricsError, MetricsServer, Snapshot, snapshot, text};
use crate::frame::End;

const LOOPBACK: &str = "127.0.0.1:0";

/// Longer than any answer takes.
const LONG: Duration = Duration::from_secs(60);

fn serve() -> MetricsServer {
    Metrics::serve(LOOPBACK.parse().unwrap(), || snapshot(End::Source)).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client
}

/// The head and the body of the answer.
fn ask(address: SocketAddr, request: &[u8]) -> (String, String) {
    let mut client = connect(address);
    client.write_all(request).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    (head.to_owned(), body.to_owned())
}

fn status(address: SocketAddr, request: &[u8]) -> String {
    let (head, _) = ask(address, request);
    head.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn a_scrape_gets_the_snapshot_of_its_moment() {
    let rounds = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&rounds);
    let now = move || Snapshot { round: seen.fetch_add(1, SeqCst), ..snapshot(End::Source) };
    let server = Metrics::serve(LOOPBACK.parse().unwrap(), now).unwrap();
    for round in 0..3 {
        let (head, body) = ask(server.address(), b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains("\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
        );
        let samples = text::read(&body).unwrap();
        assert_eq!(samples["pageferry_migration_round{end=\"source\"}"], f64::from(round));
    }
    assert_eq!(rounds.load(SeqCst), 3, "once for each scrape");
}

#[test]
fn whatever_else_is_asked_is_answered_by_its_error() {
    let server = serve();
    let address = server.address();
    for (request, answer) in [
        ("GET /metrics?name[]=x HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
        ("HEAD /other HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found"),
        ("\u{1}\u{2} rubbish\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ("GET /metrics HTTP/9.9\r\n\r\n", "HTTP/1.1 400 Bad Request"),
    ] {
        assert_eq!(status(address, request.as_bytes()), answer, "{request:?}");
    }
}

#[test]
fn a_request_without_end_is_cut_off() {
    let server = serve();
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(MOST_HEAD_BYTES));
    let too_long = "HTTP/1.1 431 Request Header Fields Too Large";
    assert_eq!(status(server.address(), &long.as_bytes()[..MOST_HEAD_BYTES]), too_long);
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert_eq!(status(server.address(), many.as_bytes()), too_long);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let server = serve();
    let mut client = connect(server.address());
    client.set_nodelay(true).unwrap();
    for byte in b"GET /metrics HTTP/1.1\r\n\r\n" {
        client.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn a_client_that_says_nothing_keeps_the_others_waiting_for_a_bounded_time_alone() {
    let server = serve();
    let mut silent = connect(server.address());
    let mut gone = connect(server.address());
    gone.write_all(b"GET /met").unwrap();
    drop(gone);
    assert_eq!(status(server.address(), b"GET /metrics HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it was sent away");
}

#[test]
fn a_dropped_server_lets_go_of_its_address_and_of_whoever_it_waits_for() {
    let server = serve();
    let address = server.address();
    let mut silent = connect(address);
    silent.write_all(b"GET /metrics HT").unwrap();
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < LONG, "it waited {:?}", begun.elapsed());
    assert!(TcpStream::connect(address).is_err(), "{address} still answers");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind(LOOPBACK).unwrap();
    let address = taken.local_addr().unwrap();
    let error = Metrics::serve(address, || snapshot(End::Source)).unwrap_err();
    assert!(matches!(error, MetricsError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
