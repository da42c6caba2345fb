//! Canonical Huffman codes of bounded length, as deflate has them (RFC 1951, 3.2.2).

use pageferry_bindings::idxd::aecs::LITERAL_LENGTH_CODES;

/// The longest code of a literal, length or distance, in bits.
pub(super) const MAX_LENGTH: u8 = 15;

/// No alphabet here has more symbols, so that everything fits on the stack.
const MAX_SYMBOLS: usize = LITERAL_LENGTH_CODES;

/// The bits of a sorting key that hold the symbol; the weight lies above.
const SYMBOL_BITS: u32 = 16;

/// The lengths in bits of a prefix code for symbols of these weights, none longer than `limit`. Symbols of weight 0 have
/// none.
///
/// With two symbols or more the code is complete: no more symbols would fit. A symbol never has a longer code than a
/// lighter one, and symbols of one weight have lengths that grow towards the lower ones with a step of at most one, so
/// that long stretches of symbols that hardly occur have one length. The code is Huffman's where that keeps to the limit;
/// where it does not, leaves that would lie too deep are hung below the deepest place that is left, which costs little
/// and takes no second pass.
pub(super) fn lengths<const N: usize>(weights: &[u32; N], limit: u8) -> [u8; N] {
    const { assert!(N <= MAX_SYMBOLS) };
    let mut lengths = [0; N];
    let mut keys = [0_u64; N];
    let mut used = 0;
    for (symbol, &weight) in (0_u64..).zip(weights) {
        // Written even if it does not count, so that there is nothing to predict.
        keys[used] = u64::from(weight) << SYMBOL_BITS | symbol;
        used += usize::from(weight > 0);
    }
    let keys = &mut keys[..used];
    keys.sort_unstable();
    let leaves = leaves_by_depth(keys, limit);
    // The lightest are the deepest.
    let mut lightest = keys.iter();
    for length in (1..=limit).rev() {
        for key in lightest.by_ref().take(leaves[usize::from(length)].into()) {
            lengths[symbol_of(*key)] = length;
        }
    }
    lengths
}

/// The canonical codes of these lengths, most significant bit first: shorter ones are smaller, and those of one length
/// ascend with their symbols. Symbols without a code have 0.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [u16; N] {
    let mut next = [0_u16; MAX_LENGTH as usize + 2];
    for &length in lengths {
        next[usize::from(length) + 1] += 1;
    }
    // The number of codes of a length becomes the first code of the next one.
    next[1] = 0;
    for length in 1..next.len() {
        next[length] = (next[length] + next[length - 1]) << 1;
    }
    let mut codes = [0; N];
    for (code, &length) in codes.iter_mut().zip(lengths).filter(|(_, length)| **length > 0) {
        *code = next[usize::from(length)];
        next[usize::from(length)] += 1;
    }
    codes
}

fn symbol_of(key: u64) -> usize {
    let [low, high, ..] = key.to_le_bytes();
    u16::from_le_bytes([low, high]).into()
}

/// How many leaves the tree of these keys, lightest first, has at each depth.
fn leaves_by_depth(keys: &[u64], limit: u8) -> [u16; MAX_LENGTH as usize + 1] {
    let mut leaves = [0; MAX_LENGTH as usize + 1];
    if keys.len() < 2 {
        leaves[1] = u16::from(keys.len() == 1);
        return leaves;
    }
    let mut parents = [0_u16; MAX_SYMBOLS];
    let root = keys.len() - 2;
    join(keys, &mut parents);
    // From the root down, every inner node takes the place of a leaf and brings two of its own, a level deeper.
    let mut depths = [0_u8; MAX_SYMBOLS];
    let limit = usize::from(limit);
    leaves[1] = 2;
    for node in (0..root).rev() {
        let depth = depths[usize::from(parents[node])].saturating_add(1);
        depths[node] = depth;
        let mut place = usize::from(depth).min(limit - 1);
        while leaves[place] == 0 {
            place -= 1;
        }
        leaves[place] -= 1;
        leaves[place + 1] += 2;
    }
    leaves
}

/// Joins the two lightest nodes until one is left, and says which inner node is the parent of which; they are numbered as
/// they are made, the root last.
///
/// Which node is lighter is as good as random, so nothing here is decided by a jump.
fn join(keys: &[u64], parents: &mut [u16; MAX_SYMBOLS]) {
    // Behind the last leaf, and where no inner node is yet, there is one that is too heavy to be taken.
    let mut leaves = [u64::MAX; MAX_SYMBOLS + 1];
    let mut inners = [u64::MAX; MAX_SYMBOLS];
    for (leaf, key) in leaves.iter_mut().zip(keys) {
        *leaf = key >> SYMBOL_BITS;
    }
    let (mut leaf, mut inner) = (0, 0);
    for (made, number) in (0..keys.len() - 1).zip(0_u16..) {
        let mut joined = 0;
        for _ in 0..2 {
            // A leaf before an inner node of the same weight: that keeps the tree flat.
            let (light, heavy) = (leaves[leaf], inners[inner]);
            let is_leaf = light <= heavy;
            joined += light.min(heavy);
            // Written again until it is taken.
            parents[inner] = number;
            leaf += usize::from(is_leaf);
            inner += usize::from(!is_leaf);
        }
        inners[made] = joined;
    }
}

#[cfg(test)]
mod tests {
    use pageferry_bindings::idxd::aecs::DISTANCE_CODES;
    use proptest::prelude::*;

    use super::*;

