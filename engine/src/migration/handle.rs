//! A migration in the hands of whoever started it.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::course::Course;
use super::error::MigrationError;
use super::snapshot::Snapshot;
use super::state::{Happening, State};
use crate::vm::Vm;

/// A migration, at either end, that runs on a thread of its own.
///
/// Dropping it cancels it, and waits for its end.
pub struct Migration {
    course: Arc<Course>,
    thread: Option<JoinHandle<Ended>>,
}

/// How a migration ended.
pub struct Ended {
    /// The handle on the guest, given back; `None` if the thread died.
    pub vm: Option<Box<dyn Vm>>,
    /// Where the guest is.
    pub guest: Whereabouts,
    /// How it went.
    pub result: Result<Completed, MigrationError>,
}

/// Where the guest is when a migration has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// At this end. At the source it runs as if nothing had been; at the destination it was resumed.
    Here,
    /// Not at this end: at the source it is paused and to be discarded; at the destination there is nothing to run.
    There,
    /// Nobody can tell. It is paused here, and stays so: see [`MigrationError::InDoubt`].
    InDoubt,
}

/// What there is to say of a migration that went well.
#[derive(Clone, Debug)]
pub struct Completed {
    /// How long the guest stood still, as this end measured it: at the source from before the pause until the destination
    /// said that it runs; at the destination from the end of the last round but one that it knows of.
    pub downtime: Duration,
    /// What had been expected of it when the switchover was decided; at the source alone.
    pub expected_downtime: Duration,
    /// All counters.
    pub snapshot: Snapshot,
}

impl Migration {
    /// Runs `body` on a thread, and tells the course how it ended.
    pub(super) fn spawn(
        course: Arc<Course>,
        name: &str,
        body: impl FnOnce(&Course) -> Ended + Send + 'static,
    ) -> Result<Self, MigrationError> {
        let shared = Arc::clone(&course);
        let run = move || {
            let ended = body(&shared);
            announce(&shared, &ended);
            ended
        };
        let thread = Builder::new().name(name.to_owned()).spawn(run).map_err(MigrationError::Thread)?;
        Ok(Self { course, thread: Some(thread) })
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.course.state()
    }

    /// All counters as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.course.snapshot()
    }

    /// A way to look at the counters for as long as one likes, as an exporter of metrics does.
    pub fn watch(&self) -> impl Fn() -> Snapshot + Send + Sync + use<> {
        let course = Arc::clone(&self.course);
        move || course.snapshot()
    }

    /// Asks to end it: the guest runs on at the source. Says whether it was not too late for that.
    ///
    /// It ends within a second, plus whatever the VMM's own calls take. [`wait`](Self::wait) says how.
    pub fn cancel(&self) -> bool {
        self.course.cancel()
    }

    /// A way to cancel it from elsewhere, as from a signal's thread.
    pub fn canceller(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let course = Arc::clone(&self.course);
        move || course.cancel()
    }

    /// Waits for its end.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        self.join()
    }

    fn join(&mut self) -> Ended {
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        ended.unwrap_or(Ended {
            vm: None,
            guest: Whereabouts::InDoubt,
            result: Err(MigrationError::Panicked),
        })
    }
}

impl Drop for Migration {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.cancel();
            drop(self.join());
        }
    }
}

fn announce(course: &Course, ended: &Ended) {
    match &ended.result {
        Ok(Completed { downtime, .. }) => {
            course
                .end(State::Completed, Happening::Completed { downtime_ms: super::state::millis(*downtime) });
        }
        Err(MigrationError::Cancelled) => course.end(State::Cancelled, Happening::State),
        Err(error) => course.end(State::Failed, Happening::Failed { reason: error.to_string() }),
    }
}
