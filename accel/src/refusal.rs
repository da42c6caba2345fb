//! What ends a request in a device that was to do it.

use std::sync::Arc;

use crate::queue::Failure;

/// Who is at fault.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The device did not do it, for a reason in words: another one may.
    Device(String),
    /// It is the request's own fault.
    Request(Failure),
}

impl Refusal {
    /// The failure of the request, in a device of this name.
    pub(crate) fn of(self, device: &Arc<str>) -> Failure {
        match self {
            Self::Device(status) => Failure::Device { device: Arc::clone(device), status },
            Self::Request(failure) => failure,
        }
    }
}

impl From<String> for Refusal {
    fn from(status: String) -> Self {
        Self::Device(status)
    }
}
