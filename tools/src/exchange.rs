//! What the two ends tell each other after the migration, on connection 0: JSON behind its length.
//!
//! The source says whether memory is to be compared ([`Closing`]); the destination answers with what it saw and its
//! digests ([`Closed`]); the source sends its own ([`Compared`]). Each end then comes to its own verdict. One writes
//! while the other reads, so no message is ever held up by another.

use std::io::{self, Read, Write};

use pageferry_accel::guest::GuestRam;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::digest::{self, Digest};
use crate::figures::{DestinationFigures, SourceFigures};

/// From the source: what it saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Closing {
    pub(crate) verify: bool,
    pub(crate) figures: SourceFigures,
}

/// From the destination: what it saw, and its memory's digests if they were asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Closed {
    pub(crate) figures: DestinationFigures,
    pub(crate) digests: Option<Vec<Digest>>,
}

/// From the source: its memory's digests.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) digests: Vec<Digest>,
}

/// What the other end sent is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ExchangeError {
    #[error("cannot {attempt} after the migration: {source}; the other end's own message says more")]
    Io { attempt: &'static str, source: io::Error },
    #[error(
        "the other end announced a message of {bytes} bytes after the migration, {max} are possible here"
    )]
    TooLong { bytes: u32, max: u32 },
    #[error(
        "the other end's message after the migration makes no sense ({0}): use the same version at both ends"
    )]
    Malformed(String),
}

/// The longest message about this guest: its digests, and figures whose length is bounded.
pub(crate) fn max_bytes(ram: &GuestRam) -> u32 {
    let digests = digest::block_count(ram) as u64 * (digest::DIGEST_CHARS + r#""","#.len() as u64);
    u32::try_from(digests.saturating_add(1 << 16)).unwrap_or(u32::MAX)
}

/// Writes a message.
///
/// # Errors
/// [`ExchangeError::Io`] with what the connection says.
pub(crate) fn write(stream: &mut impl Write, message: &impl Serialize) -> Result<(), ExchangeError> {
    let text = serde_json::to_vec(message).map_err(malformed)?;
    let bytes =
        u32::try_from(text.len()).map_err(|_| ExchangeError::TooLong { bytes: u32::MAX, max: u32::MAX })?;
    let message = [&bytes.to_le_bytes()[..], &text].concat();
    let written = stream.write_all(&message).and_then(|()| stream.flush());
    written.map_err(|source| ExchangeError::Io { attempt: "write the result", source })
}

/// Reads a message of at most `max` bytes. Memory is taken as bytes arrive, not as they are announced.
///
/// # Errors
/// [`ExchangeError`] if the connection ends or the message is too long or none.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut impl Read, max: u32) -> Result<T, ExchangeError> {
    let failed = |source| ExchangeError::Io { attempt: "read the result", source };
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(failed)?;
    let bytes = u32::from_le_bytes(length);
    if bytes > max {
        return Err(ExchangeError::TooLong { bytes, max });
    }
    let mut text = Vec::new();
    stream.take(bytes.into()).read_to_end(&mut text).map_err(failed)?;
    if text.len() < bytes as usize {
        return Err(failed(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&text).map_err(malformed)
}

/// What is wrong with a message, which may quote it: nothing that a terminal takes orders from.
fn malformed(error: serde_json::Error) -> ExchangeError {
    ExchangeError::Malformed(error.to_string().escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text].concat()
    }

    fn read_compared(bytes: &[u8]) -> Result<Compared, ExchangeError> {
        read(&mut &bytes[..], 1000)
    }

    #[test]
    fn a_message_arrives_as_it_was_written() {
        let digests: Vec<Digest> = vec!["0".repeat(32).parse().unwrap(), "f".repeat(32).parse().unwrap()];
        let mut bytes = Vec::new();
        write(&mut bytes, &Compared { digests: digests.clone() }).unwrap();
        assert_eq!(read_compared(&bytes).unwrap().digests, digests);
    }

    #[test]
    fn hostile_messages_are_refused_by_name() {
        assert!(matches!(read_compared(b"\x01\x02"), Err(ExchangeError::Io { .. })));
        let long = read_compared(&u32::MAX.to_le_bytes());
        assert!(matches!(long, Err(ExchangeError::TooLong { bytes: u32::MAX, max: 1000 })), "{long:?}");
        let mut short = message(br#"{"digests":[]}"#);
        short.truncate(10);
        assert!(matches!(read_compared(&short), Err(ExchangeError::Io { .. })));
        for text in [&b""[..], b"{}", b"[]", b"\xff\xff", br#"{"digests":["no"]}"#, &[b'['; 900]] {
            let found = read_compared(&message(text));
            assert!(matches!(found, Err(ExchangeError::Malformed(_))), "{found:?}");
        }
    }
}
