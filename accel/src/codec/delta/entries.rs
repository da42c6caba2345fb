//! From the differences of two regions to the entries of a record: what all implementations share.
//!
//! A bit per 8-byte word says whether it changed. The numbers of the changed words are collected for a block of
//! the region, which tells how long their entries are, and then written out in a loop without branches.

use super::super::positions::{MARGIN, Positions, Slots};
use super::{ENTRY_BYTES, MAX_REGION_BYTES, WORD_BYTES};
use crate::codec::DoesNotFit;

/// Bytes that one word of differences covers.
pub(super) const STRIDE_BYTES: usize = 64 * WORD_BYTES;

/// Strides whose changed words are collected before they are written out: 4 KiB.
const BLOCK_STRIDES: usize = 8;

const BLOCK_BYTES: usize = BLOCK_STRIDES * STRIDE_BYTES;

/// Encodes by way of `differences`, which sets bit `i` if word `i` of its inputs differs, and `append`, which
/// must do what [`Positions::append`] does.
///
/// # Panics
/// If the regions differ in length, or their length is not a multiple of 8 or above [`MAX_REGION_BYTES`].
#[inline(always)]
pub(super) fn encode_with(
    old: &[u8],
    new: &[u8],
    out: &mut [u8],
    differences: impl Fn(&[u8; STRIDE_BYTES], &[u8; STRIDE_BYTES]) -> u64,
    append: impl Fn(&mut Positions, u64, u16),
) -> Result<usize, DoesNotFit> {
    let bytes = new.len();
    assert_eq!(old.len(), bytes, "a region and its baseline have one size");
    assert!(
        bytes.is_multiple_of(WORD_BYTES),
        "a region consists of 8-byte words, unlike one of {bytes} bytes"
    );
    assert!(bytes <= MAX_REGION_BYTES, "a region has at most {MAX_REGION_BYTES} bytes, not {bytes}");
    let mut slots = Slots::<{ BLOCK_BYTES / WORD_BYTES + MARGIN }>::new();
    let mut written = 0;
    let mut first_word = 0;
    for (old, new) in old.chunks(BLOCK_BYTES).zip(new.chunks(BLOCK_BYTES)) {
        let mut changed = slots.list();
        find_changed(old, new, &mut changed, &differences, &append);
        written += put_entries(changed.into_slice(), first_word, new, &mut out[written..])?;
        // Wraps behind the last block of the largest region, when no word is left to number.
        first_word = first_word.wrapping_add(BLOCK_WORDS);
    }
    Ok(written)
}

/// Words in a block.
const BLOCK_WORDS: u16 = 512;
const _: () = assert!(BLOCK_WORDS as usize == BLOCK_BYTES / WORD_BYTES);

#[inline(always)]
fn find_changed(
    old: &[u8],
    new: &[u8],
    changed: &mut Positions,
    differences: &impl Fn(&[u8; STRIDE_BYTES], &[u8; STRIDE_BYTES]) -> u64,
    append: &impl Fn(&mut Positions, u64, u16),
) {
    let (old_strides, old_rest) = old.as_chunks();
    let (new_strides, new_rest) = new.as_chunks();
    let mut base = 0;
    for (old, new) in old_strides.iter().zip(new_strides) {
        append(changed, differences(old, new), base);
        base += 64;
    }
    if !new_rest.is_empty() {
        append(changed, differences(&padded(old_rest), &padded(new_rest)), base);
    }
}

/// `bytes` with zeros behind, equal in both regions.
fn padded(bytes: &[u8]) -> [u8; STRIDE_BYTES] {
    let mut stride = [0; STRIDE_BYTES];
    stride[..bytes.len()].copy_from_slice(bytes);
    stride
}

/// Writes the entries of the `changed` words of a block and returns how many bytes that took.
#[inline(always)]
fn put_entries(changed: &[u16], first_word: u16, block: &[u8], out: &mut [u8]) -> Result<usize, DoesNotFit> {
    let (entries, _) = out.as_chunks_mut::<ENTRY_BYTES>();
    let entries = entries.get_mut(..changed.len()).ok_or(DoesNotFit)?;
    let words = block.as_chunks::<WORD_BYTES>().0;
    for (entry, &number) in entries.iter_mut().zip(changed) {
        let (offset, word) = entry.split_at_mut(2);
        offset.copy_from_slice(&(first_word + number).to_le_bytes());
        word.copy_from_slice(&words[usize::from(number)]);
    }
    Ok(changed.len() * ENTRY_BYTES)
}
