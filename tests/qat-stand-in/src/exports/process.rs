//! The library in a process: its start and its end, whether there is a device, and what happens to devices.

use std::ffi::c_char;

use pageferry_bindings::qat::cpa::{CpaBoolean, CpaStatus, FALSE, TRUE};

use crate::events;
use crate::world::world;

#[unsafe(no_mangle)]
unsafe extern "C" fn icp_sal_userStart(section: *const c_char) -> CpaStatus {
    if section.is_null() { CpaStatus::INVALID_PARAM } else { world().start() }
}

/// What is to be limited, the vendor's library does not look at either.
#[unsafe(no_mangle)]
unsafe extern "C" fn icp_sal_userStartMultiProcess(
    section: *const c_char,
    _limited: CpaBoolean,
) -> CpaStatus {
    if section.is_null() { CpaStatus::INVALID_PARAM } else { world().start() }
}

/// Needs no start.
#[unsafe(no_mangle)]
extern "C" fn icp_sal_userIsQatAvailable() -> CpaBoolean {
    if world().config.instances > 0 { TRUE } else { FALSE }
}

#[unsafe(no_mangle)]
extern "C" fn icp_sal_userStop() -> CpaStatus {
    world().stop()
}

#[unsafe(no_mangle)]
extern "C" fn icp_sal_poll_device_events() -> CpaStatus {
    events::poll(world())
}
