//! What ends connections, and what a proxy leaves behind.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use pageferry_tests::proxy::{Address, Cause, Close, Cut, Lasting, Scope, What};

use crate::network::*;

#[test]
fn an_orderly_cut_delivers_all_bytes_before_it_and_none_after() {
    for network in Network::both("cut c0 up @123456 fin") {
        let sent = pattern(1 << 20);
        let (arrived, error) = send_up(&network, &sent);
        assert_eq!(error, None);
        assert!(arrived == sent[..123_456], "{} bytes arrived", arrived.len());
        network.assert_all_fired();
        network.assert_that_all_is_closed();
        assert_eq!(network.proxy.flow(UP).forwarded, 123_456);
    }
}

#[test]
fn an_orderly_cut_stays_orderly_though_bytes_were_on_their_way_against_it() {
    for network in Network::both("stall c0 up @0 other, cut c0 up @5 fin") {
        let (mut source, mut destination) = network.connect();
        wait_until("answers are held up", || !network.proxy.fired().is_empty());
        destination.write_all(b"1").unwrap();
        wait_until("the proxy is held up with the first byte", || network.proxy.flow(DOWN).read == 1);
        destination.write_all(&pattern(100_000)).unwrap();
        source.write_all(b"hello and more").unwrap();
        assert_eq!(read_all(&mut *destination), (b"hello".to_vec(), None));
        network.assert_that_all_is_closed();
    }
}

#[test]
fn a_reset_delivers_no_byte_after_it_and_both_sides_learn_of_it() {
    for (network, is_tcp) in Network::both("cut c0 up @1000").into_iter().zip([true, false]) {
        let (mut source, mut destination) = network.connect();
        let sent = pattern(1001);
        source.write_all(&sent[..999]).unwrap();
        assert!(read_exactly(&mut *destination, 999) == sent[..999]);
        assert_eq!(network.proxy.fired(), [], "one byte is missing yet");
        source.write_all(&sent[999..]).unwrap();
        let reset = is_tcp.then_some(ErrorKind::ConnectionReset);
        let (arrived, error) = read_all(&mut *destination);
        assert!(sent[999..1000].starts_with(&arrived), "{arrived:?} arrived");
        assert_eq!(error, reset, "destination");
        assert_eq!(read_all(&mut *source), (vec![], reset), "source");
        network.assert_all_fired();
        network.assert_that_all_is_closed();
    }
}

#[test]
fn a_cut_before_the_first_byte_needs_none() {
    for network in Network::both("cut c0 down @0 fin") {
        let (mut source, mut destination) = network.connect();
        assert_eq!(read_all(&mut *source), (vec![], None));
        assert_eq!(read_all(&mut *destination), (vec![], None));
        network.assert_all_fired();
    }
}

#[test]
fn a_cut_falls_on_its_own_connection_alone_unless_it_falls_on_all() {
    for (plan, others_live) in [("cut c1 up @1 fin", true), ("cut c1 up @1 fin all", false)] {
        for network in Network::both(plan) {
            let (mut first, mut second) = (network.connect(), network.connect());
            second.0.write_all(b"x").unwrap();
            assert_eq!(read_all(&mut *second.1), (b"x".to_vec(), None));
            first.0.write_all(b"y").unwrap();
            if others_live {
                assert_eq!(read_exactly(&mut *first.1, 1), b"y");
            } else {
                assert_eq!(read_all(&mut *first.1).0, b"");
            }
        }
    }
}

