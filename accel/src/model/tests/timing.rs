//! Latency, rate and engines: what overtakes what.

use std::num::NonZeroU64;
use std::time::Duration;

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::opcode::Opcode;
use zerocopy::IntoBytes;

use super::{Rig, USUAL, descriptor};
use crate::model::fault::FaultPlan;
use crate::model::profile::Profile;
use crate::model::{Submission, Timing};

fn rate(bytes_per_s: u64) -> Timing {
    Timing { bytes_per_s: NonZeroU64::new(bytes_per_s), ..Timing::at_once() }
}

#[test]
fn a_short_descriptor_overtakes_a_long_one_on_another_engine_only() {
    // The long one takes a quarter of an hour, unless it is the only engine's.
    for (engines, bytes_per_s) in [(4, 1 << 10), (1, 32 << 20)] {
        let profile = Profile { engines, ..Profile::spr_dsa() };
        let rig = Rig::new(profile, rate(bytes_per_s), FaultPlan::none());
        let memory = rig.block(1 << 20);
        let at = memory.address().0;
        assert_eq!(rig.submit(0, descriptor(Opcode::FILL, 1, at, 1 << 20)), Submission::Taken);
        assert_eq!(rig.submit(1, descriptor(Opcode::FILL, 1, at, 8)), Submission::Taken);
        assert_eq!(rig.record(1).status, 1);
        assert_eq!(rig.status(0), u8::from(engines == 1), "{engines} engines");
    }
}

#[test]
fn a_batch_takes_as_long_as_its_members() {
    let profile = Profile { engines: 2, ..Profile::spr_dsa() };
    let rig = Rig::new(profile, rate(1 << 10), FaultPlan::none());
    let (memory, mut list) = (rig.block(1 << 20), rig.block(4096));
    let long = descriptor(Opcode::FILL, 1, memory.address().0, 1 << 20);
    for index in 0..2 {
        list[index * 64..][..64].copy_from_slice(long.as_bytes());
    }
    assert_eq!(rig.submit(0, descriptor(Opcode::BATCH, list.address().0, 0, 2)), Submission::Taken);
    assert_eq!(rig.submit(1, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
    assert_eq!(rig.record(1).status, 1);
    assert_eq!((rig.status(0), memory[0]), (0, 0), "not begun before its time");
}

#[test]
fn latency_is_passed_side_by_side() {
    let timing = Timing { latency: Duration::from_millis(20), ..Timing::at_once() };
    let rig = Rig::new(Profile::spr_dsa(), timing, FaultPlan::none());
    for index in 0..16 {
        assert_eq!(rig.submit(index, Descriptor::new(Opcode::NOOP, USUAL)), Submission::Taken);
    }
    assert_eq!(rig.record(15).status, 1);
    assert!((0..16).all(|index| rig.status(index) == 1), "those that came first are done first");
}
