//! The connection: what has been written and not yet read.

use std::collections::VecDeque;

use super::lanes::JobId;
use super::setup::Link;
use super::time::Nanos;

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    /// The request; none at the end of a round.
    pub(super) job: Option<JobId>,
    pub(super) bytes: f64,
}

/// The link and the buffers at its ends. A buffer takes one frame however long.
#[derive(Clone, Debug)]
pub(super) struct LinkState {
    link: Link,
    /// Written and not yet sent.
    waiting: VecDeque<Frame>,
    waiting_bytes: f64,
    sending: bool,
    /// Sent and not yet read.
    unread_bytes: f64,
    pub(super) carried_bytes: f64,
}

impl LinkState {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            waiting: VecDeque::new(),
            waiting_bytes: 0.0,
            sending: false,
            unread_bytes: 0.0,
            carried_bytes: 0.0,
        }
    }

    /// Takes a frame if there is room for it.
    pub(super) fn write(&mut self, frame: Frame) -> bool {
        if !self.waiting.is_empty() && self.waiting_bytes + frame.bytes > self.link.send_buffer_bytes {
            return false;
        }
        self.waiting.push_back(frame);
        self.waiting_bytes += frame.bytes;
        true
    }

    /// Begins to send the next frame if that is possible, and says how long it takes.
    pub(super) fn begin(&mut self) -> Option<Nanos> {
        let frame = self.waiting.front().filter(|_| !self.sending)?;
        if self.unread_bytes > 0.0 && self.unread_bytes + frame.bytes > self.link.receive_buffer_bytes {
            return None;
        }
        self.sending = true;
        self.unread_bytes += frame.bytes;
        Some(self.link.bytes_per_s.map_or(Nanos::ZERO, |rate| Nanos::from_s(frame.bytes / rate)))
    }

    /// Ends what was begun. The frame arrives a propagation later.
    pub(super) fn end(&mut self) -> Option<Frame> {
        let frame = self.waiting.pop_front()?;
        self.sending = false;
        self.waiting_bytes -= frame.bytes;
        self.carried_bytes += frame.bytes;
        Some(frame)
    }

    /// Makes room for what is being read.
    pub(super) fn read(&mut self, frame: Frame) {
        self.unread_bytes -= frame.bytes;
        if self.waiting.is_empty() && self.unread_bytes < 0.5 {
            // Sums of fractions leave fractions.
            self.unread_bytes = 0.0;
        }
    }

    pub(super) fn propagation(&self) -> Nanos {
        self.link.propagation.into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(job: JobId, bytes: f64) -> Frame {
        Frame { job: Some(job), bytes }
    }

    #[test]
    fn a_frame_waits_for_its_predecessor_and_for_the_reader() {
        let link = Link {
            bytes_per_s: Some(1e9),
            propagation: Duration::ZERO,
            send_buffer_bytes: 150.0,
            receive_buffer_bytes: 150.0,
        };
        let mut state = LinkState::new(link);
        assert!(state.write(frame(0, 100.0)));
        assert!(!state.write(frame(1, 100.0)), "the buffer has room for one");
        assert_eq!(state.begin(), Some(Nanos(100.0)));
        assert_eq!(state.begin(), None, "one at a time");
        assert_eq!(state.end(), Some(frame(0, 100.0)));
        assert!(state.write(frame(1, 100.0)));
        assert_eq!(state.begin(), None, "the destination has not read the first one");
        state.read(frame(0, 100.0));
        assert_eq!(state.begin(), Some(Nanos(100.0)));
    }
}
