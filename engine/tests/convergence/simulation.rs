//! Guests that write, a link that sends, and the rounds that come of it.

use std::time::Duration;

use pageferry_engine::migration::convergence::{Convergence, FixedCosts, Next, RoundSeen};

/// How many writes to different pages a second, at a time in seconds.
type Pace = Box<dyn Fn(f64) -> f64>;

/// What decides after a round.
pub trait Decide {
    fn decide(&mut self, seen: &RoundSeen) -> Next;
}

impl Decide for Convergence {
    fn decide(&mut self, seen: &RoundSeen) -> Next {
        self.after_round(seen)
    }
}

/// Pages that are written.
struct Set {
    order: Order,
    pages: f64,
    pace: Pace,
    /// Whether the writer is a CPU of the guest, which a throttle slows down.
    throttled: bool,
}

/// In which order they are written.
enum Order {
    /// One after the other, then again.
    Sequence,
    Random,
}

/// A guest's memory and what writes to it.
pub struct Guest {
    pages: u64,
    zero_pages: u64,
    sets: Vec<Set>,
}

impl Guest {
    /// A guest of 4 GiB that writes nothing.
    pub fn idle() -> Self {
        Self { pages: 1 << 20, zero_pages: 0, sets: Vec::new() }
    }

    /// So many of its pages were never used.
    pub fn with_zero_pages(self, zero_pages: u64) -> Self {
        Self { zero_pages, ..self }
    }

    /// Writes all pages one after the other, at this pace.
    pub fn writing(self, pace: impl Fn(f64) -> f64 + 'static) -> Self {
        let pages = self.pages as f64;
        self.with(Set { order: Order::Sequence, pages, pace: Box::new(pace), throttled: true })
    }

    /// Writes this often to random ones of so many pages.
    pub fn with_hot_set(self, pages: u64, pace: impl Fn(f64) -> f64 + 'static) -> Self {
        let pages = pages as f64;
        self.with(Set { order: Order::Random, pages, pace: Box::new(pace), throttled: true })
    }

    /// A device writes all pages one after the other, at this pace, whatever the CPUs do.
    pub fn with_device(self, pace: impl Fn(f64) -> f64 + 'static) -> Self {
        let pages = self.pages as f64;
        self.with(Set { order: Order::Sequence, pages, pace: Box::new(pace), throttled: false })
    }

    fn with(mut self, set: Set) -> Self {
        self.sets.push(set);
        self
    }

    /// The pages that were written at least once from `from` on for `over` seconds.
    fn dirty(&self, from: f64, over: f64, throttle: u8) -> u64 {
        const SLICES: u32 = 256;
        let of_set = |set: &Set| {
            let pace = |slice: u32| (set.pace)(from + over * f64::from(slice) / f64::from(SLICES));
            let mean = (0..SLICES).map(pace).sum::<f64>() / f64::from(SLICES);
            let speed = if set.throttled { f64::from(100 - throttle) / 100.0 } else { 1.0 };
            let writes = mean * speed * over;
            match set.order {
                Order::Sequence => writes.min(set.pages),
                Order::Random => set.pages * (1.0 - (-writes / set.pages).exp()),
            }
        };
        whole(self.sets.iter().map(of_set).sum())
    }
}

/// What pages cost on the way.
#[derive(Clone, Copy)]
pub struct Link {
    /// Pages a second in the first round, and in all others.
    pub pages_per_s: (f64, f64),
    /// What a page is on the wire.
    pub wire_bytes_a_page: f64,
    pub fixed: FixedCosts,
    /// By how much, at most, a round is faster or slower than that.
    pub noise: f64,
}

impl Link {
    /// 100,000 pages a second without compression: about 3 Gbit/s.
    pub fn plain() -> Self {
        Self { pages_per_s: (1e5, 1e5), wire_bytes_a_page: 4096.0, fixed: FixedCosts::default(), noise: 0.0 }
    }

    fn seconds(&self, round: u32, pages: u64) -> f64 {
        let pace = if round == 0 { self.pages_per_s.0 } else { self.pages_per_s.1 };
        // The golden ratio's multiples are spread evenly.
        let noise = (f64::from(round) * 0.618_034).fract() * 2.0 - 1.0;
        pages as f64 / (pace * (1.0 + self.noise * noise)) + self.fixed.round.as_secs_f64()
    }
}

/// How a migration ended.
#[derive(Debug)]
pub struct Outcome {
    /// The last decision; [`Next::Round`] if there was no end to it.
    pub end: Next,
    pub rounds: u32,
    pub throttles: Vec<u8>,
    /// Until the guest runs at the destination, or the migration was given up.
    pub seconds: f64,
    /// How long the guest stood still.
    pub downtime: Option<Duration>,
}

impl Outcome {
    pub fn throttle(&self) -> u8 {
        self.throttles.last().copied().unwrap_or(0)
    }

    pub fn switched_over(&self) -> bool {
        matches!(self.end, Next::SwitchOver { .. })
    }
}

/// More rounds than this are taken for no end.
pub const ENDLESS: u32 = 3000;

/// Migrates a guest in virtual time.
pub fn migrate(guest: &Guest, link: &Link, decider: &mut impl Decide) -> Outcome {
    let (mut pages, mut zero_pages) = (guest.pages, guest.zero_pages);
    let (mut now, mut throttle, mut throttles) = (0.0, 0, Vec::new());
    for round in 0..ENDLESS {
        let took = link.seconds(round, pages - zero_pages);
        let left_pages = guest.dirty(now, took, throttle);
        now += took;
        let over = Duration::from_secs_f64(took);
        let wire_bytes = whole((pages - zero_pages) as f64 * link.wire_bytes_a_page);
        let seen = RoundSeen { pages, zero_pages, wire_bytes, took: over, left_pages, dirtied_over: over };
        let end = decider.decide(&seen);
        let rounds = round + 1;
        match end {
            Next::Round => {}
            Next::Throttle(percent) => {
                throttle = percent;
                throttles.push(percent);
            }
            Next::SwitchOver { .. } => {
                let downtime = link.seconds(rounds, left_pages) + link.fixed.switchover.as_secs_f64();
                let seconds = now + downtime;
                let downtime = Some(Duration::from_secs_f64(downtime));
                return Outcome { end, rounds, throttles, seconds, downtime };
            }
            Next::GiveUp(_) => return Outcome { end, rounds, throttles, seconds: now, downtime: None },
        }
        (pages, zero_pages) = (left_pages, 0);
    }
    Outcome { end: Next::Round, rounds: ENDLESS, throttles, seconds: now, downtime: None }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "simulated guests are small")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}
