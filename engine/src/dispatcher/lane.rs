//! One accelerator and its queues: in which order they are tried, and which of them are left out.

use std::time::{Duration, Instant};

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::queue::{
    Accelerator, Attachment, Capabilities, Completion, OpenError, Provenance, Queue, RefusalReason,
};
use pageferry_accel::request::{Direction, Request};

use super::health::{Admission, Health};
use super::meter::Meter;
use super::order::Order;
use super::tally::Tally;
use crate::sync::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use crate::work::Work;

/// One accelerator and its queues.
pub(super) struct Lane {
    name: String,
    provenance: Provenance,
    capabilities: Capabilities,
    stations: Vec<Station>,
    order: Order,
    /// For each group of the order, which queue is tried first for the next request.
    turns: Vec<AtomicUsize>,
    rings: bool,
    meter: Meter,
    requests: AtomicU64,
    pages: AtomicU64,
}

/// A queue, and what is held against it.
struct Station {
    queue: Box<dyn Queue>,
    health: Health,
}

/// A request that a lane did not take.
pub(super) struct Declined {
    pub(super) request: Box<Request>,
    pub(super) reason: Reason,
}

/// Why a lane did not take a request: the first of these that is true of one of its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It holds as many as it can.
    Full,
    /// It is in quarantine.
    Quarantined,
    /// It is gone; also if there is no queue.
    Gone,
}

impl Lane {
    pub(super) fn open(accelerator: &dyn Accelerator, attachment: &Attachment) -> Result<Self, OpenError> {
        let queues = accelerator.open(attachment)?;
        let nodes: Vec<_> = queues.iter().map(|queue| queue.numa_node()).collect();
        let order = Order::new(&nodes);
        Ok(Self {
            name: accelerator.name().to_owned(),
            provenance: accelerator.provenance(),
            capabilities: within(attachment.deflate_window, accelerator.capabilities()),
            rings: queues.iter().all(|queue| queue.rings()),
            meter: Meter::new(queues.iter().all(|queue| queue.has_threads())),
            turns: (0..order.groups()).map(|_| AtomicUsize::new(0)).collect(),
            order,
            requests: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            stations: queues.into_iter().map(|queue| Station { queue, health: Health::new() }).collect(),
        })
    }

    /// Whether it can run `method` in this direction.
    pub(super) fn can(&self, method: Method, direction: Direction) -> bool {
        self.capabilities.can(method, direction)
    }

    /// How many queues it has.
    pub(super) fn queues(&self) -> usize {
        self.stations.len()
    }

    /// How many requests its queues hold together.
    pub(super) fn depth(&self) -> usize {
        self.stations.iter().map(|station| station.queue.depth()).sum()
    }

    /// Whether all its completions ring the doorbell.
    pub(super) fn rings(&self) -> bool {
        self.rings
    }

    /// Whether the node of a request's pages makes a difference.
    pub(super) fn depends_on_node(&self) -> bool {
        self.order.depends_on_node()
    }

    /// Hands a request for pages on `node` to a queue that may have it: one that serves, or one that is to be probed.
    pub(super) fn submit(
        &self,
        mut request: Box<Request>,
        node: Option<u32>,
        tally: &Tally,
    ) -> Result<(), Declined> {
        let group = self.order.group(node);
        let turn = self.turns[group].fetch_add(1, Relaxed);
        let mut reason = Reason::Gone;
        for queue in self.order.queues(group, turn) {
            let station = &self.stations[queue];
            let admission = station.health.admit(Instant::now);
            if admission == Admission::Barred {
                reason = reason.min(Reason::Quarantined);
                continue;
            }
            match station.offer(request, admission == Admission::Probe, &self.meter, tally) {
                Ok(()) => return Ok(()),
                Err(declined) => {
                    request = declined.request;
                    reason = reason.min(declined.reason);
                }
            }
        }
        Err(Declined { request, reason })
    }

    /// Hands a request to any queue, be it in quarantine.
    pub(super) fn force(&self, mut request: Box<Request>, tally: &Tally) -> Result<(), Declined> {
        let turn = self.turns[0].fetch_add(1, Relaxed);
        let mut reason = Reason::Gone;
        for queue in self.order.queues(0, turn) {
            match self.stations[queue].offer(request, false, &self.meter, tally) {
                Ok(()) => return Ok(()),
                Err(declined) => {
                    request = declined.request;
                    reason = reason.min(declined.reason);
                }
            }
        }
        Err(Declined { request, reason })
    }

