//! What the two ends say on connection 0 when no frames travel: where a broken migration stands, the state of the guest's
//! devices, and who has the guest. `engine/FORMAT.md` has the bytes.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, scope};
use std::time::Duration;

use pageferry_accel::checksum::crc32c;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::connection::{Connection, Writer};
use crate::deadline::Deadline;
use crate::dirty::PackedPages;
use crate::frame::MAX_REASON_BYTES;
use crate::receiver::Confirmed;
use crate::text;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// From the destination, to a source that comes back: what it has of the attempt that broke off.
    Receiving {
        /// Which attempt.
        attempt: u32,
        confirmed: Confirmed,
    },
    /// From the source: the state of CPUs and devices.
    State(Vec<u8>),
    /// From the destination: it has and verified everything, and waits for the word.
    Ready,
    /// From the source: the guest is yours.
    Go,
    /// From the destination: the guest runs here.
    Running,
    /// From the source, to a destination that is ready: the guest runs on here, more pages will come.
    Back,
    /// From the destination: it gives up, for this reason.
    Failure(String),
    /// From the source: it gives up, for this reason.
    GiveUp(String),
    /// From the destination: it is busy, and there.
    Alive,
    /// From the source, which has heard that the guest runs: nobody will come back.
    Bye,
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The connection failed.
    #[error("connection 0 failed: {0}")]
    Io(#[from] io::Error),
    /// What came is damaged, or no message.
    #[error("what came on connection 0 is no message ({0}): use the same version at both ends")]
    Malformed(&'static str),
    /// It is longer than this end takes.
    #[error(
        "the other end announced {bytes} bytes, {max} are taken here: raise the limit on the device state"
    )]
    TooLong {
        /// What it announced.
        bytes: u32,
        /// What is possible.
        max: u32,
    },
    /// Something came all the time, and never what was due.
    #[error(
        "the other end was heard for {} s, and did not say {expected}: see what keeps it busy, or have more patience with it",
        .within.as_secs_f64()
    )]
    Late {
        /// How long it was waited for.
        within: Duration,
        /// What was due.
        expected: &'static str,
    },
    /// It has no place here.
    #[error("the other end said \"{said}\" when it was to say {expected}")]
    OutOfTurn {
        /// What it said.
        said: &'static str,
        /// What would have had its place.
        expected: &'static str,
    },
}

/// The longest word, which is the reason of an end that gives up.
const WORD_BYTES: u32 = 1024;

/// What the other end is to say next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// For errors.
    pub(super) expected: &'static str,
    /// The longest that it can be.
    pub(super) max_bytes: u32,
    /// How long the other end is heard.
    pub(super) within: Duration,
}

impl Due {
    /// A message that is a word, or the reason why it cannot be said.
    pub(super) const fn word(expected: &'static str, within: Duration) -> Self {
        Self { expected, max_bytes: WORD_BYTES, within }
    }
}

const MAGIC: [u8; 4] = *b"PFRS";

/// The fixed part of a message (`engine/FORMAT.md`, "Handover").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireMessage {
    magic: [u8; 4],
    kind: u8,
    reserved: [u8; 3],
    bytes: U32,
}

/// How often a destination that is busy says that it is there.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

