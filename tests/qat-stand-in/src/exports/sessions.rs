//! Sessions: how much memory one takes, its beginning and its end.

use pageferry_bindings::qat::cpa::{BufferList, CpaStatus, InstanceHandle};
use pageferry_bindings::qat::dc::{CallbackFn, SessionHandle, SessionSetup};

use super::{put, started, status};
use crate::session;

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcGetSessionSize(
    handle: InstanceHandle,
    setup: *mut SessionSetup,
    bytes: *mut u32,
    context: *mut u32,
) -> CpaStatus {
    status(started().and_then(|world| {
        world.instance(handle)?;
        // SAFETY: the caller's word.
        let setup = unsafe { setup.as_ref() }.ok_or(CpaStatus::INVALID_PARAM)?;
        session::check(world, setup)?;
        // SAFETY: the caller's word.
        unsafe { put(bytes, session::BYTES).and(put(context, 0)) }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcInitSession(
    handle: InstanceHandle,
    session: SessionHandle,
    setup: *mut SessionSetup,
    _context: *mut BufferList,
    callback: Option<CallbackFn>,
) -> CpaStatus {
    // SAFETY: the caller's word.
    status(started().and_then(|world| unsafe { session::init(world, handle, session, setup, callback) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cpaDcRemoveSession(handle: InstanceHandle, session: SessionHandle) -> CpaStatus {
    // SAFETY: the caller's word.
    status(started().and_then(|world| unsafe { session::remove(world, handle, session) }))
}
