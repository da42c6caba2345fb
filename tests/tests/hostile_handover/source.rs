//! Sources that do not play by the rules.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_engine::connection::Connection;
use pageferry_engine::frame::{Header, Report};
use pageferry_engine::handshake::{Answer, MigrationId, Offer, Versions};
use pageferry_engine::migration::{
    Arrival, DestinationConfig, Ended, Event, Happening, MigrationError, Patience, Whereabouts,
};
use pageferry_engine::receiver::Host;
use pageferry_engine::regions::Regions;
use pageferry_engine::transport::{Listen, TransportError};
use pageferry_tests::guest::guest;
use pageferry_tests::handover::{Word, hear};
use pageferry_tests::hostile::{self, PAGES};
use pageferry_tests::peers;
use pageferry_tests::puppet::Puppet;
use pageferry_tests::watchdog::Watchdog;

use crate::{PATIENCE, TIME_LIMIT, TIMEOUT, TRICKLE, at_once};

/// The most bytes of state that the destination takes.
const MAX_STATE: u32 = 4096;

/// What a puppet takes for its state.
const STATE: [u8; 8] = [9, 0, 0, 0, 0, 0, 0, 0];

/// Where the source's connections come from.
#[derive(Clone)]
struct Line(Sender<Connection>);

struct Listening(std::sync::mpsc::Receiver<Connection>);

impl Line {
    fn dial(&self) -> UnixStream {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        here.set_write_timeout(Some(TIME_LIMIT)).unwrap();
        // Nobody may listen any more: then it is closed.
        let _ = self.0.send(Connection::unix(there, Some(TIMEOUT)).unwrap());
        here
    }

    /// Makes an offer, and says what is answered.
    fn offer(&self, offer: &Offer) -> (UnixStream, Option<Answer>) {
        let mut stream = self.dial();
        let _ = offer.write(&mut stream);
        let answer = Answer::read(&mut stream).ok();
        (stream, answer)
    }

    /// Is accepted at attempt `attempt`.
    fn begin(&self, attempt: u32) -> UnixStream {
        let (stream, answer) = self.offer(&attempt_of(attempt));
        assert!(matches!(answer, Some(Answer::Accepted(_))), "attempt {attempt}: {answer:?}");
        stream
    }

    /// Sends a guest of nothing but zeros, and finishes.
    fn send_all(&self) -> UnixStream {
        let mut stream = self.begin(0);
        stream.write_all(&hostile::round_end(0, 0)).unwrap();
        stream.write_all(&hostile::finish(1, 0)).unwrap();
        // The report on the round, which is a frame.
        let mut report = [0; Header::BYTES + Report::BYTES];
        std::io::Read::read_exact(&mut stream, &mut report).unwrap();
        stream
    }

    /// Is told that the destination is ready.
    fn hand_over(&self) -> UnixStream {
        let mut stream = self.send_all();
        stream.write_all(&Word::State.with(&STATE)).unwrap();
        assert_eq!(hear(&mut stream), Some((Word::Ready, vec![])));
        stream
    }
}

impl Listen for Listening {
    fn accept(&mut self, within: Duration) -> Result<Option<Connection>, TransportError> {
        match self.0.recv_timeout(within) {
            Ok(connection) => Ok(Some(connection)),
            Err(_) => {
                thread::sleep(Duration::from_millis(5));
                Ok(None)
            }
        }
    }
}

fn attempt_of(attempt: u32) -> Offer {
    Offer { attempt, ..hostile::offer(0, 1) }
}

/// How it went at the destination.
struct Over {
    ended: Ended,
    puppet: Puppet,
    refused: Vec<String>,
}

/// Has a destination meet such a source.
fn meet(name: &str, script: impl FnOnce(&Line) + Send + 'static) -> Over {
    meet_with(PATIENCE, name, script)
}

/// The same of one that waits as long as it takes for a source that says `bye` in the end.
fn meet_patiently(name: &str, script: impl FnOnce(&Line) + Send + 'static) -> Over {
    meet_with(Patience { recovery: TIME_LIMIT, ..PATIENCE }, name, script)
}

fn meet_with(patience: Patience, name: &str, script: impl FnOnce(&Line) + Send + 'static) -> Over {
    let _watchdog = Watchdog::over(name);
    let (sender, receiver) = channel();
    let puppet = Puppet::waiting(PAGES);
    let refused = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&refused);
    let observer = Arc::new(move |event: &Event| {
        if let Happening::Refused { reason } = &event.what {
            told.lock().unwrap().push(reason.clone());
        }
    });
    let peer = thread::spawn(move || script(&Line(sender)));
    let begun = Instant::now();
    let config = DestinationConfig { patience, max_state_bytes: MAX_STATE, ..DestinationConfig::default() };
    let until = Some(Instant::now() + TIME_LIMIT);
    let arrival = Arrival::wait(Box::new(Listening(receiver)), config, until, observer).unwrap().expect(name);
    let migration = arrival.accept(Box::new(puppet.clone()), Host::default(), peers::cpu()).unwrap();
    let ended = migration.wait();
    let took = begun.elapsed();
    assert!(took < TIME_LIMIT, "{name}: it took {took:?}");
    assert!(!matches!(ended.result, Err(MigrationError::Panicked)), "{name}");
    peer.join().unwrap_or_else(|_| panic!("{name}: the peer did not get as far as it was to"));
    let refused = refused.lock().unwrap().clone();
    Over { ended, puppet, refused }
}

