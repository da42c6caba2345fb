//! Applying a record to the old region.

use super::{ENTRY_BYTES, WORD_BYTES};

/// Why a record cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The size of the record is not a whole number of entries.
    #[error(
        "a delta record of {record_bytes} bytes is not a whole number of 10-byte entries; it arrived incomplete"
    )]
    PartialEntry {
        /// The size of the record.
        record_bytes: usize,
    },
    /// An offset is not above the one before it.
    #[error(
        "entry {entry} of the delta record names word {offset} after word {previous}, but offsets must increase; \
         the encoder is broken"
    )]
    NotIncreasing {
        /// The number of the entry, from 0.
        entry: usize,
        /// Its offset, in words.
        offset: u16,
        /// The offset of the entry before it.
        previous: u16,
    },
    /// An offset names a word that the region does not have.
    #[error(
        "entry {entry} of the delta record names word {offset} of a region of {region_bytes} bytes; \
         check that both sides agree on the size of the region"
    )]
    PastRegionEnd {
        /// The number of the entry, from 0.
        entry: usize,
        /// Its offset, in words.
        offset: u16,
        /// The size of the region.
        region_bytes: usize,
    },
}

/// Turns the old region into the new one, in place. An empty record leaves it as it is.
///
/// Nothing outside `region` is written, whatever `record` holds. If the size of the region is not a multiple of 8,
/// no entry can name its last bytes.
///
/// # Errors
/// [`DecodeError`] if `record` is not a record of a region of this size. Unless it has a partial entry, the
/// entries before the faulty one have then been applied: the region is neither the old nor the new one.
pub fn decode(record: &[u8], region: &mut [u8]) -> Result<(), DecodeError> {
    let (entries, []) = record.as_chunks::<ENTRY_BYTES>() else {
        return Err(DecodeError::PartialEntry { record_bytes: record.len() });
    };
    let region_bytes = region.len();
    let words = region.as_chunks_mut::<WORD_BYTES>().0;
    let mut previous = None;
    for (entry, &[low, high, ref word @ ..]) in entries.iter().enumerate() {
        let offset = u16::from_le_bytes([low, high]);
        if let Some(previous) = previous.filter(|&previous| offset <= previous) {
            return Err(DecodeError::NotIncreasing { entry, offset, previous });
        }
        let Some(place) = words.get_mut(usize::from(offset)) else {
            return Err(DecodeError::PastRegionEnd { entry, offset, region_bytes });
        };
        *place = *word;
        previous = Some(offset);
    }
    Ok(())
}
