//! Whole migrations over TLS, and connections that do not belong to one.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_accel::units::PageSize;
use pageferry_engine::handshake::{HandshakeError, MigrationId};
use pageferry_engine::receiver::Incoming;
use pageferry_engine::sender::SenderConfig;
use pageferry_engine::transport::PeerLimits;
use pageferry_tests::certificates::{Authority, accept, dialer, listener, security};
use pageferry_tests::guest::{fill, first_difference, guest};
use pageferry_tests::peers::{METHODS, Transport, config, cpu, receive, send, send_busy_rounds};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_guest_moves_over_tls() {
    for count in [1, 4] {
        let (source, destination) = (guest(300, PageSize::Kib4), guest(300, PageSize::Kib4));
        fill(&source, 1);
        let (ours, theirs) = Transport::Tls.connections(count);
        assert!(ours.iter().chain(&theirs).all(|one| one.peer().is_some()));
        let receiver = receive(Arc::clone(&destination), theirs);
        let mut sender = send(&source, ours, config(&METHODS)).unwrap();
        let dirty = send_busy_rounds(&mut sender, &source, &destination);
        sender.send_round(&dirty).unwrap();
        let (sent, ours) = sender.finish().unwrap();
        let (received, theirs) = receiver.join().unwrap().unwrap();
        assert_eq!(first_difference(&source, &destination), None);
        assert_eq!((sent.frames, sent.pages), (received.frames, received.pages));
        assert_eq!(theirs[0].peer().unwrap().name(), Some("source"), "the peer is lost on the way");
        assert_eq!(ours.len(), count);
    }
}

/// A source that makes its offer on two connections and then waits for the answer.
fn offer_and_wait(
    connections: Vec<pageferry_engine::connection::Connection>,
    id: MigrationId,
) -> thread::JoinHandle<Result<(), String>> {
    thread::spawn(move || {
        let source = guest(8, PageSize::Kib4);
        fill(&source, 1);
        let config = SenderConfig { migration: id, ..config(&METHODS) };
        let sender = send(&source, connections, config).map_err(|error| error.to_string())?;
        sender.finish().map(drop).map_err(|error| error.to_string())
    })
}

#[test]
fn a_connection_of_another_peer_is_refused_and_the_migration_goes_on() {
    let authority = Authority::new();
    let mut listener = listener(security(authority.listens("127.0.0.1"), None), PeerLimits::default());
    let ours = dialer(&listener, security(authority.dials("source"), None));
    let theirs = dialer(&listener, security(authority.dials("thief"), None));
    let id = MigrationId::random().unwrap();
    let (first, second) = (ours.connect(PATIENCE).unwrap(), ours.connect(PATIENCE).unwrap());
    let (first_here, second_here) = (accept(&mut listener), accept(&mut listener));
    let source = offer_and_wait(vec![first, second], id);
    let mut incoming = Incoming::begin(first_here).unwrap();
    // The thief knows everything but the key of the certificate: even the id.
    let thief = theirs.connect(PATIENCE).unwrap();
    let thief_here = accept(&mut listener);
    let (spare, spare_here) = (ours.connect(PATIENCE).unwrap(), accept(&mut listener));
    let thief = offer_and_wait(vec![spare, thief], id);
    let error = incoming.join(thief_here).unwrap_err();
    assert!(matches!(&error, HandshakeError::OtherPeer { channel: 1, .. }), "{error}");
    assert!(error.to_string().contains("thief") && error.to_string().contains("source"), "{error}");
    assert_eq!(incoming.missing(), 1);
    // Its other connection is of the right peer, for a channel that is taken.
    let error = incoming.join(spare_here).unwrap_err();
    assert!(matches!(error, HandshakeError::ChannelTwice { channel: 0 }), "{error}");
    incoming.join(second_here).unwrap();
    let ram = guest(8, PageSize::Kib4);
    incoming.accept(ram, &cpu()).unwrap().run().unwrap();
    assert_eq!(source.join().unwrap(), Ok(()));
    let refused = thief.join().unwrap().unwrap_err();
    assert!(refused.contains("refuses (channels)"), "{refused}");
}

#[test]
fn a_plain_connection_does_not_join_a_migration_over_tls() {
    let (mut ours, mut theirs) = Transport::Tls.connections(1);
    let (plain, plain_here) = Transport::Unix.connections(1);
    ours.extend(plain);
    let source = offer_and_wait(ours, MigrationId([7; 16]));
    let mut incoming = Incoming::begin(theirs.remove(0)).unwrap();
    let error = incoming.join(plain_here.into_iter().next().unwrap()).unwrap_err();
    assert!(matches!(&error, HandshakeError::OtherPeer { .. }), "{error}");
    assert!(error.to_string().contains("a peer that is not authenticated"), "{error}");
    incoming.refuse("done");
    assert!(source.join().unwrap().is_err());
}

#[test]
fn no_two_random_ids_are_the_same() {
    assert_ne!(MigrationId::random().unwrap(), MigrationId::random().unwrap());
}
