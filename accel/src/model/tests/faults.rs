//! What goes wrong on purpose, and queues that are full.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::time::Duration;

use pageferry_bindings::idxd::command::{CommandError, CommandNumber as C};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags as F;
use pageferry_bindings::idxd::instruction::Instruction;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::registers::{self as at, GeneralStatus, PORTAL_LIMITED, SoftwareErrorWord};
use pageferry_bindings::idxd::tables::{QueueConfiguration, QueueControl, QueueState};

use super::{Rig, USUAL, dedicated, descriptor, pattern, wait_for};
use crate::checksum::crc32c;
use crate::idxd::function::Function;
use crate::idxd::portal::{Portal, PortalRefusal};
use crate::model::fault::{Fault, FaultPlan, Misdeeds, When};
use crate::model::profile::Profile;
use crate::model::{Submission, Timing};
use crate::queue::Provenance;

fn rig(plan: FaultPlan) -> Rig {
    Rig::new(Profile::spr_dsa(), Timing::at_once(), plan)
}

fn noop() -> Descriptor {
    Descriptor::new(Opcode::NOOP, USUAL)
}

#[test]
fn a_dedicated_queue_that_is_full_drops_and_tells_only_the_error_register() {
    let rig = rig(FaultPlan::one(When::From(0), Fault::Never));
    for _ in 0..16 {
        assert_eq!(rig.submit(0, noop()), Submission::Taken);
    }
    assert_eq!(rig.queue_status(0).occupancy(), 16);
    assert_eq!(rig.submit(0, noop()), Submission::Dropped);
    let error = rig.software_error().what;
    assert!(error.contains(SoftwareErrorWord::VALID) && !error.contains(SoftwareErrorWord::OVERFLOW));
    assert_eq!(error.error(), rig.model.profile().quirks.full_error);
    assert_eq!(rig.submit(0, noop()), Submission::Dropped);
    assert!(rig.software_error().what.contains(SoftwareErrorWord::OVERFLOW));
    assert_eq!(rig.model.tally().dropped, 2);
    assert_eq!(rig.command(C::ABORT_QUEUE, 1), CommandError::NONE);
    assert_eq!(rig.submit(0, noop()), Submission::Taken);
}

#[test]
fn a_place_is_free_when_the_record_can_be_seen() {
    let mut rig = Rig::off(Profile::spr_dsa(), Timing::at_once(), FaultPlan::none());
    rig.enable(&[dedicated(1)]);
    for _ in 0..2000 {
        assert_eq!(rig.run(noop()).status, 1);
    }
    assert_eq!(rig.model.tally().dropped, 0);
}

#[test]
fn a_disabled_queue_and_one_that_is_not_there_take_nothing() {
    let rig = rig(FaultPlan::none());
    let mut offered = 0;
    for queue in [1_u64, 7, 8, 1000] {
        for (instruction, answer) in
            [(Instruction::Movdir64b, Submission::Dropped), (Instruction::Enqcmd, Submission::Retry)]
        {
            // SAFETY: nothing in it is an address.
            let submission = unsafe { rig.model.submit(queue * 0x4000, instruction, &noop()) };
            assert_eq!(submission, answer, "queue {queue}");
            offered += 1;
        }
    }
    assert_eq!(rig.model.tally().dropped, offered / 2);
    assert_eq!(rig.software_error().what.error(), rig.model.profile().quirks.disabled_error);
}

#[test]
fn a_shared_queue_takes_up_to_its_threshold_or_its_size_and_says_retry() {
    let profile = Profile { pasid: true, ..Profile::spr_dsa() };
    let rig = Rig::off(profile, Timing::at_once(), FaultPlan::one(When::From(0), Fault::Never));
    let control = (dedicated(8).control - QueueControl::DEDICATED) | QueueControl::PASID_ENABLE;
    rig.enable(&[QueueConfiguration { control, threshold: 3, ..dedicated(8) }]);
    let portal = |offset| rig.model.portal(offset, Instruction::Enqcmd).unwrap();
    // SAFETY: nothing in it is an address.
    let submit = |offset| unsafe { portal(offset).submit(&noop()) };
    for offset in [0, 64, 0xfc0] {
        assert_eq!(submit(PORTAL_LIMITED + offset), Ok(()));
    }
    assert_eq!(submit(PORTAL_LIMITED), Err(PortalRefusal::Retry));
    for _ in 3..8 {
        assert_eq!(submit(0), Ok(()));
    }
    assert_eq!(submit(0), Err(PortalRefusal::Retry));
    assert_eq!(rig.submit(0, noop()), Submission::Dropped, "MOVDIR64B is for dedicated queues");
    assert_eq!(rig.model.tally().dropped, 1);
    assert!(rig.model.portal(0x2_0000, Instruction::Enqcmd).is_err());
    assert!(rig.model.portal(8, Instruction::Enqcmd).is_err());
}

