//! Accelerators of the pageferry data path: what takes a request of guest pages and brings back a payload, or the
//! other way round.
//!
//! A [`request::Request`] comes from the [`pool::Pool`], goes through a [`queue::Queue`] of some
//! [`queue::Accelerator`], and comes back as a [`queue::Completion`]. The [`cpu`] is the accelerator that is always
//! there; its [`codec`]s are the oracle of every device.

pub mod baseline;
pub mod checksum;
pub mod codec;
pub mod cpu;
pub mod cpu_time;
pub mod dma;
pub mod doorbell;
pub mod fleet;
pub mod guest;
pub mod idxd;
pub mod method;
pub mod model;
pub mod pool;
mod private_copies;
mod private_pages;
pub mod qat;
pub mod qatzip;
pub mod queue;
mod refusal;
pub mod request;
pub mod run;
mod sync;
pub mod units;
mod worker;
