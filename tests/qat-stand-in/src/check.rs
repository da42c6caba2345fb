//! What a submission must be, as the vendor's library checks it, and what it had better be, which that does not check.

use pageferry_bindings::qat::cpa::{CpaStatus, FALSE, TRUE};
use pageferry_bindings::qat::dc::{OpData, SessionHandle, flush};

use crate::list::List;
use crate::session::{self, Session};
use crate::state::State;
use crate::world::World;

/// The least bytes of a destination with codes made for the data, on the fourth generation.
const LEAST_DYNAMIC: u64 = 512;

/// The same with fixed codes.
const LEAST_STATIC: u64 = 1026;

/// Checks how an operation is to be done: whether to store what does not verify.
///
/// # Safety
/// What is not null is the caller's to read.
pub(crate) unsafe fn options(compresses: bool, options: *const OpData) -> Result<bool, CpaStatus> {
    // SAFETY: the caller's word.
    let options = unsafe { options.as_ref() }.ok_or(CpaStatus::INVALID_PARAM)?;
    let booleans = [options.verify, options.recover, options.integrity_check, options.verify_integrity];
    let possible = booleans.iter().all(|boolean| [FALSE, TRUE].contains(boolean))
        && options.flush <= 3
        && (options.recover == FALSE || options.verify == TRUE)
        && options.integrity_check == FALSE
        && options.verify_integrity == FALSE;
    if !possible {
        return Err(CpaStatus::INVALID_PARAM);
    }
    let offered = (!compresses || options.verify == TRUE)
        && options.flush == flush::FINAL
        && options.input_skip.mode == 0
        && options.output_skip.mode == 0;
    if !offered {
        return Err(CpaStatus::UNSUPPORTED);
    }
    Ok(options.recover == TRUE)
}

/// Checks that an instance can be submitted to.
pub(crate) fn instance(world: &World, state: &State, instance: usize) -> Result<(), CpaStatus> {
    if state.instances[instance].translate.is_none() {
        return Err(CpaStatus::FAIL);
    }
    if !state.instances[instance].started {
        return Err(world.violation(format_args!("instance {instance} was submitted to, but is not started")));
    }
    state.check_running(world.config.device_of(instance))
}

/// Checks that there is such a session, and that it may be used.
pub(crate) fn session(
    world: &World,
    state: &State,
    instance: usize,
    handle: SessionHandle,
    compresses: bool,
) -> Result<Session, CpaStatus> {
    let Some(session) = state.sessions.get(&handle.addr()) else {
        return Err(
            world.violation(format_args!("{handle:?} is used, but no session: not initialised, or removed"))
        );
    };
    if session.instance != instance {
        return Err(world.violation(format_args!(
            "the session at {handle:?} is of instance {}, and used with instance {instance}",
            session.instance
        )));
    }
    if session.epoch != state.devices[world.config.device_of(instance)].epoch {
        return Err(world.violation(format_args!(
            "the session at {handle:?} is used, but its device restarted since it was initialised"
        )));
    }
    if !session.does(compresses) {
        return Err(CpaStatus::INVALID_PARAM);
    }
    if compresses && session.dynamic && session::lacks_buffers(world, &state.instances[instance].intermediate)
    {
        return Err(CpaStatus::INVALID_PARAM);
    }
    Ok(*session)
}

/// Checks a source and a destination.
pub(crate) fn lists(
    compresses: bool,
    session: &Session,
    source: &List,
    destination: &List,
) -> Result<(), CpaStatus> {
    let least = match (compresses, session.dynamic) {
        (true, true) => LEAST_DYNAMIC,
        (true, false) => LEAST_STATIC,
        (false, _) => 1,
    };
    let most = u64::from(u32::MAX);
    let possible = source.address != destination.address
        && (1..=most).contains(&source.bytes)
        && (least..=most).contains(&destination.bytes);
    if !possible {
        return Err(CpaStatus::INVALID_PARAM);
    }
    if source.is_too_long() || destination.is_too_long() {
        return Err(CpaStatus::FAIL);
    }
    Ok(())
}

/// Checks the memory for what a device reads of a list.
pub(crate) fn metadata(world: &World, list: &List) -> Result<(), CpaStatus> {
    let bytes = list.metadata_bytes();
    if world.memory.must_be_own() && world.memory.left(list.metadata).is_none_or(|left| left < bytes) {
        return Err(world.violation(format_args!(
            "metadata at {:#x} were not allocated by the library, or are shorter than {bytes} bytes",
            list.metadata
        )));
    }
    Ok(())
}
