//! What a device makes of a request: phases of descriptors, composed, waited for, and looked at.

use pageferry_bindings::idxd::completion::{DsaCompletion, IaaCompletion};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dma::{Block, HostAddress};
use crate::queue::Failure;
use crate::request::Request;

/// A request's way through a device, in phases: each posts descriptors, and goes on when all of them have completed.
pub(crate) trait Work: Send + Sync + 'static {
    /// The completion record of this device.
    type Record: Record;

    /// What is kept of one request in flight: made once, used again and again.
    type Slot: Send;

    /// The most descriptors that one phase posts.
    fn max_descriptors(&self) -> usize;

    /// How many bytes of mapped memory a slot needs for itself.
    fn slot_bytes(&self) -> usize;

    /// Makes a slot with as many zeroed, mapped bytes.
    fn slot(&self, memory: Block) -> Self::Slot;

    /// Posts the first phase. The request stays as it is: the device may yet refuse everything.
    fn begin(&self, request: &Request, slot: &mut Self::Slot, outbox: &mut Outbox<Self::Record>);

    /// Looks at the records of a phase that has completed, and clears the outbox and posts the next one, or ends the
    /// request.
    ///
    /// A request that fails must be as it was, but for baselines, which may be forgotten: another queue begins anew.
    fn advance(
        &self,
        request: &mut Request,
        slot: &mut Self::Slot,
        outbox: &mut Outbox<Self::Record>,
    ) -> Progress;

    /// The device is quiet and will not go on with this request: leaves the slot as new.
    fn abandon(&self, slot: &mut Self::Slot);
}

/// What comes after a phase.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Another one, which was posted.
    Posted,
    /// Nothing: the request is done, or failed.
    Done(Result<(), Failure>),
}

/// A completion record, of whichever device; its first byte is the status, 0 until the device is done.
pub(crate) trait Record:
    FromBytes + IntoBytes + Immutable + KnownLayout + Copy + Default + Send + 'static
{
}

impl Record for DsaCompletion {}
impl Record for IaaCompletion {}

/// The descriptors of one phase and their completion records, in memory that the device reaches.
pub(crate) struct Outbox<R> {
    /// Descriptors, back to back, as a batch reads them.
    list: Block,
    /// One record for each descriptor.
    records: Block,
    posted: usize,
    record: std::marker::PhantomData<R>,
}

impl<R: Record> Outbox<R> {
    /// How many bytes of mapped memory an outbox of `descriptors` descriptors takes.
    pub(crate) fn bytes(descriptors: usize) -> usize {
        Self::list_bytes(descriptors) + descriptors * size_of::<R>()
    }

    fn list_bytes(descriptors: usize) -> usize {
        descriptors * Descriptor::BYTES
    }

    /// An outbox in `memory`, which has [`bytes`](Self::bytes) bytes and begins at a page.
    pub(crate) fn new(memory: Block, descriptors: usize) -> Self {
        let (list, records) = memory.split(Self::list_bytes(descriptors));
        Self { list, records, posted: 0, record: std::marker::PhantomData }
    }

    /// Adds a descriptor to this phase; its completion record is requested and addressed here.
    ///
    /// # Panics
    /// If the phase has more descriptors than the work said it would.
    pub(crate) fn post(&mut self, mut descriptor: Descriptor) {
        let wanted = DescriptorFlags::COMPLETION_ADDRESS_VALID | DescriptorFlags::REQUEST_COMPLETION;
        descriptor.flags_and_opcode |= wanted.bits();
        descriptor.completion_address = self.record_address(self.posted).0;
        let at = self.posted * Descriptor::BYTES;
        self.list[at..at + Descriptor::BYTES].copy_from_slice(descriptor.as_bytes());
        self.records[self.posted * size_of::<R>()] = 0;
        self.posted += 1;
    }

    /// Has an interrupt raised when the descriptor at `index` completes, if there is one to raise.
    pub(super) fn announce(&mut self, index: usize, interrupt: Option<u16>) {
        let Some(interrupt_handle) = interrupt else { return };
        let mut descriptor = Descriptor { interrupt_handle, ..self.descriptor(index) };
        descriptor.flags_and_opcode |= DescriptorFlags::REQUEST_INTERRUPT.bits();
        let at = index * Descriptor::BYTES;
        self.list[at..at + Descriptor::BYTES].copy_from_slice(descriptor.as_bytes());
    }

    /// How many descriptors this phase has.
    pub(crate) fn len(&self) -> usize {
        self.posted
    }

    /// The descriptor at `index` of this phase.
    pub(crate) fn descriptor(&self, index: usize) -> Descriptor {
        let at = index * Descriptor::BYTES;
        Descriptor::read_from_bytes(&self.list[at..at + Descriptor::BYTES]).unwrap_or_default()
    }

    /// The record at `index`; to be asked for once the phase has completed.
    pub(crate) fn record(&self, index: usize) -> R {
        let at = index * size_of::<R>();
        R::read_from_bytes(&self.records[at..at + size_of::<R>()]).unwrap_or_default()
    }

    /// Forgets this phase, for the next one to be posted.
    pub(crate) fn clear(&mut self) {
        self.posted = 0;
    }

    /// Where a batch that begins with descriptor `index` finds its list.
    pub(crate) fn list_address(&self, index: usize) -> HostAddress {
        self.list.address().offset(index * Descriptor::BYTES)
    }

    fn record_address(&self, index: usize) -> HostAddress {
        self.records.address().offset(index * size_of::<R>())
    }

    /// The status byte of descriptor `index` as the device left it until now; everything that the device wrote before it
    /// is visible when it is not 0.
    pub(crate) fn status_now(&self, index: usize) -> u8 {
        use std::sync::atomic::{AtomicU8, Ordering};
        assert!(index < self.posted, "record {index} of {}", self.posted);
        // SAFETY: the byte is in the block, and is touched atomically by both sides while the device may write it.
        unsafe { AtomicU8::from_ptr(self.records.as_ptr().add(index * size_of::<R>())) }
            .load(Ordering::Acquire)
    }
}