    /// What it did so far.
    pub(super) fn work(&self) -> Work {
        Work {
            accelerator: self.name.clone(),
            provenance: self.provenance,
            requests: self.requests.load(Relaxed),
            pages: self.pages.load(Relaxed),
        }
    }

    /// CPU time of its threads, if it has any, in what came back from them until now.
    pub(super) fn worked(&self) -> Duration {
        self.meter.worked()
    }

    /// Appends whatever completed on its queues, each of which is judged by it.
    pub(super) fn poll(&self, completions: &mut Vec<Completion>, tally: &Tally) {
        let (mut requests, mut pages) = (0, 0);
        for station in &self.stations {
            let (before, watch) = (completions.len(), self.meter.start());
            station.queue.poll(completions);
            self.meter.polled(&mut completions[before..], &watch);
            for completion in &completions[before..] {
                let probe = completion.request.probe;
                let change = match &completion.result {
                    Ok(()) => {
                        requests += 1;
                        pages += u64::from(completion.request.pages().0);
                        station.health.succeeded(probe)
                    }
                    Err(failure) => {
                        tally.failed(failure);
                        station.health.failed(probe, Instant::now)
                    }
                };
                tally.changed(change);
            }
        }
        if requests > 0 {
            self.requests.fetch_add(requests, Relaxed);
            self.pages.fetch_add(pages, Relaxed);
        }
    }
}

/// What is left of an accelerator where the source may use `window`: one that decodes a smaller window leaves deflate to
/// others, and so does one whose own deflate looks back further.
fn within(window: Window, capabilities: Capabilities) -> Capabilities {
    let Capabilities { encode, decode, deflate_window_bits, encode_window_bits, .. } = capabilities;
    let without_deflate =
        |methods: MethodSet, fits| if fits { methods } else { methods.without(Method::Deflate) };
    Capabilities {
        encode: without_deflate(encode, encode_window_bits <= window.bits()),
        decode: without_deflate(decode, window.bits() <= deflate_window_bits),
        ..capabilities
    }
}

impl Station {
    fn offer(
        &self,
        mut request: Box<Request>,
        probe: bool,
        meter: &Meter,
        tally: &Tally,
    ) -> Result<(), Declined> {
        request.probe = probe;
        // What another one took for it and failed is not this one's.
        request.cpu = Duration::ZERO;
        let (method, watch) = (request.method, meter.start());
        let offered = self.queue.submit(request);
        let refusal = offered.as_ref().err().map(|refused| refused.reason);
        if probe && refusal != Some(RefusalReason::Full) {
            tally.probed();
        }
        let Err(refused) = offered else {
            meter.submitted(method, &watch);
            return Ok(());
        };
        tally.refused(refused.reason);
        tally.changed(self.health.refused(refused.reason, probe, Instant::now));
        let reason = match refused.reason {
            // A full queue that was to be probed has no room to wait for.
            RefusalReason::Full if probe => Reason::Quarantined,
            RefusalReason::Full => Reason::Full,
            RefusalReason::Gone => Reason::Gone,
        };
        Err(Declined { request: refused.request, reason })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use pageferry_accel::queue::MemoryAccess;

    use super::*;

    #[test]
    fn an_accelerator_leaves_deflate_to_others_where_its_window_does_not_suit() {
        let (queues, depth, memory) = (1, 1, MemoryAccess::Copied);
        let of = |deflate_window_bits, encode_window_bits| Capabilities {
            encode: MethodSet::all(),
            decode: MethodSet::all(),
            deflate_window_bits,
            encode_window_bits,
            queues,
            depth,
            memory,
        };
        let deflates = |window, capabilities: Capabilities| {
            let Capabilities { encode, decode, .. } = within(window, capabilities);
            assert!(encode.contains(Method::Zstd) && decode.contains(Method::Zstd));
            (encode.contains(Method::Deflate), decode.contains(Method::Deflate))
        };
        let (cpu, iaa, qat) = (of(15, 12), of(12, 12), of(15, 15));
        for (capabilities, expected) in [(&cpu, (true, true)), (&iaa, (true, false)), (&qat, (true, true))] {
            assert_eq!(deflates(Window::Kib32, capabilities.clone()), expected, "32 KiB, {capabilities:?}");
        }
        for (capabilities, expected) in [(&cpu, (true, true)), (&iaa, (true, true)), (&qat, (false, true))] {
            assert_eq!(deflates(Window::Kib4, capabilities.clone()), expected, "4 KiB, {capabilities:?}");
        }
    }
}
