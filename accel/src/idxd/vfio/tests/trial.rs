//! One request to a device, however it is reached: its first work, from the bring-up to the end of its mappings.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::Opcode;

use crate::dma::{Arena, Block, HostAddress};
use crate::idxd::device::{Device, Quiet, WorkQueue};
use crate::idxd::vfio::VfioDevice;

/// How many bytes are moved.
const BYTES: usize = 5000;
/// Where in a block they come from, where they go, and where the record is.
const SOURCE: usize = 0;
const DESTINATION: usize = 8192;
const RECORD: usize = 16384;

/// Memory for one move.
pub(super) struct Move {
    pub(super) block: Block,
}

impl Move {
    pub(super) const BLOCK_BYTES: usize = RECORD + 64;

    pub(super) fn new(arena: &Arena, seed: u8) -> Self {
        let mut block = arena.take(Self::BLOCK_BYTES).unwrap();
        for (byte, value) in block[..BYTES].iter_mut().zip((seed..=u8::MAX).cycle()) {
            *byte = value;
        }
        Self { block }
    }

    fn at(&self, offset: usize) -> HostAddress {
        self.block.address().offset(offset)
    }

    /// Hands the descriptor to a queue.
    pub(super) fn submit(&self, queue: &WorkQueue) {
        let mut flags = DescriptorFlags::COMPLETION_ADDRESS_VALID | DescriptorFlags::REQUEST_COMPLETION;
        flags.set(DescriptorFlags::REQUEST_INTERRUPT, queue.interrupt.is_some());
        let descriptor = Descriptor {
            completion_address: self.at(RECORD).0,
            source: self.at(SOURCE).0,
            destination: self.at(DESTINATION).0,
            bytes: u32::try_from(BYTES).unwrap(),
            interrupt_handle: queue.interrupt.as_ref().map_or(0, |interrupt| interrupt.handle),
            ..Descriptor::new(Opcode::MEMORY_MOVE, flags)
        };
        // SAFETY: all three addresses are in the block, which nobody touches before the record is there.
        unsafe { queue.portal.submit(&descriptor) }.unwrap();
    }

    /// The status, 0 as long as it is not done.
    pub(super) fn status(&self) -> u8 {
        // SAFETY: the byte is in the block, and both sides touch it atomically.
        unsafe { AtomicU8::from_ptr(self.block.as_ptr().add(RECORD)) }.load(Ordering::Acquire)
    }

    /// Waits for the status.
    pub(super) fn wait(&self) -> u8 {
        wait_for("a record", || Some(self.status()).filter(|&status| status != 0))
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.block[DESTINATION..DESTINATION + BYTES] == self.block[SOURCE..SOURCE + BYTES]
    }
}

/// What `look` finds at last. What does not come about in this time never does.
pub(super) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} does not come");
        std::thread::yield_now();
    }
}

/// How a queue ends that is to be quiet.
pub(super) fn quiet(queue: &WorkQueue) -> Quiet {
    wait_for("quiet", || Some(queue.control.quiesce()).filter(|&quiet| quiet != Quiet::Pending))
}

/// Brings the device up, moves memory through each of its queues, and puts it down.
pub(in crate::idxd::vfio) fn moves_memory(device: &VfioDevice) {
    let arena = Arena::new(device.queues().len(), Move::BLOCK_BYTES).unwrap();
    let queues = device.open(&[arena.range()]).unwrap();
    for (queue, seed) in queues.iter().zip(1..) {
        let work = Move::new(&arena, seed);
        work.submit(queue);
        assert_eq!(work.wait(), 1, "{}", queue.facts.name);
        assert!(work.has_arrived(), "{}", queue.facts.name);
    }
}