#[test]
fn what_is_not_confirmed_about_instructions_can_be_switched() {
    for lenient in [false, true] {
        let mut profile = Profile { pasid: true, ..Profile::spr_dsa() };
        profile.quirks.enqcmd_to_dedicated = lenient;
        profile.quirks.movdir64b_to_shared = lenient;
        let rig = Rig::off(profile, Timing::at_once(), FaultPlan::none());
        let control = (dedicated(8).control - QueueControl::DEDICATED) | QueueControl::PASID_ENABLE;
        rig.enable(&[QueueConfiguration { control, threshold: 3, ..dedicated(8) }, dedicated(8)]);
        // SAFETY: nothing in it is an address.
        let submit = |offset, instruction| unsafe { rig.model.submit(offset, instruction, &noop()) };
        let (movdir64b, enqcmd) = if lenient {
            (Submission::Taken, Submission::Taken)
        } else {
            (Submission::Dropped, Submission::Retry)
        };
        assert_eq!(submit(0, Instruction::Movdir64b), movdir64b);
        assert_eq!(submit(0x4000, Instruction::Enqcmd), enqcmd);
    }
}

#[test]
fn privilege_is_not_for_shared_queues() {
    let profile = Profile { pasid: true, ..Profile::spr_dsa() };
    let rig = Rig::off(profile, Timing::at_once(), FaultPlan::none());
    let control = (dedicated(8).control - QueueControl::DEDICATED) | QueueControl::PASID_ENABLE;
    rig.enable(&[QueueConfiguration { control, threshold: 3, ..dedicated(8) }]);
    let completion_address = rig.record_address(0);
    let privileged = Descriptor { pasid_and_privilege: 1 << 31, completion_address, ..noop() };
    // SAFETY: the record is the rig's.
    let submission = unsafe { rig.model.submit(0, Instruction::Enqcmd, &privileged) };
    assert_eq!((submission, rig.record(0).status), (Submission::Taken, 0x1d));
}

#[test]
fn refusals_are_silent_for_dedicated_queues() {
    let rig = rig(FaultPlan::one(When::At(1), Fault::Refuse));
    assert_eq!(rig.submit(0, noop()), Submission::Taken);
    let portal = rig.model.function().portal(0).unwrap();
    // SAFETY: nothing in it is an address.
    assert_eq!(unsafe { portal.submit(&noop()) }, Ok(()), "who asked is told nothing");
    assert_eq!(rig.submit(2, noop()), Submission::Taken);
    rig.record(0);
    rig.record(2);
    assert_eq!(rig.model.misdeeds(), Misdeeds { refused: 1, ..Misdeeds::default() });
    assert_eq!((rig.model.tally().dropped, rig.model.tally().descriptors), (0, 2));
}

#[test]
fn records_lie_as_planned_and_no_more() {
    let plan = FaultPlan::one(When::From(0), Fault::WrongCount)
        .and(When::From(0), Fault::WrongResult)
        .and(When::From(0), Fault::WrongChecksum);
    let mut rig = rig(plan);
    let mut memory = rig.block(4096);
    pattern(2, &mut memory);
    let at = memory.address().0;
    let crc = rig.run(descriptor(Opcode::CRC_GENERATION, at, 0, 4096));
    assert_eq!((crc.value, crc.bytes_completed), (crc32c(&memory) ^ 1, 4097));
    let equal = rig.run(descriptor(Opcode::COMPARE, at, at, 4096));
    assert_eq!((equal.result, equal.bytes_completed), (1, 1));
    let expected = Misdeeds { wrong_counts: 2, wrong_results: 1, wrong_checksums: 1, ..Misdeeds::default() };
    assert_eq!(rig.model.misdeeds(), expected);
    assert_eq!(rig.run(descriptor(Opcode::FILL, 0, at, 0)).bytes_completed, 0, "an error is not made worse");
    assert_eq!(rig.model.misdeeds(), expected);
}

#[test]
fn a_hardware_error_touches_nothing() {
    let mut rig = rig(FaultPlan::one(When::At(0), Fault::HardwareError));
    let memory = rig.block(4096);
    assert_eq!(rig.run(descriptor(Opcode::FILL, u64::MAX, memory.address().0, 4096)).status, 0x20);
    assert!(memory.iter().all(|&byte| byte == 0));
    assert_eq!(rig.model.misdeeds().total(), 1);
}

#[test]
fn who_blocks_on_faults_is_not_told_of_them() {
    let fault = Fault::PageFault { operand: None, byte: None };
    let mut rig = rig(FaultPlan::one(When::From(0), fault));
    let memory = rig.block(8192);
    let mut job = descriptor(Opcode::FILL, u64::MAX, memory.address().0, 8192);
    let answer = rig.run(job);
    assert_eq!(answer.status, 0x83);
    assert!((memory.address().0..memory.address().0 + 8192).contains(&answer.fault_address));
    job.flags_and_opcode |= F::BLOCK_ON_FAULT.bits();
    assert_eq!(rig.run(job).status, 1);
    assert!(memory.iter().all(|&byte| byte == 0xff));
    let expected = Misdeeds { page_faults: 1, page_faults_awaited: 1, ..Misdeeds::default() };
    assert_eq!(rig.model.misdeeds(), expected);
}

