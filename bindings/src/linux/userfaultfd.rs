//! Userfaultfd, `include/uapi/linux/userfaultfd.h` of Linux 6.7 (`userfaultfd(2)`, `ioctl_userfaultfd(2)`): as much of it as
//! write protection takes.

use bitflags::bitflags;
use libc::Ioctl;

/// The device that makes userfaultfds for whoever may open it.
pub const DEVICE: &str = "/dev/userfaultfd";

/// `USERFAULTFD_IOC_NEW`: on [`DEVICE`], with the flags that the system call takes; answers with a file descriptor.
pub const NEW: Ioctl = libc::_IO(DEVICE_IOC, 0);

/// `UFFDIO_API`: with an [`Api`], once and before all else.
pub const API: Ioctl = libc::_IOWR::<Api>(UFFDIO, 0x3f);
/// `UFFDIO_REGISTER`: with a [`Register`].
pub const REGISTER: Ioctl = libc::_IOWR::<Register>(UFFDIO, 0x00);
/// `UFFDIO_UNREGISTER`: with a [`Range`].
pub const UNREGISTER: Ioctl = libc::_IOR::<Range>(UFFDIO, 0x01);
/// `UFFDIO_WRITEPROTECT`: with a [`WriteProtect`].
pub const WRITEPROTECT: Ioctl = libc::_IOWR::<WriteProtect>(UFFDIO, 0x06);

/// `UFFD_API`.
pub const API_VERSION: u64 = 0xaa;
/// `UFFD_USER_MODE_ONLY`, a flag of the system call since Linux 5.11: events for faults of user space alone, which anybody may have.
pub const USER_MODE_ONLY: i32 = 1;

const UFFDIO: u32 = 0xaa;
const DEVICE_IOC: u32 = 0xaa;

/// `struct uffdio_api`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Api {
    /// [`API_VERSION`].
    pub api: u64,
    /// What is asked for; written by the kernel: what there is.
    pub features: Features,
    /// Written by the kernel: which ioctls there are, a bit a number.
    pub ioctls: u64,
}

/// `struct uffdio_range`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    /// The address of the first byte, of a page.
    pub start: u64,
    /// How many bytes.
    pub len: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Register {
    /// What is registered.
    pub range: Range,
    /// What for.
    pub mode: RegisterMode,
    /// Written by the kernel: which ioctls the range has, a bit a number.
    pub ioctls: u64,
}

/// `struct uffdio_writeprotect`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteProtect {
    /// What is protected.
    pub range: Range,
    /// Whether it is, or no longer.
    pub mode: WriteProtectMode,
}

bitflags! {
    /// `UFFD_FEATURE_*`, those that are used.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Write protection of shared memory and of huge pages of hugetlbfs (Linux 5.19).
        const WP_HUGETLBFS_SHMEM = 1 << 12;
        /// Write protection of pages that are not there yet (Linux 6.4).
        const WP_UNPOPULATED = 1 << 13;
        /// A write to a protected page goes on at once, and leaves a mark (Linux 6.7).
        const WP_ASYNC = 1 << 15;
        // What other kernels have besides.
        const _ = !0;
    }

    /// `UFFDIO_REGISTER_MODE_*`, those that are used.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RegisterMode: u64 {
        /// Write protection.
        const WP = 1 << 1;
    }

    /// `UFFDIO_WRITEPROTECT_MODE_*`, those that are used.
    #[repr(transparent)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct WriteProtectMode: u64 {
        /// Protect, and do not lift protection.
        const WP = 1 << 0;
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn layouts_are_those_of_the_header() {
        assert_layout!(Api, 24, 8, { api: 0, features: 8, ioctls: 16 });
        assert_layout!(Range, 16, 8, { start: 0, len: 8 });
        assert_layout!(Register, 32, 8, { range: 0, mode: 16, ioctls: 24 });
        assert_layout!(WriteProtect, 24, 8, { range: 0, mode: 16 });
        assert_eq!(
            [API, REGISTER, UNREGISTER, WRITEPROTECT, NEW],
            [0xc018_aa3f, 0xc020_aa00, 0x8010_aa01, 0xc018_aa06, 0xaa00]
        );
    }
}
