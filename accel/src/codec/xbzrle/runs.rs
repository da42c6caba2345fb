//! From the differences of two pages to the runs of an encoding: what all implementations share.
//!
//! A bit per byte says whether it changed. Where that bit differs from its predecessor's, a run ends and another
//! begins: such places, the edges, are collected for a block of the page and then written out two by two, the
//! start and the end of a changed run. Neither step branches on where the changes are.

use super::super::positions::{MARGIN, Positions};
use super::length::Length;
use super::{MAX_PAGE_BYTES, Overflow};

/// Bytes that one word of differences covers.
pub(super) const WORD_BYTES: usize = 64;

/// Bytes whose edges are collected before they are written out.
const BLOCK_BYTES: usize = 4096;

/// Bytes of a changed run that are copied without asking how many there are.
const UNASKED_BYTES: usize = 16;

/// Bytes for two lengths, stored as one integer.
const LENGTHS_BYTES: usize = 8;

/// The edges in a block, as offsets from its start: at most one per byte.
pub(super) type Edges = Positions<{ BLOCK_BYTES + MARGIN }>;

/// Encodes by way of `differences`, which sets bit `i` if byte `i` of its inputs differs, and `append`, which
/// must do what [`Positions::append`] does.
///
/// # Panics
/// If the pages differ in length or are larger than [`MAX_PAGE_BYTES`].
#[inline(always)]
pub(super) fn encode_with(
    old: &[u8],
    new: &[u8],
    out: &mut [u8],
    differences: impl Fn(&[u8; WORD_BYTES], &[u8; WORD_BYTES]) -> u64,
    append: impl Fn(&mut Edges, u64, u16),
) -> Result<usize, Overflow> {
    assert_eq!(old.len(), new.len(), "a page and its baseline have one size");
    assert!(new.len() <= MAX_PAGE_BYTES, "a page has at most {MAX_PAGE_BYTES} bytes, not {}", new.len());
    let mut encoding = Encoding { new, out, written: 0, position: 0, open: None };
    let mut edges = Edges::new();
    let mut last = 0;
    for (block, (old, new)) in old.chunks(BLOCK_BYTES).zip(new.chunks(BLOCK_BYTES)).enumerate() {
        edges.clear();
        last = find_edges(old, new, last, &mut edges, &differences, &append);
        encoding.append(edges.as_slice(), block * BLOCK_BYTES)?;
    }
    encoding.finish()
}

/// Appends the edges of one block. `last` and the value returned are the difference bit of the byte before the
/// block and of its last one.
#[inline(always)]
fn find_edges(
    old: &[u8],
    new: &[u8],
    mut last: u64,
    edges: &mut Edges,
    differences: &impl Fn(&[u8; WORD_BYTES], &[u8; WORD_BYTES]) -> u64,
    append: &impl Fn(&mut Edges, u64, u16),
) -> u64 {
    let (old_words, old_rest) = old.as_chunks();
    let (new_words, new_rest) = new.as_chunks();
    let mut base = 0;
    for (old, new) in old_words.iter().zip(new_words) {
        let changed = differences(old, new);
        append(edges, changed ^ (changed << 1 | last), base);
        last = changed >> (u64::BITS - 1);
        base += 64;
    }
    if !new_rest.is_empty() {
        let changed = differences(&padded(old_rest), &padded(new_rest));
        append(edges, changed ^ (changed << 1 | last), base);
        last = 0;
    }
    last
}

/// `bytes` with zeros behind, equal in both pages.
fn padded(bytes: &[u8]) -> [u8; WORD_BYTES] {
    let mut word = [0; WORD_BYTES];
    word[..bytes.len()].copy_from_slice(bytes);
    word
}

/// An encoding as it grows.
struct Encoding<'a> {
    new: &'a [u8],
    out: &'a mut [u8],
    /// How many bytes of `out` are written.
    written: usize,
    /// Where the last changed run ended in the page.
    position: usize,
    /// Where a changed run started that has no end yet.
    open: Option<usize>,
}

impl Encoding<'_> {
    /// Writes the runs that end in a block which starts at byte `base` of the page.
    #[inline(always)]
    fn append(&mut self, mut edges: &[u16], base: usize) -> Result<(), Overflow> {
        if let (Some(start), [end, rest @ ..]) = (self.open, edges) {
            self.put(start, base + usize::from(*end))?;
            self.open = None;
            edges = rest;
        }
        let (runs, rest) = edges.as_chunks();
        for &[start, end] in runs {
            self.put(base + usize::from(start), base + usize::from(end))?;
        }
        if let [start] = rest {
            self.open = Some(base + usize::from(*start));
        }
        Ok(())
    }

    /// Writes the changed run that reaches the end of the page, if one does.
    #[inline(always)]
    fn finish(mut self) -> Result<usize, Overflow> {
        if let Some(start) = self.open {
            self.put(start, self.new.len())?;
        }
        Ok(self.written)
    }

    /// Writes the equal run that ends, and the changed run that begins, at `start` of the page.
    #[inline(always)]
    fn put(&mut self, start: usize, end: usize) -> Result<(), Overflow> {
        let unchanged = Length::encode(start - self.position);
        let run_bytes = end - start;
        let changed = Length::encode(run_bytes);
        let lengths = (unchanged.bytes | changed.bytes << (8 * unchanged.count)).to_le_bytes();
        let lengths_bytes = unchanged.count + changed.count;
        self.position = end;

        let room = self.out[self.written..].first_chunk_mut::<{ LENGTHS_BYTES + UNASKED_BYTES }>();
        let data = self.new[start..].first_chunk::<UNASKED_BYTES>();
        match (room, data) {
            (Some(room), Some(data)) if run_bytes <= UNASKED_BYTES => {
                room[..LENGTHS_BYTES].copy_from_slice(&lengths);
                room[lengths_bytes..lengths_bytes + UNASKED_BYTES].copy_from_slice(data);
            }
            _ => self.put_exactly(&lengths[..lengths_bytes], start..end)?,
        }
        self.written += lengths_bytes + run_bytes;
        Ok(())
    }

    /// Writes lengths and a run without touching a byte behind them.
    fn put_exactly(&mut self, lengths: &[u8], run: std::ops::Range<usize>) -> Result<(), Overflow> {
        let data = &self.new[run];
        let room = self.out[self.written..].get_mut(..lengths.len() + data.len()).ok_or(Overflow)?;
        let (head, tail) = room.split_at_mut(lengths.len());
        head.copy_from_slice(lengths);
        tail.copy_from_slice(data);
        Ok(())
    }
}
