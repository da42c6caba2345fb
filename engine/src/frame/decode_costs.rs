//! What the destination's CPUs had to do for the pages of each method.

use std::time::Duration;

use pageferry_accel::method::Method;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// All methods that data pages travel by, in the order of their numbers: 1, raw, and the following.
const METHODS: usize = Method::ALL.len() - 1;

/// What it took to decode the data pages of a round, by the method of their frames: that which the source chose, be it that
/// some of the pages went raw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeCosts([DecodeCost; METHODS]);

/// What it took to decode the data pages of one method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodeCost {
    /// How many pages.
    pub pages: u64,
    /// CPU time of the host for them.
    pub cpu: Duration,
}

impl DecodeCosts {
    /// What the data pages of `method` took.
    #[must_use]
    pub fn of(&self, method: Method) -> DecodeCost {
        place(method).and_then(|place| self.0.get(place)).copied().unwrap_or_default()
    }

    /// Every method that data pages travel by, and what they took.
    pub fn iter(&self) -> impl Iterator<Item = (Method, DecodeCost)> {
        Method::ALL.into_iter().skip(1).zip(self.0)
    }

    /// Counts data pages. Frames of method zero have none.
    pub(crate) fn add(&mut self, method: Method, pages: u64, cpu: Duration) {
        if let Some(cost) = place(method).and_then(|place| self.0.get_mut(place)) {
            cost.pages += pages;
            cost.cpu += cpu;
        }
    }
}

impl FromIterator<(Method, DecodeCost)> for DecodeCosts {
    fn from_iter<I: IntoIterator<Item = (Method, DecodeCost)>>(costs: I) -> Self {
        let mut all = Self::default();
        costs.into_iter().for_each(|(method, cost)| all.add(method, cost.pages, cost.cpu));
        all
    }
}

fn place(method: Method) -> Option<usize> {
    usize::from(method.to_wire()).checked_sub(1)
}

/// The costs as they lie on the wire (`engine/FORMAT.md`, "Frames without pages").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct WireCosts([WireCost; METHODS]);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct WireCost {
    pages: U64,
    cpu_ns: U64,
}

impl From<DecodeCosts> for WireCosts {
    fn from(costs: DecodeCosts) -> Self {
        Self(costs.0.map(|DecodeCost { pages, cpu }| WireCost {
            pages: pages.into(),
            cpu_ns: u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX).into(),
        }))
    }
}

impl From<WireCosts> for DecodeCosts {
    fn from(costs: WireCosts) -> Self {
        Self(costs.0.map(|WireCost { pages, cpu_ns }| DecodeCost {
            pages: pages.get(),
            cpu: Duration::from_nanos(cpu_ns.get()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn the_costs_lie_as_the_format_says() {
        assert_eq!((size_of::<WireCosts>(), size_of::<WireCost>()), (96, 16));
        assert_eq!((offset_of!(WireCost, pages), offset_of!(WireCost, cpu_ns)), (0, 8));
        let costs: DecodeCosts =
            [(Method::Delta, DecodeCost { pages: 7, cpu: Duration::from_nanos(9) })].into_iter().collect();
        let wire = WireCosts::from(costs);
        let mut expected = [0; 96];
        (expected[80], expected[88]) = (7, 9);
        assert_eq!(wire.as_bytes(), expected);
        assert_eq!(DecodeCosts::from(wire), costs);
    }

    #[test]
    fn every_method_has_its_own_costs_but_zero_which_has_none() {
        let mut costs = DecodeCosts::default();
        for method in Method::ALL {
            costs.add(method, method.to_wire().into(), Duration::from_secs(1));
            costs.add(method, 10, Duration::from_secs(method.to_wire().into()));
        }
        assert_eq!(costs.of(Method::Zero), DecodeCost::default());
        assert_eq!(costs.iter().count(), 6);
        for (method, cost) in costs.iter() {
            let number = u64::from(method.to_wire());
            let expected = DecodeCost { pages: number + 10, cpu: Duration::from_secs(1 + number) };
            assert_eq!((cost, costs.of(method)), (expected, expected), "{method}");
        }
    }
}
