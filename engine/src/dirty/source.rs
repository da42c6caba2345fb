//! What every source of dirty pages does, whoever notices the writes.

use pageferry_accel::guest::TrackingError;

use super::DirtyBitmap;

/// Notices which pages of a guest are written.
///
/// A write that happens while [`collect`](Self::collect) runs is in that collection or in the next one; none is in neither.
/// A page may be reported though nothing changed in it, at the cost of sending it once more.
pub trait DirtySource: Send {
    /// Begins to notice writes. What was written before is not reported.
    ///
    /// # Errors
    /// [`DirtyError`] if the system does not let it.
    fn start(&mut self) -> Result<(), DirtyError>;

    /// Adds to `dirty` every page that was written since the start or the last collection, and takes none away.
    ///
    /// # Errors
    /// [`DirtyError`] if writes may have been missed. The migration then fails, and the guest runs on.
    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError>;

    /// No longer notices writes; the guest runs at full speed again. Stopping twice is no error.
    ///
    /// # Errors
    /// [`DirtyError`] if the system does not let it.
    fn stop(&mut self) -> Result<(), DirtyError>;
}

/// Why writes cannot be noticed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirtyError {
    /// The system does not tell.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// Pages were asked for before the source was started.
    #[error("dirty pages were asked for before tracking was started")]
    NotStarted,
    /// The bitmap is one of other memory.
    #[error("the bitmap has other regions than the memory that is tracked: make both of the same `GuestRam`")]
    OtherLayout,
}
