//! Newtypes for every address and count that could be mixed up.

use std::fmt;
use std::ops::{Add, AddAssign};

/// A guest physical address, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

/// A page of the guest by its number: guest physical address over page size.
///
/// The number counts in the guest's own page size, so holes between regions have numbers too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageIndex(pub u64);

/// A number of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageCount(pub u32);

/// The guest's unit of dirty tracking: 4, 16 or 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageSize {
    /// 4096 bytes.
    Kib4,
    /// 16384 bytes.
    Kib16,
    /// 65536 bytes.
    Kib64,
}

/// A page size that is none of those a guest may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page of 2^{shift} bytes is not supported: use 4096, 16384 or 65536 bytes")]
pub struct UnknownPageSize {
    /// The binary logarithm that was asked for.
    pub shift: u8,
}

impl PageSize {
    /// The page size whose binary logarithm is `shift`.
    ///
    /// # Errors
    /// [`UnknownPageSize`] for anything but 12, 14 and 16.
    pub fn from_shift(shift: u8) -> Result<Self, UnknownPageSize> {
        match shift {
            12 => Ok(Self::Kib4),
            14 => Ok(Self::Kib16),
            16 => Ok(Self::Kib64),
            _ => Err(UnknownPageSize { shift }),
        }
    }

    /// The binary logarithm of the size in bytes.
    #[must_use]
    pub const fn shift(self) -> u8 {
        match self {
            Self::Kib4 => 12,
            Self::Kib16 => 14,
            Self::Kib64 => 16,
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        1 << self.shift()
    }

    /// How many bytes `pages` pages are.
    #[must_use]
    pub const fn bytes_of(self, pages: PageCount) -> usize {
        (pages.0 as usize) << self.shift()
    }
}

impl PageIndex {
    /// The page that holds `address`.
    #[must_use]
    pub const fn of(address: Gpa, size: PageSize) -> Self {
        Self(address.0 >> size.shift())
    }

    /// The page `pages` further on.
    #[must_use]
    pub const fn offset(self, pages: u64) -> Self {
        Self(self.0 + pages)
    }
}

impl PageCount {
    /// One page.
    pub const ONE: Self = Self(1);

    /// As an index or a length.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl Add for PageCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for PageCount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for PageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for PageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", self.bytes() >> 10)
    }
}
