//! Accelerators of the pageferry data path.

pub mod codec;
