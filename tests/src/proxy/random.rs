//! Plans by the dozen, for a matrix.

use std::time::Duration;

use super::plan::{Close, Cut, Direction, Lasting, Link, Plan, Reorder, Scope, Stall, Stream, What};
use crate::guest::Noise;

impl Plan {
    /// One or two faults in the first `bytes` of some of so many connections, sometimes over a slow link, always the same
    /// ones for a seed.
    ///
    /// Every size of offset is as likely as any other, so that the few bytes of a handshake are hit as often as the many
    /// of the pages. Whatever is planned comes to an end within a few seconds, or ends the connection; only a stall may
    /// last for ever.
    #[must_use]
    pub fn random(seed: u64, connections: usize, bytes: u64) -> Self {
        // One step away from the seed, neighbouring seeds would still look alike.
        let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
        noise.next_u64();
        let mut plan = Self { seed, link: link(&mut noise), ..Self::default() };
        for _ in 0..=noise.below(2) {
            let connection = index(&mut noise, connections);
            // The source talks more than it is answered.
            let direction = if noise.chance(70) { Direction::Up } else { Direction::Down };
            let offset = offset(&mut noise, bytes);
            plan = plan.with(
                connection,
                direction,
                offset,
                what(&mut noise, connections, Stream { connection, direction }, offset),
            );
        }
        plan
    }
}

fn link(noise: &mut Noise) -> Link {
    if !noise.chance(25) {
        return Link::default();
    }
    // 100 Mbit/s, 1 Gbit/s and 10 Gbit/s.
    let bytes_per_s = [12_500_000, 125_000_000, 1_250_000_000][index(noise, 3)];
    let mut latency = || Duration::from_micros([0, 100, 2_000][index(noise, 3)]);
    Link { bytes_per_s: Some(bytes_per_s), latency_up: latency(), latency_down: latency() }
}

fn what(noise: &mut Noise, connections: usize, stream: Stream, offset: u64) -> What {
    let bytes = 1 + self::offset(noise, 64 << 10);
    match noise.below(8) {
        0 => What::Cut(Cut {
            close: if noise.chance(50) { Close::Reset } else { Close::Orderly },
            scope: scope(noise),
            down: Lasting::For(Duration::from_millis([0, 50, 1_000][index(noise, 3)])),
        }),
        1 => What::Stall(Stall {
            direction: if noise.chance(50) { Some(stream.direction) } else { None },
            scope: scope(noise),
            lasting: if noise.chance(25) {
                Lasting::Ever
            } else {
                Lasting::For(Duration::from_millis(1 + noise.below(500)))
            },
        }),
        2 => What::Truncate,
        3 => What::Corrupt(vec![1 << noise.below(8)]),
        4 => What::Noise(1 + self::offset(noise, 1 << 20)),
        5 => What::Duplicate(bytes),
        6 => What::Drop(bytes),
        // A connection alone has nobody to be overtaken by: it waits the time out.
        _ => What::Reorder(Reorder {
            after: (stream.connection + 1) % connections.max(1),
            past: offset + bytes,
            within: Duration::from_millis(1 + noise.below(500)),
        }),
    }
}

fn scope(noise: &mut Noise) -> Scope {
    if noise.chance(50) { Scope::One } else { Scope::All }
}

/// Below `end`, of any number of digits alike.
fn offset(noise: &mut Noise, end: u64) -> u64 {
    let bits = u64::from(u64::BITS - end.leading_zeros());
    let within = 1 << noise.below(bits + 1).min(63);
    noise.below(within).min(end.saturating_sub(1))
}

fn index(noise: &mut Noise, end: usize) -> usize {
    let end = u64::try_from(end).unwrap_or(1).max(1);
    usize::try_from(noise.below(end)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::PlanError;

    #[test]
    fn every_random_plan_is_read_back_from_its_text() {
        for seed in 0..2_000 {
            let plan = Plan::random(seed, 4, 1 << 24);
            assert_eq!(plan.to_string().parse(), Ok(plan.clone()), "{plan}");
            assert_eq!(plan, Plan::random(seed, 4, 1 << 24));
        }
    }

    #[test]
    fn random_plans_have_every_fault_in_every_place() {
        let plans: Vec<Plan> = (0..500).map(|seed| Plan::random(seed, 4, 1 << 24)).collect();
        let faults = || plans.iter().flat_map(|plan| &plan.faults);
        for verb in ["cut", "stall", "truncate", "corrupt", "noise", "duplicate", "drop", "reorder"] {
            let count = faults().filter(|fault| fault.to_string().starts_with(verb)).count();
            assert!(count > 20, "{count} of {verb}");
        }
        for connection in 0..4 {
            let count = faults().filter(|fault| fault.stream.connection == connection).count();
            assert!(count > 50, "{count} on connection {connection}");
        }
        for bound in [64, 4096, 1 << 20, 1 << 24] {
            let count = faults().filter(|fault| fault.offset < bound).count();
            assert!(count > 50, "{count} before {bound}");
        }
        assert!(faults().all(|fault| fault.offset < 1 << 24));
    }

    #[test]
    fn a_plan_for_nothing_is_a_plan_all_the_same() {
        for seed in 0..100 {
            let plan = Plan::random(seed, 0, 0);
            assert!(
                plan.faults.iter().all(|fault| fault.offset == 0 && fault.stream.connection == 0),
                "{plan}"
            );
        }
    }

    #[test]
    fn a_text_that_is_no_plan_says_which_word_is_wrong() {
        let word = |word: &str| PlanError::Word(word.into());
        for (text, error) in [
            ("seed=x", word("x")),
            ("sed=1", word("sed=1")),
            ("cut c1 sideways @1", word("sideways")),
            ("cut x1 up @1", word("x1")),
            ("cut c1 up 1", word("1")),
            ("cut c1 up @1 softly", word("softly")),
            ("corrupt c1 up @1 xor=123", word("123")),
            ("corrupt c1 up @1 xor=", word("")),
            ("stall c1 up @1 for=1h", word("1h")),
            ("stall c1 up @1 for=s", word("")),
            ("link speed=1", word("speed=1")),
            ("duplicate c0 up @0 bytes=99999999999", PlanError::TooLong(99_999_999_999)),
            ("drop c0 up @0", PlanError::Missing { verb: "drop".into(), what: "bytes=NUMBER" }),
        ] {
            assert_eq!(text.parse::<Plan>(), Err(error), "{text}");
        }
        assert!(matches!("cut c1".parse::<Plan>(), Err(PlanError::Missing { .. })));
        assert_eq!("".parse(), Ok(Plan::clean()));
    }

    #[test]
    fn what_a_text_leaves_out_is_the_plainest() {
        let plan: Plan = "cut c1 up @9, stall c0 down @5".parse().unwrap();
        let stall = Stall { direction: Some(Direction::Down), scope: Scope::One, lasting: Lasting::Ever };
        let expected = Plan::clean().with(1, Direction::Up, 9, What::Cut(Cut::RESET)).with(
            0,
            Direction::Down,
            5,
            What::Stall(stall),
        );
        assert_eq!(plan, expected);
    }
}
