//! Accelerators of the pageferry data path.

pub mod checksum;
pub mod codec;
pub mod guest;
pub mod method;
pub mod run;
pub mod units;
