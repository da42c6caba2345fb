//! What one request in flight needs of pinned memory: operations, their lists with metadata, and room for pages that the
//! device does not reach in place. Built once, used again and again.

use std::sync::Arc;

use pageferry_bindings::qat::cpa::{BufferList, FlatBuffer, InstanceHandle, MAX_BUFFERS};
use pageferry_bindings::qat::dc::OpData;
use pageferry_bindings::qat::library::Libqat;

use super::operation::{self, Answer, Operation};
use super::pinned::{ALIGNMENT, Pinned};
use super::reach::Reach;
use crate::dma::HostAddress;
use crate::queue::OpenError;

/// How much of what a slot has room for, and where that lies.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    operations: usize,
    buffers: usize,
    /// For a list of so many buffers, but for one more: how much metadata it has.
    metadata_of: Vec<usize>,
    metadata_bytes: usize,
    /// Of each of the two places for pages: 0 where the device reaches all that there is.
    place_bytes: usize,
}

/// Buffers beyond those that runs and segments need, for where memory is not contiguous.
const SPARE_BUFFERS: usize = 16;

impl Layout {
    /// For requests of up to `max_pages` pages; with room for `place_bytes` bytes of pages to be copied, each way.
    ///
    /// # Errors
    /// [`OpenError::Device`] if the library does not say how much metadata a list has.
    pub(super) fn new(
        library: &Libqat,
        name: &str,
        handle: InstanceHandle,
        max_pages: usize,
        place_bytes: usize,
    ) -> Result<Self, OpenError> {
        let metadata = |buffers| operation::metadata_bytes(library, name, handle, buffers);
        let metadata_of = (1..MAX_BUFFERS).map(metadata).collect::<Result<Vec<_>, _>>()?;
        // A run may be a page, and a segment too.
        let buffers = 2 * max_pages + SPARE_BUFFERS;
        // As if every buffer were a list of its own: a longer list takes no more than its buffers would.
        let metadata_bytes = buffers * metadata_of[0].next_multiple_of(ALIGNMENT);
        Ok(Self { operations: max_pages, buffers, metadata_of, metadata_bytes, place_bytes })
    }

    /// Where the flat buffers begin, and the metadata, behind the operations.
    fn offsets(&self) -> (usize, usize) {
        let buffers = (self.operations * size_of::<Operation>()).next_multiple_of(ALIGNMENT);
        (buffers, (buffers + self.buffers * size_of::<FlatBuffer>()).next_multiple_of(ALIGNMENT))
    }
}

/// The pinned memory of a slot. Each part is contiguous, and none of them longer than it must be for that.
pub(super) struct SlotMemory {
    /// Operations, flat buffers, metadata.
    lists: Pinned,
    /// [`Place::Input`] and [`Place::Output`].
    places: Option<[Pinned; 2]>,
}

impl SlotMemory {
    /// As `layout` needs it, on this node.
    ///
    /// # Errors
    /// [`OpenError::Device`] if the driver has none.
    pub(super) fn new(
        library: &Arc<Libqat>,
        name: &str,
        layout: &Layout,
        node: u32,
    ) -> Result<Self, OpenError> {
        let pinned = |bytes| Pinned::new(library, name, bytes, node);
        let lists = pinned(layout.offsets().1 + layout.metadata_bytes)?;
        let places = match layout.place_bytes {
            0 => None,
            bytes => Some([pinned(bytes)?, pinned(bytes)?]),
        };
        Ok(Self { lists, places })
    }

    /// Every allocation.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Pinned> {
        [&self.lists].into_iter().chain(self.places.iter().flatten())
    }
}

/// The two places for pages that the device does not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// What the device reads.
    Input,
    /// What it writes.
    Output,
}

/// A slot's lists do not suffice for a request, or what one names is out of the device's reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreachable;

/// The memory of one request in flight.
pub(super) struct Slot {
    memory: SlotMemory,
    layout: Layout,
    operations: usize,
    buffers: usize,
    /// Where the list that is being made begins.
    list: usize,
    metadata: usize,
}

impl Slot {
    /// A slot in `memory`, which was made for the layout.
    pub(super) fn new(memory: SlotMemory, layout: Layout) -> Self {
        Self { memory, layout, operations: 0, buffers: 0, list: 0, metadata: 0 }
    }

    /// Forgets all operations, none of which is in flight.
    pub(super) fn clear(&mut self) {
        (self.operations, self.buffers, self.list, self.metadata) = (0, 0, 0, 0);
    }

    /// How many operations there are.
    pub(super) fn operations(&self) -> usize {
        self.operations
    }

