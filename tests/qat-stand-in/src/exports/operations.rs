//! Operations: the memory that a list takes, their submission, and the poll that brings their completions.

use std::ffi::c_void;

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, FALSE, InstanceHandle};
use pageferry_bindings::qat::dc::{OpData, Results, SessionHandle};

use super::{put, started, status};
use crate::instant;
use crate::list::metadata_bytes;
use crate::poll;
use crate::submit::{self, Call};
use crate::world::world;

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcBufferListGetMetaSize(
    handle: InstanceHandle,
    buffers: u32,
    bytes: *mut u32,
) -> CpaStatus {
    status(started().and_then(|world| {
        world.instance(handle)?;
        if buffers == 0 {
            return Err(CpaStatus::INVALID_PARAM);
        }
        let size = u32::try_from(metadata_bytes(buffers as usize)).map_err(|_| CpaStatus::INVALID_PARAM)?;
        // SAFETY: the caller's word.
        unsafe { put(bytes, size) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcCompressData2(
    instance: InstanceHandle,
    session: SessionHandle,
    source: *mut BufferList,
    destination: *mut BufferList,
    options: *mut OpData,
    results: *mut Results,
    tag: *mut c_void,
) -> CpaStatus {
    // SAFETY: the caller's word.
    unsafe {
        submit(Call { compresses: true, instance, session, source, destination, options, results, tag })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcDecompressData2(
    instance: InstanceHandle,
    session: SessionHandle,
    source: *mut BufferList,
    destination: *mut BufferList,
    options: *mut OpData,
    results: *mut Results,
    tag: *mut c_void,
) -> CpaStatus {
    // SAFETY: the caller's word.
    unsafe {
        submit(Call { compresses: false, instance, session, source, destination, options, results, tag })
    }
}

/// How it is to be done is the flush alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcDecompressData(
    instance: InstanceHandle,
    session: SessionHandle,
    source: *mut BufferList,
    destination: *mut BufferList,
    results: *mut Results,
    flush: u32,
    tag: *mut c_void,
) -> CpaStatus {
    // Read while it is submitted, and not after.
    let mut options = OpData { flush, ..OpData::whole(FALSE) };
    let options = &raw mut options;
    // SAFETY: the caller's word, and the options are there during the call.
    unsafe {
        submit(Call { compresses: false, instance, session, source, destination, options, results, tag })
    }
}

/// # Safety
/// That of [`submit::submit`].
unsafe fn submit(call: Call) -> CpaStatus {
    let world = world();
    // SAFETY: the caller's word.
    status(unsafe {
        if world.config.instant { instant::submit(world, call) } else { submit::submit(world, call) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn icp_sal_DcPollInstance(handle: InstanceHandle, quota: u32) -> CpaStatus {
    let world = world();
    if world.config.instant {
        status(instant::poll(world, handle, quota))
    } else {
        poll::poll(world, handle, quota)
    }
}
