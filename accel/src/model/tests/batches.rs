//! Batches: lists, fences, members that fail.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags as F;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::registers::SoftwareErrorWord;
use zerocopy::IntoBytes;

use super::{Rig, USUAL, descriptor, wait_for};
use crate::dma::Block;
use crate::model::Timing;
use crate::model::fault::{Fault, FaultPlan, When};
use crate::model::profile::Profile;

/// A batch of these, whose records follow its own.
fn batch(rig: &mut Rig, list: &mut Block, members: &[Descriptor]) -> DsaCompletion {
    for (index, &member) in members.iter().enumerate() {
        let member = Descriptor { completion_address: rig.record_address(index + 1), ..member };
        list[index * 64..][..64].copy_from_slice(member.as_bytes());
    }
    rig.records.fill(0);
    rig.run(descriptor(Opcode::BATCH, list.address().0, 0, members.len()))
}

fn statuses(rig: &Rig, members: usize) -> Vec<u8> {
    (1..=members).map(|index| rig.status(index)).collect()
}

fn noop(flags: F) -> Descriptor {
    Descriptor::new(Opcode::NOOP, flags | USUAL)
}

const BAD: Opcode = Opcode::CACHE_FLUSH;

fn bad() -> Descriptor {
    Descriptor::new(BAD, USUAL)
}

#[test]
fn members_are_carried_out_and_have_their_own_records() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let (mut list, memory) = (rig.block(4096), rig.block(4096));
    let fills: Vec<_> =
        (0..32).map(|index| descriptor(Opcode::FILL, index, memory.address().0 + 8 * index, 8)).collect();
    let answer = batch(&mut rig, &mut list, &fills);
    assert_eq!((answer.status, answer.bytes_completed), (1, 32));
    assert_eq!(statuses(&rig, 32), [1; 32]);
    for (index, word) in (0_u64..32).zip(memory.as_chunks::<8>().0) {
        assert_eq!(*word, index.to_le_bytes());
    }
    assert_eq!(rig.model.tally().descriptors, 33);
}

#[test]
fn a_list_is_aligned_and_of_two_to_as_many_as_the_queue_takes() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let mut list = rig.block(8192);
    for index in 0..64 {
        list[index * 64..][..64].copy_from_slice(Descriptor::new(Opcode::NOOP, F::empty()).as_bytes());
    }
    let at = list.address().0;
    for (count, status) in [(0, 0x14), (1, 0x14), (2, 1), (32, 1), (33, 0x14), (usize::from(u16::MAX), 0x14)]
    {
        assert_eq!(rig.run(descriptor(Opcode::BATCH, at, 0, count)).status, status, "{count} members");
    }
    for offset in [8, 32, 63] {
        assert_eq!(rig.run(descriptor(Opcode::BATCH, at + offset, 0, 2)).status, 0x18, "at {offset}");
    }
    for flag in [F::FENCE, F::BLOCK_ON_FAULT, F::CHECK_RESULT, F::TRAFFIC_CLASS_2] {
        let mut job = descriptor(Opcode::BATCH, at, 0, 2);
        job.flags_and_opcode |= flag.bits();
        let answer = rig.run(job);
        assert_eq!((answer.status, answer.value), (0x11, flag.bits()));
    }
}

#[test]
fn a_member_that_fails_stops_a_batch_at_the_next_fence() {
    for (stops, without_fence, done) in [(false, vec![1, 0x10, 1, 1], 4), (true, vec![1, 0x10, 0, 0], 1)] {
        let mut profile = Profile::spr_dsa();
        profile.quirks.batch_stops_at_failure = stops;
        let mut rig = Rig::of(profile);
        let mut list = rig.block(4096);
        let (plain, fence) = (noop(F::empty()), noop(F::FENCE));
        let answer = batch(&mut rig, &mut list, &[plain, bad(), plain, plain]);
        assert_eq!((answer.status, answer.bytes_completed), (5, done));
        assert_eq!(statuses(&rig, 4), without_fence);
        let answer = batch(&mut rig, &mut list, &[plain, fence, plain, plain]);
        assert_eq!((answer.status, answer.bytes_completed), (1, 4), "nothing failed before the fence");
        if !stops {
            let answer = batch(&mut rig, &mut list, &[bad(), plain, fence, plain]);
            assert_eq!((answer.status, answer.bytes_completed), (5, 2));
            assert_eq!(statuses(&rig, 4), [0x10, 1, 0, 0]);
        }
    }
}

