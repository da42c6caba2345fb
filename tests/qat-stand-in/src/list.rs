//! Scatter lists: what the caller wrote, what the device reads of it, and whether it stayed as it was.

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, FlatBuffer, MAX_BUFFERS};

/// A caller's list as it was when it was submitted.
#[derive(Debug)]
pub(crate) struct List {
    /// Where it is.
    pub address: usize,
    pub metadata: usize,
    pub bytes: u64,
    buffers: usize,
    pub flats: Vec<Flat>,
}

/// One of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flat {
    pub bytes: u32,
    pub address: usize,
}

/// How much pinned memory a list of so many buffers takes: a header, an entry a buffer and one more, and room to align it.
pub(crate) const fn metadata_bytes(buffers: usize) -> usize {
    16 + 16 * (buffers + 1) + 8
}

impl List {
    /// What a list says. Buffers without a byte are right in a source only.
    ///
    /// # Safety
    /// A list that is not null is the caller's to read, and so are as many buffers as it states.
    pub(crate) unsafe fn read(list: *const BufferList, may_be_empty: bool) -> Result<Self, CpaStatus> {
        if list.is_null() {
            return Err(CpaStatus::INVALID_PARAM);
        }
        // SAFETY: the caller's word.
        let BufferList { count, buffers, metadata, .. } = unsafe { list.read() };
        if buffers.is_null() || metadata.is_null() || count == 0 {
            return Err(CpaStatus::INVALID_PARAM);
        }
        // SAFETY: the caller's word, for as many buffers as the list states.
        let flats = unsafe { flats(buffers, count) };
        for flat in &flats {
            if (flat.bytes == 0 && !may_be_empty) || (flat.bytes > 0 && flat.address == 0) {
                return Err(CpaStatus::INVALID_PARAM);
            }
        }
        let bytes = flats.iter().map(|flat| u64::from(flat.bytes)).sum();
        Ok(Self {
            address: list as usize,
            metadata: metadata as usize,
            bytes,
            buffers: buffers as usize,
            flats,
        })
    }

    /// Whether it has more buffers than a device takes.
    pub(crate) fn is_too_long(&self) -> bool {
        self.flats.len() >= MAX_BUFFERS as usize
    }

    /// Bytes of its metadata that the library writes and the device reads.
    pub(crate) fn metadata_bytes(&self) -> usize {
        metadata_bytes(self.flats.len())
    }

    /// Writes what the device reads: the count and the buffers, by device addresses.
    ///
    /// # Safety
    /// The metadata are [`Self::metadata_bytes`] of memory that no operation in flight uses.
    pub(crate) unsafe fn write_metadata(&self, device: &[u64]) {
        let aligned = self.metadata.next_multiple_of(8) as *mut u64;
        let count = u64::from(u32::try_from(self.flats.len()).unwrap_or(u32::MAX));
        // SAFETY: the header has 16 bytes and each entry 16, all within what the caller vouches for, and aligned to 8.
        unsafe {
            aligned.write(0);
            aligned.add(1).write(count);
            for (index, (flat, device)) in self.flats.iter().zip(device).enumerate() {
                aligned.add(2 + 2 * index).write(u64::from(flat.bytes));
                aligned.add(3 + 2 * index).write(*device);
            }
        }
    }

    /// Whether the list and its buffers still say what they did.
    ///
    /// # Safety
    /// That of [`Self::read`].
    pub(crate) unsafe fn is_unchanged(&self) -> bool {
        // SAFETY: the caller's word, as when it was read.
        let BufferList { count, buffers, metadata, .. } =
            unsafe { (self.address as *const BufferList).read() };
        if count as usize != self.flats.len()
            || buffers as usize != self.buffers
            || metadata as usize != self.metadata
        {
            return false;
        }
        // SAFETY: the same buffers as when it was read.
        let now = unsafe { flats(buffers, count) };
        now == self.flats
    }
}

/// # Safety
/// There are so many buffers to be read.
unsafe fn flats(buffers: *const FlatBuffer, count: u32) -> Vec<Flat> {
    // SAFETY: the caller's word.
    let flats = unsafe { std::slice::from_raw_parts(buffers, count as usize) };
    flats.iter().map(|flat| Flat { bytes: flat.bytes, address: flat.data as usize }).collect()
}
