//! Resetting a whole function under its queues, and bringing them up again.

use std::sync::Arc;
use std::{mem, thread};

use pageferry_bindings::idxd::registers::DeviceState;

use super::bring_up::start;
use super::session::{Door, Fate, Session};
use crate::idxd::device::Quiet;

impl Session {
    /// Has the whole function reset, and its queues made anew, by a thread, since that takes its time.
    pub(super) fn reset(self: &Arc<Self>) {
        let mut fate = self.fate();
        if !matches!(*fate, Fate::Up) {
            return;
        }
        self.set_door(Door::Closed);
        let session = Arc::clone(self);
        let reset = thread::Builder::new().name("idxd-reset".into()).spawn(move || session.make_anew());
        *fate = reset.map_or_else(|_| Fate::Over(self.make_anew()), Fate::Resetting);
    }

    /// How far a reset is, or how it ended, if there was one that left something to say.
    pub(super) fn reset_outcome(&self) -> Option<Quiet> {
        let mut fate = self.fate();
        let outcome = match mem::replace(&mut *fate, Fate::Up) {
            Fate::Up => return None,
            Fate::Resetting(thread) if !thread.is_finished() => {
                *fate = Fate::Resetting(thread);
                return Some(Quiet::Pending);
            }
            Fate::Resetting(thread) => thread.join().unwrap_or(Quiet::Never),
            Fate::Over(outcome) => outcome,
        };
        if outcome != Quiet::Ready {
            *fate = Fate::Over(outcome);
        }
        Some(outcome)
    }

    /// Resets the function and brings its queues up again. Failing that, takes all memory from it.
    fn make_anew(&self) -> Quiet {
        let state = || self.registers().general_status().map(|status| status.state());
        if self.function.reset().is_ok() && matches!(state(), Ok(DeviceState::Disabled)) {
            self.count_reset();
            // Interrupts that have other handles now are interrupts that nobody would hear.
            if start(self).is_ok_and(|handles| handles == *self.handles()) {
                self.set_door(Door::Open);
                return Quiet::Ready;
            }
            self.set_door(Door::Gone);
            return Quiet::Gone;
        }
        self.set_door(Door::Gone);
        // Whatever it still does, it reaches nothing.
        if self.unmap_all().is_ok() { Quiet::Gone } else { Quiet::Never }
    }
}
