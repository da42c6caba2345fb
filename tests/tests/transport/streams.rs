//! What travels over TLS: whole, in both directions at once, and ended as it should be.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use pageferry_engine::connection::Connection;
use pageferry_engine::handshake::Answer;
use pageferry_engine::receiver::ReceiveError;
use pageferry_engine::transport::{Dialer, Listener, PeerLimits};
use pageferry_tests::certificates::{Authority, accept, listener, security};
use pageferry_tests::guest::Noise;
use pageferry_tests::hostile;
use pageferry_tests::peers::{self, Transport};

use super::rogue;

fn pair() -> (Connection, Connection) {
    let (mut ours, mut theirs) = Transport::Tls.connections(1);
    (ours.remove(0), theirs.remove(0))
}

/// A stream of bytes that both ends can make, without end.
struct Pattern(Noise);

impl Pattern {
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.0.byte()).collect()
    }
}

fn write_pattern(writer: &mut impl Write, seed: u64, bytes: usize) {
    let (mut pattern, mut sizes, mut left) = (Pattern(Noise(seed)), Noise(seed ^ 99), bytes);
    while left > 0 {
        // As frames are: something small, then a payload in slices from where they lie.
        let sizes = [16 + sizes.below(400), sizes.below(9000), sizes.below(300_000)];
        let frame: Vec<_> = sizes
            .map(|size| {
                let size = usize::try_from(size).unwrap().min(left);
                left -= size;
                pattern.bytes(size)
            })
            .into();
        let mut slices: Vec<_> = frame.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut slices = &mut slices[..];
        while slices.iter().any(|slice| !slice.is_empty()) {
            let written = writer.write_vectored(slices).unwrap();
            assert!(written > 0, "nothing is taken");
            IoSlice::advance_slices(&mut slices, written);
        }
    }
}

fn read_pattern(reader: &mut impl Read, seed: u64, bytes: usize) {
    let (mut pattern, mut sizes, mut left) = (Pattern(Noise(seed)), Noise(seed ^ 77), bytes);
    while left > 0 {
        let size = usize::try_from(1 + sizes.below(200_000)).unwrap().min(left);
        let mut read = vec![0; size];
        reader.read_exact(&mut read).unwrap();
        assert!(read == pattern.bytes(size), "other bytes than were written, {left} before the end");
        left -= size;
    }
}

#[test]
fn both_ends_read_and_write_at_once_and_every_byte_arrives() {
    const BYTES: usize = 6 << 20;
    let (ours, theirs) = pair();
    thread::scope(|scope| {
        for (connection, written, read) in [(ours, 1, 2), (theirs, 2, 1)] {
            let (mut reader, mut writer) = connection.into_halves();
            let writing = scope.spawn(move || {
                write_pattern(&mut writer, written, BYTES);
                writer
            });
            scope.spawn(move || {
                read_pattern(&mut reader, read, BYTES);
                drop(writing.join().unwrap());
                // The orderly end, after everything.
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            });
        }
    });
}

#[test]
fn a_writer_that_has_no_room_does_not_hold_the_reader_up() {
    const BYTES: usize = 32 << 20;
    let (ours, theirs) = pair();
    let (mut our_reader, mut our_writer) = ours.into_halves();
    let (mut their_reader, mut their_writer) = theirs.into_halves();
    let writing = thread::spawn(move || {
        our_writer.write_all(&vec![7; BYTES]).unwrap();
        our_writer
    });
    // The writer has filled all there is when something has come and nothing more is read.
    their_reader.read_exact(&mut [0; 1000]).unwrap();
    for number in 0..100_u8 {
        let mut read = [0];
        their_writer.write_all(&[number]).unwrap();
        our_reader.read_exact(&mut read).unwrap();
        assert_eq!(read, [number]);
    }
    let mut rest = vec![0; BYTES - 1000];
    their_reader.read_exact(&mut rest).unwrap();
    assert!(rest.iter().all(|&byte| byte == 7));
    drop(writing.join().unwrap());
    assert_eq!(their_reader.read(&mut [0]).unwrap(), 0);
}

