//! The functions of the library, by the names and with the parameters of the vendor's headers, and what this one has beside
//! them: its name, and how it is configured and asked what it did.
//!
//! None of them calls another: a process may have more than one copy of them.

mod bounds;
mod instances;
mod memory;
mod operations;
mod own;
mod process;
mod sessions;

use pageferry_bindings::qat::cpa::CpaStatus;

use crate::world::{World, world};

fn status(result: Result<(), CpaStatus>) -> CpaStatus {
    result.err().unwrap_or(CpaStatus::SUCCESS)
}

/// The copy, if it is started.
fn started() -> Result<&'static World, CpaStatus> {
    let world = world();
    if world.lock().starts == 0 { Err(CpaStatus::FAIL) } else { Ok(world) }
}

/// Writes a result.
///
/// # Safety
/// The place is null or the caller's to be written.
unsafe fn put<T>(place: *mut T, value: T) -> Result<(), CpaStatus> {
    if place.is_null() {
        return Err(CpaStatus::INVALID_PARAM);
    }
    // SAFETY: the caller's word.
    unsafe { place.write(value) };
    Ok(())
}
