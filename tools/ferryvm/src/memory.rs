//! The guest's memory by the addresses of its program.

use std::io;
use std::sync::Arc;

use pageferry_accel::guest::{AnonymousMemory, GuestMemory, GuestRam};
use pageferry_accel::units::PageIndex;
use zerocopy::IntoBytes;

use crate::block::Block;
use crate::layout::{Layout, Linear, PAGE_BYTES, PAGE_LEN, PAGE_SIZE, PageBytes};
use crate::workload::{PAGE_WORDS, PageWords};

/// A guest's memory: what the data path sees of it, and where things are in it.
///
/// It is memory of our own and not that of `vm-memory`: nothing here reads or writes it but through [`GuestRam`], which
/// has the copies that bear with a running guest, so that a second way to the same bytes would only be in the way.
pub(crate) struct Memory {
    layout: Layout,
    ram: Arc<GuestRam>,
    /// What is given to KVM; `ram` is the same memory.
    mapped: Arc<AnonymousMemory>,
}

/// Memory that the system does not give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The mapping failed.
    #[error("cannot map {bytes} bytes of guest memory: {source}; use a smaller guest")]
    Map {
        /// How much was asked for.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The pages cannot be counted.
    #[error(transparent)]
    Layout(#[from] pageferry_accel::guest::LayoutError),
}

impl Memory {
    pub(crate) fn new(layout: Layout) -> Result<Self, MemoryError> {
        let map = |source| MemoryError::Map { bytes: layout.bytes(), source };
        let mapped = Arc::new(AnonymousMemory::new(layout.regions()).map_err(map)?);
        let ram = Arc::new(GuestRam::new(Arc::clone(&mapped) as Arc<dyn GuestMemory>, PAGE_SIZE)?);
        Ok(Self { layout, ram, mapped })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn ram(&self) -> &Arc<GuestRam> {
        &self.ram
    }

    pub(crate) fn mapped(&self) -> &Arc<AnonymousMemory> {
        &self.mapped
    }

    /// The page at an address; zeros where there is no memory.
    pub(crate) fn read(&self, address: Linear) -> PageBytes {
        let mut page = [0; PAGE_LEN];
        if let Some(index) = self.layout.page(address) {
            self.ram.copy_out(index, &mut page);
        }
        page
    }

    /// Overwrites the page at an address, if there is memory. Answers with the page that was written.
    pub(crate) fn write(&self, address: Linear, page: &PageBytes) -> Option<PageIndex> {
        let index = self.layout.page(address)?;
        self.ram.copy_in(index, page);
        Some(index)
    }

    /// Overwrites the memory from the beginning of a page on; the rest of the last page becomes zero.
    pub(crate) fn write_bytes(&self, address: Linear, bytes: &[u8]) {
        for (index, chunk) in (0..).zip(bytes.chunks(PAGE_LEN)) {
            let mut page = [0; PAGE_LEN];
            page[..chunk.len()].copy_from_slice(chunk);
            self.write(Linear(address.0 + index * PAGE_BYTES), &page);
        }
    }

    pub(crate) fn read_words(&self, address: Linear) -> PageWords {
        let mut words = [0; PAGE_WORDS];
        words.as_mut_bytes().copy_from_slice(&self.read(address));
        words
    }

    pub(crate) fn write_words(&self, address: Linear, words: &PageWords) -> Option<PageIndex> {
        let mut page = [0; PAGE_LEN];
        page.copy_from_slice(words.as_bytes());
        self.write(address, &page)
    }

    /// The block of a vCPU; none if the memory holds no block there.
    pub(crate) fn block(&self, vcpu: u32) -> Option<Block> {
        Block::of_page(&self.read(Linear::block(vcpu)))
    }
}
