//! DSA and IAA: Intel's data streaming and analytics accelerators, through the kernel's idxd driver or through VFIO.
//!
//! A [`device::Device`] opens [`device::WorkQueue`]s: portals that take descriptors, and the means to make a queue quiet.
//! `Queue` keeps requests in flight on one of them; what DSA and IAA each make of a request is a
//! `Work`.

mod announcer;
mod choice;
pub mod device;
pub mod dsa;
mod fitness;
mod flight;
pub mod function;
pub mod iaa;
pub mod kernel;
pub mod portal;
mod queue;
mod touch;
pub mod vfio;
mod work;

pub use queue::QueueSettings;
