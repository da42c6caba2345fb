//! What can be done to the pages of a request.

use std::fmt;
use std::str::FromStr;

/// What was done to the pages of a request, or of a segment of one.
///
/// The numbers are those of the frame format (`engine/FORMAT.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Method {
    /// Every page was zero: nothing but the run table is sent.
    Zero = 0,
    /// The bytes themselves.
    Raw = 1,
    /// Raw RFC 1951 deflate.
    Deflate = 2,
    /// One Zstandard frame (RFC 8878).
    Zstd = 3,
    /// One LZ4 block.
    Lz4 = 4,
    /// QEMU's XBZRLE against a baseline, a page a segment.
    Xbzrle = 5,
    /// DSA's delta record against a baseline, a page a segment.
    Delta = 6,
}

/// A name that is no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no method: use raw, deflate, zstd, lz4, xbzrle or delta")]
pub struct UnknownMethod(pub String);

impl Method {
    /// Every method, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Zero, Self::Raw, Self::Deflate, Self::Zstd, Self::Lz4, Self::Xbzrle, Self::Delta];

    /// The method with this number in the frame format.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Zero),
            1 => Some(Self::Raw),
            2 => Some(Self::Deflate),
            3 => Some(Self::Zstd),
            4 => Some(Self::Lz4),
            5 => Some(Self::Xbzrle),
            6 => Some(Self::Delta),
            _ => None,
        }
    }

    /// The number of this method in the frame format.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self as u8
    }

    /// The name that users type and reports print.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Raw => "raw",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Xbzrle => "xbzrle",
            Self::Delta => "delta",
        }
    }

    /// Whether the method encodes against a baseline, a page a segment.
    #[must_use]
    pub const fn needs_baseline(self) -> bool {
        matches!(self, Self::Xbzrle | Self::Delta)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownMethod;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let method = Self::ALL.into_iter().find(|method| method.name() == name);
        method.filter(|&method| method != Self::Zero).ok_or_else(|| UnknownMethod(name.to_owned()))
    }
}

/// A set of methods, as the handshake states it: bit n is the method with number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodSet(u32);

impl MethodSet {
    /// The set of `methods`.
    #[must_use]
    pub fn of(methods: &[Method]) -> Self {
        methods.iter().fold(Self::default(), |set, &method| set.with(method))
    }

    /// Every method.
    #[must_use]
    pub fn all() -> Self {
        Self::of(&Method::ALL)
    }

    /// The methods of a peer's bits; numbers that this version does not know are left out.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::all().0)
    }

    /// Bit n is the method with number n.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// This set and `method`.
    #[must_use]
    pub const fn with(self, method: Method) -> Self {
        Self(self.0 | 1 << method.to_wire())
    }

    /// This set but for `method`.
    #[must_use]
    pub const fn without(self, method: Method) -> Self {
        Self(self.0 & !(1 << method.to_wire()))
    }

    /// What both sets hold.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `method` is in the set.
    #[must_use]
    pub const fn contains(self, method: Method) -> bool {
        self.0 & 1 << method.to_wire() != 0
    }

    /// The methods of the set, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        Method::ALL.into_iter().filter(move |&method| self.contains(method))
    }
}

impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Method::name).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_survives_its_number_and_its_name() {
        for method in Method::ALL {
            assert_eq!(Method::from_wire(method.to_wire()), Some(method));
            if method != Method::Zero {
                assert_eq!(method.name().parse(), Ok(method));
            }
        }
        assert_eq!(Method::from_wire(7), None);
        assert!("zero".parse::<Method>().is_err(), "zero is detected, never asked for");
    }

    #[test]
    fn a_set_drops_numbers_it_does_not_know() {
        let set = MethodSet::from_bits(u32::MAX);
        assert_eq!(set, MethodSet::all());
        assert_eq!(set.iter().count(), Method::ALL.len());
    }
}