/// Dials until somebody answers with a byte; how often it was refused.
fn dial_until_answered(network: &Network) -> (Box<dyn Socket>, usize) {
    let mut refused = 0;
    loop {
        match network.dial() {
            // A door that is about to close may still take it, and then resets it.
            Ok(mut socket) => {
                if let Ok(1) = socket.read(&mut [0]) {
                    return (socket, refused);
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                refused += 1;
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn after_an_outage_connections_are_refused_for_its_time_and_then_taken_again() {
    for network in Network::both("cut c0 up @5 all down=300ms, corrupt c1 up @0 xor=20") {
        let (mut source, mut destination) = network.connect();
        let begun = Instant::now();
        source.write_all(b"hello").unwrap();
        read_all(&mut *destination);
        thread::scope(|threads| {
            threads.spawn(|| {
                let mut destination = network.accept();
                destination.write_all(b"!").unwrap();
                assert_eq!(read_all(&mut *destination), (b"Again".to_vec(), None));
            });
            let (mut source, refused) = dial_until_answered(&network);
            assert!(begun.elapsed() >= Duration::from_millis(300), "taken after {:?}", begun.elapsed());
            assert!(refused > 0, "none of the dials during the outage was refused");
            source.write_all(b"again").unwrap();
        });
        network.assert_all_fired();
        assert_eq!(network.proxy.connections(), 2);
    }
}

#[test]
fn a_cut_at_run_time_falls_on_all_and_lasts_until_all_is_restored() {
    for network in Network::both("") {
        let mut pairs: Vec<_> = (0..3).map(|_| network.connect()).collect();
        let cut = Cut { close: Close::Orderly, scope: Scope::All, down: Lasting::Ever };
        network.proxy.cut_now(cut);
        for (source, destination) in &mut pairs {
            assert_eq!(
                (read_all(&mut **source), read_all(&mut **destination)),
                ((vec![], None), (vec![], None))
            );
        }
        wait_until("connections are refused", || network.dial().is_err());
        network.proxy.restore();
        thread::scope(|threads| {
            threads.spawn(|| network.accept().write_all(b"!").unwrap());
            dial_until_answered(&network);
        });
        let causes: Vec<Cause> = network.proxy.fired().into_iter().map(|fired| fired.cause).collect();
        assert_eq!(causes, [Cause::Asked(What::Cut(cut))]);
    }
}

#[test]
fn what_either_side_does_to_its_socket_the_other_side_learns() {
    let network = Network::new("", true);
    let (mut source, mut destination) = network.connect();
    source.write_all(b"unread").unwrap();
    wait_until("it has arrived", || network.proxy.flow(UP).forwarded == 6);
    destination.write_all(b"last words").unwrap();
    // Closed with bytes unread: a reset. What was said before is heard all the same.
    drop(destination);
    assert_eq!(read_all(&mut *source).0, b"last words");
    network.assert_that_all_is_closed();
}

#[test]
fn a_sender_is_not_kept_waiting_by_a_receiver_that_is_gone() {
    for network in Network::both("") {
        let (mut source, destination) = network.connect();
        drop(destination);
        let error = loop {
            if let Err(error) = source.write_all(&[0; 64 << 10]) {
                break error.kind();
            }
        };
        assert!(matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
        network.assert_that_all_is_closed();
    }
}

#[test]
fn who_dials_when_nobody_listens_behind_the_proxy_is_sent_away() {
    for network in Network::both("") {
        let Network { proxy, listener, _folder, _watchdog } = network;
        drop(listener);
        let mut socket: Box<dyn Socket> = match proxy.address() {
            Address::Tcp(address) => Box::new(TcpStream::connect(address).unwrap()),
            Address::Unix(path) => {
                std::fs::remove_file(_folder.path().join("destination")).unwrap();
                Box::new(UnixStream::connect(path).unwrap())
            }
        };
        socket.wait_at_most(LONG);
        assert_eq!(read_all(&mut *socket).0, b"");
        assert_eq!(proxy.connections(), 0);
    }
}

#[test]
fn a_dropped_proxy_leaves_no_connection_no_thread_and_no_address() {
    for plan in
        ["", "stall c0 up @0 both", "reorder c0 up @0 after=c9 past=1 within=999s", "link bytes-per-s=0"]
    {
        for latency in ["", " link latency-up=999s"] {
            let plan = if plan.starts_with("link") { plan.into() } else { format!("{plan}{latency}") };
            for network in Network::both(&plan) {
                let pairs: Vec<_> = (0..3).map(|_| network.connect()).collect();
                // Everything is stuck somewhere: on the way in, in the proxy, or on the way out, where nobody reads.
                thread::scope(|threads| {
                    for (mut source, destination) in pairs {
                        threads.spawn(move || {
                            while source.write_all(&[1; 1 << 20]).is_ok() {}
                            drop(destination);
                        });
                    }
                    let Network { proxy, listener, _folder, _watchdog } = network;
                    thread::sleep(MOMENT);
                    let address = proxy.address().clone();
                    let begun = Instant::now();
                    drop(proxy);
                    assert!(begun.elapsed() < LONG, "{plan}: {:?}", begun.elapsed());
                    let left = match &address {
                        Address::Tcp(address) => TcpStream::connect(address).is_ok(),
                        Address::Unix(path) => path.exists(),
                    };
                    assert!(!left, "{plan}: {address} is still there");
                    drop(listener);
                });
            }
        }
    }
}
