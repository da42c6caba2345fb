//! DSA and IAA, the two devices of Intel's idxd family.
//!
//! Everything here is as the hardware reads and writes it, little-endian. The sources that the fields name are Linux
//! 6.12 (`include/uapi/linux/idxd.h`, `drivers/dma/idxd/registers.h`), intel/DML and intel/QPL.

pub mod aecs;
mod bits;
pub mod command;
pub mod completion;
pub mod descriptor;
pub mod flags;
pub mod instruction;
pub mod opcode;
pub mod operands;
pub mod registers;
pub mod status;
pub mod tables;

#[cfg(test)]
mod tests;
