//! What the guest writes, and when: the words of the guest's program in Rust, and the oracle that it is held to.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Words of eight bytes in a page.
pub(crate) const PAGE_WORDS: usize = 512;

/// What a written page holds, and which page is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Page after page, all bits one but for the first word.
    Ones,
    /// Page after page, ascending numbers that go on from one write of the page to the next.
    Sequence,
    /// Pages at random, random words: nothing shrinks them.
    Random,
    /// Pages at random, 8 bytes of each; the rest stays as it was.
    Sparse,
    /// Seven of eight writes to an eighth of the pages, ascending numbers.
    HotCold,
    /// Nothing but the heartbeat.
    Idle,
}

/// What pages hold that the guest has not written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Nothing, and no memory is allocated for it.
    #[default]
    Zero,
    /// Random words, so that all of memory has to move.
    Random,
}

/// How many pages the guest writes in a second, all vCPUs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// This many.
    PagesPerSecond(u64),
    /// As many as it can.
    Unlimited,
}

/// All that the guest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// What it writes, and where.
    pub pattern: Pattern,
    /// How much of that.
    #[serde(rename = "rate_pages_per_s")]
    pub rate: Rate,
    /// What random numbers follow from.
    pub seed: u64,
    /// What is there before.
    pub fill: Fill,
    /// How many pages it writes to at most, all vCPUs together; all there are if none is said.
    pub working_set_pages: Option<u64>,
}

impl Pattern {
    /// All of them, with the names that the command line has for them.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Ones, "ones"),
        (Self::Sequence, "sequence"),
        (Self::Random, "random"),
        (Self::Sparse, "sparse"),
        (Self::HotCold, "hot-cold"),
        (Self::Idle, "idle"),
    ];

    /// The number that the guest's program knows it by.
    pub(crate) const fn number(self) -> u64 {
        self as u64
    }

    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().map(|(pattern, _)| pattern).find(|pattern| pattern.number() == number)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(pattern, _)| pattern == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

/// A name that no pattern has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pattern: use ones, sequence, random, sparse, hot-cold or idle")]
pub struct UnknownPattern(String);

impl FromStr for Pattern {
    type Err = UnknownPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|&(_, name)| name == text);
        found.map(|(pattern, _)| pattern).ok_or_else(|| UnknownPattern(text.to_owned()))
    }
}

/// A fill that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` fills no memory: use zero or random")]
pub struct UnknownFill(String);

impl FromStr for Fill {
    type Err = UnknownFill;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "zero" => Ok(Self::Zero),
            "random" => Ok(Self::Random),
            _ => Err(UnknownFill(text.to_owned())),
        }
    }
}

impl Serialize for Rate {
    /// A number, or none where there is no limit.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::PagesPerSecond(rate) => Some(rate),
            Self::Unlimited => None,
        }
        .serialize(serializer)
    }
}

/// Text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate: write a number of pages a second, or max")]
pub struct UnknownRate(String);

impl FromStr for Rate {
    type Err = UnknownRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Unlimited);
        }
        text.parse().map(Self::PagesPerSecond).map_err(|_| UnknownRate(text.to_owned()))
    }
}

/// One page, as words.
pub(crate) type PageWords = [u64; PAGE_WORDS];

/// The multipliers of SplitMix64 (Steele, Lea, Flood 2014), which [`mix`] is made in the way of.
pub(crate) const MIX: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// A word that follows from three, and is never zero.
pub(crate) const fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let word = a.wrapping_mul(MIX[0]).wrapping_add(b.wrapping_mul(MIX[1])).wrapping_add(seed);
    let word = (word ^ (word >> 32)).wrapping_mul(MIX[2]);
    (word ^ (word >> 29)) | 1
}

/// What one vCPU writes: everything follows from this and from how many writes there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) pattern: Pattern,
    pub(crate) fill: Fill,
    /// The vCPU's own.
    pub(crate) seed: u64,
    /// How many pages it has.
    pub(crate) pages: u64,
}

/// How often a page was written.
pub(crate) type Generation = u64;

impl Work {
    /// The seed of a vCPU.
    pub(crate) const fn seed_of(seed: u64, vcpu: u32) -> u64 {
        mix(seed, vcpu as u64, 0)
    }

    /// How many pages are hot.
    pub(crate) const fn hot_pages(self) -> u64 {
        self.pages / 8
    }

