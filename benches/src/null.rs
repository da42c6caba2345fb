//! An accelerator that completes at once and touches no page: what is left is the cost of the host.

use std::mem;
use std::sync::{Mutex, PoisonError};

use pageferry_accel::checksum::ChecksumKind;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::queue::{
    Accelerator, Attachment, Capabilities, Completion, MemoryAccess, OpenError, Provenance, Queue,
    RefusalReason, Refused,
};
use pageferry_accel::request::Request;
use pageferry_accel::run::Segment;

/// How many requests it holds: as many as a work queue of an IAA has entries, divided by its eight queues.
const DEPTH: usize = 16;

/// The payload that it claims, in bytes a request.
const PAYLOAD_BYTES: u32 = 64;

/// An accelerator that does nothing, at once. It does not ring, as hardware does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Accelerator for Null {
    fn name(&self) -> &str {
        "null"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            encode: MethodSet::of(&[Method::Deflate]),
            decode: MethodSet::default(),
            deflate_window_bits: 15,
            encode_window_bits: 12,
            queues: 1,
            depth: DEPTH,
            memory: MemoryAccess::Shared,
        }
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn open(&self, _: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        Ok(vec![Box::new(NullQueue(Mutex::new(Vec::with_capacity(DEPTH))))])
    }
}

struct NullQueue(Mutex<Vec<Completion>>);

impl Queue for NullQueue {
    fn submit(&self, mut request: Box<Request>) -> Result<(), Refused> {
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() == DEPTH {
            return Err(Refused { request, reason: RefusalReason::Full });
        }
        let pages = request.data_pages();
        request.segments.push(Segment { method: Method::Deflate, pages, bytes: PAYLOAD_BYTES });
        request.payload.set_filled(PAYLOAD_BYTES as usize);
        request.checksum_kind = ChecksumKind::Crc32;
        done.push(Completion { request, result: Ok(()) });
        Ok(())
    }

    fn poll(&self, completions: &mut Vec<Completion>) {
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if completions.is_empty() {
            mem::swap(completions, &mut done);
        } else {
            completions.append(&mut done);
        }
    }

    fn depth(&self) -> usize {
        DEPTH
    }

    fn rings(&self) -> bool {
        false
    }
}
