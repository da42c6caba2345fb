//! Whether a queue can be trusted with requests: quarantine for the one that keeps failing, and probes to end it.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use pageferry_accel::queue::RefusalReason;

use crate::sync::{AtomicU8, Mutex, Ordering::Relaxed};

/// Failures in a row that a queue is put into quarantine for.
const FAILURES: u32 = 3;
/// How long a queue is left alone before its first probe.
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
/// And how long at most: it doubles with every probe that fails.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// What is held against one queue, for those who submit to it and the one who polls it.
///
/// As long as nothing is, it costs a load of an atomic to submit and one to poll; no lock and no clock.
#[derive(Debug)]
pub(super) struct Health {
    /// The record's [`Mark`], so that most can do without the record.
    mark: AtomicU8,
    record: Mutex<Record>,
}

/// How a queue may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Like any other.
    Free,
    /// This request, and no other before it has come back, shows whether the queue works again.
    Probe,
    /// Not yet.
    Barred,
}

/// What a completion or a refusal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that anybody counts.
    None,
    /// The queue went into quarantine.
    Quarantined,
    /// The queue is one like any other again.
    Readmitted,
}

/// What the record amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mark {
    /// Nothing is held against the queue.
    Clean,
    /// It has failed since it last succeeded.
    Suspect,
    /// It is in quarantine.
    Quarantined,
}

/// The state machine behind [`Health`]. It is told the time.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    standing: Standing,
    /// How long the quarantine that is on, or the next one, lasts until a probe.
    backoff: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Has failed so often in a row.
    Serving(u32),
    /// In quarantine until a probe at this time.
    Waiting(Instant),
    /// In quarantine, and a probe is on its way, which was due then.
    Probed(Instant),
}

impl Health {
    pub(super) fn new() -> Self {
        Self { mark: AtomicU8::new(Mark::Clean as u8), record: Mutex::new(Record::new()) }
    }

    /// Whether the queue may be given a request. Asks for the time only if it is in quarantine. Whoever is told to
    /// probe must do so, or say by [`refused`](Self::refused) that it could not.
    pub(super) fn admit(&self, now: impl FnOnce() -> Instant) -> Admission {
        if self.mark.load(Relaxed) != Mark::Quarantined as u8 {
            return Admission::Free;
        }
        self.revise(|record| record.admit(now()))
    }

    /// A request was refused, the `probe` or another.
    pub(super) fn refused(
        &self,
        reason: RefusalReason,
        probe: bool,
        now: impl FnOnce() -> Instant,
    ) -> Change {
        match reason {
            RefusalReason::Full if probe => self.revise(Record::postpone_probe),
            RefusalReason::Full => Change::None,
            RefusalReason::Gone => self.revise(|record| record.quarantine(probe, now())),
        }
    }

    /// A request came back done.
    pub(super) fn succeeded(&self, probe: bool) -> Change {
        if self.mark.load(Relaxed) == Mark::Clean as u8 {
            return Change::None;
        }
        self.revise(|record| record.succeed(probe))
    }

    /// A request came back failed.
    pub(super) fn failed(&self, probe: bool, now: impl FnOnce() -> Instant) -> Change {
        self.revise(|record| record.fail(probe, now()))
    }

    fn revise<T>(&self, step: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut record);
        self.mark.store(record.mark() as u8, Relaxed);
        result
    }
}

impl Record {
    const fn new() -> Self {
        Self { standing: Standing::Serving(0), backoff: FIRST_BACKOFF }
    }

    fn mark(&self) -> Mark {
        match self.standing {
            Standing::Serving(0) => Mark::Clean,
            Standing::Serving(_) => Mark::Suspect,
            Standing::Waiting(_) | Standing::Probed(_) => Mark::Quarantined,
        }
    }

    fn admit(&mut self, now: Instant) -> Admission {
        match self.standing {
            Standing::Serving(_) => Admission::Free,
            Standing::Waiting(due) if due <= now => {
                self.standing = Standing::Probed(due);
                Admission::Probe
            }
            Standing::Waiting(_) | Standing::Probed(_) => Admission::Barred,
        }
    }

    /// The probe found the queue full, which says nothing about it.
    fn postpone_probe(&mut self) -> Change {
        if let Standing::Probed(due) = self.standing {
            self.standing = Standing::Waiting(due);
        }
        Change::None
    }