    /// The page that write number `counter` goes to.
    pub(crate) fn choose(self, counter: u64) -> u64 {
        let random = mix(self.seed, counter, u64::MAX);
        let below =
            |limit: u64| u64::try_from((u128::from(random) * u128::from(limit)) >> 64).unwrap_or_default();
        let hot = self.hot_pages();
        match self.pattern {
            Pattern::Ones | Pattern::Sequence => counter % self.pages,
            Pattern::HotCold if random & 0xe != 0 => below(hot),
            Pattern::HotCold => hot + below(self.pages - hot),
            Pattern::Random | Pattern::Sparse | Pattern::Idle => below(self.pages),
        }
    }

    /// The word that stands for a page of a generation, in the page itself and in the running checksum.
    pub(crate) const fn tag(self, page: u64, generation: Generation) -> u64 {
        mix(self.seed, page, generation)
    }

    /// What a page adds to the running checksum.
    pub(crate) const fn share_of_sum(self, page: u64, generation: Generation) -> u64 {
        if generation == 0 { 0 } else { self.tag(page, generation) }
    }

    /// What a page holds that was written so often.
    pub(crate) fn content(self, page: u64, generation: Generation) -> PageWords {
        let tag = self.tag(page, generation);
        match self.pattern {
            _ if generation == 0 => self.background(page),
            Pattern::Ones => from_tag(tag, |_, _| u64::MAX),
            Pattern::Sequence | Pattern::HotCold | Pattern::Idle => {
                let base = (page << 32).wrapping_add(generation << 9).wrapping_add(self.seed);
                from_tag(tag, |index, _| base.wrapping_add(index))
            }
            Pattern::Random => from_tag(tag, |_, before| xorshift(before)),
            Pattern::Sparse => {
                let mut words = self.background(page);
                words[Self::sparse_word(page)] = tag;
                words
            }
        }
    }

    /// Which word of a page a sparse write goes to.
    pub(crate) fn sparse_word(page: u64) -> usize {
        usize::try_from(page.wrapping_mul(37) % PAGE_WORDS as u64).unwrap_or_default()
    }

    fn background(self, page: u64) -> PageWords {
        match self.fill {
            Fill::Zero => [0; PAGE_WORDS],
            Fill::Random => from_tag(self.tag(page, 0), |_, before| xorshift(before)),
        }
    }
}

/// A page whose first word is its tag, and each further one follows from its index and the one before.
fn from_tag(tag: u64, next: impl Fn(u64, u64) -> u64) -> PageWords {
    let mut words = [tag; PAGE_WORDS];
    let mut before = tag;
    for (index, word) in (0..).zip(&mut words).skip(1) {
        before = next(index, before);
        *word = before;
    }
    words
}

/// Marsaglia's xorshift64 (2003), with the shifts 13, 7 and 17.
const fn xorshift(word: u64) -> u64 {
    let word = word ^ (word << 13);
    let word = word ^ (word >> 7);
    word ^ (word << 17)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn work(pattern: Pattern) -> Work {
        Work { pattern, fill: Fill::Random, seed: 7, pages: 1000 }
    }

    #[test]
    fn every_write_of_a_page_changes_it() {
        for (pattern, name) in Pattern::ALL {
            let pages: Vec<_> = (0..4).map(|generation| work(pattern).content(3, generation)).collect();
            for pair in pages.windows(2) {
                assert_ne!(pair[0], pair[1], "{name}");
            }
        }
    }

    #[test]
    fn sparse_writes_are_8_bytes_of_a_page() {
        let [before, after] = [1, 2].map(|generation| work(Pattern::Sparse).content(9, generation));
        let changed: Vec<_> = (0..PAGE_WORDS).filter(|&word| before[word] != after[word]).collect();
        assert_eq!(changed, [Work::sparse_word(9)]);
    }

    #[test]
    fn every_page_is_written_sooner_or_later() {
        for (pattern, name) in Pattern::ALL {
            let written: BTreeSet<_> = (0..100_000).map(|counter| work(pattern).choose(counter)).collect();
            assert!(written.iter().copied().eq(0..1000), "{name}: {written:?}");
        }
    }

    #[test]
    fn hot_pages_have_seven_of_eight_writes() {
        let work = work(Pattern::HotCold);
        let hot = (0..80_000).filter(|&counter| work.choose(counter) < work.hot_pages()).count();
        assert!((69_000..73_000).contains(&hot), "{hot} of 80000 writes, of which a few cold ones, were hot");
    }

    #[test]
    fn names_and_numbers_are_those_of_the_pattern() {
        for (pattern, name) in Pattern::ALL {
            assert_eq!(name.parse(), Ok(pattern));
            assert_eq!(pattern.to_string(), name);
            assert_eq!(Pattern::from_number(pattern.number()), Some(pattern));
        }
        assert_eq!(Pattern::from_number(6), None);
        assert!("twos".parse::<Pattern>().is_err());
    }
}