impl Over {
    /// The guest was not run here; says why.
    fn assert_not_run(&self, name: &str) -> String {
        let error = self.ended.result.as_ref().expect_err(name).to_string();
        assert_ne!(self.ended.guest, Whereabouts::Here, "{name}: {error}");
        assert!(!self.puppet.look().running, "{name}: {error}");
        error
    }

    /// It was, once.
    fn assert_runs(&self, name: &str) {
        assert!(self.ended.result.is_ok(), "{name}: {:?}", self.ended.result.as_ref().err());
        let look = self.puppet.look();
        assert!(look.running && look.writes == 9, "{name}: {look:?}");
        assert_eq!(look.calls.iter().filter(|call| **call == "resume").count(), 1, "{name}: {look:?}");
    }
}

#[test]
fn a_source_that_says_something_else_than_the_state_is_told_so_and_the_guest_is_not_run() {
    let wrong = [
        (Word::Go.alone(), "\"go\""),
        (Word::Back.alone(), "\"back\""),
        (Word::Ready.alone(), "\"ready\""),
        (Word::Running.alone(), "\"running\""),
        (Word::Bye.alone(), "\"bye\""),
        (Word::Receiving.with(&[0; 16]), "\"receiving\""),
        (Word::Failure.with(b"no"), "\"failure\""),
        (Word::GiveUp.with(b"it rains"), "it rains"),
        (Word::State.announcing(MAX_STATE + 1), "4097 bytes, 4096 are taken here"),
        (Word::State.announcing(u32::MAX), "4294967295 bytes, 4096 are taken here"),
        (Word::State.with(&[1; 3]), "load the state"),
        (vec![0xee; 40], "no message"),
    ];
    assert_refused(wrong, Line::send_all);
}

