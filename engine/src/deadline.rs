//! A bound on how long a peer is heard that says something all the time, and never what is due.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// A stream that fails once its time is over.
///
/// A call that waits already is bounded by the stream's own timeout, and not by this.
pub(crate) struct Deadline<S> {
    stream: S,
    /// None if that is too far away to be told.
    until: Option<Instant>,
    missed: bool,
}

/// So much is written at once, as a peer that takes a byte now and then must not hold up a long write.
const PIECE_BYTES: usize = 64 << 10;

impl<S> Deadline<S> {
    /// From now on.
    pub(crate) fn after(within: Duration, stream: S) -> Self {
        Self { stream, until: Instant::now().checked_add(within), missed: false }
    }

    /// Whether the stream has failed because its time was over.
    pub(crate) fn is_missed(&self) -> bool {
        self.missed
    }

    fn check(&mut self) -> io::Result<()> {
        self.missed = self.until.is_some_and(|until| Instant::now() >= until);
        if self.missed {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer has taken too long over it"));
        }
        Ok(())
    }
}

impl<S: Read> Read for Deadline<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.read(buffer)
    }
}

impl<S: Write> Write for Deadline<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.stream.write(&bytes[..bytes.len().min(PIECE_BYTES)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_used_until_its_time_is_over() {
        let mut stream = Deadline::after(Duration::MAX, io::repeat(7));
        let mut bytes = [0; 3];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!((bytes, stream.is_missed()), ([7; 3], false));
        let mut stream = Deadline::after(Duration::ZERO, io::repeat(7));
        assert_eq!(stream.read(&mut bytes).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(stream.is_missed());
        let mut taken = Vec::new();
        let mut stream = Deadline::after(Duration::ZERO, &mut taken);
        assert_eq!(stream.write_all(b"abc").unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(stream.is_missed() && taken.is_empty());
    }

    #[test]
    fn a_long_write_is_checked_on_the_way() {
        let mut taken = Vec::new();
        let mut stream = Deadline::after(Duration::MAX, &mut taken);
        assert_eq!(stream.write(&vec![1; 3 * PIECE_BYTES]).unwrap(), PIECE_BYTES);
        stream.write_all(&vec![1; 2 * PIECE_BYTES + 1]).unwrap();
        assert_eq!(taken.len(), 3 * PIECE_BYTES + 1);
    }
}
