//! The calls into KVM whose contract is ours to keep: memory slots, dirty rings, and the extended
//! state of a vCPU.
#![allow(unsafe_code, reason = "the contract of these calls cannot be checked by the compiler")]

use std::sync::Arc;

use kvm_bindings::{kvm_userspace_memory_region, kvm_xsave};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use pageferry_accel::dma::HostAddress;
use pageferry_accel::guest::kvm::{Slot, VcpuRing};
use pageferry_accel::guest::{self, AnonymousMemory, GuestMemory, Region, TrackingError};
use vmm_sys_util::errno::Error;

/// A VM's memory slots, one a region of its memory, in the order of the regions.
#[derive(Clone)]
pub(super) struct Slots {
    vm: Arc<VmFd>,
    memory: Arc<AnonymousMemory>,
}

impl Slots {
    /// Gives the VM its memory.
    pub(super) fn new(vm: Arc<VmFd>, memory: Arc<AnonymousMemory>) -> Result<Self, Error> {
        let slots = Self { vm, memory };
        for slot in slots.all() {
            let region = kvm_userspace_memory_region {
                slot: slot.number,
                flags: 0,
                guest_phys_addr: slot.gpa.0,
                memory_size: slot.bytes,
                userspace_addr: slot.host.0,
            };
            // SAFETY: the region is mapped for as long as `memory` lives, and `slots` keeps it and the VM: whoever has vCPUs
            // keeps a `Slots`. The guest's memory is read and written by nobody but through copies that bear with that.
            unsafe { slots.vm.set_user_memory_region(region)? };
        }
        Ok(slots)
    }

    /// The same slots for whoever notices what the guest writes to them; there is one of those a VM.
    pub(super) fn tracked(&self) -> Result<guest::kvm::Slots, TrackingError> {
        // SAFETY: the VM is KVM's. Its slots were set by `new` exactly so and without flags, nothing here sets them again or reads
        // their log, and `KvmHost::track` asks once. The memory stays mapped for as long as vCPUs run, which keep it.
        unsafe { guest::kvm::Slots::new(&*self.vm, self.all()) }
    }

    /// The dirty ring of a vCPU of this VM, which was given rings of so many entries.
    pub(super) fn ring(&self, vcpu: &VcpuFd, entries: u32) -> Result<VcpuRing, TrackingError> {
        // SAFETY: the vCPU is KVM's. `Rings`, which alone calls this, is there only where the VM was given such rings, which KVM
        // refuses once there are vCPUs; and it is called once for each vCPU, as that is made.
        unsafe { VcpuRing::map(vcpu, entries) }
    }

    fn all(&self) -> Vec<Slot> {
        let slot = |(number, region): (u32, Region)| Slot {
            number,
            gpa: region.gpa,
            bytes: region.bytes,
            host: HostAddress::of(region.host),
        };
        (0..).zip(self.memory.regions()).map(slot).collect()
    }

    /// Gives a vCPU of this VM its x87, SSE and AVX registers.
    pub(super) fn set_xsave(&self, vcpu: &VcpuFd, xsave: &kvm_xsave) -> Result<(), Error> {
        let bytes = self.vm.check_extension_int(Cap::Xsave2);
        if usize::try_from(bytes).is_ok_and(|bytes| bytes > size_of::<kvm_xsave>()) {
            return Err(Error::new(libc::E2BIG));
        }
        // SAFETY: KVM reads as many bytes as it was just asked for, and at least those of the structure; nobody here allows
        // the guest more extended state afterwards.
        unsafe { vcpu.set_xsave(xsave) }
    }
}
