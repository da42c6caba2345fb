//! Commands: their errors, what they wait for, and what they leave behind.

use std::time::Duration;

use pageferry_bindings::idxd::command::{Command, CommandError as E, CommandNumber as C};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::registers::{self as at, DeviceState, GeneralStatus};
use pageferry_bindings::idxd::tables::{
    GroupConfiguration, QueueConfiguration, QueueControl, QueueLimits, QueueState,
};
use zerocopy::IntoBytes;

use super::{Rig, USUAL, dedicated, wait_for};
use crate::model::fault::{Fault, FaultPlan, When};
use crate::model::profile::Profile;
use crate::model::{Submission, Timing};

fn off(profile: Profile) -> Rig {
    Rig::off(profile, Timing::at_once(), FaultPlan::none())
}

fn state(rig: &Rig) -> DeviceState {
    GeneralStatus(u32::try_from(rig.read(at::GENSTATUS)).unwrap()).state()
}

/// A model whose first descriptor never completes.
fn stuck() -> Rig {
    let rig = Rig::new(Profile::spr_dsa(), Timing::at_once(), FaultPlan::one(When::At(0), Fault::Never));
    assert_eq!(rig.submit(0, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
    assert_eq!(rig.submit(1, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
    assert_eq!(rig.record(1).status, 1);
    rig
}

#[test]
fn a_device_is_enabled_only_with_a_configuration_that_holds() {
    type Case<'a> = (&'a str, &'a dyn Fn(&Rig), E);
    let group = |index: u64, queues: u64, engines: u64| {
        move |rig: &Rig| {
            let group =
                GroupConfiguration { queues: [queues, 0, 0, 0], engines, ..GroupConfiguration::default() };
            rig.write(rig.group_table() + 64 * index, group.as_bytes());
        }
    };
    let cases: [Case; 9] = [
        ("as it should be", &|_| (), E::NONE),
        ("queues too large", &|rig| rig.configure_queue(1, &dedicated(113)), E::QUEUE_SIZES),
        ("a queue in two groups", &group(1, 1, 0), E::GROUP_CONFIGURATION),
        ("a queue that is not there", &group(1, 1 << 8, 1), E::GROUP_CONFIGURATION),
        ("an engine in two groups", &group(1, 2, 1), E::GROUP_CONFIGURATION_2),
        ("an engine that is not there", &group(1, 2, 1 << 4), E::GROUP_CONFIGURATION_2),
        ("a group without engines", &group(0, 1, 0), E::GROUP_CONFIGURATION_3),
        ("a queue in no group", &|rig| rig.configure_queue(1, &dedicated(8)), E::GROUP_CONFIGURATION_4),
        ("nothing", &|rig| assert_eq!(rig.command(C::RESET_DEVICE, 0), E::NONE), E::CONFIGURATION),
    ];
    for (what, breaks, error) in cases {
        let rig = off(Profile::spr_dsa());
        rig.configure(&[dedicated(16)]);
        breaks(&rig);
        assert_eq!(rig.command(C::ENABLE_DEVICE, 0), error, "{what}");
        let expected = if error == E::NONE { DeviceState::Enabled } else { DeviceState::Disabled };
        assert_eq!(state(&rig), expected, "{what}");
    }
    assert_eq!(Rig::of(Profile::spr_dsa()).command(C::ENABLE_DEVICE, 0), E::DEVICE_ENABLED);
}

#[test]
fn a_queue_is_enabled_only_with_a_configuration_that_holds() {
    let good = dedicated(16);
    let control = |control| QueueConfiguration { control, ..good };
    let limits = |transfer, batch| QueueConfiguration { limits: QueueLimits::new(transfer, batch), ..good };
    let shared = (good.control - QueueControl::DEDICATED) | QueueControl::PASID_ENABLE;
    let cases = [
        ("as it should be", good, E::NONE, E::NONE),
        ("of no size", QueueConfiguration { size: 0, ..good }, E::QUEUE_SIZE, E::QUEUE_SIZE),
        ("of no priority", control(good.control.with_priority(0)), E::QUEUE_PRIORITY, E::QUEUE_PRIORITY),
        ("with a PASID", control(good.control | QueueControl::PASID_ENABLE), E::QUEUE_PASID, E::NONE),
        ("batches too large", limits(21, 11), E::QUEUE_MAX_BATCH, E::QUEUE_MAX_BATCH),
        ("transfers as they may be", limits(31, 10), E::NONE, E::NONE),
        ("shared without threshold", control(shared), E::QUEUE_SIZE, E::QUEUE_SIZE),
        ("shared", QueueConfiguration { threshold: 9, ..control(shared) }, E::QUEUE_PASID, E::NONE),
        (
            "threshold too high",
            QueueConfiguration { threshold: 17, ..control(shared) },
            E::QUEUE_SIZE,
            E::QUEUE_SIZE,
        ),
    ];
    for (what, queue, without_pasid, with_pasid) in cases {
        for (pasid, error) in [(false, without_pasid), (true, with_pasid)] {
            let rig = off(Profile { pasid, ..Profile::spr_dsa() });
            rig.configure(&[queue]);
            assert_eq!(rig.command(C::ENABLE_QUEUE, 0), E::DEVICE_OFF, "{what}");
            assert_eq!(rig.command(C::ENABLE_DEVICE, 0), E::NONE, "{what}");
            assert_eq!(rig.command(C::ENABLE_QUEUE, 8), E::BAD_QUEUE, "{what}");
            assert_eq!(rig.command(C::ENABLE_QUEUE, 0), error, "{what}, pasid {pasid}");
            let again = if error == E::NONE { E::QUEUE_ENABLED } else { error };
            assert_eq!(rig.command(C::ENABLE_QUEUE, 0), again, "{what} again");
        }
    }
    let rig = off(Profile::spr_iaa());
    rig.configure(&[dedicated(16)]);
    assert_eq!(rig.command(C::ENABLE_DEVICE, 0), E::NONE);
    assert_eq!(rig.command(C::ENABLE_QUEUE, 0), E::QUEUE_MAX_BATCH, "an IAA has no batches");
    let mut profile = Profile::spr_dsa();
    profile.quirks.priority_zero_refused = false;
    profile.general -= at::GeneralCapabilities::BLOCK_ON_FAULT;
    let rig = off(profile);
    rig.configure(&[control(QueueControl::DEDICATED), good]);
    assert_eq!(rig.command(C::ENABLE_DEVICE, 0), E::NONE);
    assert_eq!(rig.command(C::ENABLE_QUEUE, 0), E::NONE);
    assert_eq!(rig.command(C::ENABLE_QUEUE, 1), E::QUEUE_BLOCK_ON_FAULT);
}

#[test]
fn commands_for_what_is_not_there_say_so() {
    let rig = off(Profile::spr_dsa());
    for number in [C::DISABLE_DEVICE, C::DRAIN_ALL, C::ABORT_ALL] {
        assert_eq!(rig.command(number, 0), E::DEVICE_NOT_ENABLED, "{number:?}");
    }
    let of_queues = [C::DISABLE_QUEUE, C::DRAIN_QUEUE, C::ABORT_QUEUE, C::RESET_QUEUE];
    for number in of_queues {
        assert_eq!(rig.command(number, 1), E::QUEUE_NOT_ENABLED, "{number:?}");
    }
    for number in [C::REQUEST_INTERRUPT, C::RELEASE_INTERRUPT, C(0), C(15), C(31)] {
        assert_eq!(rig.command(number, 0), E::BAD_COMMAND, "{number:?}");
    }
    rig.enable(&[dedicated(16)]);
    for number in of_queues {
        for operand in [0, 1 << 8, Command::queue_mask(16), 0xf_0001] {
            assert_eq!(rig.command(number, operand), E::BAD_QUEUE, "{number:?} {operand:#x}");
        }
        let error = if number == C::RESET_QUEUE { E::NONE } else { E::QUEUE_NOT_ENABLED };
        assert_eq!(rig.command(number, 2), error, "{number:?} of a queue that is not enabled");
    }
    for number in of_queues {
        rig.enable(&[dedicated(16)]);
        assert_eq!(rig.command(number, 1), E::NONE, "{number:?}");
    }
}

#[test]
fn configuration_cannot_be_written_while_it_is_in_use() {
    let rig = Rig::of(Profile::spr_dsa());
    let (group, queue) = (rig.read(rig.group_table()), rig.read(rig.queue_table()));
    let control = rig.read(rig.queue_table() + 8);
    rig.write(rig.group_table(), &[0xff; 8]);
    rig.write(rig.queue_table(), &[0xff; 32]);
    assert_eq!(rig.read(rig.group_table()), group);
    assert_eq!((rig.read(rig.queue_table()), rig.read(rig.queue_table() + 8)), (queue, control));
    assert_eq!(rig.command(C::DISABLE_QUEUE, 1), E::NONE);
    rig.write(rig.queue_table(), &[0xff; 32]);
    assert_eq!(
        rig.read(rig.queue_table()),
        0xffff << 32 | 16,
        "the size is the device's, the threshold the queue's"
    );
    assert_eq!(rig.read(rig.queue_table() + 8), 0x1ff << 32 | 0x3fff_ffff);
    assert_eq!(rig.queue_status(0).state(), QueueState::Disabled, "the status is not written");
    assert_eq!(rig.command(C::RESET_QUEUE, 1), E::NONE);
    assert_eq!((rig.read(rig.queue_table()), rig.read(rig.queue_table() + 8)), (16, 0));
    assert_eq!(rig.command(C::DISABLE_DEVICE, 0), E::NONE);
    rig.write(rig.queue_table(), &7_u64.to_le_bytes());
    assert_eq!(rig.read(rig.queue_table()), 7);
    rig.model.reset().unwrap();
    assert_eq!((rig.read(rig.queue_table()), rig.read(rig.group_table())), (0, 0));
}

#[test]
fn registers_are_read_in_whole_words() {
    let rig = off(Profile::spr_dsa());
    for (offset, bytes) in
        [(0, 1), (0, 2), (2, 4), (4, 8), (0, 16), (0xffff, 4), (0x1_0000, 4), (u64::MAX - 3, 4)]
    {
        let mut word = vec![0; bytes];
        assert!(rig.model.read_register(offset, &mut word).is_err(), "{bytes} at {offset:#x}");
        assert!(rig.model.write_register(offset, &word).is_err(), "{bytes} at {offset:#x}");
    }
    let mut half = [0; 4];
    rig.model.read_register(at::GENCAP + 4, &mut half).unwrap();
    assert_eq!(u32::from_le_bytes(half), 0x40);
}

#[test]
fn a_drain_waits_for_what_never_completes_and_an_abort_does_not() {
    for (waits, operand) in
        [(C::DRAIN_QUEUE, 1), (C::DRAIN_ALL, 0), (C::DISABLE_QUEUE, 1), (C::DISABLE_DEVICE, 0)]
    {
        let rig = stuck();
        rig.start(waits, operand);
        // What was submitted behind it does complete, or is dropped.
        rig.submit(2, Descriptor::new(Opcode::NOOP, USUAL));
        let accepts = [C::DRAIN_QUEUE, C::DRAIN_ALL].contains(&waits);
        if accepts {
            assert_eq!(rig.record(2).status, 1, "{waits:?}");
        }
        assert!(rig.command_status().unwrap().is_active(), "{waits:?}");
        rig.start(C::ABORT_ALL, 0);
        assert!(rig.command_status().unwrap().is_active(), "a command behind {waits:?} is ignored");
        assert_eq!(rig.model.tally().commands_ignored, 1);
        rig.model.reset().unwrap();
        assert!(!rig.command_status().unwrap().is_active());
        assert_eq!((rig.status(0), state(&rig)), (0, DeviceState::Disabled));
    }
    for (number, operand) in
        [(C::ABORT_QUEUE, 1), (C::ABORT_ALL, 0), (C::RESET_QUEUE, 1), (C::RESET_DEVICE, 0)]
    {
        let rig = stuck();
        assert_eq!(rig.command(number, operand), E::NONE, "{number:?}");
        assert_eq!((rig.status(0), rig.queue_status(0).occupancy()), (0, 0), "{number:?}");
        let aborts = [C::ABORT_QUEUE, C::ABORT_ALL].contains(&number);
        let (queue, device) = match number {
            C::RESET_DEVICE => (QueueState::Disabled, DeviceState::Disabled),
            C::RESET_QUEUE => (QueueState::Disabled, DeviceState::Enabled),
            _ => (QueueState::Enabled, DeviceState::Enabled),
        };
        assert_eq!((rig.queue_status(0).state(), state(&rig)), (queue, device), "{number:?}");
        if aborts {
            assert_eq!(rig.submit(3, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
            assert_eq!(rig.record(3).status, 1);
        }
    }
}

#[test]
fn a_drain_waits_only_for_what_was_there_before_it() {
    let plan =
        FaultPlan::one(When::At(0), Fault::Late(Duration::from_millis(20))).and(When::At(1), Fault::Never);
    let rig = Rig::new(Profile::spr_dsa(), Timing::at_once(), plan);
    assert_eq!(rig.submit(0, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
    rig.start(C::DRAIN_QUEUE, 1);
    assert_eq!(rig.submit(1, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
    let ended = wait_for("the drain", || rig.command_status().filter(|status| !status.is_active()));
    assert_eq!((ended.error(), rig.status(0), rig.status(1)), (E::NONE, 1, 0));
}

#[test]
fn a_reset_may_have_to_wait_for_the_work() {
    let mut profile = Profile::spr_dsa();
    profile.quirks.reset_drains = true;
    let rig = Rig::new(profile, Timing::at_once(), FaultPlan::one(When::At(0), Fault::Never));
    assert_eq!(rig.submit(0, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
    rig.start(C::RESET_DEVICE, 0);
    rig.submit(1, Descriptor::new(Opcode::NOOP, USUAL));
    assert!(rig.command_status().unwrap().is_active());
    rig.model.reset().unwrap();
    assert!(!rig.command_status().unwrap().is_active());
}

#[test]
fn the_work_of_a_pasid_is_that_of_its_queues() {
    let rig = off(Profile { pasid: true, ..Profile::spr_dsa() });
    let of = |pasid| QueueConfiguration {
        control: dedicated(8).control.with_pasid(pasid) | QueueControl::PASID_ENABLE,
        ..dedicated(8)
    };
    rig.enable(&[of(5), of(6)]);
    assert_eq!(rig.command(C::DRAIN_PASID, 5), E::NONE);
    assert_eq!(rig.command(C::ABORT_PASID, 7), E::NONE);
}
