//! Which pages of a guest were written: a bitmap of them, and the sources that fill it.
//!
//! | who writes | source |
//! |---|---|
//! | vCPUs of KVM | `KvmLog`, or `KvmRing` where there are far fewer dirty pages than pages (feature `kvm`) |
//! | threads of this process, whatever they are, the kernel on their behalf, and vCPUs of KVM | [`Userfaultfd`] |
//! | devices that say what they wrote | [`WrittenPages`] |
//! | several of them | [`MergedSources`] |

mod bitmap;
#[cfg(feature = "kvm")]
mod kvm_log;
#[cfg(feature = "kvm")]
mod kvm_ring;
mod merged;
mod packed;
mod source;
mod userfaultfd;
mod written;

pub(crate) use bitmap::masks;
pub use bitmap::{DirtyBitmap, DirtyRegion, DirtyRun};
#[cfg(feature = "kvm")]
pub use kvm_log::KvmLog;
#[cfg(feature = "kvm")]
pub use kvm_ring::{KvmRing, RingReaper};
pub use merged::MergedSources;
pub use packed::PackedPages;
pub use source::{DirtyError, DirtySource};
pub use userfaultfd::Userfaultfd;
pub use written::{WrittenPages, WrittenSource};
