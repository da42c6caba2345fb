//! The sender's poller: collects completions, and frames, writes and recycles them.

use std::collections::VecDeque;

use super::chooser::{LinkWindow, Observed};
use super::lanes::{JobId, device_method};
use super::link::Frame;
use super::time::Nanos;
use super::world::{Event, POLLER, World};

/// What the poller does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    /// It sleeps until the doorbell rings.
    Nothing,
    /// It frames a request and writes it, or the end of the round.
    Sending(Frame),
    /// It waits for room in the socket, since then.
    Blocked(Frame, Nanos),
    /// It naps, as devices do not ring.
    Napping,
    /// It has napped, and asks them.
    Asking,
    /// It is between two of these.
    Turning,
}

#[derive(Clone, Debug)]
pub(super) struct Poller {
    doing: Doing,
    /// Completions that it knows of, or that rang.
    pub(super) ready: VecDeque<JobId>,
    /// Completions of devices that it has not looked for.
    unseen: Vec<(usize, usize, JobId)>,
    /// Requests with devices that do not ring.
    pub(super) silent: usize,
    /// The migration thread has sent all of the round.
    pub(super) end_of_round: bool,
    /// Requests that went back to the pool and that nobody was told of.
    unannounced: usize,
    window: Window,
}

/// What passed at the connection since the last time that the chooser was told.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    begun: Nanos,
    cpu: Nanos,
    source_cpu: Nanos,
    bytes: f64,
    seen: LinkWindow,
}

/// The migration thread is woken for so many requests at once (`engine/src/sender/poller.rs`).
const ANNOUNCE_AFTER: usize = 8;

/// How often the chooser is told of the link: after so many requests, and not before so long (`engine/src/sender/picker.rs`).
const WINDOW: Nanos = Nanos(2e6);
const WINDOW_REQUESTS: u64 = 8;

/// The frame that ends a round (`engine/FORMAT.md`).
const END_BYTES: f64 = 52.0;

impl Poller {
    pub(super) fn new() -> Self {
        Self {
            doing: Doing::Nothing,
            ready: VecDeque::new(),
            unseen: Vec::new(),
            silent: 0,
            end_of_round: false,
            unannounced: 0,
            window: Window::default(),
        }
    }
}