    fn succeed(&mut self, probe: bool) -> Change {
        match self.standing {
            Standing::Serving(_) => {
                self.standing = Standing::Serving(0);
                Change::None
            }
            Standing::Probed(_) if probe => {
                *self = Self::new();
                Change::Readmitted
            }
            // Left over from before, or sent there since there was no other way.
            Standing::Waiting(_) | Standing::Probed(_) => Change::None,
        }
    }

    fn fail(&mut self, probe: bool, now: Instant) -> Change {
        match self.standing {
            Standing::Serving(failures) if failures + 1 < FAILURES => {
                self.standing = Standing::Serving(failures + 1);
                Change::None
            }
            _ => self.quarantine(probe, now),
        }
    }

    fn quarantine(&mut self, probe: bool, now: Instant) -> Change {
        match self.standing {
            Standing::Serving(_) => {
                self.standing = Standing::Waiting(now + self.backoff);
                Change::Quarantined
            }
            Standing::Probed(_) if probe => {
                self.backoff = (2 * self.backoff).min(LONGEST_BACKOFF);
                self.standing = Standing::Waiting(now + self.backoff);
                Change::None
            }
            Standing::Waiting(_) | Standing::Probed(_) => Change::None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// A record that three failures at `start` have put into quarantine.
    fn quarantined(start: Instant) -> Record {
        let mut record = Record::new();
        let changes = [(); 3].map(|()| record.fail(false, start));
        assert_eq!(changes, [Change::None, Change::None, Change::Quarantined]);
        record
    }

    #[test]
    fn only_failures_in_a_row_count() {
        let (start, mut record) = (Instant::now(), Record::new());
        for _ in 0..10 {
            assert_eq!(record.fail(false, start), Change::None);
            assert_eq!(record.fail(false, start), Change::None);
            assert_eq!(record.mark(), Mark::Suspect);
            assert_eq!(record.succeed(false), Change::None);
            assert_eq!(record.mark(), Mark::Clean);
        }
    }

    #[test]
    fn probes_come_at_twice_the_distance_until_one_succeeds() {
        let start = Instant::now();
        let (mut now, mut record) = (start, quarantined(start));
        for wait in [10, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            assert_eq!(record.admit(now + MILLISECOND * (wait - 1)), Admission::Barred, "{wait} ms");
            now += MILLISECOND * wait;
            assert_eq!(record.admit(now), Admission::Probe, "{wait} ms");
            assert_eq!(record.admit(now + LONGEST_BACKOFF), Admission::Barred, "a probe is out");
            assert_eq!(record.fail(true, now), Change::None);
        }
        now += LONGEST_BACKOFF;
        assert_eq!(record.admit(now), Admission::Probe);
        assert_eq!(record.succeed(true), Change::Readmitted);
        assert_eq!(record, Record::new(), "nothing is left of it");
    }

    #[test]
    fn what_was_in_flight_before_decides_nothing() {
        let start = Instant::now();
        let mut record = quarantined(start);
        for probed in [false, true] {
            if probed {
                assert_eq!(record.admit(start + FIRST_BACKOFF), Admission::Probe);
            }
            assert_eq!(record.succeed(false), Change::None);
            assert_eq!(record.fail(false, start + LONGEST_BACKOFF), Change::None);
            assert_eq!(record.quarantine(false, start + LONGEST_BACKOFF), Change::None);
        }
        assert_eq!(record.succeed(true), Change::Readmitted);
    }

    #[test]
    fn a_queue_that_is_gone_needs_no_three_chances() {
        let (start, health) = (Instant::now(), Health::new());
        let refused = |reason, probe| health.refused(reason, probe, || start);
        assert_eq!(refused(RefusalReason::Full, false), Change::None);
        assert_eq!(health.admit(|| unreachable!("nobody needs the time")), Admission::Free);
        assert_eq!(refused(RefusalReason::Gone, false), Change::Quarantined);
        assert_eq!(refused(RefusalReason::Gone, false), Change::None);
        assert_eq!(health.admit(|| start), Admission::Barred);
        assert_eq!(health.admit(|| start + FIRST_BACKOFF), Admission::Probe);
        assert_eq!(refused(RefusalReason::Gone, true), Change::None);
        assert_eq!(health.admit(|| start + FIRST_BACKOFF), Admission::Barred);
        assert_eq!(health.admit(|| start + 2 * FIRST_BACKOFF), Admission::Probe);
    }

    #[test]
    fn a_probe_that_finds_the_queue_full_is_due_again_at_once() {
        let (start, health) = (Instant::now(), Health::new());
        health.refused(RefusalReason::Gone, false, || start);
        for _ in 0..3 {
            assert_eq!(health.admit(|| start + FIRST_BACKOFF), Admission::Probe);
            assert_eq!(health.refused(RefusalReason::Full, true, || start), Change::None);
        }
    }

    /// What happens to a queue.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// So many milliseconds pass.
        Pass(u64),
        /// It is offered a request and takes it.
        Take,
        /// It is offered a request and is full, or gone.
        Refuse(RefusalReason),
        /// It is given a request regardless.
        Force,
        /// Something that it has comes back, done or failed.
        Complete(usize, bool),
    }

    fn events() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..1500u64).prop_map(Event::Pass),
            Just(Event::Take),
            prop_oneof![Just(RefusalReason::Full), Just(RefusalReason::Gone)].prop_map(Event::Refuse),
            Just(Event::Force),
            (any::<usize>(), any::<bool>()).prop_map(|(which, done)| Event::Complete(which, done)),
        ]
    }

    /// A queue, what it has in flight (which of it is a probe), and the time.
    struct Run {
        health: Health,
        now: Instant,
        in_flight: Vec<bool>,
        quarantined: u32,
        readmitted: u32,
    }

    impl Run {
        fn note(&mut self, change: Change) {
            self.quarantined += u32::from(change == Change::Quarantined);
            self.readmitted += u32::from(change == Change::Readmitted);
        }

        fn step(&mut self, event: Event) {
            let now = self.now;
            match event {
                Event::Pass(milliseconds) => self.now += Duration::from_millis(milliseconds),
                Event::Take => match self.health.admit(|| now) {
                    Admission::Barred => {}
                    admission => self.in_flight.push(admission == Admission::Probe),
                },
                Event::Refuse(reason) => match self.health.admit(|| now) {
                    Admission::Barred => {}
                    admission => {
                        let change = self.health.refused(reason, admission == Admission::Probe, || now);
                        self.note(change);
                    }
                },
                Event::Force => self.in_flight.push(false),
                Event::Complete(_, _) if self.in_flight.is_empty() => {}
                Event::Complete(which, done) => {
                    let probe = self.in_flight.swap_remove(which % self.in_flight.len());
                    let change =
                        if done { self.health.succeeded(probe) } else { self.health.failed(probe, || now) };
                    self.note(change);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_queue_that_works_again_is_readmitted_whatever_was_before(events in prop::collection::vec(events(), 0..200)) {
            let (health, now) = (Health::new(), Instant::now());
            let mut run = Run { health, now, in_flight: Vec::new(), quarantined: 0, readmitted: 0 };
            for event in events {
                run.step(event);
                let probes = run.in_flight.iter().filter(|&&probe| probe).count();
                prop_assert!(probes <= 1, "{probes} probes in flight after {event:?}");
                let out = run.quarantined - run.readmitted;
                prop_assert!(out <= 1, "{} quarantines, {} ends", run.quarantined, run.readmitted);
                let mark = run.health.mark.load(Relaxed);
                prop_assert_eq!(out == 1, mark == Mark::Quarantined as u8);
            }
            // From now on it does all that it is given, and is given what it may.
            while !run.in_flight.is_empty() {
                run.step(Event::Complete(0, true));
            }
            run.now += LONGEST_BACKOFF;
            run.step(Event::Take);
            run.step(Event::Complete(0, true));
            prop_assert_eq!(run.health.mark.load(Relaxed), Mark::Clean as u8);
            prop_assert_eq!(run.quarantined, run.readmitted);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;

    /// Two threads submit and find the probe due at once; a third polls what was left over, and the probe.
    #[test]
    fn of_two_that_find_a_probe_due_one_makes_it() {
        loom::model(|| {
            let start = Instant::now();
            let health = Arc::new(Health::new());
            health.refused(RefusalReason::Gone, false, || start);
            let submit = move |health: Arc<Health>| {
                let admission = health.admit(|| start + FIRST_BACKOFF);
                let change = match admission {
                    Admission::Probe => health.succeeded(true),
                    _ => Change::None,
                };
                (admission, change)
            };
            let other = Arc::clone(&health);
            let other = loom::thread::spawn(move || submit(other));
            let late = health.failed(false, || start);
            let ours = submit(Arc::clone(&health));
            let theirs = other.join().unwrap();
            assert_eq!(late, Change::None);
            let readmitted = [ours, theirs].map(|(_, change)| change == Change::Readmitted);
            assert_eq!(readmitted.into_iter().filter(|&one| one).count(), 1, "{ours:?}, {theirs:?}");
            assert_eq!(health.admit(|| unreachable!("it is readmitted")), Admission::Free);
        });
    }
}
