//! How many bytes a second the link takes, as far as it was seen to be full.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::single::single;

/// What the sender's two threads did in a stretch of time, some milliseconds long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// How long it was.
    pub wall: Duration,
    /// How long the poller waited for the link: for room in a socket, or for a limit on bytes a second.
    pub blocked: Duration,
    /// How long the migration thread waited for a queue, or a request, to be free.
    pub waited: Duration,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// The poller's CPU time.
    pub poller_cpu: Duration,
    /// The whole sender's CPU time.
    pub cpu: Duration,
    /// What the device that was used most was used, its occupancy added up.
    pub devices: Duration,
}

impl Stretch {
    /// Whether the poller mostly waited for the link.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.as_secs_f64() > FULL * self.wall.as_secs_f64()
    }

    /// Whether the migration thread waited for much of the time, and not for the link.
    pub(super) fn is_held_up_here(&self) -> bool {
        let wall = self.wall.as_secs_f64();
        self.waited.as_secs_f64() > WAITED * wall && self.blocked.as_secs_f64() < FREE * wall
    }
}

/// The link's rate, estimated.
///
/// A stretch in which the poller mostly waited for the link, and did so before it too, shows the link's rate: at first, what is
/// sent only fills buffers. One in which it did not, shows no more than that the link takes as much. What was seen counts for
/// a second: a destination that falls behind looks like a slow link for as long as it does, and the highest rate of that time is
/// what tells the two apart.
#[derive(Clone, Debug)]
pub(super) struct LinkRate {
    /// What the user allows, bytes a second.
    limit: Option<f32>,
    /// The highest rates that were seen in the last spans of time, the present one first.
    seen: [Option<f32>; SPANS],
    /// How much of the present span is over.
    passed: Duration,
    /// Whether the link was full in the stretch before.
    was_full: bool,
    /// What has passed since it became full, or had room again, and in which time.
    bytes: u64,
    time: Duration,
    /// What it is taken to carry until it is seen full.
    guess: f32,
}

/// What a link is taken to carry at first: 10 Gbit/s. To begin as if it carried anything would fill its buffers, many megabytes,
/// with pages that are larger than need be, before anything is known of it.
const GUESS: f32 = 1.25e9;

/// A full link is looked at for so long at a time: frames are long, and the highest of many short looks would be too high.
const LONG_ENOUGH: Duration = Duration::from_millis(20);

/// What is known of a link grows by so much at most when more passed, and it had room.
const GROWTH: f32 = 1.1;

/// The guess grows faster, whenever so large a share of it is used and the link has room.
const GUESS_GROWTH: f32 = 2.0;
const GUESS_USED: f32 = 0.5;

const SPANS: usize = 4;
const SPAN: Duration = Duration::from_millis(250);

/// Waiting for so large a share of a stretch is a full link, and for so small a share one that has room.
const FULL: f64 = 0.5;
const FREE: f64 = 0.25;

/// So large a share of waiting is more than the queues' ups and downs.
const WAITED: f64 = 0.3;