/// Says each of these after what `begin` says: the guest is not run, the source is told, and the error has the words.
fn assert_refused<const N: usize>(wrong: [(Vec<u8>, &'static str); N], begin: fn(&Line) -> UnixStream) {
    at_once(wrong, |(bytes, words)| {
        let over = meet(words, move |line| {
            let mut stream = begin(line);
            stream.write_all(&bytes).unwrap();
            let heard = hear(&mut stream);
            let gave_up = words == "it rains" && heard.is_none();
            assert!(gave_up || matches!(heard, Some((Word::Failure, _))), "{words}: {heard:?}");
        });
        let error = over.assert_not_run(words);
        assert!(error.contains(words), "{words}: {error}");
    });
}

#[test]
fn a_destination_that_is_ready_runs_the_guest_on_go_alone() {
    let wrong = [
        (Word::State.with(&STATE), "\"state\""),
        (Word::Back.alone(), "\"back\""),
        (Word::Ready.alone(), "\"ready\""),
        (Word::Running.alone(), "\"running\""),
        (Word::Bye.alone(), "\"bye\""),
        (Word::GiveUp.with(b"it rains"), "it rains"),
        (Word::Go.with(b"now"), "no message"),
        (Word::Go.announcing(1 << 20), "1024 are taken here"),
    ];
    assert_refused(wrong, Line::hand_over);
}

#[test]
fn a_source_that_never_comes_to_the_point_is_given_up() {
    let trickle = |bytes: Vec<u8>| {
        move |line: &Line| {
            let mut stream = line.send_all();
            let _ = bytes.iter().all(|byte| {
                thread::sleep(TRICKLE);
                stream.write_all(&[*byte]).is_ok()
            });
        }
    };
    let over = meet("a state a byte at a time", trickle(Word::State.with(&[0; 500])));
    let error = over.assert_not_run("a state a byte at a time");
    assert!(error.contains("did not say what the state"), "{error}");
    let over = meet("signs of life for ever", |line| {
        let mut stream = line.send_all();
        while stream.write_all(&Word::Alive.alone().repeat(100)).is_ok() {}
    });
    let error = over.assert_not_run("signs of life for ever");
    assert!(error.contains("did not say what the state"), "{error}");
    let over = meet("signs of life when it is ready", |line| {
        let mut stream = line.hand_over();
        while stream.write_all(&Word::Alive.alone().repeat(100)).is_ok() {}
    });
    let error = over.assert_not_run("signs of life when it is ready");
    assert!(error.contains("did not say whether the guest is given"), "{error}");
    let over = meet("silence when it is ready", |line| drop(line.hand_over()));
    over.assert_not_run("silence when it is ready");
    assert_eq!(over.ended.guest, Whereabouts::InDoubt, "the source may have given it away");
}

#[test]
fn a_guest_that_was_given_runs_once_whatever_the_source_says_then() {
    let said = [
        Word::Go.alone(),
        Word::GiveUp.with(b"too late"),
        Word::Back.alone(),
        Word::State.with(&STATE),
        vec![0x77; 100],
        Word::Alive.alone().repeat(20),
        vec![],
    ];
    at_once(said, |after| {
        let name = format!("{} bytes behind a go", after.len());
        let over = meet(&name, move |line| {
            let mut stream = line.hand_over();
            stream.write_all(&[Word::Go.alone(), after.clone()].concat()).unwrap();
            assert_eq!(hear(&mut stream), Some((Word::Running, vec![])));
        });
        over.assert_runs(&name);
    });
}

#[test]
fn whoever_comes_back_is_told_that_the_guest_runs_and_cannot_take_it_back() {
    let over = meet_patiently("a source that comes back", |line| {
        let mut stream = line.hand_over();
        stream.write_all(&Word::Go.alone()).unwrap();
        assert_eq!(hear(&mut stream), Some((Word::Running, vec![])));
        drop(stream);
        let (_, answer) = line.offer(&attempt_of(0));
        assert!(is_refused(&answer, "attempt 0 is over"), "{answer:?}");
        for (attempt, word) in [(1, Word::Back), (2, Word::Go), (3, Word::GiveUp), (4, Word::Bye)] {
            let mut stream = line.begin(attempt);
            assert_eq!(hear(&mut stream), Some((Word::Running, vec![])), "attempt {attempt}");
            stream.write_all(&word.alone()).unwrap();
        }
    });
    over.assert_runs("a source that comes back");
}

fn is_refused(answer: &Option<Answer>, words: &str) -> bool {
    matches!(answer, Some(Answer::Refused { text, .. }) if text.contains(words))
}

#[test]
fn only_the_migration_that_broke_is_taken_up_again_and_as_it_was() {
    let name = "others in the place of the source";
    let over = meet_patiently(name, |line| {
        drop(line.begin(0));
        // Another migration, an attempt that is over, other memory, another version: each is told why not.
        let (_, answer) = line.offer(&Offer { migration: MigrationId([8; 16]), ..attempt_of(1) });
        assert!(is_refused(&answer, "busy with another migration"), "{answer:?}");
        let (_, answer) = line.offer(&attempt_of(0));
        assert!(is_refused(&answer, "attempt 0 is over"), "{answer:?}");
        let other = guest(PAGES / 2, pageferry_accel::units::PageSize::Kib4);
        let regions = Regions::of(&other).unwrap();
        let (_, answer) = line.offer(&Offer { regions, ..attempt_of(u32::MAX) });
        assert!(is_refused(&answer, "no such region"), "{answer:?}");
        let (_, answer) =
            line.offer(&Offer { versions: Versions { min: 9, max: 9 }, ..attempt_of(u32::MAX) });
        assert!(is_refused(&answer, "version"), "{answer:?}");
        let _ = line.dial().write_all(&[0; 200]);
        // And the source itself is heard all the same.
        let mut stream = line.begin(1);
        assert!(matches!(hear(&mut stream), Some((Word::Receiving, _))));
        stream.write_all(&[hostile::round_end(0, 0), hostile::finish(1, 0)].concat()).unwrap();
        let mut report = [0; Header::BYTES + Report::BYTES];
        std::io::Read::read_exact(&mut stream, &mut report).unwrap();
        stream.write_all(&Word::State.with(&STATE)).unwrap();
        assert_eq!(hear(&mut stream), Some((Word::Ready, vec![])));
        stream.write_all(&[Word::Go.alone(), Word::Bye.alone()].concat()).unwrap();
        assert_eq!(hear(&mut stream), Some((Word::Running, vec![])));
    });
    over.assert_runs(name);
    assert!(over.refused.len() >= 5, "{:?}", over.refused);
}

#[test]
fn an_offer_that_comes_a_byte_at_a_time_keeps_nobody_out() {
    let name = "an offer a byte at a time";
    let over = meet(name, |line| {
        let mut slow = line.dial();
        let other = line.clone();
        let fast = thread::spawn(move || {
            thread::sleep(TRICKLE);
            let mut stream = other.hand_over();
            stream.write_all(&[Word::Go.alone(), Word::Bye.alone()].concat()).unwrap();
            assert_eq!(hear(&mut stream), Some((Word::Running, vec![])));
        });
        let offer = hostile::offer_bytes(&attempt_of(0));
        let _ = offer.iter().all(|byte| {
            thread::sleep(TRICKLE);
            slow.write_all(&[*byte]).is_ok()
        });
        fast.join().unwrap();
    });
    over.assert_runs(name);
    assert!(over.refused.iter().any(|reason| reason.contains("too long")), "{:?}", over.refused);
}
