//! QEMU's auto-converge on the same guests, as of `migration_trigger_throttle` and `migration_update_counters`.
//!
//! In a period of at least a second, the pages that became dirty (whole) are held against the bytes that were sent (as
//! they are on the wire); when they were more than half twice, whatever lay between, the guest is throttled by the next
//! step. It is stopped when the pages that are left (whole) fit what the wire carries within the limit.

use std::time::Duration;

use pageferry_engine::migration::convergence::{Convergence, ConvergenceConfig, FixedCosts, Next, RoundSeen};

use crate::simulation::{Decide, ENDLESS, Guest, Link, Outcome, migrate};

const LIMIT: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Qemu {
    period: Duration,
    dirty_bytes: u64,
    sent_bytes: u64,
    high: u32,
    throttle: u8,
}

impl Decide for Qemu {
    fn decide(&mut self, seen: &RoundSeen) -> Next {
        self.period += seen.took;
        self.dirty_bytes += seen.left_pages * 4096;
        self.sent_bytes += seen.wire_bytes;
        let wire_bytes_per_s = seen.wire_bytes as f64 / seen.took.as_secs_f64();
        let left_bytes = seen.left_pages as f64 * 4096.0;
        let expected = Duration::from_secs_f64(left_bytes / wire_bytes_per_s.max(1.0));
        if expected <= LIMIT {
            return Next::SwitchOver { expected, forced: false };
        }
        if self.period < Duration::from_secs(1) {
            return Next::Round;
        }
        let high = self.dirty_bytes > self.sent_bytes / 2;
        (self.period, self.dirty_bytes, self.sent_bytes) = Default::default();
        self.high += u32::from(high);
        if !high || self.high < 2 || self.throttle == 99 {
            return Next::Round;
        }
        self.high = 0;
        self.throttle = if self.throttle == 0 { 20 } else { (self.throttle + 10).min(99) };
        Next::Throttle(self.throttle)
    }
}

struct Compared {
    name: &'static str,
    ours: Outcome,
    qemus: Outcome,
}

fn compared() -> Vec<Compared> {
    let plain = Link::plain();
    let compressed = Link { wire_bytes_a_page: 1024.0, ..plain };
    let delta = Link { pages_per_s: (1e5, 4e5), wire_bytes_a_page: 1024.0, ..plain };
    let fixed = FixedCosts { round: Duration::from_millis(15), switchover: Duration::from_millis(60) };
    let of = |share: f64| Guest::idle().writing(move |_| share * 1e5);
    let spike = |now: f64| if (14.0..15.0).contains(&now) { 8e5 } else { 4e4 };
    let guests = [
        ("no writes", Guest::idle(), plain),
        ("0.3 of the link", of(0.3), plain),
        ("0.6 of the link", of(0.6), plain),
        ("0.9 of the link", of(0.9), plain),
        ("1.0 of the link", of(1.0), plain),
        ("2.0 of the link", of(2.0), plain),
        ("4.0 of the link", of(4.0), plain),
        ("0.6, compressed 4:1", of(0.6), compressed),
        ("2.0 of the first round, delta", of(2.0), delta),
        ("hot set of 200 ms, compressed 4:1", Guest::idle().with_hot_set(20_000, |_| 1e7), compressed),
        ("hot set of 1 s", Guest::idle().with_hot_set(100_000, |_| 2e5), plain),
        ("a spike", Guest::idle().writing(spike), plain),
        ("calms down", Guest::idle().writing(|now| 9e4 * (-now / 30.0).exp()), plain),
        ("0.29, and 75 ms beside the pages", of(0.29), Link { fixed, ..plain }),
        ("a device at 1.5", Guest::idle().with_device(|_| 1.5e5), plain),
    ];
    let compare = |(name, guest, link): (&'static str, Guest, Link)| {
        let mut convergence = Convergence::new(ConvergenceConfig::default());
        convergence.set_fixed_costs(link.fixed);
        let ours = migrate(&guest, &link, &mut convergence);
        let qemus = migrate(&guest, &link, &mut Qemu::default());
        Compared { name, ours, qemus }
    };
    guests.into_iter().map(compare).collect()
}

fn row(outcome: &Outcome) -> String {
    let Outcome { rounds, throttles, seconds, downtime, .. } = outcome;
    let end = match downtime {
        Some(downtime) => format!("{:.0} ms", downtime.as_secs_f64() * 1000.0),
        None if *rounds == ENDLESS => "no end".to_owned(),
        None => "given up".to_owned(),
    };
    let (steps, throttle) = (throttles.len(), outcome.throttle());
    format!("{rounds:>5} rounds {steps:>2} steps to {throttle:>2}% {seconds:>7.0} s {end:>8}")
}

#[test]
fn guests_are_throttled_less_and_stand_still_no_longer_than_under_qemus_rule() {
    let compared = compared();
    for Compared { name, ours, qemus } in &compared {
        println!("{name:<34} | ours {} | QEMU {}", row(ours), row(qemus));
    }
    for Compared { name, ours, qemus } in &compared {
        assert!(ours.rounds < ENDLESS, "{name} has no end");
        if !ours.switched_over() {
            assert!(!qemus.switched_over(), "{name} is given up where QEMU migrates");
            continue;
        }
        let downtime = ours.downtime.expect("it was switched over");
        assert!(downtime <= LIMIT + LIMIT / 10, "{name} stands still for {downtime:?}");
        assert!(ours.throttle() <= qemus.throttle(), "{name}: {:?}, {:?}", ours.throttles, qemus.throttles);
        assert!(ours.throttles.len() <= qemus.throttles.len(), "{name}: {:?}", ours.throttles);
    }
    let better = |name: &str| {
        let Compared { ours, qemus, .. } = compared.iter().find(|one| one.name == name).expect("a guest");
        (ours.throttles.len(), qemus.throttles.len(), ours, qemus)
    };
    // Real progress, and compression's worth, are seen as such.
    for name in ["0.6 of the link", "0.9 of the link", "0.6, compressed 4:1", "2.0 of the first round, delta"]
    {
        let (ours, qemus, ..) = better(name);
        assert!(ours == 0 && qemus > 0, "{name}: {ours} steps against {qemus}");
    }
    // Steps that cannot be enough are left out, and so are those that are not needed.
    for name in ["1.0 of the link", "2.0 of the link", "4.0 of the link"] {
        let (steps, qemus_steps, ours, qemus) = better(name);
        assert!(steps + 3 <= qemus_steps, "{name}: {steps} steps against {qemus_steps}");
        assert!(
            ours.throttle() + 10 <= qemus.throttle(),
            "{name}: {:?}, {:?}",
            ours.throttles,
            qemus.throttles
        );
    }
    // What is left counts as it will be sent.
    let (.., ours, qemus) = better("hot set of 200 ms, compressed 4:1");
    assert!(ours.rounds < qemus.rounds && ours.seconds < qemus.seconds);
    // What the switchover costs beside its pages is within the limit, too.
    let (.., ours, qemus) = better("0.29, and 75 ms beside the pages");
    assert!(ours.downtime <= Some(LIMIT) && qemus.downtime > Some(LIMIT), "{ours:?}, {qemus:?}");
}
