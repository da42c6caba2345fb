//! The hardware's own words: layouts, constants and instructions of the devices that pageferry drives, and the C
//! libraries that it loads at run time. No policy: what to do with them is for the accelerators to know.

#[cfg(test)]
#[macro_use]
mod assert_layout;

pub mod idxd;
pub mod isal;
pub mod linux;
pub mod qat;
pub mod qatzip;
pub mod vendor;
