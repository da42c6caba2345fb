//! A device of which not all queues are used.

use std::sync::Arc;

use pageferry_accel::queue::{Accelerator, Attachment, Capabilities, OpenError, Provenance, Queue};

/// A device with only its first queues.
pub(super) struct Narrowed {
    inner: Arc<dyn Accelerator>,
    queues: usize,
}

impl Narrowed {
    /// The device with so many queues, or as it is.
    pub(super) fn wrap(inner: Arc<dyn Accelerator>, queues: Option<usize>) -> Arc<dyn Accelerator> {
        match queues {
            Some(queues) => Arc::new(Self { inner, queues }),
            None => inner,
        }
    }
}

impl Accelerator for Narrowed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let all = self.inner.capabilities();
        Capabilities { queues: all.queues.min(self.queues), ..all }
    }

    fn provenance(&self) -> Provenance {
        self.inner.provenance()
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        let mut queues = self.inner.open(attachment)?;
        queues.truncate(self.queues);
        Ok(queues)
    }
}
