//! What makes bytes wait.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use pageferry_tests::proxy::{Direction, Lasting, Scope, Stall};

use crate::network::*;

#[test]
fn a_stall_holds_one_way_for_its_time_and_then_lets_all_pass() {
    for network in Network::both("stall c0 up @3 for=200ms") {
        let (mut source, mut destination) = network.connect();
        let begun = Instant::now();
        source.write_all(b"abcdef").unwrap();
        assert_eq!(read_exactly(&mut *destination, 3), b"abc");
        destination.write_all(b"answer").unwrap();
        assert_eq!(read_exactly(&mut *source, 6), b"answer", "the other way goes on");
        assert_eq!(read_exactly(&mut *destination, 3), b"def");
        assert!(begun.elapsed() >= Duration::from_millis(200), "after {:?}", begun.elapsed());
        network.assert_all_fired();
    }
}

#[test]
fn a_stall_for_ever_holds_both_ways_of_all_connections_and_closes_none() {
    for network in Network::both("stall c0 down @1 both all") {
        let (mut first, mut second) = (network.connect(), network.connect());
        first.1.write_all(b"ab").unwrap();
        assert_eq!(read_exactly(&mut *first.0, 1), b"a");
        wait_until("everything stalls", || !network.proxy.fired().is_empty());
        second.0.write_all(b"c").unwrap();
        second.1.write_all(b"d").unwrap();
        assert_nothing_comes(&mut *first.0);
        assert_nothing_comes(&mut *second.0);
        assert_nothing_comes(&mut *second.1);
        network.assert_all_fired();
        network.proxy.restore();
        assert_eq!(read_exactly(&mut *first.0, 1), b"b");
        assert_eq!(read_exactly(&mut *second.1, 1), b"c");
        assert_eq!(read_exactly(&mut *second.0, 1), b"d");
    }
}

#[test]
fn a_stall_at_run_time_holds_the_way_that_it_says() {
    for network in Network::both("") {
        let (mut source, mut destination) = network.connect();
        let stall = Stall { direction: Some(Direction::Up), scope: Scope::All, lasting: Lasting::Ever };
        network.proxy.stall_now(stall);
        source.write_all(b"up").unwrap();
        destination.write_all(b"down").unwrap();
        assert_eq!(read_exactly(&mut *source, 4), b"down");
        assert_nothing_comes(&mut *destination);
        network.proxy.restore();
        assert_eq!(read_exactly(&mut *destination, 2), b"up");
    }
}

#[test]
fn a_stream_waits_until_another_has_overtaken_it() {
    for network in Network::both("reorder c0 up @3 after=c1 past=4 within=60s") {
        let (mut first, mut second) = (network.connect(), network.connect());
        first.0.write_all(b"abcdef").unwrap();
        assert_eq!(read_exactly(&mut *first.1, 3), b"abc");
        second.0.write_all(b"123").unwrap();
        assert_eq!(read_exactly(&mut *second.1, 3), b"123");
        assert_nothing_comes(&mut *first.1);
        assert_eq!(network.proxy.fired(), [], "it has not been overtaken yet");
        second.0.write_all(b"4").unwrap();
        assert_eq!(read_exactly(&mut *first.1, 3), b"def");
        network.assert_all_fired();
    }
}

#[test]
fn a_stream_that_nobody_overtakes_goes_on_after_a_while_and_says_that_it_was_not_overtaken() {
    for network in Network::both("reorder c0 up @3 after=c1 past=4 within=50ms") {
        assert_eq!(send_up(&network, b"abcdef"), (b"abcdef".to_vec(), None));
        assert_eq!(network.proxy.not_fired(), network.proxy.plan().faults);
    }
}

#[test]
fn a_link_lets_no_more_pass_than_its_rate_and_holds_each_byte_for_its_latency() {
    let plan = "link bytes-per-s=2000000 latency-up=50ms latency-down=20ms";
    for network in Network::both(plan) {
        let pairs = [network.connect(), network.connect()];
        let sent = &pattern(300_000);
        let begun = Instant::now();
        thread::scope(|threads| {
            for (mut source, mut destination) in pairs {
                threads.spawn(move || {
                    source.write_all(sent).unwrap();
                    source.end();
                    assert_eq!(read_all(&mut *source), (b"answer".to_vec(), None));
                });
                threads.spawn(move || {
                    assert!(read_all(&mut *destination) == (sent.clone(), None));
                    destination.write_all(b"answer").unwrap();
                });
            }
        });
        // Both together, less what is forgiven to who comes late; and once there and back.
        let at_least = Duration::from_millis(300 - 10 + 50 + 20);
        assert!(begun.elapsed() >= at_least, "{:?} is too fast for {plan}", begun.elapsed());
    }
}
