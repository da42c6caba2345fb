//! One migration of the guest, as those see it who watch: its events from the first on, where it is, how it ended.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use pageferry_engine::migration::{Event, Migration, Observer, Snapshot};

use crate::outcome::{Glance, Outcome};

/// One migration. Whoever watches it, slow or not, never holds it up.
#[derive(Default)]
pub(crate) struct Journey {
    log: Mutex<Log>,
    changed: Condvar,
    reins: OnceLock<Reins>,
}

/// What can be done to a migration that has begun.
struct Reins {
    look: Box<dyn Fn() -> Snapshot + Send + Sync>,
    cancel: Box<dyn Fn() -> bool + Send + Sync>,
}

#[derive(Default)]
struct Log {
    /// How many were dropped from the front.
    dropped: usize,
    events: VecDeque<Arc<Event>>,
    outcome: Option<Arc<Outcome>>,
}

/// What comes next for one who has seen some events.
pub(crate) enum Seen {
    Event(Arc<Event>),
    /// Nothing in so long.
    Nothing,
    /// There are no more.
    Ended(Arc<Outcome>),
}

/// Where someone who watches a journey has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bookmark(usize);

/// More are kept by nobody; who is so far behind misses the oldest.
const MOST_EVENTS: usize = 4096;

impl Journey {
    /// Whoever is told of events writes them here; `at_end` is called after the last one.
    pub(crate) fn observer(self: &Arc<Self>, at_end: impl Fn() + Send + Sync + 'static) -> Observer {
        let journey = Arc::clone(self);
        Arc::new(move |event: &Event| {
            journey.log().push(event.clone());
            journey.changed.notify_all();
            if event.state.is_end() {
                at_end();
            }
        })
    }

    /// The migration has begun.
    pub(crate) fn begun(&self, migration: &Migration) {
        let reins = Reins { look: Box::new(migration.watch()), cancel: Box::new(migration.canceller()) };
        // A journey is one migration's, so that it is not set yet.
        let _ = self.reins.set(reins);
    }

    /// The migration has ended.
    pub(crate) fn ended(&self, outcome: Outcome) -> Arc<Outcome> {
        let outcome = Arc::new(outcome);
        self.log().outcome = Some(Arc::clone(&outcome));
        self.changed.notify_all();
        outcome
    }

    /// Asks to end it; says whether it was not too late, or too early.
    pub(crate) fn cancel(&self) -> bool {
        self.reins.get().is_some_and(|reins| (reins.cancel)())
    }

    /// All counters, once it has begun.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.reins.get().map(|reins| (reins.look)())
    }

    /// How it stands, once it has begun.
    pub(crate) fn glance(&self) -> Option<Glance> {
        self.snapshot().map(|now| Glance::of(&now))
    }

    /// What comes after `bookmark`, which is moved on.
    pub(crate) fn next(&self, bookmark: &mut Bookmark, within: Duration) -> Seen {
        let waited = self
            .changed
            .wait_timeout_while(self.log(), within, |log| !log.has(*bookmark) && log.outcome.is_none());
        let log = waited.unwrap_or_else(PoisonError::into_inner).0;
        let at = bookmark.0.max(log.dropped);
        match (log.events.get(at - log.dropped), &log.outcome) {
            (Some(event), _) => {
                bookmark.0 = at + 1;
                Seen::Event(Arc::clone(event))
            }
            (None, Some(outcome)) => Seen::Ended(Arc::clone(outcome)),
            (None, None) => Seen::Nothing,
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn push(&mut self, event: Event) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back(Arc::new(event));
    }

    fn has(&self, Bookmark(at): Bookmark) -> bool {
        at < self.dropped + self.events.len()
    }
}
