//! Finds what repeats: bytes become literals and matches within 4 KiB.
//!
//! What the silicon searches is unpublished (hardware differs, so nothing may depend on it); this is a greedy search along
//! chains of equal hashes. It depends on the bytes alone, so statistics cover what a compression of the same bytes uses.

use super::symbols::{HISTORY, LONGEST};

/// A piece of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This byte.
    Literal(u8),
    /// So many bytes, 3 to [`LONGEST`], that came `distance` bytes before, 1 to [`HISTORY`].
    Match {
        /// How many bytes.
        length: u16,
        /// How far back.
        distance: u16,
    },
}

/// Matches are found by the hash of so many bytes, and are not shorter.
const SHORTEST: usize = 4;
/// Base-2 logarithm of the number of hashes.
const HASH_BITS: u32 = 12;
/// How many places with the same hash are tried.
const TRIES: usize = 8;
/// A match of so many bytes is taken without looking for a longer one.
const GOOD: usize = 64;
/// After so many bytes without a match the steps between searches begin to grow.
const PATIENCE: usize = 64;
/// The longest step.
const STRIDE: usize = 32;

/// Where bytes with each hash were seen last, and before.
struct Chains {
    /// One more than the last place with a hash; 0 for none.
    heads: Box<[u32; 1 << HASH_BITS]>,
    /// The place before, by the place modulo the history; likewise.
    before: Box<[u32; HISTORY]>,
}

impl Chains {
    fn new() -> Self {
        Self { heads: Box::new([0; 1 << HASH_BITS]), before: Box::new([0; HISTORY]) }
    }

    /// Enters a place, and returns what was the last one with its hash.
    #[inline]
    fn enter(&mut self, place: usize, hash: usize) -> u32 {
        let head = &mut self.heads[hash];
        let last = *head;
        self.before[place % HISTORY] = last;
        // Inputs have fewer than 2^32 bytes.
        *head = u32::try_from(place + 1).unwrap_or(0);
        last
    }
}

/// Splits `bytes`, fewer than 2^32, into tokens, in order; it ends with the first error of `each`.
pub(super) fn tokens<E>(
    bytes: &[u8],
    literals_only: bool,
    mut each: impl FnMut(Token) -> Result<(), E>,
) -> Result<(), E> {
    if literals_only {
        return bytes.iter().try_for_each(|&byte| each(Token::Literal(byte)));
    }
    let mut chains = Chains::new();
    let mut place = 0;
    let mut misses = 0;
    while let Some(hash) = hash(bytes, place) {
        let last = chains.enter(place, hash);
        let (length, distance) = longest(bytes, place, last, &chains);
        if length >= SHORTEST {
            each(Token::Match { length: narrow(length), distance: narrow(distance) })?;
            enter_inside(&mut chains, bytes, place, length);
            place += length;
            misses = 0;
        } else {
            let step = (1 + misses / PATIENCE).min(STRIDE).min(bytes.len() - place);
            for &byte in &bytes[place..place + step] {
                each(Token::Literal(byte))?;
            }
            place += step;
            misses += step;
        }
    }
    bytes[place..].iter().try_for_each(|&byte| each(Token::Literal(byte)))
}

/// Enters the places within a match: all of a short one, the last few of a long one.
#[inline]
fn enter_inside(chains: &mut Chains, bytes: &[u8], place: usize, length: usize) {
    let first = if length <= GOOD { place + 1 } else { place + length - SHORTEST };
    for inside in first..place + length {
        let Some(hash) = hash(bytes, inside) else { return };
        chains.enter(inside, hash);
    }
}

/// The longest match at `place` along a chain, and its distance; shorter than [`SHORTEST`] if there is none.
#[inline]
fn longest(bytes: &[u8], place: usize, mut last: u32, chains: &Chains) -> (usize, usize) {
    let most = LONGEST.min(bytes.len() - place);
    let mut best = (SHORTEST - 1, 0);
    for _ in 0..TRIES {
        let Some(from) = (last as usize).checked_sub(1) else { break };
        // The chain may have been overwritten by a later place: it only goes backwards.
        let distance = place.wrapping_sub(from);
        if distance == 0 || distance > HISTORY {
            break;
        }
        // A longer match has at least this byte in common.
        if best.0 < most && bytes[from + best.0] == bytes[place + best.0] {
            let length = common(&bytes[from..], &bytes[place..place + most]);
            if length > best.0 {
                best = (length, distance);
                if length >= GOOD {
                    break;
                }
            }
        }
        let before = chains.before[from % HISTORY];
        if before >= last {
            break;
        }
        last = before;
    }
    best
}

/// How many first bytes are equal. `one` is not the shorter.
#[inline]
fn common(one: &[u8], other: &[u8]) -> usize {
    let mut length = 0;
    while let (Some(a), Some(b)) = (one[length..].first_chunk::<8>(), other[length..].first_chunk::<8>()) {
        let different = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if different != 0 {
            return length + (different.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length + one[length..].iter().zip(&other[length..]).take_while(|(a, b)| a == b).count()
}

/// The hash of the bytes at `place`, if there are enough.
#[inline]
fn hash(bytes: &[u8], place: usize) -> Option<usize> {
    let word = bytes.get(place..)?.first_chunk::<SHORTEST>()?;
    // Knuth's multiplicative hashing.
    Some((u32::from_le_bytes(*word).wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize)
}

/// A length or a distance, which fit.
#[inline]
fn narrow(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::model::iaa::tests::{any_input, noise};

    pub(crate) fn all_tokens(bytes: &[u8], literals_only: bool) -> Vec<Token> {
        let mut all = Vec::new();
        tokens(bytes, literals_only, |token| {
            all.push(token);
            Ok::<_, Infallible>(())
        })
        .unwrap();
        all
    }

    /// What tokens stand for, byte by byte.
    fn expand(tokens: &[Token]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for token in tokens {
            match *token {
                Token::Literal(byte) => bytes.push(byte),
                Token::Match { length, distance } => {
                    assert!((3..=258).contains(&length) && (1..=4096).contains(&distance), "{token:?}");
                    for _ in 0..length {
                        bytes.push(bytes[bytes.len() - usize::from(distance)]);
                    }
                }
            }
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn tokens_stand_for_the_bytes_they_were_made_of(bytes in any_input()) {
            prop_assert!(expand(&all_tokens(&bytes, false)) == bytes);
            prop_assert!(all_tokens(&bytes, true).iter().all(|token| matches!(token, Token::Literal(_))));
            prop_assert!(expand(&all_tokens(&bytes, true)) == bytes);
        }
    }

    #[test]
    fn what_repeats_within_the_history_is_found_to_the_byte_and_nothing_beyond() {
        let again = Token::Match { length: 100, distance: 4096 };
        for (gap, found) in [(3996, true), (3997, false)] {
            // Noise, zeroes, and the noise again.
            let mut bytes = noise(100);
            bytes.resize(100 + gap, 0);
            bytes.extend_from_within(..100);
            assert_eq!(all_tokens(&bytes, false).contains(&again), found, "{gap}");
            assert_eq!(expand(&all_tokens(&bytes, false)), bytes);
        }
    }

    #[test]
    fn zeroes_are_a_literal_and_long_matches() {
        let tokens = all_tokens(&[0; 4096], false);
        assert!(tokens.len() <= 1 + 4095_usize.div_ceil(258), "{tokens:?}");
    }
}
