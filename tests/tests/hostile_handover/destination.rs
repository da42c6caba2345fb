//! Destinations that do not play by the rules.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::units::PageSize;
use pageferry_engine::connection::Connection;
use pageferry_engine::frame::ChecksumSet;
use pageferry_engine::handshake::{Capabilities, Offer};
use pageferry_engine::migration::{Ended, Migration, MigrationError, SourceConfig, Whereabouts};
use pageferry_engine::receiver::Incoming;
use pageferry_engine::transport::{Dial, TransportError};
use pageferry_tests::guest::guest;
use pageferry_tests::handover::{Word, hear};
use pageferry_tests::peers;
use pageferry_tests::puppet::Puppet;
use pageferry_tests::watchdog::Watchdog;

use crate::{PATIENCE, TIME_LIMIT, TIMEOUT, TRICKLE, at_once};

const PAGES: u64 = 64;

/// What the destination does with a connection, which has a number.
type Script = Arc<dyn Fn(usize, Connection) + Send + Sync>;

struct Hostile {
    script: Script,
    made: usize,
}

impl Dial for Hostile {
    fn dial(&mut self, _: Duration) -> Result<Connection, TransportError> {
        let (here, there) = UnixStream::pair().map_err(TransportError::new)?;
        let there = Connection::unix(there, Some(TIMEOUT)).map_err(TransportError::new)?;
        let (script, number) = (Arc::clone(&self.script), self.made);
        self.made += 1;
        // It ends when the source closes its end.
        thread::spawn(move || script(number, there));
        Connection::unix(here, Some(TIMEOUT)).map_err(TransportError::new)
    }
}

/// Migrates to such a destination; the guest writes all the while.
fn migrate(name: &str, script: impl Fn(usize, Connection) + Send + Sync + 'static) -> (Ended, Puppet) {
    let _watchdog = Watchdog::over(name);
    let source = Puppet::running(PAGES, 20, Duration::from_micros(500));
    let _power = source.power();
    let mut config = SourceConfig::new(peers::config(&[Method::Raw]));
    config.patience = PATIENCE;
    let dial = Hostile { script: Arc::new(script), made: 0 };
    let begun = Instant::now();
    let handle = Box::new(source.clone());
    let migration = Migration::start(handle, Box::new(dial), peers::cpu(), config, Arc::new(|_| {}));
    let ended = migration.unwrap().wait();
    let took = begun.elapsed();
    assert!(took < TIME_LIMIT, "{name}: it took {took:?}");
    assert!(!matches!(ended.result, Err(MigrationError::Panicked)), "{name}");
    (ended, source)
}

/// The guest must be where it was, as it was.
fn assert_stays(name: &str, script: impl Fn(usize, Connection) + Send + Sync + 'static) -> String {
    let (ended, source) = migrate(name, script);
    let error = ended.result.expect_err(name).to_string();
    let look = source.look();
    assert_eq!(ended.guest, Whereabouts::Here, "{name}: {error}");
    assert!(look.running && !look.tracked && look.throttle == 0, "{name}: {error}: {look:?}");
    error
}

/// Accepts whatever is offered.
fn answer(connection: &mut Connection) -> bool {
    let Ok(offer) = Offer::read(connection) else { return false };
    let capabilities = Capabilities {
        deflate_window_bits: 15,
        max_pages: 63,
        max_payload_bytes: 63 << 12,
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: offer.regions.clone(),
        machine: None,
        available_bytes: None,
        accelerators: String::new(),
    };
    offer.check(&capabilities).is_ok_and(|answer| answer.write(connection).is_ok())
}

/// Receives as it should, until everything has come.
fn receive(connection: Connection) -> Option<Connection> {
    let receiver = Incoming::begin(connection).ok()?.accept(guest(PAGES, PageSize::Kib4), &peers::cpu());
    let (_, mut connections) = receiver.ok()?.run().ok()?;
    connections.pop()
}

/// Takes the state too.
fn take(connection: Connection) -> Option<Connection> {
    let mut connection = receive(connection)?;
    hear(&mut connection).filter(|(word, _)| *word == Word::State).map(|_| connection)
}

/// Says something, as long as the source listens.
fn say(connection: &mut Connection, bytes: &[u8]) -> bool {
    connection.write_all(bytes).and_then(|()| connection.flush()).is_ok()
}

/// Says nothing more until the source closes.
fn listen(mut connection: Connection) {
    while hear(&mut connection).is_some() {}
}

#[test]
fn a_word_that_is_not_due_after_the_state_leaves_the_guest_at_the_source() {
    let wrong = [
        (Word::Receiving.with(&[0; 8]), "\"receiving\""),
        (Word::State.with(&[1; 8]), "\"state\""),
        (Word::Go.alone(), "\"go\""),
        (Word::Running.alone(), "\"running\""),
        (Word::Back.alone(), "\"back\""),
        (Word::GiveUp.with(b"no"), "\"give-up\""),
        (Word::Bye.alone(), "\"bye\""),
        (vec![0xaa; 64], "no message"),
        (b"PFRS\x0b\0\0\0\0\0\0\0\0\0\0\0".to_vec(), "no message"),
        (Word::Failure.announcing(4 << 20), "1024 are taken here"),
        (Word::Failure.announcing(u32::MAX), "1024 are taken here"),
        (Word::Ready.with(b"and more"), "no message"),
        (Word::Failure.with(b"\x1b[2Jgone"), "gave up"),
    ];
    at_once(wrong, |(bytes, words)| {
        let said = bytes.clone();
        let error = assert_stays(words, move |_, connection| {
            let Some(mut connection) = take(connection) else { return };
            say(&mut connection, &said);
            listen(connection);
        });
        assert!(error.contains(words) && !error.contains('\x1b'), "{bytes:02x?}: {error}");
    });
}