#[test]
fn a_false_predicate_fails_a_batch() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let (mut list, mut memory) = (rig.block(4096), rig.block(4096));
    memory[100] = 1;
    let mut zero = descriptor(Opcode::COMPARE_PATTERN, memory.address().0, 0, 4096);
    zero.flags_and_opcode |= F::CHECK_RESULT.bits();
    let answer = batch(&mut rig, &mut list, &[zero, noop(F::FENCE)]);
    assert_eq!((answer.status, answer.bytes_completed), (5, 1));
    assert_eq!(statuses(&rig, 2), [2, 0]);
}

#[test]
fn batches_and_drains_are_no_members() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let mut list = rig.block(4096);
    let inner = descriptor(Opcode::BATCH, list.address().0, 0, 2);
    let drain = Descriptor::new(Opcode::DRAIN, USUAL);
    let answer = batch(&mut rig, &mut list, &[inner, drain, noop(F::empty())]);
    assert_eq!((answer.status, answer.bytes_completed), (5, 3));
    assert_eq!(statuses(&rig, 3), [0x10, 0x10, 1]);
}

#[test]
fn a_fault_of_the_list_says_how_far_it_came() {
    let fault = Fault::PageFault { operand: Some(0), byte: Some(128) };
    let mut rig = Rig::new(Profile::spr_dsa(), Timing::at_once(), FaultPlan::one(When::At(0), fault));
    let mut list = rig.block(4096);
    let answer = batch(&mut rig, &mut list, &[noop(F::empty()); 4]);
    assert_eq!((answer.status, answer.bytes_completed), (6, 2));
    assert_eq!(answer.fault_address, list.address().0 + 128);
    assert_eq!(statuses(&rig, 4), [1, 1, 0, 0]);
    assert_eq!(rig.model.misdeeds().page_faults, 1);
    // Gone on from there.
    assert_eq!(rig.run(descriptor(Opcode::BATCH, list.address().0 + 128, 0, 2)).status, 1);
    assert_eq!(statuses(&rig, 4), [1; 4]);
}

#[test]
fn members_have_numbers_of_their_own() {
    let plan = FaultPlan::one(When::At(3), Fault::HardwareError).and(When::At(33), Fault::HardwareError);
    let mut rig = Rig::new(Profile::spr_dsa(), Timing::at_once(), plan);
    let mut list = rig.block(4096);
    batch(&mut rig, &mut list, &[noop(F::empty()); 32]);
    assert_eq!(statuses(&rig, 4), [1, 1, 0x20, 1], "0 is the batch");
    assert_eq!(rig.run(noop(F::empty())).status, 0x20, "33 is what follows it");
    assert_eq!(rig.model.misdeeds().hardware_errors, 2);
}

#[test]
fn a_member_without_a_record_complains_of_itself_by_its_index() {
    let mut rig = Rig::of(Profile::spr_dsa());
    let mut list = rig.block(4096);
    let silent = Descriptor::new(BAD, F::empty());
    assert_eq!(batch(&mut rig, &mut list, &[noop(F::empty()), silent]).status, 5);
    let error = wait_for("an error", || {
        Some(rig.software_error()).filter(|error| error.what.contains(SoftwareErrorWord::VALID))
    });
    assert!(error.what.contains(SoftwareErrorWord::BATCH));
    assert_eq!((error.what.error(), error.batch_index), (0x10, 1));
}
