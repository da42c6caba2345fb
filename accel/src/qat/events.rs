//! What happens to an instance's device, as the library tells whoever looks for it.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

use pageferry_bindings::qat::cpa::{CpaStatus, InstanceEvent, InstanceHandle};

/// What happened to an instance's device, counted by whoever looks for events.
#[derive(Debug)]
pub(super) struct Events {
    /// Whether the device is up. The library takes a device away that restarts, rings and registers, once it has told of that,
    /// and looks whether anybody is using them no more than once: whoever calls it holds this to be read.
    up: RwLock<bool>,
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
    /// Of a device that is up.
    pub(super) fn new() -> Self {
        let (restarting, restarted, fatal) = Default::default();
        Self { up: RwLock::new(true), restarting, restarted, fatal }
    }

    /// Calls the library, of which the device is not taken away meanwhile; or says that it restarts.
    pub(super) fn while_up(&self, call: impl FnOnce() -> CpaStatus) -> CpaStatus {
        let up = self.up.read().unwrap_or_else(PoisonError::into_inner);
        if *up { call() } else { CpaStatus::RESTARTING }
    }

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
    // Waits until nobody is in the library, and keeps everybody out before it returns to take the device away.
    let mut up = events.up.write().unwrap_or_else(PoisonError::into_inner);
    let count = match event {
        InstanceEvent::RESTARTING => &events.restarting,
        InstanceEvent::RESTARTED => &events.restarted,
        InstanceEvent::FATAL_ERROR => &events.fatal,
        _ => return,
    };
    count.fetch_add(1, Relaxed);
    if event != InstanceEvent::FATAL_ERROR {
        *up = event == InstanceEvent::RESTARTED;
    }
}
