//! A connection that is slower than the others.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

/// Reads little at a time, with a pause before each bit.
#[derive(Debug)]
pub struct Throttled<R> {
    reader: R,
    bytes: usize,
    pause: Duration,
}

impl<R> Throttled<R> {
    /// `bytes` at most after every `pause`.
    pub fn new(reader: R, bytes: usize, pause: Duration) -> Self {
        Self { reader, bytes, pause }
    }
}

impl<R: Read> Read for Throttled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(self.pause);
        let length = buffer.len().min(self.bytes);
        self.reader.read(&mut buffer[..length])
    }
}
