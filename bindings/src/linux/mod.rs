//! What Linux has words for that pageferry drives it with, as far as no well-kept crate has them: layouts, constants and numbers of
//! ioctls, each with the header of the kernel that it is from.

#[cfg(feature = "kvm")]
pub mod kvm;
pub mod pagemap;
pub mod userfaultfd;
