//! Device models: they take the descriptors that the drivers write and answer with the records that the drivers read.

pub mod memory;
