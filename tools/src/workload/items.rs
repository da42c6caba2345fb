//! The memory of a key-value store: items of one size, side by side as a slab allocator lays them.

use super::noise::Noise;

/// The size class of the slab. It does not divide the page size, so that items run on from one page to the next.
const ITEM_BYTES: usize = 208;

/// How much of an item is the value, which is random and does not shrink. Tuned so that deflate at level 1 shrinks
/// memory by about 1.6 (1.60 measured with ISA-L, 1.62 with libdeflate; a test holds it there).
const VALUE_BYTES: usize = 102;

/// Where the value begins: behind links, numbers and the key.
const VALUE_AT: usize = 80;

/// Where the slabs lie in the store's address space; links of items point into them.
const SLABS: u64 = 0x0000_7f21_8c00_0000;

/// Writes over `bytes`, which are `position` bytes from the beginning of memory, what the items there hold after their
/// values were set once more, with what `noise` gives.
pub(super) fn set(position: u64, noise: &mut Noise, bytes: &mut [u8]) {
    let (mut position, mut room) = (position, bytes);
    while !room.is_empty() {
        let number = position / ITEM_BYTES as u64;
        let within = usize::try_from(position % ITEM_BYTES as u64).unwrap_or(0);
        let length = room.len().min(ITEM_BYTES - within);
        let (here, rest) = room.split_at_mut(length);
        here.copy_from_slice(&item(number, noise)[within..within + length]);
        (position, room) = (position + length as u64, rest);
    }
}

/// An item: links of its hash chain and of its list by age, times, lengths, key, value, and what the size class leaves
/// over at the end.
fn item(number: u64, noise: &mut Noise) -> [u8; ITEM_BYTES] {
    let mut item = [0; ITEM_BYTES];
    let mut at = 0;
    let mut put = |field: &[u8]| {
        item[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    };
    let anywhere = |noise: &mut Noise| SLABS + noise.below(1 << 18) * ITEM_BYTES as u64;
    // Neighbours in memory were mostly set one after the other, and chains are short.
    let neighbour = SLABS + number.wrapping_add(1) * ITEM_BYTES as u64;
    let older = if noise.below(4) == 0 { anywhere(noise) } else { neighbour };
    let chained = if noise.below(2) == 0 { anywhere(noise) } else { 0 };
    put(&older.to_le_bytes());
    put(&older.wrapping_sub(2 * ITEM_BYTES as u64).to_le_bytes());
    put(&chained.to_le_bytes());
    // When it was set last, and that it does not expire.
    put(&(0x0001_5180 + noise.below(1 << 12)).to_le_bytes());
    put(&(VALUE_BYTES as u64).to_le_bytes());
    // References, flags, the size class, the length of the key.
    put(&[1, 0, 3, 0, 7, 20, 0, 0]);
    put(format!("user:{:015}", noise.below(10_000_000)).as_bytes());
    let value = &mut item[VALUE_AT..VALUE_AT + VALUE_BYTES];
    noise.fill(value);
    item
}
