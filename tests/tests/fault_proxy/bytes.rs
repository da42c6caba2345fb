//! What becomes of the bytes.

use std::io::Write;
use std::thread;

use pageferry_tests::proxy::{Direction, Flow, Plan, Stream};

use crate::network::*;

#[test]
fn without_faults_all_bytes_of_many_connections_pass_untouched_both_ways() {
    for plan in ["", "link latency-up=3ms latency-down=1ms", "link bytes-per-s=400000000"] {
        for network in Network::both(plan) {
            let pairs: Vec<_> = (0..4).map(|_| network.connect()).collect();
            let (up, down) = (&pattern(8 << 20), &pattern(3 << 20));
            thread::scope(|threads| {
                for pair in pairs {
                    let (source, destination) = pair;
                    for (mut socket, sent, expected) in [(source, up, down), (destination, down, up)] {
                        threads.spawn(move || both_ways(&mut *socket, sent, expected));
                    }
                }
            });
            for connection in 0..4 {
                let flow = |direction| network.proxy.flow(Stream { connection, direction });
                let all = |bytes: &[u8]| {
                    let bytes = u64::try_from(bytes.len()).unwrap();
                    Flow { read: bytes, forwarded: bytes }
                };
                assert_eq!((flow(Direction::Up), flow(Direction::Down)), (all(up), all(down)));
            }
            assert_eq!(network.proxy.fired(), []);
            network.assert_that_all_is_closed();
        }
    }
}

/// Sends and receives at once, in turns that no side waits in, and ends in good order.
fn both_ways(socket: &mut dyn Socket, sent: &[u8], expected: &[u8]) {
    let chunk = 32 << 10;
    let mut arrived = Vec::new();
    for bytes in sent.chunks(chunk) {
        socket.write_all(bytes).expect("nothing cuts it");
        if arrived.len() < expected.len() {
            arrived.extend(read_exactly(socket, chunk.min(expected.len() - arrived.len())));
        }
    }
    socket.end();
    let (rest, error) = read_all(socket);
    arrived.extend(rest);
    assert_eq!(error, None);
    assert!(arrived == expected, "{} bytes arrived, not the {} sent", arrived.len(), expected.len());
}

#[test]
fn a_truncated_stream_ends_while_its_sender_is_read_to_the_end_and_answered() {
    for network in Network::both("truncate c0 up @70000") {
        let (mut source, mut destination) = network.connect();
        let sent = pattern(4 << 20);
        thread::scope(|threads| {
            threads.spawn(|| {
                source.write_all(&sent).expect("more than all buffers hold is taken");
                source.end();
            });
            let (arrived, error) = read_all(&mut *destination);
            assert_eq!(error, None);
            assert!(arrived == sent[..70_000], "{} bytes arrived", arrived.len());
        });
        destination.write_all(b"answer").unwrap();
        destination.end();
        assert_eq!(read_all(&mut *source), (b"answer".to_vec(), None));
        wait_until("all is read", || network.proxy.flow(UP).read == 4 << 20);
        assert_eq!(network.proxy.flow(UP).forwarded, 70_000);
        network.assert_all_fired();
    }
}

#[test]
fn bytes_are_corrupted_dropped_and_repeated_where_the_plan_says_and_nowhere_else() {
    let sent = pattern(1 << 20);
    let (at, length) = (300_000, 5_000);
    let (before, those, after) = (&sent[..at], &sent[at..at + length], &sent[at + length..]);
    let changed: Vec<u8> =
        those.iter().enumerate().map(|(i, byte)| byte ^ [1, 0x80].get(i).unwrap_or(&0)).collect();
    for (plan, expected) in [
        ("corrupt c0 up @300000 xor=0180", [before, &changed, after].concat()),
        ("drop c0 up @300000 bytes=5000", [before, after].concat()),
        ("duplicate c0 up @300000 bytes=5000", [before, those, those, after].concat()),
    ] {
        for network in Network::both(plan) {
            let (arrived, error) = send_up(&network, &sent);
            assert_eq!(error, None, "{plan}");
            let differs = arrived.iter().zip(&expected).position(|(arrived, expected)| arrived != expected);
            assert_eq!((arrived.len(), differs), (expected.len(), None), "{plan}");
            network.assert_all_fired();
        }
    }
}

#[test]
fn streams_are_counted_apart() {
    let network = Network::new("", true);
    let (mut source, mut destination) = network.connect();
    source.write_all(b"four").unwrap();
    destination.write_all(b"sixsix").unwrap();
    read_exactly(&mut *destination, 4);
    read_exactly(&mut *source, 6);
    wait_until("all is counted", || network.proxy.flow(DOWN).forwarded == 6);
    wait_until("all is counted", || network.proxy.flow(UP).forwarded == 4);
    assert_eq!(network.proxy.flow(Stream { connection: 9, ..UP }), Flow::default());
}

#[test]
fn every_random_plan_ends_in_bytes_or_in_an_end() {
    for seed in 0..20 {
        let plan = Plan::random(seed, 2, 1 << 20);
        for network in Network::both(&plan.to_string()) {
            let pairs = [network.connect(), network.connect()];
            let sent = &pattern(1 << 20);
            thread::scope(|threads| {
                for (mut source, mut destination) in pairs {
                    // What is stalled for ever is given up; nothing depends on how soon.
                    source.wait_at_most(3 * MOMENT);
                    destination.wait_at_most(3 * MOMENT);
                    threads.spawn(move || {
                        let _ = source.write_all(sent);
                        source.end();
                        read_all(&mut *source)
                    });
                    threads.spawn(move || read_all(&mut *destination));
                }
            });
            assert!(network.proxy.fired().len() <= network.proxy.plan().faults.len(), "{plan}");
        }
    }
}
