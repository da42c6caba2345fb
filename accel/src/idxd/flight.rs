//! One request on its way through a work queue: the descriptors of its phase, and how far the device is with them.

use std::time::Instant;

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::status::DsaStatus;

use super::portal::{Portal, PortalRefusal};
use super::work::{Outbox, Work};
use crate::dma::Arena;
use crate::request::Request;

/// A slot of a queue, with the request that is in it.
pub(super) struct Flight<W: Work> {
    pub(super) request: Option<Box<Request>>,
    pub(super) slot: W::Slot,
    /// The descriptors of the phase.
    pub(super) outbox: Outbox<W::Record>,
    /// The batches that carry them, where there are any.
    batches: Outbox<W::Record>,
    /// What is written to the portal for this phase.
    units: Vec<Unit>,
    /// How many of them the device has taken.
    submitted: usize,
    /// How many of those are known to be done: all before the first that is not.
    completed: usize,
    /// When the device must have done with the request.
    pub(super) deadline: Instant,
}

/// What is written to a portal at once.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// The descriptor with this index in the outbox.
    Single(usize),
    /// The batch with this index.
    Batch(usize),
}

/// How the descriptors of a queue are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    /// The most descriptors of a batch, 1 if there are none.
    pub(super) max_batch: usize,
    /// The interrupt that announces a completion.
    pub(super) interrupt: Option<u16>,
}

/// How much memory a slot takes, in descriptors and in bytes of the work's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotSize {
    pub(super) descriptors: usize,
    pub(super) own_bytes: usize,
}

impl SlotSize {
    pub(super) fn of(work: &impl Work) -> Self {
        Self { descriptors: work.max_descriptors(), own_bytes: work.slot_bytes() }
    }

    /// The smallest batch has two members.
    fn batches(self) -> usize {
        self.descriptors.div_ceil(2)
    }

    /// Bytes of mapped memory, each part from a page on.
    pub(super) fn bytes<W: Work>(self) -> usize {
        let parts = [
            Outbox::<W::Record>::bytes(self.descriptors),
            Outbox::<W::Record>::bytes(self.batches()),
            self.own_bytes,
        ];
        parts.map(|bytes| bytes.next_multiple_of(4096)).iter().sum()
    }
}

impl<W: Work> Flight<W> {
    /// An empty slot in memory from `arena`, which has room for it.
    pub(super) fn new(work: &W, size: SlotSize, arena: &Arena) -> Option<Self> {
        Some(Self {
            request: None,
            outbox: Outbox::new(arena.take(Outbox::<W::Record>::bytes(size.descriptors))?, size.descriptors),
            batches: Outbox::new(arena.take(Outbox::<W::Record>::bytes(size.batches()))?, size.batches()),
            slot: work.slot(arena.take(size.own_bytes)?),
            units: Vec::with_capacity(size.descriptors),
            submitted: 0,
            completed: 0,
            deadline: Instant::now(),
        })
    }

    /// Decides how the phase that was posted is sent.
    pub(super) fn arrange(&mut self, sending: Sending) {
        self.units.clear();
        self.batches.clear();
        (self.submitted, self.completed) = (0, 0);
        let posted = self.outbox.len();
        for first in (0..posted).step_by(sending.max_batch) {
            let count = sending.max_batch.min(posted - first);
            if count == 1 {
                self.outbox.announce(first, sending.interrupt);
                self.units.push(Unit::Single(first));
            } else {
                self.units.push(Unit::Batch(self.batches.len()));
                self.batches.post(batch(self.outbox.list_address(first).0, count));
                self.batches.announce(self.batches.len() - 1, sending.interrupt);
            }
        }
    }

    /// Writes what is left of the phase to the portal, as far as `credits` go.
    ///
    /// # Errors
    /// Why the device did not take the next one.
    pub(super) fn send(&mut self, portal: &dyn Portal, credits: &mut usize) -> Result<(), PortalRefusal> {
        while *credits > 0 && self.submitted < self.units.len() {
            let descriptor = match self.units[self.submitted] {
                Unit::Single(index) => self.outbox.descriptor(index),
                Unit::Batch(index) => self.batches.descriptor(index),
            };
            // SAFETY: the work composed it of guest memory, of the request's payload and baselines and of the slot's own
            // memory; the queue keeps all of these until the device is done or known to be quiet.
            unsafe { portal.submit(&descriptor) }?;
            self.submitted += 1;
            *credits -= 1;
        }
        Ok(())
    }

    /// Looks for completions, one record further than the last that was there, and gives their credits back. Says whether
    /// the phase is complete.
    pub(super) fn look(&mut self, credits: &mut usize) -> bool {
        while self.completed < self.submitted && self.status(self.completed) != 0 {
            self.completed += 1;
            *credits += 1;
        }
        self.completed == self.units.len()
    }

    /// Whether the device has taken any of this phase.
    pub(super) fn has_begun(&self) -> bool {
        self.submitted > 0
    }

    /// Descriptors that the device has taken and not completed.
    pub(super) fn outstanding(&self) -> usize {
        self.submitted - self.completed
    }

    /// The status of a batch that ended otherwise than by having run its members.
    pub(super) fn broken_batch(&self) -> Option<DsaStatus> {
        let ran = [DsaStatus::SUCCESS, DsaStatus::BATCH_FAILED, DsaStatus::BATCH_PAGE_FAULT];
        let statuses = (0..self.batches.len()).map(|index| DsaStatus(self.batches.status_now(index)));
        statuses.into_iter().find(|status| !ran.contains(status))
    }

    /// Leaves the slot as new, for the next request.
    pub(super) fn clear(&mut self) {
        self.outbox.clear();
        self.batches.clear();
        self.units.clear();
        (self.submitted, self.completed) = (0, 0);
    }

    fn status(&self, unit: usize) -> u8 {
        match self.units[unit] {
            Unit::Single(index) => self.outbox.status_now(index),
            Unit::Batch(index) => self.batches.status_now(index),
        }
    }
}

fn batch(list: u64, count: usize) -> Descriptor {
    let bytes = u32::try_from(count).unwrap_or(u32::MAX);
    Descriptor { source: list, bytes, ..Descriptor::new(Opcode::BATCH, DescriptorFlags::empty()) }
}