#[test]
fn a_word_before_its_time_leaves_the_guest_at_the_source() {
    at_once(Word::ALL, |early| {
        let error = assert_stays("a word in place of the first report", move |_, mut connection| {
            if answer(&mut connection) {
                say(&mut connection, &early.alone().repeat(10));
                let _ = std::io::copy(&mut connection, &mut std::io::sink());
            }
        });
        assert!(error.contains("no valid frame"), "{early:?}: {error}");
    });
    at_once([Word::Running, Word::Go, Word::Bye], |early| {
        let error = assert_stays("a word before the state", move |_, connection| {
            let Some(mut connection) = receive(connection) else { return };
            say(&mut connection, &early.alone());
            listen(connection);
        });
        assert!(error.contains(&format!("{early:?}").to_lowercase()), "{early:?}: {error}");
    });
}

#[test]
fn a_destination_that_is_alive_for_ever_is_given_up() {
    let error = assert_stays("alive for ever", |_, connection| {
        let Some(mut connection) = take(connection) else { return };
        while say(&mut connection, &Word::Alive.alone()) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(error.contains("did not say that it is ready"), "{error}");
    let error = assert_stays("a flood of signs of life", |_, connection| {
        let Some(mut connection) = take(connection) else { return };
        let flood = Word::Alive.alone().repeat(1000);
        while say(&mut connection, &flood) {}
    });
    assert!(error.contains("did not say that it is ready"), "{error}");
    let error = assert_stays("a word a byte at a time", |_, connection| {
        let Some(mut connection) = take(connection) else { return };
        let ready = Word::Ready.alone();
        let _ = ready.iter().all(|&byte| {
            thread::sleep(TRICKLE);
            say(&mut connection, &[byte])
        });
        listen(connection);
    });
    assert!(error.contains("did not say that it is ready"), "{error}");
}

#[test]
fn a_destination_that_is_given_the_guest_and_says_nothing_sensible_leaves_the_source_in_doubt() {
    let said = [vec![], vec![0x55; 100], Word::Ready.alone(), Word::Alive.alone().repeat(100)];
    at_once(said, |said| {
        let name = format!("a destination that is given the guest and says {} bytes", said.len());
        let endless = said.len() > 1000;
        let (ended, source) = migrate(&name, move |_, connection| {
            let Some(mut connection) = take(connection) else { return };
            say(&mut connection, &Word::Ready.alone());
            if hear(&mut connection).is_some_and(|(word, _)| word == Word::Go) {
                while say(&mut connection, &said) && endless {}
            }
            listen(connection);
        });
        let error = ended.result.unwrap_err();
        assert_eq!(ended.guest, Whereabouts::InDoubt, "{name}: {error}");
        let look = source.look();
        assert!(!look.running && !look.tracked, "{name}: it runs here, and may run there");
    });
}

/// Breaks the first connection off, and says something when the source comes back.
fn comes_back(said: Vec<u8>) -> impl Fn(usize, Connection) + Send + Sync {
    move |number, mut connection| {
        if !answer(&mut connection) {
            return;
        }
        if number == 0 {
            let _ = std::io::copy(&mut (&mut connection).take(10_000), &mut std::io::sink());
        } else {
            say(&mut connection, &said);
            let _ = std::io::copy(&mut connection, &mut std::io::sink());
        }
    }
}

#[test]
fn a_wrong_word_to_a_source_that_comes_back_leaves_the_guest_there() {
    let wrong = [
        (Word::Running.alone(), "\"running\""),
        (Word::Bye.alone(), "\"bye\""),
        (Word::Go.alone(), "\"go\""),
        (Word::State.with(&[1; 8]), "\"state\""),
        (Word::Failure.with(b"no more room"), "no more room"),
        (Word::Receiving.with(&[0; 7]), "too short"),
        (Word::Receiving.with(&[0xff; 2000]), "2000 bytes"),
        (Word::Receiving.announcing(u32::MAX), "4294967295 bytes"),
        (vec![0; 64], "no message"),
        (Word::Alive.alone().repeat(10), "could not be made anew"),
    ];
    at_once(wrong, |(bytes, words)| {
        let error = assert_stays(words, comes_back(bytes.clone()));
        assert!(error.contains(words), "{:02x?}: {error}", &bytes[..bytes.len().min(40)]);
    });
}

#[test]
fn a_destination_that_claims_more_pages_than_there_are_or_none_is_no_danger_to_the_source() {
    let standing = |attempt: u32, rounds: u32, words: usize| {
        let head = [attempt.to_le_bytes(), rounds.to_le_bytes()].concat();
        Word::Receiving.with(&[head, vec![0xff; 8 * words]].concat())
    };
    // The guest has 128 pages: two words.
    let claims = [
        (0, 0, 0),
        (0, 0, 1),
        (0, 0, 2),
        (0, 0, 100),
        (0, u32::MAX, 2),
        (7, 0, 2),
        (u32::MAX, u32::MAX, 100),
    ];
    at_once(claims, |(attempt, rounds, words)| {
        let said = standing(attempt, rounds, words);
        // What is said is taken for an answer; then nothing comes, and the source gives up.
        let error = assert_stays(
            &format!("{rounds} rounds and {words} words of attempt {attempt}"),
            comes_back(said),
        );
        assert!(error.contains("could not be made anew"), "{error}");
    });
}