impl World<'_> {
    /// Wakes a poller that sleeps.
    pub(super) fn ring_poller(&mut self) {
        if self.poller.doing == Doing::Nothing {
            self.turn();
        }
    }

    pub(super) fn device_encoded(&mut self, lane: usize, queue: usize, job: JobId) {
        self.note_occupancy(job, lane);
        self.poller.unseen.push((lane, queue, job));
    }

    /// Goes on with what is ready; otherwise looks at all queues, and sees what else there is to do.
    fn turn(&mut self) {
        self.poller.doing = Doing::Turning;
        if self.poller.ready.is_empty() {
            self.tell_of_returns();
            self.look();
        }
        if let Some(job) = self.poller.ready.pop_front() {
            self.send(job);
        } else if std::mem::take(&mut self.poller.end_of_round) {
            self.poller.doing = Doing::Sending(Frame { job: None, bytes: END_BYTES });
            self.work(POLLER, self.setup.host.send_request_ns);
        } else if self.poller.silent > 0 {
            self.poller.doing = Doing::Napping;
            self.later(Nanos(self.setup.host.nap_wall_ns.max(1.0)), Event::PollerAwake);
        } else {
            self.poller.doing = Doing::Nothing;
        }
    }

    pub(super) fn poller_awake(&mut self) {
        self.poller.doing = Doing::Asking;
        self.work(POLLER, self.setup.host.nap_cpu_ns);
    }

    /// Takes what devices have completed.
    fn look(&mut self) {
        for (lane, queue, job) in std::mem::take(&mut self.poller.unseen) {
            let submit_ns = self.setup.source.lanes[lane].device().map_or(0.0, |device| device.submit_ns);
            self.job_mut(job).cpu_ns = submit_ns + self.collect_ns(job);
            let pages = self.job(job).pages;
            self.lanes[lane].release(queue, job, pages);
            self.poller.silent -= 1;
            self.poller.ready.push_back(job);
        }
    }

    /// What the driver of a device does for a request that has completed.
    fn collect_ns(&self, job: JobId) -> f64 {
        let job = self.job(job);
        let lane = &self.setup.source.lanes[job.lane];
        let share = device_method(lane, job.choice.method, true).map_or(0.0, |work| work.cpu_share);
        lane.device().map_or(0.0, |device| device.collect_ns + share * job.encode_ns())
    }

    fn send(&mut self, job: JobId) {
        self.observe(job);
        let bytes = self.job(job).head_bytes() + self.payload_bytes(job);
        let collect =
            self.setup.source.lanes[self.job(job).lane].device().map_or(0.0, |lane| lane.collect_ns);
        let host = &self.setup.host;
        self.poller.doing = Doing::Sending(Frame { job: Some(job), bytes });
        self.work(POLLER, host.send_request_ns + bytes * host.send_byte_ns + collect);
    }

    /// A burst of the poller's has ended.
    pub(super) fn poller_worked(&mut self) {
        match self.poller.doing {
            Doing::Sending(frame) => self.write(frame),
            Doing::Asking => self.turn(),
            _ => {}
        }
    }

    fn write(&mut self, frame: Frame) {
        if self.link.write(frame) {
            self.pump();
            self.written(frame);
        } else {
            self.poller.doing = Doing::Blocked(frame, self.now);
        }
    }

    /// There may be room for what waits.
    pub(super) fn write_again(&mut self) {
        let Doing::Blocked(frame, since) = self.poller.doing else { return };
        if self.link.write(frame) {
            self.poller.window.seen.blocked_ns += (self.now - since).0;
            self.ledger.blocked = self.ledger.blocked + (self.now - since);
            self.pump();
            self.written(frame);
        }
    }

    fn written(&mut self, frame: Frame) {
        self.poller.doing = Doing::Turning;
        self.ledger.wire_bytes += frame.bytes;
        if let Some(job) = frame.job {
            let payload = self.payload_bytes(job);
            self.ledger.sent(&self.jobs[job], payload, self.costs.page_bytes());
            self.returned(1);
            self.poller.unannounced += 1;
            if self.poller.unannounced == ANNOUNCE_AFTER {
                self.tell_of_returns();
            }
        }
        self.tell_of_link(frame);
        self.turn();
    }

    fn tell_of_returns(&mut self) {
        if std::mem::take(&mut self.poller.unannounced) > 0 {
            self.announce();
        }
    }

    fn tell_of_link(&mut self, frame: Frame) {
        let seen = &mut self.poller.window.seen;
        seen.requests += u64::from(frame.job.is_some());
        self.poller.window.bytes += frame.bytes;
        let wall = self.now - self.poller.window.begun;
        if wall < WINDOW || seen.requests < WINDOW_REQUESTS {
            return;
        }
        let (cpu, source_cpu) = (self.used(POLLER), self.source_cpu());
        let waited = self.migration.take_waited(self.now);
        let window = &self.poller.window;
        let seen = LinkWindow {
            wall_ns: wall.0,
            bytes: super::whole(window.bytes),
            poller_cpu_ns: (cpu - window.cpu).0,
            source_cpu_ns: (source_cpu - window.source_cpu).0,
            waited_ns: waited.0,
            ..window.seen
        };
        self.begin_window();
        self.chooser.observe_link(&seen);
        self.ledger.sample(self.now, source_cpu);
    }

    /// What was before, such as the end of a round, tells the chooser nothing.
    pub(super) fn begin_window(&mut self) {
        let (begun, cpu, source_cpu) = (self.now, self.used(POLLER), self.source_cpu());
        self.poller.window = Window { begun, cpu, source_cpu, ..Window::default() };
        self.migration.take_waited(self.now);
    }

    fn observe(&mut self, job: JobId) {
        let payload = self.payload_bytes(job);
        let capacity = self.lanes[self.job(job).lane].capacity();
        let World { chooser, ledger, jobs, .. } = self;
        let one = &jobs[job];
        let took = one.completed - one.submitted;
        ledger.latency(took);
        chooser.observe(&Observed {
            choice: one.choice,
            lane: one.lane,
            runs: &one.runs,
            data_pages: one.data_pages,
            no_baseline: one.no_baseline,
            kept: one.choice.keep_baselines,
            payload_bytes: super::whole(payload),
            cpu_ns: one.cpu_ns,
            took_ns: took.0,
            in_flight: one.in_flight,
            capacity: u32::try_from(capacity).unwrap_or(u32::MAX),
        });
    }
}