impl Message {
    /// In one word, for errors.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Receiving { .. } => "receiving",
            Self::State(_) => "state",
            Self::Ready => "ready",
            Self::Go => "go",
            Self::Running => "running",
            Self::Back => "back",
            Self::Failure(_) => "failure",
            Self::GiveUp(_) => "give-up",
            Self::Alive => "alive",
            Self::Bye => "bye",
        }
    }

    /// For an end that waited for something else.
    pub(super) const fn out_of_turn(&self, expected: &'static str) -> HandoverError {
        HandoverError::OutOfTurn { said: self.name(), expected }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Receiving { .. } => 1,
            Self::State(_) => 2,
            Self::Ready => 3,
            Self::Go => 4,
            Self::Running => 5,
            Self::Back => 6,
            Self::Failure(_) => 7,
            Self::GiveUp(_) => 8,
            Self::Alive => 9,
            Self::Bye => 10,
        }
    }

    fn payload(&self) -> Vec<u8> {
        match self {
            Self::Receiving { attempt, confirmed } => {
                [&attempt.to_le_bytes()[..], &confirmed.rounds.to_le_bytes(), &confirmed.pages.to_bytes()]
                    .concat()
            }
            Self::State(state) => state.clone(),
            Self::Failure(reason) | Self::GiveUp(reason) => {
                text::bounded(reason, MAX_REASON_BYTES).as_bytes().to_vec()
            }
            Self::Ready | Self::Go | Self::Running | Self::Back | Self::Alive | Self::Bye => Vec::new(),
        }
    }

    /// Writes the message to an end that has so much time to take it.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`HandoverError::Late`].
    pub(super) fn write_within(
        &self,
        stream: &mut impl Write,
        within: Duration,
    ) -> Result<(), HandoverError> {
        let mut stream = Deadline::after(within, stream);
        let written = self.write(&mut stream);
        if stream.is_missed() {
            return Err(HandoverError::Late { within, expected: "that it takes what it is sent" });
        }
        written
    }

    /// Writes the message.
    ///
    /// # Errors
    /// [`HandoverError`] if the connection fails, or a state is longer than the format can say.
    pub(super) fn write(&self, stream: &mut impl Write) -> Result<(), HandoverError> {
        let payload = self.payload();
        let bytes = u32::try_from(payload.len());
        let bytes = bytes.map_err(|_| HandoverError::TooLong { bytes: u32::MAX, max: u32::MAX })?;
        let fixed = WireMessage { magic: MAGIC, kind: self.kind(), reserved: [0; 3], bytes: bytes.into() };
        let mut message = [fixed.as_bytes(), &payload].concat();
        message.extend_from_slice(&crc32c(&message).to_le_bytes());
        stream.write_all(&message)?;
        Ok(stream.flush()?)
    }

    /// Reads the next message that is more than a sign of life, and is `due`. Memory is taken as bytes arrive, not as they are
    /// announced.
    ///
    /// # Errors
    /// [`HandoverError`] if the connection fails or ends, what comes is no message, or it does not come in time.
    pub(super) fn read(stream: &mut impl Read, due: Due) -> Result<Self, HandoverError> {
        let Due { expected, max_bytes, within } = due;
        let mut stream = Deadline::after(within, stream);
        loop {
            match Self::read_any(&mut stream, max_bytes) {
                Ok(Self::Alive) => {}
                Err(_) if stream.is_missed() => return Err(HandoverError::Late { within, expected }),
                other => return other,
            }
        }
    }

    fn read_any(stream: &mut impl Read, max: u32) -> Result<Self, HandoverError> {
        let mut fixed = WireMessage::new_zeroed();
        stream.read_exact(fixed.as_mut_bytes())?;
        if fixed.magic != MAGIC {
            return Err(HandoverError::Malformed("it does not begin as one"));
        }
        if fixed.reserved != [0; 3] {
            return Err(HandoverError::Malformed("what is reserved is not zero"));
        }
        let bytes = fixed.bytes.get();
        if bytes > max {
            return Err(HandoverError::TooLong { bytes, max });
        }
        let mut message = fixed.as_bytes().to_vec();
        stream.by_ref().take(bytes.into()).read_to_end(&mut message)?;
        let mut stated = [0; 4];
        stream.read_exact(&mut stated)?;
        if u32::from_le_bytes(stated) != crc32c(&message) {
            return Err(HandoverError::Malformed("its checksum is another one"));
        }
        message.drain(..size_of::<WireMessage>());
        Self::of(fixed.kind, message)
    }

    fn of(kind: u8, payload: Vec<u8>) -> Result<Self, HandoverError> {
        let message = match kind {
            1 => Self::receiving(&payload)?,
            2 => return Ok(Self::State(payload)),
            3 => Self::Ready,
            4 => Self::Go,
            5 => Self::Running,
            6 => Self::Back,
            7 => return Ok(Self::Failure(text::harmless(&payload))),
            8 => return Ok(Self::GiveUp(text::harmless(&payload))),
            9 => Self::Alive,
            10 => Self::Bye,
            _ => return Err(HandoverError::Malformed("its kind is unknown")),
        };
        if message.payload().is_empty() && !payload.is_empty() {
            return Err(HandoverError::Malformed("it has a payload where it should have none"));
        }
        Ok(message)
    }

    fn receiving(payload: &[u8]) -> Result<Self, HandoverError> {
        let short = HandoverError::Malformed("it is too short");
        let Some((attempt, rest)) = payload.split_first_chunk() else { return Err(short) };
        let Some((rounds, pages)) = rest.split_first_chunk() else { return Err(short) };
        let (attempt, rounds) = (u32::from_le_bytes(*attempt), u32::from_le_bytes(*rounds));
        Ok(Self::Receiving {
            attempt,
            confirmed: Confirmed { rounds, pages: PackedPages::from_bytes(pages) },
        })
    }
}

