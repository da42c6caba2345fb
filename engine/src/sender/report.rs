//! What a sender did, in numbers.

use std::time::Duration;

use hdrhistogram::Histogram;
use pageferry_accel::baseline::BaselineCounters;
use pageferry_accel::method::Method;
use pageferry_accel::request::Request;
use pageferry_accel::run::Segment;

use crate::fallbacks::Fallbacks;
use crate::selector::SelectorCounts;
use crate::work::Work;

/// Everything that was sent until now.
#[derive(Clone, Debug, Default)]
pub struct SendReport {
    /// Rounds that the destination confirmed.
    pub rounds: u32,
    /// Frames of pages.
    pub frames: u64,
    /// Pages that were not zero.
    pub pages: u64,
    /// Pages that were zero, counted apart.
    pub zero_pages: u64,
    /// Bytes of the pages that were not zero.
    pub source_bytes: u64,
    /// Bytes on the wire: headers, tables and payloads, zero pages' run tables too.
    pub wire_bytes: u64,
    /// What each method carried.
    pub methods: MethodCounts,
    /// Why pages went another way than asked for, and how many.
    pub fallbacks: Fallbacks,
    /// How long requests took from submission to completion.
    pub request_time: RequestTime,
    /// What the cache of baselines did.
    pub baselines: BaselineCounters,
    /// What each accelerator did.
    pub accelerators: Vec<Work>,
    /// What the selector did, if it was adaptive.
    pub selector: Option<SelectorCounts>,
    /// CPU time of the sender's threads: the migration thread in the rounds that are over, the poller, and all threads of
    /// accelerators in the requests that came back from them.
    pub cpu: Duration,
}

/// How far a sender is: the counts of its report that are cheap to look at often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// As in [`SendReport`].
    pub pages: u64,
    /// As in [`SendReport`].
    pub zero_pages: u64,
    /// As in [`SendReport`].
    pub source_bytes: u64,
    /// As in [`SendReport`].
    pub wire_bytes: u64,
    /// As in [`SendReport`].
    pub methods: MethodCounts,
}

/// Pages and payload bytes by method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodCounts([MethodCount; Method::ALL.len()]);

/// What one method carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodCount {
    /// Pages.
    pub pages: u64,
    /// Bytes of payload.
    pub payload_bytes: u64,
}

/// The distribution of request times, exact to 1%.
#[derive(Clone, Debug)]
pub struct RequestTime(Histogram<u64>);

impl MethodCounts {
    /// What `method` carried.
    #[must_use]
    pub fn of(&self, method: Method) -> MethodCount {
        self.0[usize::from(method.to_wire())]
    }

    fn absorb(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            count.pages += more.pages;
            count.payload_bytes += more.payload_bytes;
        }
    }

    fn add(&mut self, segment: Segment) {
        let count = &mut self.0[usize::from(segment.method.to_wire())];
        count.pages += u64::from(segment.pages.0);
        count.payload_bytes += u64::from(segment.bytes);
    }
}

impl FromIterator<(Method, MethodCount)> for MethodCounts {
    fn from_iter<I: IntoIterator<Item = (Method, MethodCount)>>(counts: I) -> Self {
        let mut all = Self::default();
        for (method, MethodCount { pages, payload_bytes }) in counts {
            let count = &mut all.0[usize::from(method.to_wire())];
            count.pages += pages;
            count.payload_bytes += payload_bytes;
        }
        all
    }
}

impl RequestTime {
    /// The time that a share `quantile` (0 to 1) of all requests took at most.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(quantile))
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// How many requests took how long: each bucket's upper bound, a quarter above the one before, and the requests
    /// that took at most that long and longer than the bucket before it. They begin with the bucket of the shortest.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        // Below a microsecond nobody looks at a request's time.
        let all = self.0.iter_log(1_000, 1.25);
        let buckets = all.map(|bucket| {
            (Duration::from_nanos(bucket.value_iterated_to()), bucket.count_since_last_iteration())
        });
        buckets.skip_while(|&(_, requests)| requests == 0)
    }

    fn absorb(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing of the other is beyond this one's.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Default for RequestTime {
    fn default() -> Self {
        // From a nanosecond to a minute; the bounds are constants that the library takes.
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 2);
        Self(histogram.unwrap_or_else(|_| unreachable!("1 ns to 60 s at two digits is a valid histogram")))
    }
}

impl From<&SendReport> for Progress {
    fn from(report: &SendReport) -> Self {
        let &SendReport { pages, zero_pages, source_bytes, wire_bytes, methods, .. } = report;
        Self { pages, zero_pages, source_bytes, wire_bytes, methods }
    }
}

impl SendReport {
    /// Adds what another sender of the same migration did.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.frames += other.frames;
        self.pages += other.pages;
        self.zero_pages += other.zero_pages;
        self.source_bytes += other.source_bytes;
        self.wire_bytes += other.wire_bytes;
        self.methods.absorb(&other.methods);
        self.fallbacks.absorb(&other.fallbacks);
        self.request_time.absorb(&other.request_time);
        self.baselines.absorb(other.baselines);
        Work::absorb(&mut self.accelerators, &other.accelerators);
        if let Some(more) = other.selector {
            self.selector.get_or_insert_default().absorb(more);
        }
        self.cpu += other.cpu;
    }

    /// Counts a request that was sent with a head of `head_bytes`.
    pub(super) fn add(&mut self, request: &Request, head_bytes: usize, page_bytes: usize) {
        let pages = u64::from(request.data_pages().0);
        self.frames += 1;
        self.pages += pages;
        self.zero_pages += u64::from(request.pages().0) - pages;
        self.source_bytes += pages * page_bytes as u64;
        self.wire_bytes += (head_bytes + request.payload.len()) as u64;
        request.segments.iter().for_each(|&segment| self.methods.add(segment));
        self.fallbacks.add(request.detours);
        self.request_time.record(request.submitted.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_time_is_in_the_bucket_that_its_bounds_name() {
        let mut time = RequestTime::default();
        let micros = [3_u64, 3, 40, 5_000];
        micros.iter().for_each(|&micros| time.record(Duration::from_micros(micros)));
        let buckets: Vec<_> = time.buckets().collect();
        assert_eq!(buckets.iter().map(|&(_, requests)| requests).sum::<u64>(), 4, "{buckets:?}");
        assert_eq!(buckets[0].1, 2, "{buckets:?}");
        for micros in micros {
            let micros = Duration::from_micros(micros);
            let index = buckets.iter().position(|&(upper, _)| upper >= micros).unwrap();
            assert!(buckets[index].1 > 0 && buckets[index].0 < micros * 13 / 10, "{micros:?}: {buckets:?}");
        }
        assert_eq!(RequestTime::default().buckets().count(), 0);
    }
}
