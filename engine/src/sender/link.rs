//! What the poller's time went into: whether the link was waited for, or the link waited.

use std::time::{Duration, Instant};

use pageferry_accel::cpu_time;

/// What a sender's link and its poller did until the last frame of pages, or the end of the last round, counted up from the sender's beginning. Who wants
/// to know about some time in between takes the difference of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkClock {
    /// Time since the sender began.
    pub elapsed: Duration,
    /// Of it, how long a frame waited to be sent: for room on its connection, or for the sake of the limit on bytes a second.
    pub blocked: Duration,
    /// CPU time of the poller's thread, writing included.
    pub poller_cpu: Duration,
    /// Bytes on the wire, of frames of pages.
    pub wire_bytes: u64,
    /// Requests that were sent.
    pub requests: u64,
}

/// What both clocks showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) wall: Instant,
    pub(super) cpu: Duration,
}

impl Reading {
    /// What they show to the calling thread now, which is `wall`.
    pub(super) fn at(wall: Instant) -> Self {
        Self { wall, cpu: cpu_time::of_this_thread() }
    }
}

impl LinkClock {
    /// Counts a frame of `bytes` that was ready to be sent at `ready` and had been sent at `sent`, by a sender that began at
    /// `begun`.
    pub(super) fn add(&mut self, bytes: u64, begun: Instant, ready: Reading, sent: Reading) {
        self.elapsed = sent.wall.saturating_duration_since(begun);
        let taken = sent.wall.saturating_duration_since(ready.wall);
        self.blocked += taken.saturating_sub(sent.cpu.saturating_sub(ready.cpu));
        self.poller_cpu = sent.cpu;
        self.wire_bytes += bytes;
        self.requests += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For each frame: microseconds of other things, of work on it, and of waiting for the link, and its bytes.
        #[test]
        fn what_was_not_worked_while_a_frame_was_on_its_way_was_waited_for_the_link(
            frames in prop::collection::vec((0..500u64, 0..500u64, 0..500u64, any::<u32>()), 1..50),
        ) {
            let begun = Instant::now();
            let mut now = Reading { wall: begun, cpu: Duration::from_secs(3) };
            let (mut clock, mut expected) = (LinkClock::default(), LinkClock::default());
            for (other, work, wait, bytes) in frames {
                let [other, work, wait] = [other, work, wait].map(Duration::from_micros);
                // Of the other things half is work.
                let ready = Reading { wall: now.wall + other, cpu: now.cpu + other / 2 };
                now = Reading { wall: ready.wall + work + wait, cpu: ready.cpu + work };
                clock.add(bytes.into(), begun, ready, now);
                expected = LinkClock {
                    elapsed: now.wall - begun,
                    blocked: expected.blocked + wait,
                    poller_cpu: now.cpu,
                    wire_bytes: expected.wire_bytes + u64::from(bytes),
                    requests: expected.requests + 1,
                };
                prop_assert_eq!(clock, expected);
            }
        }
    }
}