    /// The operation at `index`.
    pub(super) fn operation(&self, index: usize) -> *mut Operation {
        assert!(index < self.layout.operations, "operation {index} of {}", self.layout.operations);
        self.memory.lists.at(index * size_of::<Operation>()).cast()
    }

    /// What became of the operation at `index` by now.
    pub(super) fn answer(&self, index: usize) -> Answer {
        assert!(index < self.operations, "operation {index} of {}", self.operations);
        // SAFETY: `post` made it.
        unsafe { Operation::answer(self.operation(index)) }
    }

    /// How many buffers the list that is being made has.
    pub(super) fn listed(&self) -> usize {
        self.buffers - self.list
    }

    /// Appends `bytes` bytes at `from` to the list that is being made, in as many buffers as it takes.
    ///
    /// # Errors
    /// [`Unreachable`] if the device does not reach all of them, or there is no room for so many buffers.
    pub(super) fn push(
        &mut self,
        reach: &Reach,
        mut from: HostAddress,
        mut bytes: usize,
    ) -> Result<(), Unreachable> {
        while bytes > 0 {
            let here = reach.contiguous(from, bytes).min(u32::MAX as usize);
            if here == 0 {
                return Err(Unreachable);
            }
            self.push_buffer(from, here)?;
            (from, bytes) = (from.offset(here), bytes - here);
        }
        Ok(())
    }

    /// Appends part of one of the slot's own places.
    ///
    /// # Errors
    /// [`Unreachable`] if the place is not as long, or there is no room for another buffer.
    pub(super) fn push_place(
        &mut self,
        place: Place,
        offset: usize,
        bytes: usize,
    ) -> Result<(), Unreachable> {
        match self.pinned(place) {
            Some(pinned) if offset + bytes <= pinned.len() => self.push_buffer(pinned.address(offset), bytes),
            _ => Err(Unreachable),
        }
    }

    fn push_buffer(&mut self, from: HostAddress, bytes: usize) -> Result<(), Unreachable> {
        if self.buffers == self.layout.buffers || self.listed() + 1 == MAX_BUFFERS as usize {
            return Err(Unreachable);
        }
        let bytes = u32::try_from(bytes).map_err(|_| Unreachable)?;
        let buffer = FlatBuffer { bytes, data: from.0 as *mut u8 };
        // SAFETY: there is room for it, as was just seen, and no operation in flight has it.
        unsafe { self.buffer(self.buffers).write(buffer) };
        self.buffers += 1;
        Ok(())
    }

    fn buffer(&self, index: usize) -> *mut FlatBuffer {
        self.memory.lists.at(self.layout.offsets().0 + index * size_of::<FlatBuffer>()).cast()
    }

    /// Takes back what was pushed since the last list.
    pub(super) fn drop_list(&mut self) {
        self.buffers = self.list;
    }

    /// The list of what was pushed since the last one.
    pub(super) fn end_list(&mut self) -> BufferList {
        let listed = self.listed();
        let metadata = self.memory.lists.at(self.layout.offsets().1 + self.metadata);
        self.metadata += self.layout.metadata_of[listed.saturating_sub(1)].next_multiple_of(ALIGNMENT);
        assert!(self.metadata <= self.layout.metadata_bytes, "metadata of more lists than there are buffers");
        let buffers = self.buffer(self.list);
        self.list = self.buffers;
        let count = u32::try_from(listed).unwrap_or(MAX_BUFFERS);
        BufferList { count, buffers, user: std::ptr::null_mut(), metadata: metadata.cast() }
    }

    /// Adds an operation with these lists.
    ///
    /// # Errors
    /// [`Unreachable`] if there is no room for another one.
    pub(super) fn post(
        &mut self,
        source: BufferList,
        destination: BufferList,
        how: OpData,
    ) -> Result<usize, Unreachable> {
        let index = self.operations;
        if index == self.layout.operations {
            return Err(Unreachable);
        }
        // SAFETY: there is room for it, and it is not in flight.
        unsafe { self.operation(index).write(Operation::new(source, destination, how)) };
        self.operations += 1;
        Ok(index)
    }

    fn pinned(&self, place: Place) -> Option<&Pinned> {
        let [input, output] = self.memory.places.as_ref()?;
        Some(match place {
            Place::Input => input,
            Place::Output => output,
        })
    }

    /// The bytes of a place, none if there is no such; to be looked at while no operation in flight has them.
    pub(super) fn place(&mut self, place: Place) -> &mut [u8] {
        let Some(pinned) = self.pinned(place) else { return &mut [] };
        // SAFETY: the place is the slot's own, and the device is done with it.
        unsafe { std::slice::from_raw_parts_mut(pinned.at(0), pinned.len()) }
    }
}
