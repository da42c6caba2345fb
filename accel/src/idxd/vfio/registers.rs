//! Reading and writing the registers of a function, in words.

use pageferry_bindings::idxd::registers;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::Cause;
use crate::idxd::function::Function;

/// The registers of a function.
#[derive(Clone, Copy)]
pub(super) struct Registers<'a>(pub(super) &'a dyn Function);

impl Registers<'_> {
    pub(super) fn read32(self, offset: u64) -> Result<u32, Cause> {
        let mut bytes = [0; 4];
        self.0.read(offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn read64(self, offset: u64) -> Result<u64, Cause> {
        let mut bytes = [0; 8];
        self.0.read(offset, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn write32(self, offset: u64, value: u32) -> Result<(), Cause> {
        Ok(self.0.write(offset, &value.to_le_bytes())?)
    }

    /// Reads a structure of 8-byte words.
    pub(super) fn read<T: FromBytes + IntoBytes>(self, offset: u64) -> Result<T, Cause> {
        let mut value = T::new_zeroed();
        for (word, at) in value.as_mut_bytes().chunks_exact_mut(8).zip((offset..).step_by(8)) {
            self.0.read(at, word)?;
        }
        Ok(value)
    }

    /// Writes a structure of words of `word` bytes, 4 or 8.
    pub(super) fn write<T: IntoBytes + Immutable>(
        self,
        offset: u64,
        value: &T,
        word: usize,
    ) -> Result<(), Cause> {
        for (bytes, at) in value.as_bytes().chunks_exact(word).zip((offset..).step_by(word)) {
            self.0.write(at, bytes)?;
        }
        Ok(())
    }

    /// A status register, of which no value has all bits set.
    pub(super) fn status(self, offset: u64) -> Result<u32, Cause> {
        match self.read32(offset)? {
            u32::MAX => Err(Cause::Absent),
            value => Ok(value),
        }
    }

    pub(super) fn general_status(self) -> Result<registers::GeneralStatus, Cause> {
        self.status(registers::GENSTATUS).map(registers::GeneralStatus)
    }
}