impl LinkRate {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self {
            limit: limit.map(|limit| limit as f32),
            seen: [None; SPANS],
            passed: Duration::ZERO,
            was_full: false,
            bytes: 0,
            time: Duration::ZERO,
            guess: GUESS,
        }
    }

    pub(super) fn observe(&mut self, stretch: &Stretch) {
        let wall = stretch.wall.as_secs_f64();
        if wall <= 0.0 {
            return;
        }
        self.passed += stretch.wall;
        if self.passed >= SPAN {
            self.passed = Duration::ZERO;
            // With nothing seen since, the rate is not forgotten, but what was seen before is.
            if self.seen[0].is_some() {
                self.seen.rotate_right(1);
                self.seen[0] = None;
            }
        }
        let is_full = stretch.is_blocked();
        if std::mem::replace(&mut self.was_full, is_full) != is_full {
            // At first, what is sent only fills buffers, or empties them.
            (self.bytes, self.time) = (0, Duration::ZERO);
            return;
        }
        self.bytes += stretch.bytes;
        self.time += stretch.wall;
        if self.seen().is_none() && !is_full {
            self.outgrow(rate(stretch.bytes, stretch.wall));
        } else if self.time >= LONG_ENOUGH || self.seen().is_none() {
            let rate = rate(self.bytes, self.time);
            (self.bytes, self.time) = (0, Duration::ZERO);
            self.note(rate, is_full);
        }
    }

    /// Nothing is sent for a while: buffers are empty when it goes on.
    pub(super) fn pause(&mut self) {
        self.was_full = false;
        (self.bytes, self.time) = (0, Duration::ZERO);
    }

    /// Nobody has seen the link full yet: the guess grows while it is used.
    fn outgrow(&mut self, rate: f32) {
        if rate > GUESS_USED * self.guess {
            self.guess *= GUESS_GROWTH;
        }
    }

    /// So much passed for a while, through a link that was full all the time, or had room.
    fn note(&mut self, rate: f32, is_full: bool) {
        let known = self.seen();
        let most = match known {
            // What is fast may be a buffer that fills: it is not believed all at once.
            Some(known) if !is_full => rate.min(known * GROWTH),
            _ => rate,
        };
        if is_full || known.is_some_and(|known| most > known) {
            self.seen[0] = Some(self.seen[0].unwrap_or(0.0).max(most));
        }
    }

    /// The highest rate that was seen of late.
    fn seen(&self) -> Option<f32> {
        self.seen.iter().flatten().copied().reduce(f32::max)
    }

    /// Nanoseconds of the link that a byte takes.
    pub(super) fn ns_per_byte(&self) -> f32 {
        let rate = match (self.seen(), self.limit) {
            (Some(seen), Some(limit)) => seen.min(limit),
            (None, Some(limit)) => limit,
            (seen, None) => seen.unwrap_or(self.guess),
        };
        1e9 / rate.max(1.0)
    }
}

/// Bytes a second.
fn rate(bytes: u64, time: Duration) -> f32 {
    single(bytes as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(blocked_ms: u64, bytes: u64) -> Stretch {
        let (wall, blocked) = (Duration::from_millis(20), Duration::from_millis(blocked_ms));
        Stretch { wall, blocked, bytes, ..Stretch::default() }
    }

    fn rate_of(link: &LinkRate) -> f32 {
        1e9 / link.ns_per_byte()
    }

    #[test]
    fn a_link_that_never_was_full_has_room_and_one_that_was_has_its_rate() {
        let mut link = LinkRate::new(None);
        link.observe(&stretch(2, 2_500_000));
        assert!((rate_of(&link) - GUESS).abs() < 1e3);
        (0..10).for_each(|_| link.observe(&stretch(2, 90_000_000)));
        assert!((2e9..13e9).contains(&rate_of(&link)), "{}", rate_of(&link));
        link.observe(&stretch(18, 90_000_000));
        assert!((2e9..13e9).contains(&rate_of(&link)), "buffers were filled: {}", rate_of(&link));
        link.observe(&stretch(18, 2_500_000));
        assert!((rate_of(&link) - 125e6).abs() < 100.0, "{}", rate_of(&link));
    }

    #[test]
    fn a_destination_that_falls_behind_for_a_while_is_no_slow_link() {
        let mut link = LinkRate::new(None);
        (0..2).for_each(|_| link.observe(&stretch(18, 2_500_000)));
        for _ in 0..20 {
            link.observe(&stretch(19, 200_000));
        }
        assert!(rate_of(&link) > 124e6, "{}", rate_of(&link));
    }

    #[test]
    fn a_link_that_became_slow_is_believed_after_a_second() {
        let mut link = LinkRate::new(None);
        (0..2).for_each(|_| link.observe(&stretch(18, 2_500_000)));
        for _ in 0..70 {
            link.observe(&stretch(19, 200_000));
        }
        assert!((rate_of(&link) - 10e6).abs() < 100.0, "{}", rate_of(&link));
    }

    #[test]
    fn a_limit_is_the_rate_until_the_link_turns_out_to_be_slower() {
        let mut link = LinkRate::new(Some(50_000_000));
        assert_eq!(rate_of(&link), 50e6);
        (0..2).for_each(|_| link.observe(&stretch(18, 200_000)));
        assert!((rate_of(&link) - 10e6).abs() < 100.0, "{}", rate_of(&link));
    }

    #[test]
    fn buffers_that_fill_again_after_a_pause_are_no_faster_link() {
        let mut link = LinkRate::new(None);
        for _ in 0..10 {
            (0..5).for_each(|_| link.observe(&stretch(18, 2_500_000)));
            link.pause();
            link.observe(&stretch(18, 9_000_000));
        }
        assert!((rate_of(&link) - 125e6).abs() < 100.0, "{}", rate_of(&link));
    }
}
