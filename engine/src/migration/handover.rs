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
    /// It has no place here.
    #[error("the other end said \"{said}\" where {expected} was due")]
    OutOfTurn {
        /// What it said.
        said: &'static str,
        /// What would have had its place.
        expected: &'static str,
    },
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

    /// Reads the next message that is more than a sign of life, of at most `max` bytes. Memory is taken as bytes arrive, not as
    /// they are announced.
    ///
    /// # Errors
    /// [`HandoverError`] if the connection fails or ends, or what comes is no message.
    pub(super) fn read(stream: &mut impl Read, max: u32) -> Result<Self, HandoverError> {
        loop {
            let message = Self::read_any(stream, max)?;
            if message != Self::Alive {
                return Ok(message);
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
            assert_eq!(Message::read(&mut &bytes[..], 1000).unwrap(), message);
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
            assert_eq!(Message::read(&mut &dump(name)[..], 100).unwrap(), message);
        }
    }

    #[test]
    fn a_message_longer_than_allowed_is_refused_before_it_is_read() {
        let mut bytes = written(&Message::State(vec![7; 1000]));
        bytes.truncate(12);
        let error = Message::read(&mut &bytes[..], 999).unwrap_err();
        assert!(matches!(error, HandoverError::TooLong { bytes: 1000, max: 999 }), "{error}");
    }

    #[test]
    fn a_word_that_carries_something_is_refused() {
        let mut bytes = written(&Message::State(vec![7]));
        bytes.truncate(13);
        bytes[4] = 4;
        bytes.extend_from_slice(&crc32c(&bytes).to_le_bytes());
        assert!(matches!(Message::read(&mut &bytes[..], 9), Err(HandoverError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn a_damaged_or_cut_message_is_never_taken(
            which in 0..9_usize, at in any::<prop::sample::Index>(), flip in 1..=255_u8, cut in any::<bool>(),
        ) {
            let mut bytes = written(&messages()[which]);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            prop_assert!(Message::read(&mut &bytes[..], 2000).is_err());
        }
    }
}
