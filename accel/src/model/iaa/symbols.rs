//! What deflate's symbols stand for (RFC 1951, 3.2.5).

/// The symbol that ends a block.
pub(super) const END_OF_BLOCK: usize = 256;
/// How many literal and length symbols there are.
pub(super) const LITERAL_LENGTHS: usize = 286;
/// How many distance symbols there are.
pub(super) const DISTANCES: usize = 30;
/// How far back a match of IAA may reach (QPL).
pub(super) const HISTORY: usize = 4096;
/// The longest match.
pub(super) const LONGEST: usize = 258;

/// The values that a symbol stands for: `base` and whatever its extra bits add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    /// The least of them.
    pub base: u16,
    /// How many extra bits follow the symbol's code.
    pub extra_bits: u8,
}

/// A value as a symbol and its extra bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// The symbol.
    pub number: u16,
    /// How many extra bits follow its code.
    pub extra_bits: u8,
    /// The extra bits.
    pub extra: u16,
}

/// The lengths that the symbols from 257 on stand for.
pub(super) const LENGTHS: [Values; 29] = {
    let mut lengths = [Values { base: 0, extra_bits: 0 }; 29];
    let mut base = 3;
    let mut index: u8 = 0;
    while index < 28 {
        // Eight symbols without extra bits, then four with each number of them.
        let extra_bits = if index < 8 { 0 } else { (index - 4) / 4 };
        lengths[index as usize] = Values { base, extra_bits };
        base += 1 << extra_bits;
        index += 1;
    }
    lengths[28] = Values { base: 258, extra_bits: 0 };
    lengths
};

/// The distances that the distance symbols stand for.
pub(super) const DISTANCE_VALUES: [Values; DISTANCES] = {
    let mut distances = [Values { base: 0, extra_bits: 0 }; DISTANCES];
    let mut base = 1;
    let mut index: u8 = 0;
    while (index as usize) < DISTANCES {
        // Four symbols without extra bits, then two with each number of them.
        let extra_bits = if index < 4 { 0 } else { (index - 2) / 2 };
        distances[index as usize] = Values { base, extra_bits };
        base += 1 << extra_bits;
        index += 1;
    }
    distances
};

/// Which of [`LENGTHS`] has a length, by the length.
const OF_LENGTH: [u8; LONGEST + 1] = {
    let mut of_length = [0; LONGEST + 1];
    let mut index: u8 = 0;
    while index < 28 {
        let Values { base, extra_bits } = LENGTHS[index as usize];
        let mut length = base as usize;
        while length < base as usize + (1 << extra_bits) && length < LONGEST {
            of_length[length] = index;
            length += 1;
        }
        index += 1;
    }
    of_length[LONGEST] = 28;
    of_length
};

/// A match length, 3 to [`LONGEST`], as a symbol.
pub(super) fn of_length(length: u16) -> Symbol {
    let index = OF_LENGTH[usize::from(length)];
    let Values { base, extra_bits } = LENGTHS[usize::from(index)];
    Symbol { number: 257 + u16::from(index), extra_bits, extra: length - base }
}

/// A match distance, 1 to 32768, as a symbol.
pub(super) fn of_distance(distance: u16) -> Symbol {
    let number = match distance - 1 {
        near @ 0..4 => near,
        far => {
            // Two symbols share each power of two.
            let power = u16::from(far.ilog2().to_le_bytes()[0]);
            2 * power + (far >> (power - 1) & 1)
        }
    };
    let Values { base, extra_bits } = DISTANCE_VALUES[usize::from(number)];
    Symbol { number, extra_bits, extra: distance - base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_are_those_of_the_rfc() {
        let values = |base, extra_bits| Values { base, extra_bits };
        assert_eq!([LENGTHS[0], LENGTHS[8], LENGTHS[16]], [values(3, 0), values(11, 1), values(35, 3)]);
        assert_eq!([LENGTHS[27], LENGTHS[28]], [values(227, 5), values(258, 0)]);
        assert_eq!([DISTANCE_VALUES[3], DISTANCE_VALUES[4]], [values(4, 0), values(5, 1)]);
        assert_eq!([DISTANCE_VALUES[23], DISTANCE_VALUES[29]], [values(3073, 10), values(24577, 13)]);
    }

    #[test]
    fn every_length_and_distance_is_within_the_values_of_its_symbol() {
        for length in 3..=258 {
            let Symbol { number, extra_bits, extra } = of_length(length);
            let values = LENGTHS[usize::from(number) - 257];
            assert_eq!((values.base + extra, values.extra_bits), (length, extra_bits));
            assert!(extra < 1 << extra_bits, "{length}");
        }
        for distance in 1..=32768 {
            let Symbol { number, extra_bits, extra } = of_distance(distance);
            let values = DISTANCE_VALUES[usize::from(number)];
            assert_eq!((values.base + extra, values.extra_bits), (distance, extra_bits));
            assert!(extra < 1 << extra_bits, "{distance}");
        }
    }
}
