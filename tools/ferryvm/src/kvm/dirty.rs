//! Who notices what vCPUs write: KVM's log or rings, or this process's page tables.

use kvm_ioctls::VcpuFd;
use pageferry_accel::guest::TrackingError;
use pageferry_accel::guest::kvm::{DirtyRings, Protection};
use pageferry_engine::dirty::{DirtyError, KvmLog, KvmRing, RingReaper};

use super::slots::Slots;
use crate::dirty::{Dirty, DirtyChoice, DirtyChoiceError, DirtyKind};
use crate::memory::Memory;
use crate::state::GuestKind;

/// How many pages a vCPU writes at most before its ring is emptied: 256 KiB a vCPU, and seldom in a guest's way.
const RING_ENTRIES: u32 = 1 << 14;

/// The rings of a virtual machine, which each of its vCPUs gets one of.
#[derive(Clone)]
pub(super) struct Rings {
    reaper: RingReaper,
    entries: u32,
}

/// The source that was chosen, for a virtual machine that has no vCPU yet; and its rings, if that is what was chosen.
pub(super) fn source(
    choice: DirtyChoice,
    slots: &Slots,
    memory: &Memory,
) -> Result<(Dirty, Option<Rings>), DirtyChoiceError> {
    let made = match choice {
        DirtyChoice::Auto | DirtyChoice::Log => by_log(slots, memory).map_err(DirtyError::from),
        DirtyChoice::Ring => by_rings(slots, memory).map_err(DirtyError::from),
        DirtyChoice::Userfaultfd => Dirty::by_userfaultfd(memory.ram()).map(|dirty| (dirty, None)),
        DirtyChoice::Marks => {
            return Err(DirtyChoiceError::OtherGuest { choice, guest: GuestKind::Kvm });
        }
    };
    made.map_err(DirtyChoiceError::not_here(choice))
}

fn by_log(slots: &Slots, memory: &Memory) -> Result<(Dirty, Option<Rings>), TrackingError> {
    let log = KvmLog::new(slots.tracked()?, memory.ram());
    let kind = match log.protection() {
        Protection::Manual => DirtyKind::KvmLogManual,
        Protection::OnRead => DirtyKind::KvmLogOnRead,
    };
    Ok((Dirty { kind, source: Box::new(log) }, None))
}

fn by_rings(slots: &Slots, memory: &Memory) -> Result<(Dirty, Option<Rings>), TrackingError> {
    let enabled = DirtyRings::enable(slots.tracked()?, RING_ENTRIES)?;
    let entries = enabled.entries();
    let source = KvmRing::new(enabled, memory.ram());
    let rings = Rings { reaper: source.reaper(), entries };
    Ok((Dirty { kind: DirtyKind::KvmRing, source: Box::new(source) }, Some(rings)))
}

impl Rings {
    /// Takes over the ring of a vCPU that was just made, and answers with who empties it when it is full.
    pub(super) fn adopt(&self, slots: &Slots, vcpu: &VcpuFd) -> Result<RingReaper, TrackingError> {
        self.reaper.add(slots.ring(vcpu, self.entries)?);
        Ok(self.reaper.clone())
    }
}
