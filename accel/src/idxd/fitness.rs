//! What both drivers ask of a device before they use it.

use super::device::{Device, QueueFacts};
use crate::queue::OpenError;
use crate::units::PageSize;

/// The refusal of a device or a queue of this name.
pub(super) fn unfit(name: &str, attempted: &str, reason: &str, remedy: &str) -> OpenError {
    OpenError::Device {
        device: name.to_owned(),
        attempted: attempted.to_owned(),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }
}

/// The queues of a device.
///
/// # Errors
/// [`OpenError::Device`] if it has none.
pub(super) fn queues(device: &dyn Device, attempted: &str) -> Result<Vec<QueueFacts>, OpenError> {
    let queues = device.queues();
    if queues.is_empty() {
        return Err(unfit(device.name(), attempted, "it has no work queue", "configure and enable one"));
    }
    Ok(queues)
}

/// Sees that every queue can transfer a whole page at once.
///
/// # Errors
/// [`OpenError::Device`] names one that cannot.
pub(super) fn check_pages(queues: &[QueueFacts], page_size: PageSize) -> Result<(), OpenError> {
    let is_short = |facts: &&QueueFacts| facts.max_transfer_bytes < page_size.bytes() as u64;
    queues.iter().find(is_short).map_or(Ok(()), |facts| {
        let attempted = format!("use it for pages of {page_size}");
        let reason = format!("it transfers at most {} bytes a descriptor", facts.max_transfer_bytes);
        let remedy = "raise its max_transfer_size to a page at least";
        Err(unfit(&facts.name, &attempted, &reason, remedy))
    })
}
