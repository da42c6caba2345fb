//! What happens to an instance's device, as the library tells whoever looks for it.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pageferry_bindings::qat::cpa::{InstanceEvent, InstanceHandle};

/// What happened to an instance's device, counted by whoever looks for events.
#[derive(Debug, Default)]
pub(super) struct Events {
    restarting: AtomicU32,
    restarted: AtomicU32,
    fatal: AtomicU32,
}

/// How often each event happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) restarting: u32,
    pub(super) restarted: u32,
    pub(super) fatal: u32,
}

impl Events {
    /// By now.
    pub(super) fn now(&self) -> Seen {
        Seen {
            restarting: self.restarting.load(Relaxed),
            restarted: self.restarted.load(Relaxed),
            fatal: self.fatal.load(Relaxed),
        }
    }
}

/// Called by the library, for whoever looks for events.
pub(super) extern "C" fn notified(_: InstanceHandle, cell: *mut c_void, event: InstanceEvent) {
    // SAFETY: the cell is an `Events` that lives until nobody is told by it any more.
    let events = unsafe { &*cell.cast::<Events>() };
    let count = match event {
        InstanceEvent::RESTARTING => &events.restarting,
        InstanceEvent::RESTARTED => &events.restarted,
        InstanceEvent::FATAL_ERROR => &events.fatal,
        _ => return,
    };
    count.fetch_add(1, Relaxed);
}
