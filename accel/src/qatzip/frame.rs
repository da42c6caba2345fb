//! The block inside an LZ4 frame, where there is one alone.
//!
//! The library makes frames (LZ4 frame format 1.6.x); a payload has blocks (`engine/FORMAT.md`). Its software links the
//! blocks of an input that is longer than 64 KiB to each other, so that none of them decodes alone; of an input up to that
//! length, software and hardware make a frame of one block, which cannot refer to any other.

/// The most that goes into one block of the frames that the library makes.
pub(super) const MAX_BLOCK_BYTES: usize = 64 << 10;

/// The block of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block<'a> {
    /// Compressed.
    Lz4(&'a [u8]),
    /// As it was, since it would not shrink.
    Stored,
}

const MAGIC: u32 = 0x184d_2204;
/// Of the first byte of the descriptor: version 1.
const VERSION: u8 = 1 << 6;
const VERSION_MASK: u8 = 3 << 6;
/// A checksum behind every block.
const BLOCK_CHECKSUM: u8 = 1 << 4;
/// Eight bytes of content size.
const CONTENT_SIZE: u8 = 1 << 3;
/// A checksum behind the last block.
const CONTENT_CHECKSUM: u8 = 1 << 2;
/// Four bytes of a dictionary's name.
const DICTIONARY: u8 = 1;
/// Of a block's length: it is stored.
const STORED: u32 = 1 << 31;

/// The block of `frame` if the frame has one block and nothing follows it.
pub(super) fn single_block(frame: &[u8]) -> Option<Block<'_>> {
    let mut rest = frame;
    if number(&mut rest)? != MAGIC {
        return None;
    }
    let flags = *rest.first()?;
    if flags & (VERSION_MASK | BLOCK_CHECKSUM | DICTIONARY) != VERSION {
        return None;
    }
    // Flags, block size and the descriptor's own checksum.
    let descriptor = if flags & CONTENT_SIZE == 0 { 3 } else { 3 + 8 };
    rest = rest.get(descriptor..)?;
    let length = number(&mut rest)?;
    let (block, mut rest) = rest.split_at_checked((length & !STORED) as usize)?;
    let end_mark = number(&mut rest)?;
    let checksum = if flags & CONTENT_CHECKSUM == 0 { 0 } else { 4 };
    let alone = !block.is_empty() && end_mark == 0 && rest.len() == checksum;
    alone.then_some(if length & STORED == 0 { Block::Lz4(block) } else { Block::Stored })
}

/// Takes the next four bytes.
fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with these flags and blocks.
    fn frame(flags: u8, blocks: &[(u32, &[u8])]) -> Vec<u8> {
        let mut frame = MAGIC.to_le_bytes().to_vec();
        frame.extend([flags, 0x40]);
        frame.extend((flags & CONTENT_SIZE != 0).then_some([7; 8]).into_iter().flatten());
        frame.push(0x72);
        for (bit, block) in blocks {
            frame.extend((bit | u32::try_from(block.len()).unwrap()).to_le_bytes());
            frame.extend_from_slice(block);
        }
        frame.extend([0; 4]);
        frame.extend((flags & CONTENT_CHECKSUM != 0).then_some([9; 4]).into_iter().flatten());
        frame
    }

    #[test]
    fn the_one_block_of_a_frame_is_found_behind_every_kind_of_header() {
        for flags in [0x40, 0x60, 0x44, 0x4c, 0x6c, 0x68] {
            assert_eq!(
                single_block(&frame(flags, &[(0, b"block")])),
                Some(Block::Lz4(b"block")),
                "{flags:#x}"
            );
            assert_eq!(single_block(&frame(flags, &[(STORED, b"page")])), Some(Block::Stored), "{flags:#x}");
        }
    }

    #[test]
    fn a_frame_of_several_blocks_or_none_has_no_single_block() {
        assert_eq!(single_block(&frame(0x4c, &[(0, b"one"), (0, b"two")])), None);
        assert_eq!(single_block(&frame(0x4c, &[])), None);
    }

    #[test]
    fn what_is_cut_off_goes_on_or_is_something_else_has_no_single_block() {
        let whole = frame(0x6c, &[(0, b"block")]);
        for cut in 0..whole.len() {
            assert_eq!(single_block(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(single_block(&[&whole[..], &whole[..]].concat()), None);
        // Version 2, a checksum of the block, a dictionary.
        for flags in [0x8c, 0x5c, 0x4d] {
            assert_eq!(single_block(&frame(flags, &[(0, b"block")])), None, "{flags:#x}");
        }
        assert_eq!(single_block(&[&[0], &whole[1..]].concat()), None);
    }
}
