//! What a sender has done so far, for other threads to look at.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{LinkClock, Progress, SendReport};
use crate::dispatcher::Dispatcher;

/// A look at a sender from another thread, also after it has ended.
#[derive(Clone)]
pub struct SendWatch {
    counts: Arc<Mutex<SendReport>>,
    link: Arc<Mutex<LinkClock>>,
    dispatcher: Arc<Dispatcher>,
}

impl SendWatch {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self { counts: Arc::default(), link: Arc::default(), dispatcher }
    }

    /// Everything that was sent until now.
    #[must_use]
    pub fn report(&self) -> SendReport {
        let mut report = self.counts().clone();
        self.dispatcher.report(&mut report.fallbacks);
        report.accelerators = self.dispatcher.work();
        report.cpu += self.cpu_of_the_others();
        report
    }

    /// How far it is: cheaper than the whole report.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::from(&*self.counts())
    }

    /// Bytes on the wire until now.
    #[must_use]
    pub fn wire_bytes(&self) -> u64 {
        self.counts().wire_bytes
    }

    /// What the link and the poller did until the last frame of pages.
    #[must_use]
    pub fn link(&self) -> LinkClock {
        *self.link_clock()
    }

    /// CPU time of all threads of the sender but the migration thread, as far as they have stated it.
    pub(super) fn cpu_of_the_others(&self) -> Duration {
        self.link().poller_cpu + self.dispatcher.worked()
    }

    /// What the poller counts its time in.
    pub(super) fn link_clock(&self) -> MutexGuard<'_, LinkClock> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the sender's threads count in; each holds it for some additions.
    pub(super) fn counts(&self) -> MutexGuard<'_, SendReport> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
