//! What no library of the vendor's has: the name of this one, its configuration and its report.

use std::ffi::c_char;
use std::sync::atomic::Ordering;

use pageferry_bindings::qat::cpa::CpaStatus;

use crate::config::Config;
use crate::world::{self, world};

/// Most of what can be configured, in bytes of JSON.
const LONGEST: usize = 1 << 24;

#[unsafe(no_mangle)]
extern "C" fn pageferry_stand_in() -> *const c_char {
    c"stand-in for libqat, by pageferry".as_ptr()
}

/// Takes a configuration as JSON: 0, or why not.
#[unsafe(no_mangle)]
unsafe extern "C" fn pageferry_stand_in_configure(json: *const u8, bytes: usize) -> CpaStatus {
    if json.is_null() || bytes > LONGEST {
        return CpaStatus::INVALID_PARAM;
    }
    // SAFETY: the caller has so many bytes there.
    let json = unsafe { std::slice::from_raw_parts(json, bytes) };
    serde_json::from_slice::<Config>(json).map_or(CpaStatus::INVALID_PARAM, world::configure)
}

/// Writes the report as JSON, if there is room for it, and returns how many bytes it has.
#[unsafe(no_mangle)]
unsafe extern "C" fn pageferry_stand_in_report(json: *mut u8, room: usize) -> usize {
    let report = serde_json::to_vec(&world().report()).expect("a report can be written");
    if report.len() <= room && !json.is_null() {
        // SAFETY: the caller has so much room there.
        unsafe { json.copy_from_nonoverlapping(report.as_ptr(), report.len()) };
    }
    report.len()
}

/// The ticks that instant operations were in here until now, the caller's callbacks and translation not counted; cheap.
#[unsafe(no_mangle)]
extern "C" fn pageferry_stand_in_ticks() -> u64 {
    world().ticks_inside()
}

/// Keeps a device that restarts from being closed, once its callers were told, or no longer does.
#[unsafe(no_mangle)]
extern "C" fn pageferry_stand_in_hold(hold: bool) {
    world().held.store(hold, Ordering::Release);
}
