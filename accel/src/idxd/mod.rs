//! DSA and IAA: Intel's data streaming and analytics accelerators, through the kernel's idxd driver or through VFIO.
//!
//! A [`device::Device`] opens [`device::WorkQueue`]s: portals that take descriptors, and the means to make a queue quiet.
//! [`Queue`](queue::Queue) keeps requests in flight on one of them; what DSA and IAA each make of a request is a
//! [`work::Work`].

pub mod device;
pub mod function;
pub mod portal;
pub mod work;
