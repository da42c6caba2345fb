//! What is decided for every kind of guest.

use std::time::Duration;

use pageferry_engine::migration::convergence::{
    Convergence, ConvergenceConfig, FixedCosts, Next, OnStall, Reason, RoundSeen, Throttle,
};

use crate::simulation::{Guest, Link, Outcome, migrate};

const LIMIT: Duration = Duration::from_millis(300);

fn run(guest: &Guest, link: &Link, on_stall: OnStall) -> Outcome {
    let mut convergence = Convergence::new(ConvergenceConfig { on_stall, ..ConvergenceConfig::default() });
    convergence.set_fixed_costs(link.fixed);
    migrate(guest, link, &mut convergence)
}

/// Migrates with a throttle at hand, and holds the guest's downtime against the limit and what was predicted.
fn migrated(name: &str, guest: &Guest, link: &Link) -> Outcome {
    let outcome = run(guest, link, OnStall::default());
    let Next::SwitchOver { expected, forced: false } = outcome.end else { panic!("{name}: {outcome:?}") };
    let downtime = outcome.downtime.expect("it was switched over");
    assert!(expected <= LIMIT, "{name}: {outcome:?}");
    let error = downtime.abs_diff(expected);
    assert!(error <= downtime / 10, "{name}: expected {expected:?}, was {downtime:?}");
    outcome
}

#[test]
fn a_guest_that_gains_nothing_on_the_link_is_never_throttled() {
    let of = |share: f64| Guest::idle().writing(move |_| share * 1e5);
    for (name, guest, most_rounds) in [
        ("idle", Guest::idle(), 1),
        ("at a tenth of the link", of(0.1), 2),
        ("at half", of(0.5), 6),
        ("at nine tenths", of(0.9), 35),
        ("barely below", of(0.97), 130),
        ("small hot set", Guest::idle().with_hot_set(20_000, |_| 1e7), 2),
    ] {
        let outcome = migrated(name, &guest, &Link::plain());
        assert_eq!(outcome.throttles, [0; 0], "{name}");
        assert!(outcome.rounds <= most_rounds, "{name}: {} rounds", outcome.rounds);
    }
}

#[test]
fn a_spike_of_writing_is_not_taken_for_a_stall_whenever_it_comes() {
    for second in 1..40 {
        let begin = f64::from(second);
        let spike = move |now: f64| if (begin..begin + 1.0).contains(&now) { 8e5 } else { 6e4 };
        let outcome = migrated("spike", &Guest::idle().writing(spike), &Link::plain());
        assert_eq!(outcome.throttles, [0; 0], "a spike in second {second}");
    }
}

#[test]
fn a_guest_that_calms_down_is_waited_for() {
    for calms_in in [20.0, 60.0] {
        let decaying = move |now: f64| 9.9e4 * (-now / calms_in).exp() + 1e3;
        let outcome = migrated("decaying", &Guest::idle().writing(decaying), &Link::plain());
        assert_eq!(outcome.throttles, [0; 0], "calms in {calms_in} s");
    }
}

#[test]
fn a_guest_above_the_link_is_throttled_as_far_as_it_needs_and_no_further() {
    // It is to write three quarters of what is sent. How fast it is beyond the link shows in its unthrottled rounds only as far
    // as these do not make all of its memory dirty, so that the faster ones take several steps.
    for (factor, throttled, steps) in
        [(1.0, 20..=30, 1), (1.5, 40..=55, 2), (2.0, 50..=65, 3), (4.0, 75..=85, 5)]
    {
        let guest = Guest::idle().writing(move |_| factor * 1e5);
        let outcome = migrated("above", &guest, &Link::plain());
        assert!(throttled.contains(&outcome.throttle()), "{factor} times the link: {:?}", outcome.throttles);
        assert!(outcome.throttles.len() <= steps, "{factor} times the link: {:?}", outcome.throttles);
    }
}

#[test]
fn a_hot_set_above_the_limit_is_throttled_until_it_fits() {
    let guest = Guest::idle().with_hot_set(100_000, |_| 2e5);
    let outcome = migrated("hot", &guest, &Link::plain());
    assert!((20..=90).contains(&outcome.throttle()), "{outcome:?}");
    assert!(outcome.throttles.is_sorted(), "{outcome:?}");
}

#[test]
fn a_device_that_no_throttle_slows_is_given_up_at_the_last_one() {
    let guest = Guest::idle().with_device(|_| 1.5e5);
    let outcome = run(&guest, &Link::plain(), OnStall::default());
    let Next::GiveUp(reason @ Reason::ThrottledInVain { percent: 99, .. }) = outcome.end else {
        panic!("{outcome:?}");
    };
    assert!(outcome.throttles.is_sorted() && outcome.rounds < 60, "{outcome:?}");
    assert!(reason.to_string().contains("by 99%"), "{reason}");
    let gentle = Throttle { initial: 5, step: 5, max: 30 };
    let outcome = run(&guest, &Link::plain(), OnStall::Throttle(gentle));
    assert!(matches!(outcome.end, Next::GiveUp(Reason::ThrottledInVain { percent: 30, .. })), "{outcome:?}");
}

#[test]
fn a_guest_that_goes_up_and_down_is_seen() {
    for period in [3.0, 10.0, 30.0, 100.0, 300.0] {
        let waves = move |now: f64| if (now / period).fract() < 0.5 { 3e5 } else { 5e4 };
        let outcome = run(&Guest::idle().with_hot_set(1 << 20, waves), &Link::plain(), OnStall::GiveUp);
        // A calm half that is long enough is a chance to get away; the shorter ones are none.
        let seen = matches!(outcome.end, Next::GiveUp(Reason::Stalled { .. }));
        assert!(seen || (period >= 100.0 && outcome.switched_over()), "every {period} s: {outcome:?}");
        assert!(outcome.rounds < 50, "every {period} s: {outcome:?}");
    }
}

