//! From the differences of two pages to the runs of an encoding: what all implementations share.
//!
//! A bit per byte says whether it changed. Where that bit differs from its predecessor's, a run ends and another
//! begins: such places, the edges, are collected for a block of the page and then written out two by two, the
//! start and the end of a changed run. Neither step branches on where the changes are.

use super::super::positions::{MARGIN, Positions, Slots};
use super::MAX_PAGE_BYTES;
use super::length::Length;
use crate::codec::DoesNotFit;

/// Bytes that one word of differences covers.
pub(super) const WORD_BYTES: usize = 64;

/// Bytes whose edges are collected before they are written out.
const BLOCK_BYTES: usize = 4096;

/// Up to so many bytes of a changed run are copied without asking how many there are.
const SHORT_RUN: usize = 16;

/// Bytes for two lengths, stored as one integer.
const LENGTHS_BYTES: usize = 8;

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
    append: impl Fn(&mut Positions, u64, u16),
) -> Result<usize, DoesNotFit> {
    assert_eq!(old.len(), new.len(), "a page and its baseline have one size");
    assert!(new.len() <= MAX_PAGE_BYTES, "a page has at most {MAX_PAGE_BYTES} bytes, not {}", new.len());
    let mut encoding = Encoding { new, out, written: 0, position: 0, open: None };
    let mut slots = Slots::<{ BLOCK_BYTES + MARGIN }>::new();
    let mut last = 0;
    for (block, (old, new)) in old.chunks(BLOCK_BYTES).zip(new.chunks(BLOCK_BYTES)).enumerate() {
        let mut edges = slots.list();
        last = find_edges(old, new, last, &mut edges, &differences, &append);
        encoding.append(edges.into_slice(), block * BLOCK_BYTES)?;
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
    edges: &mut Positions,
    differences: &impl Fn(&[u8; WORD_BYTES], &[u8; WORD_BYTES]) -> u64,
    append: &impl Fn(&mut Positions, u64, u16),
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
    fn append(&mut self, mut edges: &[u16], base: usize) -> Result<(), DoesNotFit> {
        if let (Some(start), [end, rest @ ..]) = (self.open, edges) {
            self.put(start, base + usize::from(*end))?;
            self.open = None;
            edges = rest;
        }
        let (runs, rest) = edges.as_chunks();
        if shortest(runs) > self.out.len() - self.written {
            return Err(DoesNotFit);
        }
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
    fn finish(mut self) -> Result<usize, DoesNotFit> {
        if let Some(start) = self.open {
            self.put(start, self.new.len())?;
        }
        Ok(self.written)
    }

    /// Writes the equal run that ends, and the changed run that begins, at `start` of the page.
    #[inline(always)]
    fn put(&mut self, start: usize, end: usize) -> Result<(), DoesNotFit> {
        let unchanged = Length::encode(start - self.position);
        let run_bytes = end - start;
        self.position = end;
        let room = &mut self.out[self.written..];
        let short = room.first_chunk_mut::<{ LENGTHS_BYTES + SHORT_RUN }>();
        self.written += match (short, self.new[start..].first_chunk::<SHORT_RUN>()) {
            (Some(room), Some(data)) if run_bytes <= SHORT_RUN => {
                // The length of a short run is a byte.
                let lengths = unchanged.bytes | (run_bytes as u64) << (8 * unchanged.count);
                let lengths_bytes = unchanged.count + 1;
                room[..LENGTHS_BYTES].copy_from_slice(&lengths.to_le_bytes());
                room[lengths_bytes..lengths_bytes + SHORT_RUN].copy_from_slice(data);
                lengths_bytes + run_bytes
            }
            _ => put_exactly(unchanged, &self.new[start..end], &mut self.out[self.written..])?,
        };
        Ok(())
    }
}

/// The least that `runs` can take: their bytes and two of lengths for each. Asked first, it spares a page that
/// changed all over, and so overflows, most of its way.
#[inline(always)]
fn shortest(runs: &[[u16; 2]]) -> usize {
    runs.iter().map(|[start, end]| usize::from(end - start) + 2).sum()
}

/// Writes two lengths and a changed run without touching a byte behind them; returns how many bytes they took.
/// Out of line, so that what it keeps in registers does not push out what the short runs need.
#[inline(never)]
fn put_exactly(unchanged: Length, run: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    let changed = Length::encode(run.len());
    let lengths = (unchanged.bytes | changed.bytes << (8 * unchanged.count)).to_le_bytes();
    let (head, tail) = out.split_at_mut_checked(unchanged.count + changed.count).ok_or(DoesNotFit)?;
    head.copy_from_slice(&lengths[..head.len()]);
    tail.get_mut(..run.len()).ok_or(DoesNotFit)?.copy_from_slice(run);
    Ok(head.len() + run.len())
}
