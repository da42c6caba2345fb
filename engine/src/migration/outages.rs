//! How long connections may be missing, when they break again and again.

use std::time::{Duration, Instant};

/// The time for which a user bears that there is no connection.
///
/// A connection that holds for as long, and carries something, makes up for all that was. One that breaks again sooner does not,
/// or a network that lets nothing but a handshake through would be tried for ever; nor does one to a peer that is silent.
pub(super) struct Outages {
    borne: Duration,
    spent: Duration,
    begun: Instant,
    mended: Option<Instant>,
    /// Something was confirmed since then.
    is_of_use: bool,
}

impl Outages {
    /// None until now.
    pub(super) fn new(borne: Duration) -> Self {
        Self { borne, spent: Duration::ZERO, begun: Instant::now(), mended: None, is_of_use: false }
    }

    /// A connection broke; says until when another one is waited for.
    pub(super) fn begin(&mut self) -> Instant {
        self.begin_at(Instant::now())
    }

    /// There is a connection again.
    pub(super) fn end(&mut self) {
        self.end_at(Instant::now());
    }

    /// Something that was sent has arrived.
    pub(super) fn count_use(&mut self) {
        self.is_of_use = true;
    }

    fn begin_at(&mut self, now: Instant) -> Instant {
        let has_held = self.mended.is_some_and(|mended| now.saturating_duration_since(mended) >= self.borne);
        if has_held && self.is_of_use {
            self.spent = Duration::ZERO;
        }
        self.begun = now;
        now + self.borne.saturating_sub(self.spent)
    }

    fn end_at(&mut self, now: Instant) {
        self.spent += now.saturating_duration_since(self.begun);
        self.mended = Some(now);
        self.is_of_use = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_break_again_and_again_are_borne_together_and_one_that_holds_makes_up_for_them() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut outages = Outages::new(Duration::from_secs(10));
        assert_eq!(outages.begin_at(after(100)), after(110));
        outages.end_at(after(106));
        assert_eq!(outages.begin_at(after(107)), after(111), "six of ten seconds are over");
        outages.end_at(after(110));
        outages.count_use();
        assert_eq!(outages.begin_at(after(120)), after(130), "the connection had held");
        outages.end_at(after(126));
        assert_eq!(outages.begin_at(after(140)), after(144), "the connection had held, and carried nothing");
        outages.end_at(after(146));
        outages.count_use();
        assert_eq!(outages.begin_at(after(147)), after(147), "there is nothing left");
    }
}