    /// What is left of the code space, in units of the longest code: 0 if the code is complete.
    fn left(lengths: &[u8]) -> i64 {
        let taken = |&length: &u8| 1_i64 << (MAX_LENGTH - length);
        (1 << MAX_LENGTH) - lengths.iter().filter(|length| **length > 0).map(taken).sum::<i64>()
    }

    fn cost(weights: &[u32], lengths: &[u8]) -> u64 {
        weights.iter().zip(lengths).map(|(&weight, &length)| u64::from(weight) * u64::from(length)).sum()
    }

    /// The cost of the best code under a limit, by package-merge (Larmore and Hirschberg), with nothing but its cost kept:
    /// a symbol's length is how often it is among the cheapest 2n-2 packages.
    fn best_cost(weights: &[u32], limit: u8) -> u64 {
        let mut leaves: Vec<u64> =
            weights.iter().filter(|weight| **weight > 0).map(|&weight| weight.into()).collect();
        leaves.sort_unstable();
        let mut packages = leaves.clone();
        for _ in 1..limit {
            packages = packages.chunks_exact(2).map(|pair| pair.iter().sum()).collect();
            packages.extend(&leaves);
            packages.sort_unstable();
        }
        packages.iter().take(2 * leaves.len() - 2).sum()
    }

    fn any_weights<const N: usize>() -> impl Strategy<Value = [u32; N]> {
        let weight = prop_oneof![
            Just(0_u32),
            1..4_u32,
            1..5000_u32,
            (0..32_u32).prop_map(|shift| 1 << shift),
            Just(u32::MAX)
        ];
        prop::collection::vec(weight, N).prop_map(|weights| weights.try_into().expect("N of them"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_code_is_complete_within_its_limit_and_heavier_symbols_are_shorter(weights in any_weights::<LITERAL_LENGTH_CODES>()) {
            let lengths = lengths(&weights, MAX_LENGTH);
            prop_assert!(lengths.iter().all(|&length| length <= MAX_LENGTH));
            for (&weight, &length) in weights.iter().zip(&lengths) {
                prop_assert_eq!(weight == 0, length == 0);
            }
            prop_assert_eq!(left(&lengths), 0);
            let mut order: Vec<_> = weights.iter().zip(lengths).filter(|(weight, _)| **weight > 0).collect();
            order.sort_by_key(|(weight, length)| (**weight, std::cmp::Reverse(*length)));
            prop_assert!(order.is_sorted_by(|before, after| before.1 >= after.1));
        }

        #[test]
        fn a_code_of_code_lengths_keeps_to_seven_bits(weights in any_weights::<19>()) {
            let lengths = lengths(&weights, 7);
            prop_assert!(lengths.iter().all(|&length| length <= 7));
            if weights.iter().filter(|weight| **weight > 0).count() > 1 {
                prop_assert_eq!(left(&lengths), 0);
            }
        }

        #[test]
        fn a_code_is_the_best_one_or_nearly(
            weights in prop::collection::vec(0..4096_u32, LITERAL_LENGTH_CODES).prop_map(|weights| <[u32; LITERAL_LENGTH_CODES]>::try_from(weights).expect("as many")),
            skew in 0..16_u32,
        ) {
            let weights = weights.map(|weight| if weight % 7 == 0 { weight << skew } else { weight });
            let cost = cost(&weights, &lengths(&weights, MAX_LENGTH));
            let best = best_cost(&weights, MAX_LENGTH);
            prop_assert!(cost >= best);
            prop_assert!(cost <= best + best / 50, "{cost} bits, {best} are possible");
        }

        #[test]
        fn no_code_is_the_beginning_of_another(weights in any_weights::<DISTANCE_CODES>()) {
            let lengths = lengths(&weights, MAX_LENGTH);
            let codes = codes(&lengths);
            let coded: Vec<_> = codes.into_iter().zip(lengths).filter(|(_, length)| *length > 0).collect();
            for (index, &(code, length)) in coded.iter().enumerate() {
                prop_assert!(u32::from(code) < 1 << length, "{code:#b} has more than {length} bits");
                for &(other, longer) in coded.iter().skip(index + 1) {
                    let shared = length.min(longer);
                    prop_assert_ne!(code >> (length - shared), other >> (longer - shared));
                }
            }
        }
    }

    #[test]
    fn without_a_limit_in_its_way_a_code_is_huffmans() {
        let weights: [u32; 64] = std::array::from_fn(|symbol| 1 + u32::try_from(symbol * symbol).unwrap());
        let lengths = lengths(&weights, MAX_LENGTH);
        assert_eq!(cost(&weights, &lengths), best_cost(&weights, MAX_LENGTH));
    }

    #[test]
    fn weights_that_grow_like_rabbits_end_at_the_limit() {
        let mut weights = [1_u32; 40];
        for symbol in 2..40 {
            weights[symbol] = weights[symbol - 1] + weights[symbol - 2];
        }
        let lengths = lengths(&weights, MAX_LENGTH);
        assert_eq!(lengths.iter().max(), Some(&MAX_LENGTH));
        assert_eq!(left(&lengths), 0);
        assert!(cost(&weights, &lengths) <= best_cost(&weights, MAX_LENGTH) * 101 / 100);
    }

    #[test]
    fn the_codes_of_the_example_in_rfc_1951_are_its_own() {
        // Section 3.2.2: symbols A to H of these lengths.
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        assert_eq!(codes, [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]);
    }

    #[test]
    fn one_symbol_has_one_bit_and_none_has_none() {
        let mut weights = [0; 30];
        assert_eq!(lengths(&weights, MAX_LENGTH), [0; 30]);
        weights[7] = 3;
        assert_eq!(lengths(&weights, MAX_LENGTH)[7], 1);
    }
}