#[test]
fn who_is_late_is_overtaken_and_a_drain_waits_for_it() {
    let rig = rig(FaultPlan::one(When::At(0), Fault::Late(Duration::from_millis(30))));
    let memory = rig.block(4096);
    assert_eq!(rig.submit(0, descriptor(Opcode::FILL, 1, memory.address().0, 8)), Submission::Taken);
    assert_eq!(rig.submit(1, Descriptor::new(Opcode::DRAIN, USUAL)), Submission::Taken);
    assert_eq!(rig.record(1).status, 1);
    assert_eq!((rig.status(0), memory[0]), (1, 1), "drained means done");
    assert_eq!(rig.model.misdeeds().late, 1);
}

#[test]
fn a_reset_under_load_drops_everything() {
    let rig = rig(FaultPlan::one(When::At(0), Fault::Never).and(When::At(1), Fault::Reset));
    rig.submit(0, noop());
    rig.submit(1, noop());
    wait_for("the reset", || (rig.model.misdeeds().resets == 1).then_some(()));
    let state = wait_for("the queue to be off", || Some(rig.queue_status(0)));
    assert_eq!((state.state(), state.occupancy()), (QueueState::Disabled, 0));
    assert_eq!((rig.status(0), rig.status(1)), (0, 0));
    assert_eq!(GeneralStatus(u32::try_from(rig.read(at::GENSTATUS)).unwrap()).0, 0);
    assert_eq!(rig.submit(2, noop()), Submission::Dropped);
    rig.enable(&[dedicated(16)]);
    assert_eq!(rig.submit(3, noop()), Submission::Taken);
    assert_eq!(rig.record(3).status, 1, "it works again when it was set up again");
}

#[test]
fn a_device_that_is_gone_reads_as_ones_and_takes_nothing() {
    let rig = rig(FaultPlan::one(When::At(0), Fault::Gone));
    rig.submit(0, noop());
    wait_for("the device to go", || (rig.read(at::VERSION) == u64::MAX).then_some(()));
    rig.write(at::CMD, &[0; 4]);
    assert_eq!(rig.submit(1, noop()), Submission::Dropped);
    // SAFETY: nothing in it is an address.
    assert_eq!(unsafe { rig.model.submit(0, Instruction::Enqcmd, &noop()) }, Submission::Retry);
    assert_eq!(rig.model.reset().unwrap_err().kind(), ErrorKind::NotConnected);
    assert_eq!(rig.read(at::GENSTATUS), u64::MAX);
    assert_eq!((rig.status(0), rig.model.misdeeds().gone), (0, 1));
}

#[test]
fn nothing_is_touched_once_a_reset_has_returned() {
    for _ in 0..40 {
        let rig = rig(FaultPlan::none());
        let mut memory = rig.block(1 << 17);
        for index in 0..8 {
            rig.submit(index, descriptor(Opcode::FILL, u64::MAX, memory.address().0, 1 << 17));
        }
        rig.model.reset().unwrap();
        memory.fill(0);
        let before: Vec<_> = (0..8).map(|index| rig.status(index)).collect();
        std::thread::yield_now();
        assert!(memory.iter().all(|&byte| byte == 0));
        assert_eq!((0..8).map(|index| rig.status(index)).collect::<Vec<_>>(), before);
    }
}

#[test]
fn interrupts_are_raised_for_those_who_ask() {
    let rig = rig(FaultPlan::none());
    let function = rig.model.function();
    let event = function.interrupt(3).unwrap();
    assert!(function.interrupt(9).is_err(), "there are nine vectors");
    let mut asking = noop();
    asking.flags_and_opcode |= F::REQUEST_INTERRUPT.bits();
    asking.interrupt_handle = 3;
    for index in 0..5 {
        rig.submit(index, asking);
        rig.record(index);
    }
    rig.submit(5, noop());
    rig.record(5);
    let rung = wait_for("the interrupts", || {
        let mut count = [0; 8];
        // SAFETY: eight bytes of ours are written.
        let read = unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
        (read == 8).then(|| u64::from_ne_bytes(count))
    });
    assert!((1..=5).contains(&rung), "{rung} interrupts of 5 descriptors until now");
}

#[test]
fn a_model_never_passes_for_hardware() {
    let function = rig(FaultPlan::none()).model.function();
    assert_eq!(function.provenance(), Provenance::Model);
    assert!(function.name().contains("model"));
    assert_eq!((function.id(), function.bar_bytes()), ((0x8086, 0x0b25), (0x1_0000, 0x2_0000)));
    for profile in [Profile::dsa_full(), Profile::spr_iaa()] {
        assert!(profile.name.contains("model"));
    }
}
