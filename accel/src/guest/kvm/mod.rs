//! Which pages of a guest its vCPUs wrote, by what KVM says: the dirty log of its memory slots, or the dirty rings of its vCPUs.
//!
//! A VM comes as its file descriptor, so that a VMM is free in which version of `kvm-ioctls` it has, or whether it has it.

mod log;
mod ring;
mod slots;

pub use log::{DirtyLog, Protection};
pub use ring::{DirtyRings, VcpuRing};
pub use slots::{Slot, Slots};