/// The message that begins with these bytes, if one does, as this end would write it: for the fuzz target, whose only way in
/// this is.
#[cfg(fuzzing)]
pub fn written_again(mut bytes: &[u8]) -> Option<Vec<u8>> {
    const MAX_BYTES: u32 = 1 << 16;
    let due = Due { max_bytes: MAX_BYTES, ..Due::word("anything", Duration::MAX) };
    let message = Message::read(&mut bytes, due).ok()?;
    let mut written = Vec::new();
    message.write(&mut written).ok()?;
    Some(written)
}

/// Does something that may take long, while the other end is told every second that this one is there.
///
/// # Errors
/// None of its own: a connection that broke meanwhile is found by whoever uses it next.
pub(super) fn while_alive<T>(connection: &mut Connection, body: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    scope(|scope| {
        let alive = scope.spawn(|| say_alive(&mut connection.writer, &done));
        let result = body();
        done.store(true, Relaxed);
        alive.thread().unpark();
        result
    })
}

fn say_alive(writer: &mut Writer, done: &AtomicBool) {
    loop {
        thread::park_timeout(ALIVE_EVERY);
        if done.load(Relaxed) || Message::Alive.write(writer).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(max_bytes: u32) -> Due {
        Due { max_bytes, ..Due::word("anything", Duration::MAX) }
    }

    fn messages() -> Vec<Message> {
        let confirmed = Confirmed { rounds: 3, pages: PackedPages::new(vec![1, u64::MAX]) };
        vec![
            Message::Receiving { attempt: 2, confirmed },
            Message::State(vec![7; 1000]),
            Message::Ready,
            Message::Go,
            Message::Running,
            Message::Back,
            Message::Failure("no room".into()),
            Message::GiveUp("cancelled".into()),
            Message::Bye,
        ]
    }

    fn written(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_message_arrives_as_it_was_sent_behind_signs_of_life() {
        for message in messages() {
            let bytes = [written(&Message::Alive), written(&message)].concat();
            assert_eq!(Message::read(&mut &bytes[..], due(1000)).unwrap(), message);
        }
    }

    /// A dump of `engine/FORMAT.md`.
    fn dump(name: &str) -> Vec<u8> {
        let format = include_str!("../../FORMAT.md");
        let (_, rest) = format.split_once(&format!("```hex {name}\n")).expect("FORMAT.md has this dump");
        let (dump, _) = rest.split_once("```").expect("a dump ends");
        let hex = dump.lines().filter_map(|line| line.split_once(": ")?.1.split_once(';'));
        let bytes = hex.flat_map(|(hex, _)| hex.split_whitespace());
        bytes.map(|byte| u8::from_str_radix(byte, 16).expect("two digits")).collect()
    }

    #[test]
    fn the_messages_of_the_format_are_written_and_read() {
        let confirmed = Confirmed { rounds: 2, pages: PackedPages::new(vec![5, 1 << 63]) };
        for (name, message) in
            [("receiving", Message::Receiving { attempt: 1, confirmed }), ("go", Message::Go)]
        {
            assert_eq!(written(&message), dump(name), "{name}");
            assert_eq!(Message::read(&mut &dump(name)[..], due(100)).unwrap(), message);
        }
    }

    #[test]
    fn a_message_longer_than_allowed_is_refused_before_it_is_read() {
        let mut bytes = written(&Message::State(vec![7; 1000]));
        bytes.truncate(12);
        let error = Message::read(&mut &bytes[..], due(999)).unwrap_err();
        assert!(matches!(error, HandoverError::TooLong { bytes: 1000, max: 999 }), "{error}");
    }

    #[test]
    fn signs_of_life_alone_are_heard_for_so_long_and_not_for_ever() {
        let alive = written(&Message::Alive);
        let mut endless = Endless(alive.clone().into_iter().cycle());
        let due = Due::word("that it is ready", Duration::from_millis(50));
        let error = Message::read(&mut endless, due).unwrap_err();
        assert!(matches!(error, HandoverError::Late { .. }), "{error}");
        assert!(error.to_string().contains("0.05 s, and did not say that it is ready"), "{error}");
    }

    struct Endless<I>(I);

    impl<I: Iterator<Item = u8>> Read for Endless<I> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.iter_mut().zip(&mut self.0).for_each(|(to, from)| *to = from);
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_word_that_carries_something_is_refused() {
        let mut bytes = written(&Message::State(vec![7]));
        bytes.truncate(13);
        bytes[4] = 4;
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        assert!(matches!(Message::read(&mut &bytes[..], due(9)), Err(HandoverError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn a_damaged_or_cut_message_is_never_taken(
            which in 0..9_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8, cut in any::<bool>(),
        ) {
            let mut bytes = written(&messages()[which]);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert!(Message::read(&mut &bytes[..], due(2000)).is_err());
        }
    }
}
