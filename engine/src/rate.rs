//! Not more bytes a second than the user allows.

use std::time::{Duration, Instant};

/// A limit on bytes a second, kept by sleeping before a frame that would exceed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    bytes_per_s: Option<u64>,
    /// When everything admitted so far will have been due.
    due: Instant,
}

/// How far the frames may run ahead of the limit, so that one that came late does not cost bandwidth.
const SLACK: Duration = Duration::from_millis(5);

impl RateLimit {
    pub(crate) fn new(bytes_per_s: Option<u64>, now: Instant) -> Self {
        Self { bytes_per_s: bytes_per_s.filter(|&rate| rate > 0), due: now }
    }

    /// How long to sleep before sending `bytes` more.
    pub(crate) fn admit(&mut self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.bytes_per_s else { return Duration::ZERO };
        self.due = self.due.max(now.checked_sub(SLACK).unwrap_or(now));
        let early = self.due.saturating_duration_since(now);
        self.due += Duration::from_secs_f64(bytes as f64 / rate as f64);
        early
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_frames_takes_a_second_less_the_slack() {
        let mut now = Instant::now();
        let begun = now;
        let mut limit = RateLimit::new(Some(1_000_000), begun);
        for _ in 0..1001 {
            now += limit.admit(1000, now);
        }
        let taken = now - begun;
        assert!((Duration::from_millis(994)..=Duration::from_millis(1000)).contains(&taken), "{taken:?}");
    }

    #[test]
    fn time_that_was_not_used_is_not_saved_up() {
        let now = Instant::now();
        let mut limit = RateLimit::new(Some(1_000_000), now);
        limit.admit(1000, now);
        let later = now + Duration::from_secs(60);
        limit.admit(1_000_000, later);
        assert!(limit.admit(1, later) > Duration::from_millis(990));
    }

    #[test]
    fn no_limit_never_sleeps() {
        for rate in [None, Some(0)] {
            let now = Instant::now();
            assert_eq!(RateLimit::new(rate, now).admit(usize::MAX, now), Duration::ZERO);
        }
    }
}
