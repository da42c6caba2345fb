//! One guest, moved on and on from process to process, over every transport, by every method and accelerator in turn, and asked
//! for its proof after each move.

use serde_json::Value;

use pageferry_tests::certificates::Authority;

use crate::process::{Places, Process, ferryvm};
use crate::trip::Trip;

/// How often the guest is moved unless `PAGEFERRY_SOAK` says otherwise.
const MOVES: usize = 3;

#[test]
fn a_guest_moves_from_process_to_process_and_proves_itself_each_time() {
    let moves = std::env::var("PAGEFERRY_SOAK");
    let moves = moves.map_or(MOVES, |moves| moves.parse().expect("a number of moves"));
    let (places, authority) = (Places::new(), Authority::new());
    let trips = Trip::all(places.folder(), &authority);
    let control = places.socket("0");
    let guest = "run --memory 64M --vcpus 2 --pattern random --fill random --rate 2000 --working-set 8M";
    let mut host = Process::start(&format!("{guest} --control {control}"));
    places.await_guest("0");
    let (mut written, mut apart) = (0, 0.0_f64);
    for number in 1..=moves {
        // A stride without a common divisor: a few moves meet something of everything, many meet all.
        let trip = &trips[number * 7 % trips.len()];
        let (from, to) = ((number - 1).to_string(), number.to_string());
        let (next, moved) = send_on(&places, trip, &from, &to);
        let left = host.end();
        assert_eq!(left.code, Some(0), "move {number}, {trip}: {left:?}");
        places.await_guest(&to);
        written = prove(&places, trip, &to, written);
        let status = places.status(&to);
        assert_eq!(status["heartbeat"]["counter_went_on"], true, "move {number}, {trip}: {status}");
        let felt = status["heartbeat"]["gap_of_move"].as_f64().expect("hosts with a common clock") * 1e3;
        let reported = moved["downtime_ms"].as_f64().expect("a downtime");
        println!("move {number}, {trip}: downtime reported {reported:.1} ms, felt {felt:.1} ms");
        apart = apart.max((felt - reported).abs());
        host = next;
    }
    println!("{moves} moves, {written} pages; downtimes reported and felt are {apart:.1} ms apart at most");
    assert_eq!(
        ferryvm(&format!("control quit --control {}", places.socket(&moves.to_string()))).code,
        Some(0)
    );
    let ended = host.end();
    assert_eq!(ended.code, Some(0), "the last proof: {ended:?}");
}

/// Moves the guest from the process that serves it at `from` to one that is started for it and serves it at `to`.
fn send_on(places: &Places, trip: &Trip, from: &str, to: &str) -> (Process, Value) {
    let listen = trip.listen(&places.socket(&format!("{to}.sock")));
    let receive = format!("receive --listen {listen} --control {} {}", places.socket(to), trip.receives());
    let next = Process::start(&receive);
    let address = next.address();
    let from = places.socket(from);
    let moved = ferryvm(&format!("migrate --control {from} --to {address} --json {}", trip.migrates()));
    (next, moved.json())
}

/// Has the guest say what it finds in its memory, and that it went on; says how many pages it has written.
fn prove(places: &Places, trip: &Trip, at: &str, before: u64) -> u64 {
    let proof = ferryvm(&format!("control prove --control {}", places.socket(at))).json();
    assert_eq!(proof["held"], true, "{trip}: {proof}");
    let written = proof["pages_written"].as_u64().expect("a number of pages");
    assert!(written > before, "{trip}: {written} pages written, {before} before");
    written
}
