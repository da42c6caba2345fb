//! The rate of a link, as arithmetic on instants.

use std::time::{Duration, Instant};

/// Bytes queue for a link one after the other; whoever brings some learns when the last of them has left.
///
/// It is the token bucket seen from its empty side: not how many tokens are there is kept, but when the link will be free.
#[derive(Debug)]
pub struct Bucket {
    bytes_per_s: u64,
    /// When everything that was brought has left.
    free: Option<Instant>,
}

/// How far a link may have fallen behind its rate by waking up late, and still make up for it.
const SLACK: Duration = Duration::from_millis(10);

impl Bucket {
    /// A link of so many bytes per second; of 0, none ever pass.
    #[must_use]
    pub fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, free: None }
    }

    /// When `bytes` that are brought at `now` have left, after all that came before them.
    pub fn take(&mut self, now: Instant, bytes: usize) -> Instant {
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let begun = self.free.map_or(now, |free| free.max(earliest));
        let gone = begun + self.on_the_link(bytes);
        self.free = Some(gone);
        gone
    }

    fn on_the_link(&self, bytes: usize) -> Duration {
        /// As good as never, and far from the end of what an instant can hold.
        const NEVER: Duration = Duration::from_secs(1 << 30);
        let nanos = u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(1_000_000_000);
        let nanos = nanos.checked_div(self.bytes_per_s.into()).and_then(|nanos| u64::try_from(nanos).ok());
        nanos.map_or(NEVER, Duration::from_nanos).min(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn bytes_leave_one_after_the_other_at_the_links_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1_000_000);
        assert_eq!(bucket.take(now, 5_000), now + 5 * MS);
        assert_eq!(bucket.take(now, 1_000), now + 6 * MS, "brought at once, they wait for those before them");
        assert_eq!(
            bucket.take(now + 6 * MS, 2_000),
            now + 8 * MS,
            "brought in time, they find the link free"
        );
    }

    #[test]
    fn a_late_caller_is_forgiven_a_little_and_no_more() {
        let now = Instant::now();
        let mut bucket = Bucket::new(1_000_000);
        bucket.take(now, 1_000);
        assert_eq!(bucket.take(now + 4 * MS, 1_000), now + 2 * MS, "3 ms late: the rate holds all the same");
        let much_later = now + 1_000 * MS;
        assert_eq!(bucket.take(much_later, 1_000), much_later - SLACK + MS, "an idle link saves nothing up");
    }

    #[test]
    fn whatever_the_pattern_no_more_passes_than_the_rate_allows() {
        let begun = Instant::now();
        let mut noise = crate::guest::Noise(7);
        for rate in [1_000, 125_000, 125_000_000] {
            let mut bucket = Bucket::new(rate);
            let (mut now, mut bytes, mut idle) = (begun, 0, Duration::ZERO);
            for _ in 0..10_000 {
                let size = noise.below(250_000);
                let gone = bucket.take(now, usize::try_from(size).unwrap());
                bytes += size;
                // Sleeps as long as it should, or somewhat longer, or comes only after a pause.
                let late = Duration::from_micros(noise.below(3_000));
                let woken = if gone > now { gone + late } else { now };
                let pause =
                    if noise.chance(1) { Duration::from_millis(noise.below(100)) } else { Duration::ZERO };
                idle += pause;
                now = woken + pause;
            }
            let busy = now.duration_since(begun).as_secs_f64();
            let expected = bytes as f64 / rate as f64;
            let allowance = SLACK.as_secs_f64() * 200.0;
            assert!(expected <= busy + allowance, "{rate} B/s: {bytes} bytes in {busy} s, too fast");
            assert!(
                expected >= (busy - idle.as_secs_f64()) * 0.99 - allowance,
                "{rate} B/s: {bytes} bytes in {busy} s with {idle:?} of pauses, too slow"
            );
        }
    }

    #[test]
    fn a_link_of_no_rate_lets_nothing_pass_and_does_not_overflow() {
        let now = Instant::now();
        let mut bucket = Bucket::new(0);
        assert!(bucket.take(now, 1) > now + Duration::from_secs(1 << 29));
        assert!(Bucket::new(1).take(now, usize::MAX) > now + Duration::from_secs(1 << 29));
        bucket.take(now, usize::MAX);
    }
}
