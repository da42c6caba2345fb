//! What the requests of one accelerator cost this host, and how busy they keep it.

// Not those of loom: nobody waits for these figures, and each would multiply the orders that loom has to try.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pageferry_accel::method::Method;
use pageferry_accel::queue::Completion;

/// Measured by those who submit to an accelerator and the one who polls it.
#[derive(Debug)]
pub(super) struct Meter {
    /// Whether its threads state the CPU time themselves. Else submitting and polling is what a request costs.
    has_threads: bool,
    taken: AtomicU64,
    returned: AtomicU64,
    /// Nanoseconds of CPU time of its threads.
    worked: AtomicU64,
    /// By method, as they are on the wire.
    submissions: [Submissions; Method::ALL.len()],
}

/// How long it took to hand requests over. What one costs depends on its method, so these are kept apart.
#[derive(Debug)]
struct Submissions {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

/// Started before something that may be a request's cost.
pub(super) struct Watch(Option<Instant>);

impl Meter {
    pub(super) fn new(has_threads: bool) -> Self {
        let zero = || AtomicU64::new(0);
        let none = |_| Submissions { count: zero(), nanoseconds: zero() };
        Self {
            has_threads,
            taken: zero(),
            returned: zero(),
            worked: zero(),
            submissions: Method::ALL.map(none),
        }
    }

    /// Looks at the clock, unless that would be for nothing.
    pub(super) fn start(&self) -> Watch {
        Watch((!self.has_threads).then(Instant::now))
    }

    /// A queue took a request in the time since then.
    pub(super) fn submitted(&self, method: Method, since: &Watch) {
        self.taken.fetch_add(1, Relaxed);
        if let Watch(Some(begun)) = since {
            let Submissions { count, nanoseconds: sum } = &self.submissions[usize::from(method.to_wire())];
            sum.fetch_add(nanoseconds(begun.elapsed()), Relaxed);
            count.fetch_add(1, Relaxed);
        }
    }

    /// A queue brought these back in the time since then: states in each what it cost, and its share of the accelerator.
    pub(super) fn polled(&self, found: &mut [Completion], since: &Watch) {
        if found.is_empty() {
            return;
        }
        let (now, came_back) = (Instant::now(), found.len() as u64);
        // What comes back at once may be here before it is counted as taken.
        let in_flight = self.taken.load(Relaxed).saturating_sub(self.returned.fetch_add(came_back, Relaxed));
        let share = |time: Duration, of: u64| time / u32::try_from(of.max(1)).unwrap_or(u32::MAX);
        let Watch(begun) = since;
        let polling = begun.map(|begun| share(now.saturating_duration_since(begun), came_back));
        let mut worked = Duration::ZERO;
        for Completion { request, .. } in found {
            match polling {
                Some(polling) => request.cpu = polling + self.submission(request.method),
                None => worked += request.cpu,
            }
            request.occupancy = share(now.saturating_duration_since(request.submitted), in_flight);
        }
        if self.has_threads {
            self.worked.fetch_add(nanoseconds(worked), Relaxed);
        }
    }

    /// CPU time of its threads in what came back.
    pub(super) fn worked(&self) -> Duration {
        Duration::from_nanos(self.worked.load(Relaxed))
    }

    /// How long it takes to hand over a request of this method, on average.
    fn submission(&self, method: Method) -> Duration {
        let Submissions { count, nanoseconds } = &self.submissions[usize::from(method.to_wire())];
        Duration::from_nanos(nanoseconds.load(Relaxed) / count.load(Relaxed).max(1))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use pageferry_accel::request::Request;
    use pageferry_accel::units::{PageCount, PageSize};

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Requests that were submitted so long ago.
    fn back(ago: &[Duration]) -> Vec<Completion> {
        let mut request = |&ago: &Duration| {
            let mut request = Box::new(Request::with_capacity(PageCount(1), PageSize::Kib4));
            request.submitted = Instant::now().checked_sub(ago).expect("the machine is not that young");
            Completion { request, result: Ok(()) }
        };
        ago.iter().map(&mut request).collect()
    }

    /// The meter's view of something that began so long ago.
    fn since(ago: Duration) -> Watch {
        Watch(Instant::now().checked_sub(ago))
    }

    #[test]
    fn a_request_takes_the_share_of_an_accelerator_that_is_left_to_it_by_those_it_is_there_with() {
        let meter = Meter::new(true);
        (0..5).for_each(|_| meter.submitted(Method::Raw, &meter.start()));
        let mut found = back(&[10_000 * MILLISECOND, 20_000 * MILLISECOND]);
        meter.polled(&mut found, &meter.start());
        let mut last = back(&[9000 * MILLISECOND]);
        meter.polled(&mut last, &meter.start());
        let shares = [&found[0], &found[1], &last[0]].map(|completion| completion.request.occupancy);
        // Five were there, then three.
        for (share, expected) in shares.into_iter().zip([2000, 4000, 3000]) {
            let late = share.checked_sub(expected * MILLISECOND);
            assert!(late.is_some_and(|late| late < 500 * MILLISECOND), "{shares:?}, not {expected} ms");
        }
    }

    #[test]
    fn a_request_of_a_device_costs_its_part_of_a_poll_and_what_its_method_takes_to_submit() {
        let meter = Meter::new(false);
        for (method, took) in [(Method::Raw, 2000), (Method::Raw, 4000), (Method::Delta, 60_000)] {
            meter.submitted(method, &since(took * MILLISECOND));
        }
        let mut found = back(&[Duration::ZERO; 2]);
        meter.polled(&mut found, &since(8000 * MILLISECOND));
        for Completion { request, .. } in found {
            let late = request.cpu.checked_sub(7000 * MILLISECOND);
            assert!(late.is_some_and(|late| late < 500 * MILLISECOND), "{:?}, not 7 s", request.cpu);
        }
    }

    #[test]
    fn what_a_thread_says_that_it_worked_stands() {
        let meter = Meter::new(true);
        meter.submitted(Method::Raw, &meter.start());
        let mut found = back(&[Duration::ZERO]);
        found[0].request.cpu = MILLISECOND;
        meter.polled(&mut found, &meter.start());
        assert_eq!((found[0].request.cpu, meter.worked()), (MILLISECOND, MILLISECOND));
    }
}