fn rogue_source(authority: &Authority) -> (Listener, rogue::Client) {
    let listener = listener(security(authority.listens("127.0.0.1"), None), PeerLimits::default());
    let client = rogue::Client::new(&authority.file(), Some(&authority.issue("source")));
    (listener, client)
}

#[test]
fn a_stream_that_is_cut_is_an_error_and_no_end() {
    let authority = Authority::new();
    let (mut listener, client) = rogue_source(&authority);
    let mut source = client.dial(&listener);
    source.write_all(b"half a frame").unwrap();
    let mut connection = accept(&mut listener);
    // Without the farewell that TLS has.
    source.sock.shutdown(std::net::Shutdown::Write).unwrap();
    let mut read = [0; 12];
    connection.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"half a frame");
    for _ in 0..2 {
        let error = connection.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
        assert!(error.to_string().contains("was cut"), "{error}");
    }
}

#[test]
fn a_record_that_was_changed_on_the_way_is_an_error() {
    let authority = Authority::new();
    let (mut listener, client) = rogue_source(&authority);
    let mut source = client.dial(&listener);
    source.write_all(b"good").unwrap();
    let mut connection = accept(&mut listener);
    connection.read_exact(&mut [0; 4]).unwrap();
    source.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[5; 32]].concat()).unwrap();
    for _ in 0..2 {
        let error = connection.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains("was changed on the way"), "{error}");
        source.sock.write_all(&[23, 3, 3, 0, 0]).unwrap();
    }
    let alert = source.read(&mut [0]).unwrap_err();
    assert!(alert.to_string().contains("BadRecordMac"), "{alert}");
}

#[test]
fn keys_that_change_on_the_way_lose_nothing() {
    let authority = Authority::new();
    let (mut listener, client) = rogue_source(&authority);
    let mut source = client.dial(&listener);
    source.write_all(b"0").unwrap();
    let mut connection = accept(&mut listener);
    connection.read_exact(&mut [0]).unwrap();
    for number in 1..10_u8 {
        source.conn.refresh_traffic_keys().unwrap();
        source.write_all(&[number]).unwrap();
        let mut read = [0];
        connection.read_exact(&mut read).unwrap();
        assert_eq!(read, [number]);
        connection.write_all(&[100 + number]).unwrap();
        source.read_exact(&mut read).unwrap();
        assert_eq!(read, [100 + number]);
    }
}

#[test]
fn a_peer_that_does_nothing_is_waited_for_as_long_as_was_said() {
    let authority = Authority::new();
    let address = "tcp:127.0.0.1:0".parse().unwrap();
    let here = security(authority.listens("127.0.0.1"), None);
    let timeout = Some(Duration::from_millis(50));
    let mut listener = Listener::bind(&address, here, timeout, PeerLimits::default()).unwrap();
    let there = security(authority.dials("source"), None);
    let dialer = Dialer::new(listener.address().clone(), there, None).unwrap();
    let _silent = dialer.connect(Duration::from_secs(60)).unwrap();
    let mut connection = accept(&mut listener);
    let error = connection.read(&mut [0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    let error = connection.write_all(&vec![0; 64 << 20]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_receiver_that_fails_ends_every_reader_over_tls() {
    let (mut ours, theirs) = Transport::Tls.connections(3);
    let receiving = peers::receive(hostile::numbered_guest(), theirs);
    for (channel, connection) in (0..).zip(&mut ours) {
        hostile::offer(channel, 3).write(connection).unwrap();
    }
    for connection in &mut ours {
        Answer::read(connection).unwrap();
    }
    ours[1].write_all(&[0xff; 64]).unwrap();
    let (told, ended) = mpsc::channel();
    thread::spawn(move || told.send(receiving.join().unwrap().map(drop)));
    // The other two say nothing, and the timeout of their reads is twice as long as this.
    let error = ended.recv_timeout(Duration::from_secs(30)).expect("a reader still waits").unwrap_err();
    assert!(matches!(error, ReceiveError::Frame(_)), "{error}");
}
