//! The functions of `libusdm`: pinned memory, memory of the caller's that is mapped, and what devices reach either by.

use std::ffi::{c_int, c_void};

use super::started;
use crate::world::world;

#[unsafe(no_mangle)]
extern "C" fn qaeMemAllocNUMA(bytes: usize, _node: c_int, alignment: usize) -> *mut c_void {
    let allocated = started().map_or(0, |world| world.memory.allocate(bytes, alignment));
    std::ptr::with_exposed_provenance_mut(allocated)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn qaeMemFreeNUMA(memory: *mut *mut c_void) {
    // SAFETY: the caller's word.
    let Some(memory) = (unsafe { memory.as_mut() }) else { return };
    if !memory.is_null() {
        world().free(memory.addr());
        *memory = std::ptr::null_mut();
    }
}

#[unsafe(no_mangle)]
extern "C" fn qaeVirtToPhysNUMA(memory: *mut c_void) -> u64 {
    world().memory.translate(memory.addr())
}

#[unsafe(no_mangle)]
extern "C" fn qaeMemMapContiguousIova(memory: *mut c_void, bytes: usize) -> u64 {
    started().map_or(0, |world| world.memory.map(memory.addr(), bytes))
}

#[unsafe(no_mangle)]
extern "C" fn qaeMemUnmapContiguousIova(memory: *mut c_void, bytes: usize) -> c_int {
    world().unmap(memory.addr(), bytes)
}
