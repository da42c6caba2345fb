//! Where decoded bytes go: through a window that keeps the history, in pieces to the device's memory.

use super::symbols::HISTORY;

/// How many bytes are passed on at once.
const PIECE: usize = 64 << 10;

/// Decoded bytes on their way to a `sink`, which takes them in order.
pub(super) struct Output<S> {
    /// Up to [`HISTORY`] bytes that were passed on, then those that were not.
    window: Box<[u8]>,
    /// Where the bytes begin that were not passed on.
    start: usize,
    /// Where they end.
    end: usize,
    /// Where they must end: the end of the window, or of what may be put out at all.
    ceiling: usize,
    /// How many more may be put out behind the ceiling.
    beyond: u64,
    sink: S,
}

/// Why no more can be put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked<E> {
    /// As many bytes as may be were passed on.
    Full,
    /// The sink would not take them.
    Sink(E),
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Output<S> {
    /// Passes at most `most` bytes on.
    pub(super) fn new(most: u64, sink: S) -> Self {
        let piece = usize::try_from(most).unwrap_or(PIECE).min(PIECE);
        let window = vec![0; HISTORY + piece].into_boxed_slice();
        let mut output = Self { window, start: 0, end: 0, ceiling: 0, beyond: most, sink };
        output.raise();
        output
    }

    /// Puts a byte out.
    #[inline]
    pub(super) fn put(&mut self, byte: u8) -> Result<(), Blocked<E>> {
        if self.end == self.ceiling {
            self.pass_on()?;
        }
        self.window[self.end] = byte;
        self.end += 1;
        Ok(())
    }

    /// Puts bytes out.
    pub(super) fn put_all(&mut self, mut bytes: &[u8]) -> Result<(), Blocked<E>> {
        while !bytes.is_empty() {
            if self.end == self.ceiling {
                self.pass_on()?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.ceiling - self.end));
            self.window[self.end..self.end + now.len()].copy_from_slice(now);
            self.end += now.len();
            bytes = later;
        }
        Ok(())
    }

    /// How many bytes back there are any, up to [`HISTORY`] at least.
    #[inline]
    pub(super) const fn reach(&self) -> usize {
        self.end
    }

    /// Puts `length` bytes out that came `distance` bytes before, which is in reach and not above [`HISTORY`].
    #[inline]
    pub(super) fn repeat(&mut self, mut length: usize, distance: usize) -> Result<(), Blocked<E>> {
        while length > 0 {
            if self.end == self.ceiling {
                self.pass_on()?;
            }
            // Bytes that are there already can be copied at once.
            let now = length.min(self.ceiling - self.end).min(distance);
            let from = self.end - distance;
            if distance == 1 {
                let now = length.min(self.ceiling - self.end);
                let byte = self.window[from];
                self.window[self.end..self.end + now].fill(byte);
                self.end += now;
                length -= now;
                continue;
            }
            self.window.copy_within(from..from + now, self.end);
            self.end += now;
            length -= now;
        }
        Ok(())
    }

    /// Passes on what there is.
    pub(super) fn flush(&mut self) -> Result<(), Blocked<E>> {
        (self.sink)(&self.window[self.start..self.end]).map_err(Blocked::Sink)?;
        self.start = self.end;
        Ok(())
    }

    /// Passes on what there is, and makes room for more.
    #[cold]
    fn pass_on(&mut self) -> Result<(), Blocked<E>> {
        self.flush()?;
        if self.beyond == 0 {
            return Err(Blocked::Full);
        }
        self.window.copy_within(self.end - HISTORY..self.end, 0);
        (self.start, self.end) = (HISTORY, HISTORY);
        self.raise();
        Ok(())
    }

    /// Sets the ceiling as high as it may be.
    fn raise(&mut self) {
        let room = self.window.len() - self.end;
        let allowed = usize::try_from(self.beyond).unwrap_or(usize::MAX).min(room);
        self.ceiling = self.end + allowed;
        self.beyond -= allowed as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_repeat_across_pieces() {
        let mut passed = Vec::new();
        let mut output = Output::new(u64::MAX, |bytes: &[u8]| {
            passed.extend_from_slice(bytes);
            Ok::<_, Infallible>(())
        });
        let mut expected: Vec<u8> =
            (0..5000_u32).map(|value| value.to_le_bytes()[0] ^ value.to_le_bytes()[1]).collect();
        output.put_all(&expected).unwrap();
        for distance in (1..=4096).step_by(5) {
            output.repeat(258, distance).unwrap();
            output.put(7).unwrap();
            for _ in 0..258 {
                expected.push(expected[expected.len() - distance]);
            }
            expected.push(7);
            assert!(output.reach() >= HISTORY);
        }
        output.flush().unwrap();
        assert!(passed == expected);
    }

    #[test]
    fn no_byte_more_than_allowed_is_passed_on() {
        for most in [1, 100, 4096, 65536, 70000, 200_000_usize] {
            let mut passed = 0;
            let mut output = Output::new(most as u64, |bytes: &[u8]| {
                passed += bytes.len();
                Ok::<_, Infallible>(())
            });
            output.put(0).unwrap();
            assert_eq!(output.repeat(most - 1, 1), Ok(()));
            assert_eq!(output.put(1), Err(Blocked::Full));
            assert_eq!(output.repeat(1, 1), Err(Blocked::Full));
            assert_eq!(output.put_all(&[1]), Err(Blocked::Full));
            assert_eq!(passed, most);
        }
    }

    #[test]
    fn a_sink_that_fails_is_told_of() {
        let mut output = Output::new(u64::MAX, |bytes: &[u8]| Err(bytes.len()));
        output.put(1).unwrap();
        assert_eq!(output.flush(), Err(Blocked::Sink(1)));
    }
}
