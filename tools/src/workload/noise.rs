//! Repeatable randomness.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): any state is as good as any
/// other, so that every page and round can have a generator of its own.
#[derive(Clone, Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    /// The generator of a seed and two numbers, such as a page and a round.
    pub(crate) fn new(seed: u64, first: u64, second: u64) -> Self {
        let outer = Self(seed).next_u64() ^ first;
        Self(Self(outer).next_u64() ^ second.rotate_left(32))
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // The high half of a product is as even as `end` is small against 2^64.
        let product = u128::from(self.next_u64()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// An index below `end`, which is not 0.
    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_numbers_always_give_the_same_and_others_something_else() {
        let first = |seed, first, second| Noise::new(seed, first, second).next_u64();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        let all: std::collections::HashSet<_> =
            (0..1000).map(|number| first(number / 100, number / 10 % 10, number % 10)).collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn numbers_stay_below_their_end_and_reach_it() {
        let mut noise = Noise::new(1, 0, 0);
        let seen: std::collections::BTreeSet<_> = (0..1000).map(|_| noise.below(7)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    }
}
