//! How long the output of a compression can be, as a part of the fourth generation has it.

use pageferry_bindings::qat::cpa::{CpaStatus, InstanceHandle};
use pageferry_bindings::qat::dc::huffman;

use super::{put, started, status};
use crate::world::World;

/// What the vendor's library answers before it looks at what is asked for: null stands for the first instance.
///
/// # Safety
/// The place is null or the caller's to be written.
unsafe fn bound(
    handle: InstanceHandle,
    bytes: u32,
    place: *mut u32,
    bound: impl FnOnce(&World) -> Result<u32, CpaStatus>,
) -> CpaStatus {
    // Before a start there is no first instance, and so no handle.
    let answer = started().map_err(|_| CpaStatus::INVALID_PARAM).and_then(|world| {
        if !handle.is_null() {
            world.instance(handle)?;
        }
        if place.is_null() || bytes == 0 {
            return Err(CpaStatus::INVALID_PARAM);
        }
        // SAFETY: the caller's word.
        unsafe { put(place, bound(world)?) }
    });
    status(answer)
}

/// An eighth more, what dynamic codes take for every 16 KiB, and what a part of this generation writes beyond.
fn deflate(codes: u32, bytes: u32) -> Option<u32> {
    let bytes = u64::from(bytes);
    let beyond = match codes {
        huffman::STATIC => 1029,
        _ => 512 + 8 * bytes * 155 / 7 / (16 << 10),
    };
    u32::try_from((9 * bytes).div_ceil(8) + beyond).ok()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcDeflateCompressBound(
    handle: InstanceHandle,
    codes: u32,
    bytes: u32,
    place: *mut u32,
) -> CpaStatus {
    let of_deflate = |world: &World| {
        let known = codes == huffman::STATIC || (codes == huffman::FULL_DYNAMIC && world.config.dynamic);
        known.then(|| deflate(codes, bytes)).flatten().ok_or(CpaStatus::INVALID_PARAM)
    };
    // SAFETY: the caller's word.
    unsafe { bound(handle, bytes, place, of_deflate) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcLZ4CompressBound(handle: InstanceHandle, bytes: u32, place: *mut u32) -> CpaStatus {
    // SAFETY: the caller's word.
    unsafe { bound(handle, bytes, place, |_| Err(CpaStatus::UNSUPPORTED)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcLZ4SCompressBound(
    handle: InstanceHandle,
    bytes: u32,
    place: *mut u32,
) -> CpaStatus {
    // SAFETY: the caller's word.
    unsafe { bound(handle, bytes, place, |_| Err(CpaStatus::UNSUPPORTED)) }
}
