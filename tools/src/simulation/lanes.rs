//! Accelerators at work: queues of workers, and of devices.

use std::collections::VecDeque;

use pageferry_accel::method::Method;

use super::cores::Thread;
use super::setup::{DeviceMethod, Lane};
use super::time::Nanos;

/// A request's number.
pub(super) type JobId = usize;

/// An accelerator and its queues.
#[derive(Clone, Debug)]
pub(super) struct LaneState {
    queues: Vec<Queue>,
    depth: usize,
    turn: usize,
    /// When each engine is free again; of workers nothing.
    engines: Vec<Nanos>,
    pub(super) in_flight: usize,
    /// How long its workers or engines were at work, all together.
    pub(super) busy: Nanos,
    pub(super) requests: u64,
    pub(super) pages: u64,
}

#[derive(Clone, Debug)]
struct Queue {
    held: VecDeque<JobId>,
    /// Who works on them, one after the other; none at a device.
    worker: Option<Thread>,
}

impl LaneState {
    /// Idle. Its workers are the threads from `first_thread` on.
    pub(super) fn new(lane: &Lane, first_thread: usize) -> Self {
        let (queues, depth, engines) = match lane {
            Lane::Cpu(cpu) => (cpu.workers.max(1), cpu.depth.max(1), 0),
            Lane::Device(device) => (device.queues.max(1), device.depth.max(1), device.engines.max(1)),
        };
        let worker = |queue| (engines == 0).then_some(Thread(first_thread + queue));
        Self {
            queues: (0..queues).map(|queue| Queue { held: VecDeque::new(), worker: worker(queue) }).collect(),
            depth,
            turn: 0,
            engines: vec![Nanos::ZERO; engines],
            in_flight: 0,
            busy: Nanos::ZERO,
            requests: 0,
            pages: 0,
        }
    }

    /// How many threads it has.
    pub(super) fn threads(&self) -> usize {
        self.queues.iter().filter(|queue| queue.worker.is_some()).count()
    }

    /// How many requests it holds at most.
    pub(super) fn capacity(&self) -> usize {
        self.queues.len() * self.depth
    }

    /// Takes a request into the first queue in turn that has room, and says which; none if all are full.
    pub(super) fn take(&mut self, job: JobId) -> Option<usize> {
        let (first, count) = (self.turn, self.queues.len());
        self.turn = (self.turn + 1) % count;
        let queue = (first..first + count).map(|queue| queue % count);
        let queue = queue.into_iter().find(|&queue| self.queues[queue].held.len() < self.depth)?;
        self.queues[queue].held.push_back(job);
        self.in_flight += 1;
        Some(queue)
    }

    /// The worker of a queue, if it has nothing to do but the request that it was just given.
    pub(super) fn idle_worker(&self, queue: usize) -> Option<Thread> {
        self.queues[queue].worker.filter(|_| self.queues[queue].held.len() == 1)
    }

    /// The worker of a queue; a device's has none.
    pub(super) fn worker(&self, queue: usize) -> Option<Thread> {
        self.queues[queue].worker
    }

    /// What a worker is at, or is to begin.
    pub(super) fn at_work(&self, queue: usize) -> Option<JobId> {
        self.queues[queue].held.front().copied()
    }

    /// Lets a request go that is done, of `pages` pages.
    pub(super) fn release(&mut self, queue: usize, job: JobId, pages: u32) {
        let held = &mut self.queues[queue].held;
        if let Some(at) = held.iter().position(|&held| held == job) {
            held.remove(at);
            self.in_flight -= 1;
            self.requests += 1;
            self.pages += u64::from(pages);
        }
    }

    /// When a device will be done with work that it was given now: it waits for an engine, has it for as long as its bytes
    /// take, and completes a latency later.
    pub(super) fn serve(&mut self, now: Nanos, work: &DeviceMethod, bytes: f64) -> Nanos {
        let service = Nanos::from_s(bytes / work.bytes_per_s);
        let free = self.engines.iter_mut().min_by(|one, other| one.cmp(other));
        let done = free.map_or(now, |free| {
            *free = now.max(*free) + service;
            *free
        });
        self.busy = self.busy + service;
        done + work.latency.into()
    }
}

/// What a lane does by `method`, if it is a device.
pub(super) fn device_method(lane: &Lane, method: Method, encode: bool) -> Option<&DeviceMethod> {
    let device = lane.device()?;
    let methods = if encode { &device.encode } else { &device.decode };
    methods.iter().find(|one| one.method == method)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulation::setup::{CpuLane, DeviceLane};

    #[test]
    fn queues_are_taken_in_turn_past_the_full_ones() {
        let mut lane = LaneState::new(&Lane::Cpu(CpuLane { workers: 2, depth: 2 }), 5);
        assert_eq!(
            (0..5).map(|job| lane.take(job)).collect::<Vec<_>>(),
            [0, 1, 0, 1].map(Some).into_iter().chain([None]).collect::<Vec<_>>()
        );
        assert_eq!((lane.at_work(0), lane.idle_worker(0)), (Some(0), None));
        lane.release(0, 0, 63);
        assert_eq!((lane.at_work(0), lane.idle_worker(0)), (Some(2), Some(Thread(5))));
        assert_eq!((lane.take(9), lane.take(10)), (Some(0), None));
    }

    #[test]
    fn engines_work_side_by_side_and_latency_holds_none_of_them_up() {
        let work = DeviceMethod {
            method: Method::Deflate,
            bytes_per_s: 1e9,
            latency: Duration::from_nanos(50),
            relative_bytes: 1.0,
            keeps_baselines: false,
            cpu_share: 0.0,
        };
        let lane = Lane::Device(DeviceLane {
            name: "device".into(),
            queues: 1,
            depth: 8,
            engines: 2,
            encode: vec![work],
            decode: Vec::new(),
            submit_ns: 0.0,
            collect_ns: 0.0,
            host_finds_zeros: false,
        });
        let mut state = LaneState::new(&lane, 0);
        let done = [(); 3].map(|()| state.serve(Nanos(10.0), &work, 100.0).0);
        assert_eq!(done, [160.0, 160.0, 260.0]);
        assert_eq!(state.busy, Nanos(300.0));
    }
}