#[test]
fn a_stall_is_forced_within_the_downtime_that_was_asked_for() {
    let guest = Guest::idle().with_hot_set(100_000, |_| 1e7);
    let outcome = run(&guest, &Link::plain(), OnStall::Force { downtime: Duration::from_millis(1100) });
    let Next::SwitchOver { expected, forced: true } = outcome.end else { panic!("{outcome:?}") };
    assert!(expected.abs_diff(Duration::from_secs(1)) < Duration::from_millis(20), "{expected:?}");
    let outcome = run(&guest, &Link::plain(), OnStall::Force { downtime: Duration::from_millis(900) });
    let Next::GiveUp(reason @ Reason::ForcedTooShort { .. }) = outcome.end else { panic!("{outcome:?}") };
    let text = reason.to_string();
    assert!(text.contains("for 1s") && text.contains("900ms"), "{text}");
    assert!(outcome.rounds < 25, "{outcome:?}");
}

#[test]
fn a_guest_that_goes_up_and_down_is_forced_when_it_is_down() {
    let waves = |now: f64| if (now / 3.0).fract() < 0.5 { 2e5 } else { 4e4 };
    let guest = Guest::idle().with_hot_set(60_000, waves);
    let outcome = run(&guest, &Link::plain(), OnStall::Force { downtime: Duration::from_millis(400) });
    assert!(matches!(outcome.end, Next::SwitchOver { .. }), "{outcome:?}");
    assert!(outcome.downtime.is_some_and(|downtime| downtime < Duration::from_millis(440)), "{outcome:?}");
}

#[test]
fn the_downtime_is_predicted_where_the_pace_changes_and_pages_are_not_all() {
    let fixed = FixedCosts { round: Duration::from_millis(15), switchover: Duration::from_millis(60) };
    let plain = Link { fixed, noise: 0.05, ..Link::plain() };
    let mostly_zero = Guest::idle().with_zero_pages(900_000);
    for (name, guest, link) in [
        ("noise", Guest::idle().writing(|_| 5e4), plain),
        ("delta is faster", Guest::idle().writing(|_| 1e5), Link { pages_per_s: (1e5, 4e5), ..plain }),
        ("incompressible", Guest::idle().writing(|_| 3e4), Link { pages_per_s: (4e5, 1e5), ..plain }),
        ("zero", mostly_zero.writing(|_| 6e4), plain),
    ] {
        let outcome = migrated(name, &guest, &link);
        assert_eq!(outcome.throttles, [0; 0], "{name}");
    }
}

#[test]
fn a_switchover_too_slow_by_itself_is_not_blamed_on_the_guest() {
    let fixed = FixedCosts { round: Duration::from_millis(1), switchover: Duration::from_millis(400) };
    let guest = Guest::idle().with_hot_set(100_000, |_| 1e7);
    let outcome = run(&guest, &Link { fixed, ..Link::plain() }, OnStall::default());
    assert_eq!(outcome.throttles, [0; 0]);
    let Next::GiveUp(reason @ Reason::FixedCosts { .. }) = outcome.end else { panic!("{outcome:?}") };
    assert!(reason.to_string().contains("401ms"), "{reason}");
}

#[test]
fn no_more_rounds_are_made_than_there_may_be() {
    let guest = Guest::idle().writing(|_| 9e4);
    let limited = |on_stall| {
        let config = ConvergenceConfig { max_rounds: Some(10), on_stall, ..ConvergenceConfig::default() };
        migrate(&guest, &Link::plain(), &mut Convergence::new(config))
    };
    let outcome = limited(OnStall::default());
    assert!(matches!(outcome.end, Next::GiveUp(Reason::Rounds { rounds: 10, .. })), "{outcome:?}");
    let outcome = limited(OnStall::Force { downtime: Duration::from_secs(5) });
    assert_eq!((outcome.rounds, outcome.switched_over()), (10, true), "{outcome:?}");
}

#[test]
fn nothing_to_send_and_no_time_at_all_are_a_reason_to_switch_over() {
    let mut convergence = Convergence::new(ConvergenceConfig::default());
    assert_eq!(convergence.estimate().expected_downtime, None);
    let expected = Duration::ZERO;
    assert_eq!(convergence.after_round(&RoundSeen::default()), Next::SwitchOver { expected, forced: false });
    let zeros =
        RoundSeen { pages: 1 << 20, zero_pages: 1 << 20, left_pages: 1 << 20, ..RoundSeen::default() };
    let mut convergence = Convergence::new(ConvergenceConfig::default());
    assert_eq!(convergence.after_round(&zeros), Next::Round, "the pace of pages is not known yet");
}

#[test]
fn a_switchover_that_was_taken_back_can_be_tried_again() {
    let mut convergence = Convergence::new(ConvergenceConfig::default());
    let took = Duration::from_secs(1);
    let calm =
        RoundSeen { pages: 100_000, took, left_pages: 3000, dirtied_over: took, ..RoundSeen::default() };
    assert!(matches!(convergence.after_round(&calm), Next::SwitchOver { .. }));
    convergence.after_switchover_aborted();
    let busy = RoundSeen { pages: 10_000, took: took / 10, left_pages: 60_000, ..calm };
    assert_eq!(convergence.after_round(&busy), Next::Round);
    assert!(matches!(convergence.after_round(&calm), Next::SwitchOver { .. }));
}
