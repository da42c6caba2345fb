//! A slow reader of deflate streams that tells how far back their matches reach. It keeps no bytes.

/// The longest distance of any match in a raw deflate stream, 0 if there is none; `None` if it is no stream.
pub(super) fn farthest_match(stream: &[u8]) -> Option<usize> {
    let mut bits = Bits { stream, next: 0 };
    let mut farthest = 0;
    loop {
        let last = bits.take(1)?;
        match bits.take(2)? {
            0 => skip_stored(&mut bits)?,
            1 => farthest = farthest.max(walk_block(&mut bits, &fixed_literals(), &Code::new(&[5; 30]))?),
            2 => {
                let (literals, distances) = dynamic_codes(&mut bits)?;
                farthest = farthest.max(walk_block(&mut bits, &literals, &distances)?);
            }
            _ => return None,
        }
        if last == 1 {
            return Some(farthest);
        }
    }
}

struct Bits<'a> {
    stream: &'a [u8],
    next: usize,
}

impl Bits<'_> {
    /// The next bits as a number, first bit lowest.
    fn take(&mut self, count: usize) -> Option<usize> {
        (0..count).try_fold(0, |number, place| {
            let byte = self.stream.get(self.next / 8)?;
            let bit = usize::from(byte >> (self.next % 8) & 1);
            self.next += 1;
            Some(number | bit << place)
        })
    }
}

/// A canonical Huffman code: how many codes have each length, and the symbols in the order of their codes.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        lengths.iter().filter(|length| **length > 0).for_each(|length| counts[*length] += 1);
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|symbol| lengths[*symbol] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        Self { counts, symbols }
    }

    /// RFC 1951, 3.2.2: codes of one length are consecutive, and follow those of the length before, doubled.
    fn take(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1)?;
            if code < first + count {
                return self.symbols.get(index + code - first).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

fn skip_stored(bits: &mut Bits<'_>) -> Option<()> {
    bits.next = bits.next.next_multiple_of(8);
    let length = bits.take(16)?;
    bits.take(16)?;
    bits.next += 8 * length;
    Some(())
}

/// RFC 1951, 3.2.6.
fn fixed_literals() -> Code {
    let mut lengths = [8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    Code::new(&lengths)
}

/// RFC 1951, 3.2.7.
fn dynamic_codes(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    let literals = bits.take(5)? + 257;
    let distances = bits.take(5)? + 1;
    let code_lengths = bits.take(4)? + 4;
    let mut of_lengths = [0; 19];
    for place in &ORDER[..code_lengths] {
        of_lengths[*place] = bits.take(3)?;
    }
    let of_lengths = Code::new(&of_lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (length, repeat) = match of_lengths.take(bits)? {
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length, 1),
        };
        lengths.resize(lengths.len() + repeat, length);
    }
    Some((Code::new(&lengths[..literals]), Code::new(lengths.get(literals..literals + distances)?)))
}

/// Walks to the end of a block and tells its longest distance.
fn walk_block(bits: &mut Bits<'_>, literals: &Code, distances: &Code) -> Option<usize> {
    let mut farthest = 0;
    loop {
        match literals.take(bits)? {
            0..256 => {}
            256 => return Some(farthest),
            length => {
                // RFC 1951, 3.2.5: 257 to 264 and 285 have no extra bits, then four lengths share a count.
                let extra = match length {
                    265..285 => (length - 261) / 4,
                    _ => 0,
                };
                bits.take(extra)?;
                farthest = farthest.max(take_distance(bits, distances)?);
            }
        }
    }
}

/// RFC 1951, 3.2.5: distances 1 to 4 have no extra bits, then two codes share a count.
fn take_distance(bits: &mut Bits<'_>, distances: &Code) -> Option<usize> {
    let code = distances.take(bits)?;
    if code < 4 {
        return Some(code + 1);
    }
    let extra = code / 2 - 1;
    Some(1 + ((2 + code % 2) << extra) + bits.take(extra)?)
}
