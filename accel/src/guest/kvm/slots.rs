//! The memory slots of a VM whose writes are logged.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use pageferry_bindings::linux::kvm::{
    self, KVM_MEM_LOG_DIRTY_PAGES, kvm_enable_cap, kvm_userspace_memory_region,
};

use super::super::tracking::TrackingError;
use crate::dma::HostAddress;
use crate::units::Gpa;

/// A memory slot of a VM, as it was told to KVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number; from bit 16 on, the address space that it is in.
    pub number: u32,
    /// The guest physical address of its first byte.
    pub gpa: Gpa,
    /// Its length in bytes.
    pub bytes: u64,
    /// The address of its first byte in this process.
    pub host: HostAddress,
}

/// The slots of a VM that its guest may write to, in the hands of whoever logs the writes.
#[derive(Debug)]
pub struct Slots {
    vm: OwnedFd,
    slots: Vec<Slot>,
    /// KVM's unit: the page of this host.
    page_bytes: u64,
}

impl Slots {
    /// The slots of the VM that the file descriptor stands for, which stays open for as long as this lives.
    ///
    /// Slots that are read-only for the guest are left out.
    ///
    /// # Errors
    /// [`TrackingError::Io`] if the file descriptor cannot be duplicated.
    ///
    /// # Safety
    /// `vm` is a VM of KVM, made by this process. For as long as this lives, or a log or rings made of it, every slot is set in the
    /// VM exactly as it is described here, with no flags but `KVM_MEM_LOG_DIRTY_PAGES`, and nobody else sets or deletes it, or
    /// reads its log. What is mapped at its host address stays mapped for as long as the VM has it, as KVM asks anyway.
    pub unsafe fn new(vm: &impl AsRawFd, slots: Vec<Slot>) -> Result<Self, TrackingError> {
        // SAFETY: the caller has the file open, and lends it for this call.
        let vm =
            unsafe { BorrowedFd::borrow_raw(vm.as_raw_fd()) }.try_clone_to_owned().map_err(|source| {
                TrackingError::Io { attempt: String::from("duplicate the file descriptor of the VM"), source }
            })?;
        // SAFETY: it asks for a number.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        Ok(Self { vm, slots, page_bytes: u64::try_from(page_bytes).unwrap_or(4096) })
    }

    pub(super) fn vm(&self) -> &OwnedFd {
        &self.vm
    }

    pub(super) fn as_slice(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// How many pages of KVM's a slot has.
    pub(super) fn pages(&self, slot: &Slot) -> u64 {
        slot.bytes / self.page_bytes
    }

    /// Has KVM log the writes to all slots, or to none if it will not log those to all.
    pub(super) fn log(&self) -> Result<(), TrackingError> {
        for (index, slot) in self.slots.iter().enumerate() {
            if let Err(error) = self.set_flags(slot, KVM_MEM_LOG_DIRTY_PAGES) {
                // The reason of the first failure is worth more than that of another.
                let _ = self.slots[..index].iter().try_for_each(|slot| self.set_flags(slot, 0));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Has KVM log no writes any more.
    pub(super) fn do_not_log(&self) -> Result<(), TrackingError> {
        let mut all = Ok(());
        for slot in &self.slots {
            all = all.and(self.set_flags(slot, 0));
        }
        all
    }

    fn set_flags(&self, slot: &Slot, flags: u32) -> Result<(), TrackingError> {
        let region = kvm_userspace_memory_region {
            slot: slot.number,
            flags,
            guest_phys_addr: slot.gpa.0,
            memory_size: slot.bytes,
            userspace_addr: slot.host.0,
        };
        // SAFETY: the kernel reads this structure alone. By the contract of `new` the slot is set like this already, so that
        // nothing changes but its flags.
        let answer =
            unsafe { libc::ioctl(self.vm.as_raw_fd(), kvm::SET_USER_MEMORY_REGION, &raw const region) };
        if answer != 0 {
            return Err(TrackingError::last(format!(
                "set the flags of KVM's memory slot {:#x} of {} bytes at {} to {flags} (EINVAL: the slot is another one than this)",
                slot.number, slot.bytes, slot.gpa
            )));
        }
        Ok(())
    }

    /// What the VM says of a capability; 0 where it is not there.
    pub(super) fn capability(&self, number: u32) -> u64 {
        // SAFETY: it asks for a number.
        let answer =
            unsafe { libc::ioctl(self.vm.as_raw_fd(), kvm::CHECK_EXTENSION, libc::c_ulong::from(number)) };
        u64::try_from(answer).unwrap_or_default()
    }

    /// Enables a capability of the VM.
    pub(super) fn enable(&self, number: u32, argument: u64, attempt: &str) -> Result<(), TrackingError> {
        let capability =
            kvm_enable_cap { cap: number, args: [argument, 0, 0, 0], ..kvm_enable_cap::default() };
        // SAFETY: the kernel reads this structure alone; the capabilities that are enabled here change what the log of dirty pages
        // does, which by the contract of `new` nobody else reads.
        if unsafe { libc::ioctl(self.vm.as_raw_fd(), kvm::ENABLE_CAP, &raw const capability) } != 0 {
            return Err(TrackingError::last(attempt));
        }
        Ok(())
    }
}
