//! What the vendor's library refused, in words.

use pageferry_bindings::qat::cpa::CpaStatus;

use crate::queue::OpenError;

/// Takes anything but success for a refusal.
///
/// # Errors
/// [`OpenError::Device`] with what the library said, and what can be done.
pub(super) fn check(device: &str, attempted: &str, status: CpaStatus) -> Result<(), OpenError> {
    if status == CpaStatus::SUCCESS {
        return Ok(());
    }
    Err(refused(device, attempted, format!("the vendor's library says {status}"), remedy(status)))
}

/// A refusal for another reason.
pub(super) fn refused(device: &str, attempted: &str, reason: impl Into<String>, remedy: &str) -> OpenError {
    OpenError::Device {
        device: device.to_owned(),
        attempted: attempted.to_owned(),
        reason: reason.into(),
        remedy: remedy.to_owned(),
    }
}

/// What to do where there is no pinned memory.
pub(super) const MORE_LOCKED_MEMORY: &str =
    "raise the limit of locked memory (ulimit -l), or use fewer requests, pages a request or instances";

/// What can be done.
const fn remedy(status: CpaStatus) -> &'static str {
    match status {
        CpaStatus::RESTARTING => "the device restarts: try again",
        CpaStatus::RESOURCE => MORE_LOCKED_MEMORY,
        CpaStatus::UNSUPPORTED => "use a newer library or part",
        _ => {
            "see that the qat service runs, that virtual functions are bound to vfio-pci, and that this user is in the \
             group qat; accel/src/qat/OPERATORS.md goes through it from the start"
        }
    }
}
