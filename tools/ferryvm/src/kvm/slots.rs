//! The calls into KVM whose contract is ours to keep: memory slots, and the extended state of a vCPU.
#![allow(unsafe_code, reason = "the contract of these calls cannot be checked by the compiler")]

use std::sync::Arc;

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region, kvm_xsave};
use kvm_ioctls::{Cap, VcpuFd, VmFd};
use pageferry_accel::guest::{AnonymousMemory, GuestMemory};
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
        slots.log_dirty_pages(false)?;
        Ok(slots)
    }

    /// Has KVM note which pages are written, or no longer.
    pub(super) fn log_dirty_pages(&self, log: bool) -> Result<(), Error> {
        let flags = if log { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
        for (slot, region) in (0..).zip(self.memory.regions()) {
            let region = kvm_userspace_memory_region {
                slot,
                flags,
                guest_phys_addr: region.gpa.0,
                memory_size: region.bytes,
                userspace_addr: region.host.expose_provenance() as u64,
            };
            // SAFETY: the region is mapped for as long as `memory` lives, and `self` keeps it and the VM: whoever has vCPUs
            // keeps a `Slots`. The guest's memory is read and written by nobody but through copies that bear with that.
            unsafe { self.vm.set_user_memory_region(region)? };
        }
        Ok(())
    }

    /// Which pages were written since the last time, a bit a page, a bitmap a region.
    pub(super) fn take_log(&self) -> Result<Vec<Vec<u64>>, Error> {
        let log = |(slot, region): (u32, pageferry_accel::guest::Region)| {
            self.vm.get_dirty_log(slot, usize::try_from(region.bytes).unwrap_or(usize::MAX))
        };
        (0..).zip(self.memory.regions()).map(log).collect()
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
