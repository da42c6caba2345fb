//! How often the data path went round an obstacle: the same counts at both ends.

use pageferry_accel::request::Detours;
use serde::{Deserialize, Serialize};

/// How often the data path went round an obstacle, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fallbacks {
    /// Pages sent raw since a delta method had no baseline for them.
    pub no_baseline_pages: u64,
    /// Pages sent raw since their delta did not fit a page.
    pub overflow_pages: u64,
    /// Pages sent raw since compressing them did not make them smaller.
    pub did_not_shrink_pages: u64,
    /// Page faults after which a device went on.
    pub page_faults_resumed: u64,
    /// Page faults after which the CPU did the device's work.
    pub page_faults_on_cpu: u64,
    /// Pages that the CPU copied since a device could not reach or use them in place.
    pub copied_pages: u64,
    /// Requests that a full queue passed on to the next.
    pub queue_full_requests: u64,
    /// Requests that a queue which is gone passed on to the next.
    pub queue_gone_requests: u64,
    /// Requests that failed in a device and were given to another.
    pub device_failed_requests: u64,
    /// Requests that a device did not complete within its deadline, and that were given to another.
    pub deadline_requests: u64,
    /// Requests whose payload a device decoded to other pages than the frame says, and another to the right ones.
    pub misdecoded_requests: u64,
    /// Times that a queue which failed repeatedly, or is gone, was put into quarantine.
    pub quarantined_queues: u64,
    /// Requests that were offered to a queue in quarantine, to see whether it works again.
    pub probes: u64,
    /// Queues that did work again.
    pub readmitted_queues: u64,
}

impl Fallbacks {
    /// Counts what happened to the pages of one request.
    pub(crate) fn add(&mut self, detours: Detours) {
        let Detours {
            no_baseline,
            overflow,
            did_not_shrink,
            page_faults_resumed,
            page_faults_on_cpu,
            copied,
        } = detours;
        self.no_baseline_pages += u64::from(no_baseline);
        self.overflow_pages += u64::from(overflow);
        self.did_not_shrink_pages += u64::from(did_not_shrink);
        self.page_faults_resumed += u64::from(page_faults_resumed);
        self.page_faults_on_cpu += u64::from(page_faults_on_cpu);
        self.copied_pages += u64::from(copied);
    }

    /// Adds the counts of another attempt.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.named().into_iter().zip(other.fields()).for_each(|((_, count), (_, more))| *count += more);
    }

    /// Every reason by its field's name, with its count.
    #[must_use]
    pub fn fields(mut self) -> [(&'static str, u64); 14] {
        self.named().map(|(name, count)| (name, *count))
    }

    fn named(&mut self) -> [(&'static str, &mut u64); 14] {
        let Self {
            no_baseline_pages,
            overflow_pages,
            did_not_shrink_pages,
            page_faults_resumed,
            page_faults_on_cpu,
            copied_pages,
            queue_full_requests,
            queue_gone_requests,
            device_failed_requests,
            deadline_requests,
            misdecoded_requests,
            quarantined_queues,
            probes,
            readmitted_queues,
        } = self;
        [
            ("no_baseline_pages", no_baseline_pages),
            ("overflow_pages", overflow_pages),
            ("did_not_shrink_pages", did_not_shrink_pages),
            ("page_faults_resumed", page_faults_resumed),
            ("page_faults_on_cpu", page_faults_on_cpu),
            ("copied_pages", copied_pages),
            ("queue_full_requests", queue_full_requests),
            ("queue_gone_requests", queue_gone_requests),
            ("device_failed_requests", device_failed_requests),
            ("deadline_requests", deadline_requests),
            ("misdecoded_requests", misdecoded_requests),
            ("quarantined_queues", quarantined_queues),
            ("probes", probes),
            ("readmitted_queues", readmitted_queues),
        ]
    }
}
