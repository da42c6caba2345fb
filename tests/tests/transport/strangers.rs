//! Peers that never authenticate themselves: none of them keeps a good one out, or the listener busy for ever.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pageferry_engine::transport::{Address, Dialer, Listen, Listener, PeerLimits, Rejection, Security};
use pageferry_tests::certificates::{Authority, accept, dialer, listener, security};

use super::authentication::{rejected, rejected_times};
use super::rogue;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any test takes, so that no deadline helps.
const NEVER: Duration = Duration::from_secs(600);

/// Connections that the listener has let in, and on which nothing was said.
fn silent(listener: &Listener, count: usize) -> Vec<TcpStream> {
    std::iter::repeat_with(|| rogue::connect(listener)).take(count).collect()
}

/// Waits until the other end has closed.
fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0; 64]), Ok(0))
        || matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
}

/// The first bytes of a record of the handshake that announces so much.
fn record(length: u16) -> Vec<u8> {
    [&[22, 3, 1][..], &length.to_be_bytes()].concat()
}

#[test]
fn a_flood_of_silent_peers_does_not_keep_a_good_one_out() {
    let authority = Authority::new();
    let limits = PeerLimits { pending: 8, handshake: NEVER, ..PeerLimits::default() };
    let mut listener = listener(security(authority.listens("127.0.0.1"), None), limits);
    let mut flood = silent(&listener, 100);
    rejected_times(&listener, Rejection::Excess, 92);
    // The oldest made way.
    assert!(is_closed(&mut flood[0]));
    let dialer = dialer(&listener, security(authority.dials("source"), None));
    dialer.connect(PATIENCE).unwrap();
    accept(&mut listener);
    assert_eq!(listener.rejections().total(), 93, "one more made way for the good one");
}

#[test]
fn those_who_do_not_finish_do_not_keep_a_good_one_out() {
    let authority = Authority::new();
    let limits = PeerLimits { pending: 4, handshake: NEVER, ..PeerLimits::default() };
    let mut listener = listener(security(authority.listens("127.0.0.1"), None), limits);
    let mut begun = silent(&listener, 4);
    for stream in &mut begun {
        stream.write_all(&record(512)).unwrap();
    }
    dialer(&listener, security(authority.dials("source"), None)).connect(PATIENCE).unwrap();
    accept(&mut listener);
    let said = rejected(&listener, Rejection::Excess);
    assert!(said.contains("made way for another: 4 peers wait"), "{said}");
}

#[test]
fn a_peer_that_sends_byte_after_byte_has_one_deadline_for_all() {
    let authority = Authority::new();
    let limits = PeerLimits { handshake: Duration::from_millis(300), ..PeerLimits::default() };
    let mut listener = listener(security(authority.listens("127.0.0.1"), None), limits);
    let mut slow = rogue::connect(&listener);
    slow.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let begun = Instant::now();
    for byte in record(16_000).into_iter().chain(std::iter::repeat(1)) {
        assert!(begun.elapsed() < PATIENCE, "it is let stay");
        if slow.write_all(&[byte]).is_err() || matches!(slow.read(&mut [0]), Ok(0)) {
            break;
        }
    }
    let said = rejected(&listener, Rejection::TooSlow);
    assert!(said.contains("was not authenticated within 0.3 s"), "{said}");
    dialer(&listener, security(authority.dials("source"), None)).connect(PATIENCE).unwrap();
    accept(&mut listener);
}

#[test]
fn a_first_message_that_is_too_long_is_refused_before_it_is_whole() {
    let authority = Authority::new();
    let limits = PeerLimits { bytes: 32 << 10, handshake: NEVER, ..PeerLimits::default() };
    let listener = listener(security(authority.listens("127.0.0.1"), None), limits);
    let mut large = rogue::connect(&listener);
    // A ClientHello of 60,000 bytes, in records of 16,000.
    let mut message = vec![1, 0, 0xea, 0x60];
    message.resize(4 + 60_000, 0);
    for part in message.chunks(16_000) {
        let head = record(u16::try_from(part.len()).unwrap());
        if large.write_all(&[&head, part].concat()).is_err() {
            break;
        }
    }
    let said = rejected(&listener, Rejection::TooLarge);
    assert!(said.contains("sent more than 32768 bytes before"), "{said}");
}

#[test]
fn a_message_that_announces_more_than_any_has_is_refused() {
    let authority = Authority::new();
    let limits = PeerLimits { handshake: NEVER, ..PeerLimits::default() };
    let listener = listener(security(authority.listens("127.0.0.1"), None), limits);
    let mut large = rogue::connect(&listener);
    large.write_all(&[&record(16_000)[..], &[1, 0xff, 0xff, 0xff], &[0; 15_996]].concat()).unwrap();
    rejected(&listener, Rejection::Protocol);
}

