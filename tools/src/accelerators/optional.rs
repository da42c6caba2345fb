//! An accelerator that a migration can do without.

use std::sync::Arc;

use pageferry_accel::queue::{Accelerator, Attachment, Capabilities, OpenError, Provenance, Queue};

use crate::console;

/// An accelerator whose queues stay empty if it cannot be opened.
pub(super) struct Optional(Arc<dyn Accelerator>);

impl Optional {
    /// The CPU can always be opened, and what it says if not must be heard.
    pub(super) fn wrap(inner: Arc<dyn Accelerator>) -> Arc<dyn Accelerator> {
        if inner.provenance() == Provenance::Cpu { inner } else { Arc::new(Self(inner)) }
    }
}

impl Accelerator for Optional {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn provenance(&self) -> Provenance {
        self.0.provenance()
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        self.0.open(attachment).or_else(|error| {
            console::warn(format!("going on without {}: {error}", self.name()));
            Ok(Vec::new())
        })
    }
}
