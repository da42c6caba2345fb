//! KVM's dirty log and dirty ring, `include/uapi/linux/kvm.h` (Linux's `Documentation/virt/kvm/api.rst`, 4.8, 4.35, 4.37, 4.117 and 8.29).
//! The layouts are those of `kvm-bindings`; it has no numbers of ioctls, and not all flags.

use bitflags::bitflags;
pub use kvm_bindings::{
    KVM_CAP_DIRTY_LOG_RING, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING_WITH_BITMAP,
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_INITIALLY_SET, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
    KVM_DIRTY_LOG_PAGE_OFFSET, KVM_EXIT_DIRTY_RING_FULL, KVM_MEM_LOG_DIRTY_PAGES, kvm_clear_dirty_log,
    kvm_dirty_gfn, kvm_dirty_log, kvm_enable_cap, kvm_userspace_memory_region,
};
use libc::Ioctl;

const KVMIO: u32 = 0xae;

/// `KVM_CHECK_EXTENSION`: on a VM (or `/dev/kvm`), with the number of a capability; answers with 0 where it is not there.
pub const CHECK_EXTENSION: Ioctl = libc::_IO(KVMIO, 0x03);
/// `KVM_ENABLE_CAP`: on a VM, with a [`kvm_enable_cap`].
pub const ENABLE_CAP: Ioctl = libc::_IOW::<kvm_enable_cap>(KVMIO, 0xa3);
/// `KVM_SET_USER_MEMORY_REGION`: on a VM, with a [`kvm_userspace_memory_region`].
pub const SET_USER_MEMORY_REGION: Ioctl = libc::_IOW::<kvm_userspace_memory_region>(KVMIO, 0x46);
/// `KVM_GET_DIRTY_LOG`: on a VM, with a [`kvm_dirty_log`], whose bitmap has a bit a page of the slot, in whole words.
pub const GET_DIRTY_LOG: Ioctl = libc::_IOW::<kvm_dirty_log>(KVMIO, 0x42);
/// `KVM_CLEAR_DIRTY_LOG`: on a VM, with a [`kvm_clear_dirty_log`] of a multiple of 64 pages, or up to the end of the slot.
pub const CLEAR_DIRTY_LOG: Ioctl = libc::_IOWR::<kvm_clear_dirty_log>(KVMIO, 0xc0);
/// `KVM_RESET_DIRTY_RINGS`: on a VM; answers with how many entries were reset.
pub const RESET_DIRTY_RINGS: Ioctl = libc::_IO(KVMIO, 0xc7);

bitflags! {
    /// `KVM_DIRTY_GFN_F_*`: whose an entry of a dirty ring is. With none of them it is free.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct DirtyGfnFlags: u32 {
        /// KVM has filled it.
        const DIRTY = 1 << 0;
        /// It was read, and KVM may protect the page again.
        const RESET = 1 << 1;
    }
}
