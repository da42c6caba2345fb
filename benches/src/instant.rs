//! A DSA or an IAA that completes every descriptor the moment it is written, and touches no page: what is left is what
//! the host pays for a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::Release};

use pageferry_accel::dma::DmaRange;
use pageferry_accel::idxd::device::{Control, Device, QueueFacts, Quiet, WorkQueue};
use pageferry_accel::idxd::portal::{Portal, PortalRefusal};
use pageferry_accel::queue::{MemoryAccess, OpenError, Provenance};
use pageferry_bindings::idxd::completion::{DsaCompletion, IaaCompletion};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::IaaStatus;

use crate::clock::ticks;

/// What the device claims that a page's delta, or a piece's deflate, has.
const DELTA_BYTES: u32 = 20;
const DEFLATE_BYTES: u32 = 1024;

/// The error of a stream without an end (QPL `hw_status.h`).
const NO_END: u8 = 15;

/// One work queue of a device that takes no time. The time that the CPU spends on being the device is counted apart.
#[derive(Clone, Default)]
pub struct InstantDevice {
    kind: InstantKind,
    ticks: Arc<AtomicU64>,
}

/// Which of the two devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InstantKind {
    /// With create-delta and batches of 1024, as a part of full capability.
    #[default]
    Dsa,
    /// Without batches, as on Sapphire Rapids; 8 engines.
    Iaa,
}

impl InstantDevice {
    /// A device of this kind.
    #[must_use]
    pub fn new(kind: InstantKind) -> Self {
        Self { kind, ticks: Arc::default() }
    }

    /// How many ticks the CPU has been the device so far.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    fn serve(&self, descriptor: &Descriptor) {
        match self.kind {
            InstantKind::Dsa if descriptor.opcode() == Opcode::BATCH => {
                for member in 0..u64::from(descriptor.bytes) {
                    let member = (descriptor.source + member * Descriptor::BYTES as u64) as *const Descriptor;
                    // SAFETY: the list of a batch is the driver's, and stays until the batch is done.
                    serve_dsa(unsafe { &*member });
                }
                complete(descriptor);
            }
            InstantKind::Dsa => serve_dsa(descriptor),
            InstantKind::Iaa => serve_iaa(descriptor),
        }
    }
}

/// Pages are not zero, differ in a few words, and have CRC 0.
fn serve_dsa(descriptor: &Descriptor) {
    let record = descriptor.completion_address as *mut DsaCompletion;
    // SAFETY: the record is the driver's, mapped and aligned, and the device's alone until its status is set.
    unsafe {
        (&raw mut (*record).result).write(1);
        let value = if descriptor.opcode() == Opcode::CREATE_DELTA { DELTA_BYTES } else { 0 };
        (&raw mut (*record).value).write(value);
    }
    complete(descriptor);
}

fn serve_iaa(descriptor: &Descriptor) {
    let record = descriptor.completion_address as *mut IaaCompletion;
    if descriptor.opcode() == Opcode::DECOMPRESS && descriptor.bytes < DEFLATE_BYTES {
        // A stream that was cut short does not end.
        // SAFETY: as in `serve_dsa`.
        unsafe { (&raw mut (*record).error_code).write(NO_END) };
        return end(descriptor, IaaStatus::ANALYTICS_ERROR.0);
    }
    let output_bytes = if descriptor.opcode() == Opcode::DECOMPRESS {
        // All that there is room for, as of a stream that is what it should be.
        descriptor.operands::<IaaOperands>().max_destination_bytes
    } else {
        DEFLATE_BYTES
    };
    // SAFETY: as in `serve_dsa`.
    unsafe {
        (&raw mut (*record).output_bytes).write(output_bytes);
        (&raw mut (*record).crc).write(0);
        (&raw mut (*record).bytes_completed).write(descriptor.bytes);
    }
    complete(descriptor);
}

fn complete(descriptor: &Descriptor) {
    end(descriptor, 1);
}

fn end(descriptor: &Descriptor, status: u8) {
    // SAFETY: as in `serve_dsa`; the status is its first byte.
    unsafe { AtomicU8::from_ptr(descriptor.completion_address as *mut u8) }.store(status, Release);
}

impl Portal for InstantDevice {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        let begun = ticks();
        self.serve(descriptor);
        self.ticks.fetch_add(ticks() - begun, Relaxed);
        Ok(())
    }
}

impl Control for InstantDevice {
    fn quiesce(&self) -> Quiet {
        Quiet::Ready
    }
}

impl Device for InstantDevice {
    fn name(&self) -> &str {
        "instant"
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn memory(&self) -> MemoryAccess {
        MemoryAccess::Shared
    }

    fn queues(&self) -> Vec<QueueFacts> {
        let (max_batch, engines, opcodes) = match self.kind {
            InstantKind::Dsa => (1024, 4, DSA),
            InstantKind::Iaa => (1, 8, IAA),
        };
        vec![QueueFacts {
            name: "instant/wq0".into(),
            size: 128,
            max_transfer_bytes: 1 << 31,
            max_batch,
            opcodes: OpcodeSet::of(opcodes),
            flags: DescriptorFlags::empty(),
            engines,
            numa_node: None,
        }]
    }

    fn open(&self, _: &[DmaRange]) -> Result<Vec<WorkQueue>, OpenError> {
        let queue = |facts| WorkQueue {
            facts,
            portal: Box::new(self.clone()),
            control: Box::new(self.clone()),
            interrupt: None,
        };
        Ok(self.queues().into_iter().map(queue).collect())
    }
}

const DSA: &[Opcode] = &[
    Opcode::NOOP,
    Opcode::BATCH,
    Opcode::MEMORY_MOVE,
    Opcode::COMPARE,
    Opcode::COMPARE_PATTERN,
    Opcode::CREATE_DELTA,
    Opcode::APPLY_DELTA,
    Opcode::CRC_GENERATION,
    Opcode::COPY_WITH_CRC,
];
const IAA: &[Opcode] = &[Opcode::NOOP, Opcode::COMPRESS, Opcode::DECOMPRESS];
