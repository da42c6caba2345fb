//! One guest, moved on and on from process to process, over every transport, by every method and accelerator in turn, and asked
//! for its proof after each move.
//!
//! `PAGEFERRY_SOAK=100` moves it so often; it is moved three times otherwise.
#![allow(missing_docs, reason = "tests")]

mod host;
mod trip;

use pageferry_tests::certificates::Authority;
use tempfile::tempdir;

use host::Host;
use trip::Trip;

const MOVES: usize = 3;

#[test]
fn a_guest_moves_from_process_to_process_and_proves_itself_each_time() {
    let moves =
        std::env::var("PAGEFERRY_SOAK").map_or(MOVES, |moves| moves.parse().expect("a number of moves"));
    let (folder, authority) = (tempdir().unwrap(), Authority::new());
    let trips = Trip::all(folder.path(), &authority);
    let mut host = Host::run(folder.path());
    let (mut written, mut downtimes) = (0, Vec::new());
    for number in 1..=moves {
        // A stride without a common divisor: a few moves meet something of everything, many meet all.
        let trip = &trips[number * 7 % trips.len()];
        let (next, outcome) = host.send_on(number, trip, folder.path());
        let proof = next.prove(number, trip);
        let now = proof["pages_written"].as_u64().expect("a number of pages");
        assert!(now > written, "move {number} by {trip:?}: {now} pages written, {written} before");
        written = now;
        let felt = next.downtime(number, trip);
        let reported = outcome["downtime_ms"].as_f64().expect("a downtime");
        println!("move {number}: {trip}: downtime reported {reported:.1} ms, felt {felt:.1} ms; {proof}");
        downtimes.push((felt - reported).abs());
        host = next;
    }
    let largest = downtimes.into_iter().fold(0.0, f64::max);
    println!(
        "{moves} moves, {written} pages written; downtime reported and felt differ by {largest:.1} ms at most"
    );
    host.quit();
}