#[test]
fn a_peer_that_goes_is_counted_and_forgotten() {
    let authority = Authority::new();
    let limits = PeerLimits { handshake: NEVER, ..PeerLimits::default() };
    let listener = listener(security(authority.listens("127.0.0.1"), None), limits);
    drop(silent(&listener, 3));
    rejected_times(&listener, Rejection::Broken, 3);
}

#[test]
fn a_listener_that_is_dropped_ends_at_once_with_peers_in_every_state() {
    let authority = Authority::new();
    let limits = PeerLimits { handshake: NEVER, ready: 1, ..PeerLimits::default() };
    let listener = listener(security(authority.listens("127.0.0.1"), None), limits);
    let mut waiting = silent(&listener, 3);
    waiting[0].write_all(&record(100)).unwrap();
    let good = dialer(&listener, security(authority.dials("source"), None)).connect(PATIENCE).unwrap();
    // Returns when the thread has ended.
    drop(listener);
    assert!(waiting.iter_mut().all(is_closed));
    drop(good);
}

#[test]
fn more_than_may_wait_get_in_one_after_the_other() {
    let authority = Authority::new();
    let limits = PeerLimits { ready: 2, ..PeerLimits::default() };
    for security_here in [Security::Plain, security(authority.listens("127.0.0.1"), None)] {
        let there = match &security_here {
            Security::Plain => Security::Plain,
            _ => security(authority.dials("source"), None),
        };
        let mut listener = listener(security_here, limits);
        let dialer = dialer(&listener, there);
        let dialling = std::thread::spawn(move || {
            (0..12_u8)
                .map(|number| {
                    let mut connection = dialer.connect(PATIENCE).unwrap();
                    connection.write_all(&[number]).unwrap();
                    connection
                })
                .collect::<Vec<_>>()
        });
        for expected in 0..12 {
            let mut number = [0];
            accept(&mut listener).read_exact(&mut number).unwrap();
            assert_eq!(number, [expected], "they come in order");
        }
        assert_eq!((dialling.join().unwrap().len(), listener.rejections().total()), (12, 0));
    }
}

#[test]
fn nobody_who_comes_is_no_error() {
    let mut listener = listener(Security::Plain, PeerLimits::default());
    assert!(listener.accept(Duration::from_millis(1)).unwrap().is_none());
}

#[test]
fn a_unix_socket_carries_tls_too_and_its_file_goes_with_the_listener() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let address = Address::Unix(folder.path().join("a.sock"));
    let here = security(authority.listens("destination"), None);
    let mut listener = Listener::bind(&address, here, None, PeerLimits::default()).unwrap();
    let source = authority.dials("source");
    let error = Dialer::new(address.clone(), security(source.clone(), None), None).map(drop).unwrap_err();
    assert!(error.to_string().contains("has no host name"), "{error}");
    let dialer = Dialer::new(address, security(source, Some("destination")), None).unwrap();
    let ours = dialer.connect(PATIENCE).unwrap();
    assert_eq!(accept(&mut listener).peer().unwrap().name(), Some("source"));
    assert_eq!(ours.peer().unwrap().name(), Some("destination"));
    drop(listener);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the socket is left behind");
}

#[test]
fn a_socket_file_that_somebody_else_made_since_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let bind = || Listener::bind(&Address::Unix(path.clone()), Security::Plain, None, PeerLimits::default());
    let first = bind().unwrap();
    let error = bind().map(drop).unwrap_err();
    assert!(error.to_string().contains("remove a left-over file"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let second = bind().unwrap();
    drop(first);
    UnixStream::connect(&path).unwrap();
    drop(second);
    assert!(!path.exists());
}

#[test]
fn a_destination_that_is_not_there_or_does_not_speak_is_an_error_in_time() {
    let authority = Authority::new();
    let source = || security(authority.dials("source"), None);
    let nobody = Dialer::new("tcp:127.0.0.1:1".parse().unwrap(), source(), None).unwrap();
    let error = nobody.connect(PATIENCE).map(drop).unwrap_err();
    assert!(error.to_string().contains("is the destination started"), "{error}");
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(mute.local_addr().unwrap().to_string());
    let dialer = Dialer::new(address, source(), None).unwrap();
    let error = dialer.connect(Duration::from_millis(200)).map(drop).unwrap_err();
    assert!(error.to_string().contains("was not authenticated within 0.2 s"), "{error}");
}
