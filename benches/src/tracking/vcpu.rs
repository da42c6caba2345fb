//! A vCPU that writes, and KVM that notices.

use std::sync::Arc;

use pageferry_accel::guest::kvm::{DirtyLog, DirtyRings};
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_engine::dirty::{DirtySource, KvmLog, KvmRing};
use pageferry_tests::tiny_vm::TinyVm;

use super::Kind;

/// The most that a dirty ring of KVM's can have on x86-64.
const RING_ENTRIES: u32 = 1 << 16;

/// A machine with one vCPU, and the source that notices its writes.
pub(super) fn tracked(
    kind: Kind,
    memory: &Arc<AnonymousMemory>,
    ram: &GuestRam,
) -> Result<(TinyVm, Box<dyn DirtySource>), String> {
    let mut vm = TinyVm::new(memory, 12)?;
    if let Kind::KvmRing = kind {
        // The vCPU leaves the guest often, so that a KVM that emulates does not overfill the ring.
        let rings = DirtyRings::enable(vm.slots(), RING_ENTRIES).map_err(|error| error.to_string())?;
        vm.add_vcpu();
        let source = KvmRing::new(rings, ram);
        vm.rings(RING_ENTRIES).into_iter().for_each(|ring| source.reaper().add(ring));
        vm.reap_by(source.reaper());
        return Ok((vm, Box::new(source)));
    }
    vm.add_vcpu();
    vm.write_at_once();
    let log = match kind {
        Kind::KvmLogOnRead => DirtyLog::protected_on_read(vm.slots()),
        _ => DirtyLog::new(vm.slots()),
    };
    let source = Box::new(KvmLog::of(log, ram));
    Ok((vm, source))
}
