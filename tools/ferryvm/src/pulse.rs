//! The heartbeat of a vCPU: when it was felt last, and how long it was not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time of the host's clock: nanoseconds since 1970. Hosts that share a clock can compare theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostTime(pub(crate) u64);

impl HostTime {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long after another one it is; nothing, if it is before.
    const fn since(self, before: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(before.0))
    }
}

/// One heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) at: HostTime,
    /// What the guest's counter was.
    pub(crate) counter: u64,
}

/// What was felt of a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Felt {
    /// The last heartbeat, here or at the source.
    pub(crate) last: Option<Beat>,
    /// How many there were here.
    pub(crate) beats: u64,
    /// The longest time between two of them, that over a move included.
    pub(crate) longest_gap: Duration,
    /// The time between the source's last and the first one here.
    pub(crate) gap_of_move: Option<Duration>,
    /// Whether a counter was ever less than the one before.
    pub(crate) went_back: bool,
}

/// The heartbeat of a vCPU, as its thread feels it and others ask for it.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    felt: Mutex<Felt>,
}

impl Pulse {
    /// A heartbeat comes.
    pub(crate) fn beat(&self, counter: u64, at: HostTime) {
        let mut felt = self.lock();
        if let Some(last) = felt.last {
            let gap = at.since(last.at);
            felt.longest_gap = felt.longest_gap.max(gap);
            felt.went_back |= counter < last.counter;
            if felt.beats == 0 {
                felt.gap_of_move = Some(gap);
            }
        }
        felt.beats += 1;
        felt.last = Some(Beat { at, counter });
    }

    /// The guest comes from elsewhere, where this was its last heartbeat.
    pub(crate) fn moved(&self, last: Option<Beat>) {
        *self.lock() = Felt { last, ..Felt::default() };
    }

    pub(crate) fn felt(&self) -> Felt {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Felt> {
        self.felt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> HostTime {
        HostTime(ms * 1_000_000)
    }

    #[test]
    fn the_gap_over_a_move_is_kept_apart() {
        let pulse = Pulse::default();
        pulse.moved(Some(Beat { at: ms(1000), counter: 7 }));
        pulse.beat(7, ms(1200));
        pulse.beat(9, ms(1500));
        let felt = pulse.felt();
        assert_eq!(felt.gap_of_move, Some(Duration::from_millis(200)));
        assert_eq!(felt.longest_gap, Duration::from_millis(300));
        assert!(!felt.went_back, "{felt:?}");
    }

    #[test]
    fn a_guest_that_begins_here_did_not_move() {
        let pulse = Pulse::default();
        pulse.beat(0, ms(1));
        pulse.beat(1, ms(3));
        let felt = pulse.felt();
        assert_eq!((felt.gap_of_move, felt.longest_gap, felt.beats), (None, Duration::from_millis(2), 2));
    }

    #[test]
    fn a_counter_that_goes_back_is_noticed() {
        let pulse = Pulse::default();
        pulse.moved(Some(Beat { at: ms(0), counter: 7 }));
        pulse.beat(6, ms(1));
        assert!(pulse.felt().went_back);
    }
}
