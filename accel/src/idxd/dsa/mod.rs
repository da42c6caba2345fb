//! DSA: zero tests, private copies, deltas and CRCs, on Intel's data streaming accelerator.
//!
//! A request takes up to three phases to encode (which pages are zero; copies with their CRCs; deltas of the copies) and
//! up to two to decode (payload to guest memory; CRCs of what deltas made). Where the second of two parts fits the
//! batch of the first, a fence takes the place of a phase. Deltas are made by the device where it can (many cannot: see
//! [`QueueFacts::opcodes`](super::device::QueueFacts)), else it says which pages changed at all and the CPU does the rest.

mod decode;
mod encode;
mod fault;
mod finish;
mod mend;
mod resume;
mod slot;
mod templates;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;
use std::time::Duration;

use pageferry_bindings::idxd::opcode::Opcode;

use self::work::DsaWork;
use super::device::{Device, QueueFacts};
use super::fitness::{self, unfit};
use super::queue::{self, QueueSettings};
use crate::method::{Method, MethodSet};
use crate::queue::{Accelerator, Attachment, Capabilities, OpenError, Provenance, Queue};

/// Results of comparisons and of create-delta (DML `ref/create_delta.c`).
const EQUAL: u8 = 0;
const DIFFERENT: u8 = 1;
const OVERFLOW: u8 = 2;

/// What a DSA is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DsaConfig {
    /// Whether zero pages are looked for before anything else is done to them.
    pub detect_zero: bool,
    /// How many requests each queue holds.
    pub requests: usize,
    /// How long a request may take before its queue is made quiet and the request goes elsewhere.
    pub deadline: Duration,
    /// Whether the device waits for a page that is not there, on queues that allow it. Otherwise it says so and goes on
    /// with other work, and the request is resumed.
    pub block_on_fault: bool,
}

impl Default for DsaConfig {
    fn default() -> Self {
        let QueueSettings { requests, deadline } = QueueSettings::default();
        Self { detect_zero: true, requests, deadline, block_on_fault: false }
    }
}

/// A DSA as an accelerator, with all its queues.
pub struct Dsa {
    device: Arc<dyn Device>,
    config: DsaConfig,
    queues: Vec<QueueFacts>,
}

impl Dsa {
    /// An accelerator on `device`, which is opened when the accelerator is.
    ///
    /// # Errors
    /// [`OpenError::Device`] if it has no queue, or a queue lacks an operation that is needed.
    pub fn new(device: Arc<dyn Device>, config: DsaConfig) -> Result<Self, OpenError> {
        let attempted = "use it as a DSA";
        let queues = fitness::queues(&*device, attempted)?;
        for facts in &queues {
            let missing = templates::missing(&facts.opcodes, config.detect_zero);
            if !missing.is_empty() {
                let reason = format!("it lacks {}", missing.join(", "));
                let remedy = "allow these operations in its configuration (op_config), or use another queue";
                return Err(unfit(&facts.name, attempted, &reason, remedy));
            }
        }
        let config = DsaConfig { requests: config.requests.max(1), ..config };
        Ok(Self { device, config, queues })
    }

    fn all_have(&self, opcode: Opcode) -> bool {
        self.queues.iter().all(|facts| facts.opcodes.has(opcode))
    }
}

impl Accelerator for Dsa {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        let decode = MethodSet::of(&[Method::Zero, Method::Raw]);
        Capabilities {
            encode: MethodSet::of(&[Method::Zero, Method::Raw, Method::Delta]),
            decode: if self.all_have(Opcode::APPLY_DELTA) { decode.with(Method::Delta) } else { decode },
            // No deflate, no window.
            deflate_window_bits: 0,
            encode_window_bits: 0,
            queues: self.queues.len(),
            depth: self.config.requests,
            memory: self.device.memory(),
        }
    }

    fn provenance(&self) -> Provenance {
        self.device.provenance()
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        fitness::check_pages(&self.queues, attachment.ram.page_size())?;
        let settings = QueueSettings { requests: self.config.requests, deadline: self.config.deadline };
        let slots = self.queues.len() * self.config.requests;
        let private = work::private_pages(attachment, slots)
            .map_err(|source| OpenError::Memory { accelerator: self.name().to_owned(), source })?;
        queue::open(&*self.device, attachment, settings, |facts| {
            DsaWork::new(facts, attachment, self.config, Arc::clone(&private))
        })
    }
}
