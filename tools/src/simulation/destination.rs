//! The destination: a reader, the queues that decode, and a poller that counts.

use std::collections::VecDeque;

use super::lanes::{JobId, LaneState, device_method};
use super::link::Frame;
use super::time::Nanos;
use super::world::{COLLECTOR, Event, READER, World};

/// What the reader does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    /// It waits for a frame.
    Nothing,
    /// It reads one.
    Frame(Frame),
    /// It waits for a request to read into.
    WantsRequest,
    /// It waits for room in a queue.
    Holding(JobId),
    /// It waits at the round's end for what is in flight.
    AtBarrier,
}

/// What the poller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collecting {
    Nothing,
    Job(JobId),
    Napping,
    Asking,
}

#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) lanes: Vec<LaneState>,
    inbox: VecDeque<Frame>,
    reading: Reading,
    collecting: Collecting,
    ready: VecDeque<JobId>,
    unseen: Vec<(usize, usize, JobId)>,
    silent: usize,
    /// Requests that are out of the pool.
    out: usize,
    bound: usize,
}

impl Destination {
    pub(super) fn new(lanes: Vec<LaneState>) -> Self {
        let held: usize = lanes.iter().map(LaneState::capacity).sum();
        Self {
            lanes,
            inbox: VecDeque::new(),
            reading: Reading::Nothing,
            collecting: Collecting::Nothing,
            ready: VecDeque::new(),
            unseen: Vec::new(),
            silent: 0,
            out: 0,
            // One that the reader reads into while the queues are full (`engine/src/receiver/mod.rs`).
            bound: held + 1,
        }
    }
}

impl World<'_> {
    pub(super) fn frame_arrived(&mut self, frame: Frame) {
        self.destination.inbox.push_back(frame);
        if self.destination.reading == Reading::Nothing {
            self.read_next();
        }
    }

    fn read_next(&mut self) {
        let destination = &mut self.destination;
        let Some(&frame) = destination.inbox.front() else {
            destination.reading = Reading::Nothing;
            return;
        };
        if frame.job.is_some() {
            if destination.out == destination.bound {
                destination.reading = Reading::WantsRequest;
                return;
            }
            destination.out += 1;
        }
        destination.inbox.pop_front();
        destination.reading = Reading::Frame(frame);
        let host = &self.setup.host;
        self.work(READER, host.read_request_ns + frame.bytes * host.read_byte_ns);
        self.link.read(frame);
        self.pump();
    }

    /// The reader has a frame.
    pub(super) fn frame_read(&mut self) {
        let Reading::Frame(frame) = self.destination.reading else { return };
        match frame.job {
            Some(job) => self.decode(job),
            None => {
                self.destination.reading = Reading::AtBarrier;
                self.pass_barrier();
            }
        }
    }

    /// Hands a request to a queue, if one has room.
    fn decode(&mut self, job: JobId) {
        if self.place_decoding(job) {
            self.read_next();
        } else {
            self.destination.reading = Reading::Holding(job);
        }
    }

    fn place_decoding(&mut self, job: JobId) -> bool {
        let (setup, method) = (self.setup, self.job(job).choice.method);
        for (lane, of) in setup.destination.lanes.iter().enumerate().filter(|(_, lane)| lane.decodes(method))
        {
            let state = &mut self.destination.lanes[lane];
            let Some(queue) = state.take(job) else { continue };
            if let Some(work) = device_method(of, method, false) {
                let bytes = self.page_bytes_of(job);
                let done = self.destination.lanes[lane].serve(self.now, work, bytes);
                self.destination.silent += 1;
                self.agenda.enter(done, Event::Decoded { lane, queue, job });
                self.ring_collector();
            } else if let Some(worker) = state.idle_worker(queue) {
                self.work(worker, self.decode_ns(job));
            }
            return true;
        }
        false
    }

    fn decode_ns(&self, job: JobId) -> f64 {
        let host = &self.setup.host;
        host.decode_request_ns + self.payload_bytes(job) * host.decode_byte_ns + self.job(job).decode_ns()
    }

    /// A worker is done with a request, and goes on with the next.
    pub(super) fn decoded(&mut self, lane: usize, queue: usize) {
        let Some(job) = self.destination.lanes[lane].at_work(queue) else { return };
        let (pages, spent) = (self.job(job).pages, Nanos(self.decode_ns(job)));
        let state = &mut self.destination.lanes[lane];
        state.busy = state.busy + spent;
        state.release(queue, job, pages);
        if let (Some(worker), Some(next)) = (state.worker(queue), state.at_work(queue)) {
            self.work(worker, self.decode_ns(next));
        }
        self.destination.ready.push_back(job);
        self.ring_collector();
    }

    pub(super) fn device_decoded(&mut self, lane: usize, queue: usize, job: JobId) {
        self.destination.unseen.push((lane, queue, job));
    }

    fn ring_collector(&mut self) {
        if self.destination.collecting == Collecting::Nothing {
            self.collect_next();
        }
    }

    fn collect_next(&mut self) {
        if self.destination.ready.is_empty() {
            self.look_for_decoded();
        }
        let host = &self.setup.host;
        if let Some(job) = self.destination.ready.pop_front() {
            self.destination.collecting = Collecting::Job(job);
            self.work(COLLECTOR, host.collect_request_ns);
        } else if self.destination.silent > 0 {
            self.destination.collecting = Collecting::Napping;
            self.later(Nanos(host.nap_wall_ns.max(1.0)), Event::CollectorAwake);
        } else {
            self.destination.collecting = Collecting::Nothing;
        }
    }

    fn look_for_decoded(&mut self) {
        for (lane, queue, job) in std::mem::take(&mut self.destination.unseen) {
            let pages = self.job(job).pages;
            self.destination.lanes[lane].release(queue, job, pages);
            self.destination.silent -= 1;
            self.destination.ready.push_back(job);
        }
    }

    pub(super) fn collector_awake(&mut self) {
        self.destination.collecting = Collecting::Asking;
        self.work(COLLECTOR, self.setup.host.nap_cpu_ns);
    }

    /// A burst of the poller's has ended.
    pub(super) fn collector_worked(&mut self) {
        if let Collecting::Job(job) = self.destination.collecting {
            self.ledger.confirmed_pages += u64::from(self.job(job).pages);
            self.destination.out -= 1;
            self.recycle(job);
        }
        self.collect_next();
        match self.destination.reading {
            Reading::Holding(job) => self.decode(job),
            Reading::WantsRequest => self.read_next(),
            Reading::AtBarrier => self.pass_barrier(),
            _ => {}
        }
    }

    /// Reports the round if nothing is in flight.
    fn pass_barrier(&mut self) {
        if self.destination.out == 0 {
            let back = self.link.propagation() + Nanos(self.setup.host.round_wall_ns);
            self.later(back, Event::Reported);
            self.read_next();
        }
    }
}
