//! Frames that are right, at the wrong time.

use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};
use pageferry_engine::frame::{FrameId, Kind};
use pageferry_engine::receiver::ReceiveError;
use pageferry_tests::hostile::{Frame, finish, round_end};

use crate::attack::{Attack, sample};

/// Page 2 with the bytes that an attack may leave there.
fn page_2(sequence: u64, count: u32) -> Frame {
    Frame::raw(sequence, Run::data(PageIndex(2), PageCount(count)), 0x11)
}

#[test]
fn a_page_that_comes_twice_in_a_round_is_refused() {
    Attack::with(page_2(1, 3).bytes()).run("a page twice", |error| {
        let expected = (FrameId { round: 0, sequence: 1 }, PageIndex(2), PageIndex(4));
        matches!(error, ReceiveError::Twice { frame, first, last } if (*frame, *first, *last) == expected)
            && error.to_string().contains("frame 1 of round 0")
    });
    let channels = vec![page_2(0, 1).bytes(), page_2(1, 1).bytes()];
    Attack::on(channels)
        .run("a page on two connections", |error| matches!(error, ReceiveError::Twice { .. }));
}

#[test]
fn a_frame_of_another_round_is_refused() {
    for round in [1, 2, u32::MAX] {
        let mut frame = sample();
        frame.head.round = round;
        let of_round = |error: &ReceiveError| matches!(error, ReceiveError::WrongRound { frame, current: 0 } if frame.round == round);
        Attack::with(frame.bytes()).run(&format!("round {round}"), of_round);
        Attack::with(round_end(round, 1)).run(&format!("the end of round {round}"), of_round);
        Attack::with(finish(round, 1)).run(&format!("a finish in round {round}"), of_round);
    }
    let second_time = [round_end(0, 1), round_end(0, 1)].concat();
    Attack::with(second_time).run(
        "the end of round 0 again",
        |error| matches!(error, ReceiveError::WrongRound { frame, current: 1 } if frame.round == 0),
    );
}

#[test]
fn a_lost_frame_and_one_too_many_are_noticed_at_the_end_of_the_round() {
    for sent in [0, 2, u64::MAX] {
        let lost = |error: &ReceiveError| matches!(error, ReceiveError::Lost { round: 0, received: 1, sent: stated } if *stated == sent);
        Attack::with(round_end(0, sent)).run(&format!("{sent} frames"), lost);
    }
    let later = [round_end(0, 1), finish(1, 2)].concat();
    Attack::with(later).run("a frame that nobody sent", |error| {
        matches!(error, ReceiveError::Lost { round: 1, received: 1, sent: 2 })
    });
}

#[test]
fn a_finish_in_the_middle_of_a_round_confirms_nothing() {
    Attack::with(finish(0, 1)).run("a finish in mid round", |error| {
        let expected = FrameId { round: 0, sequence: 1 };
        matches!(error, ReceiveError::Unconfirmed { frame, frames: 1 } if *frame == expected)
    });
}

#[test]
fn connections_that_end_a_round_each_in_its_own_way_are_not_waited_for() {
    let good = page_2(0, 1).bytes();
    for (name, one, other) in [
        ("an end and a finish", round_end(0, 1), finish(0, 1)),
        ("two numbers", round_end(0, 1), round_end(0, 2)),
        ("two numbers of a finish", finish(0, 0), finish(0, 1)),
    ] {
        let channels = vec![[&*good, &*one].concat(), other];
        Attack::on(channels).run(name, |error| {
            let ReceiveError::EndsApart { frame, kind, .. } = error else { return false };
            frame.round == 0 && matches!(kind, Kind::RoundEnd | Kind::Finish)
        });
    }
}

#[test]
fn a_source_that_goes_away_without_a_finish_has_failed() {
    Attack::cut_off(Vec::new())
        .run("no more frames", |error| matches!(error, ReceiveError::Io { channel: 0, .. }));
    Attack::cut_off(round_end(0, 1))
        .run("no more rounds", |error| matches!(error, ReceiveError::Io { channel: 0, .. }));
    let one_of_two = Attack { channels: vec![page_2(0, 1).bytes(), Vec::new()], hangs_up: true };
    one_of_two.run("two connections", |error| matches!(error, ReceiveError::Io { .. }));
}
