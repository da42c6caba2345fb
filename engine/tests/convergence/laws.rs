//! Whatever the rounds were, the decisions come to an end.

use std::time::Duration;

use pageferry_engine::migration::convergence::{
    Convergence, ConvergenceConfig, FixedCosts, Next, OnStall, RoundSeen, Throttle,
};
use proptest::prelude::*;

fn configs() -> impl Strategy<Value = ConvergenceConfig> {
    let throttle = (any::<u8>(), any::<u8>(), any::<u8>());
    let throttle =
        throttle.prop_map(|(initial, step, max)| OnStall::Throttle(Throttle { initial, step, max }));
    let force = (0u64..10_000).prop_map(|ms| OnStall::Force { downtime: Duration::from_millis(ms) });
    let on_stall = prop_oneof![throttle, force, Just(OnStall::GiveUp)];
    (0u64..1000, on_stall, prop::option::of(0u32..500)).prop_map(|(ms, on_stall, max_rounds)| {
        ConvergenceConfig { downtime_limit: Duration::from_millis(ms), on_stall, max_rounds }
    })
}

fn rounds() -> impl Strategy<Value = Vec<RoundSeen>> {
    let pages = || prop_oneof![Just(0), 0u64..1000, 0u64..1 << 24, any::<u64>()];
    let micros = || prop_oneof![Just(0), 0u64..1000, 0u64..10_000_000, any::<u64>()];
    let round = (pages(), pages(), any::<u64>(), micros(), pages(), micros());
    let round = round.prop_map(|(pages, zero_pages, wire_bytes, took, left_pages, over)| RoundSeen {
        pages,
        zero_pages,
        wire_bytes,
        took: Duration::from_micros(took),
        left_pages,
        dirtied_over: Duration::from_micros(over),
    });
    prop::collection::vec(round, 1..12)
}

/// So many rounds without a throttle and without progress by 1% may be: twice as many as without a new low, because the two
/// do not begin at the same height, and some more after a stall under `Force`.
const MOST: u32 = 2 * Convergence::PATIENCE + 16;

/// Runs through `rounds` over and over: the longest time without progress, and whether it ended.
fn longest_wait(config: ConvergenceConfig, fixed: FixedCosts, rounds: &[RoundSeen]) -> (u32, bool) {
    let mut convergence = Convergence::new(config);
    convergence.set_fixed_costs(fixed);
    let (mut lowest, mut waited, mut longest, mut throttle) = (Duration::MAX, 0, 0, 0);
    for seen in rounds.iter().cycle().take(20_000) {
        let next = convergence.after_round(seen);
        let estimate = convergence.estimate();
        let expected = estimate.expected_downtime.expect("a round was seen");
        let left = expected.saturating_sub(fixed.round).saturating_sub(fixed.switchover);
        let rates = [estimate.dirty_pages_per_s, estimate.sent_pages_per_s, estimate.wire_bytes_per_s];
        assert!(rates.iter().all(|rate| rate.is_finite() && *rate >= 0.0), "{estimate:?}");
        waited += 1;
        let bar = lowest.checked_sub(lowest / 100).unwrap_or_default();
        if left < bar {
            (lowest, waited) = (left, 0);
        }
        match next {
            Next::Round => {}
            Next::Throttle(percent) => {
                assert!(percent > throttle && percent <= 99, "{throttle}% to {percent}%");
                assert_eq!(convergence.throttle(), percent);
                (throttle, waited, lowest) = (percent, 0, Duration::MAX);
            }
            Next::SwitchOver { expected, forced } => {
                let OnStall::Force { downtime } = config.on_stall else {
                    assert!(!forced && expected <= config.downtime_limit, "{expected:?} for {config:?}");
                    return (longest, true);
                };
                let limit = if forced { downtime } else { config.downtime_limit };
                assert!(expected <= limit, "{expected:?} for {config:?}");
                return (longest, true);
            }
            Next::GiveUp(reason) => {
                assert!(!reason.to_string().is_empty());
                return (longest, true);
            }
        }
        longest = longest.max(waited);
    }
    (longest, false)
}

proptest! {
    #[test]
    fn rounds_go_on_only_while_they_make_progress(
        config in configs(), rounds in rounds(), round in 0u64..100, switchover in 0u64..2000,
    ) {
        let (round, switchover) = (Duration::from_millis(round), Duration::from_millis(switchover));
        let (longest, ended) = longest_wait(config, FixedCosts { round, switchover }, &rounds);
        prop_assert!(longest <= MOST, "{} rounds without progress", longest);
        prop_assert!(ended, "no end to it");
    }

    #[test]
    fn the_same_rounds_make_the_same_decisions(config in configs(), rounds in rounds()) {
        let decisions = || {
            let mut convergence = Convergence::new(config);
            rounds.iter().map(|seen| convergence.after_round(seen)).collect::<Vec<_>>()
        };
        prop_assert_eq!(decisions(), decisions());
    }
}
