//! One worker thread and the queue in front of it, for accelerators that work on private copies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use crate::baseline::Baseline;
use crate::cpu_time;
use crate::doorbell::Doorbell;
use crate::queue::{Completion, Failure, OpenError, Queue, RefusalReason, Refused};
use crate::request::Request;

/// What a worker thread does with a request.
pub(crate) type Work = Box<dyn FnMut(&mut Request) -> Result<(), Failure> + Send>;

/// A queue whose requests a thread of this process works on, one after the other.
pub(crate) struct Worker {
    /// Taken on drop, which ends the thread.
    work: Option<Sender<Box<Request>>>,
    done: Receiver<Completion>,
    thread: Option<JoinHandle<()>>,
    depth: usize,
}

impl Worker {
    /// Starts the thread: number `index` of the accelerator `name`, with room for `depth` requests, one at least.
    pub(crate) fn start(
        name: &'static str,
        index: usize,
        depth: usize,
        doorbell: &Arc<Doorbell>,
        work: Work,
    ) -> Result<Self, OpenError> {
        // The request that is being worked on has left the channel, so the channel is one shorter than the queue.
        let (sender, requests) = bounded(depth - 1);
        let (completed, done) = bounded(depth);
        let desk = Desk { name, work, doorbell: Arc::clone(doorbell) };
        let thread = thread::Builder::new()
            .name(format!("{name}-{index}"))
            .spawn(move || desk.work(&requests, &completed))
            .map_err(|source| OpenError::Worker { accelerator: name.into(), worker: index, source })?;
        Ok(Self { work: Some(sender), done, thread: Some(thread), depth })
    }
}

impl Queue for Worker {
    fn submit(&self, mut request: Box<Request>) -> Result<(), Refused> {
        request.submitted = Instant::now();
        let Some(work) = &self.work else {
            return Err(Refused { request, reason: RefusalReason::Gone });
        };
        work.try_send(request).map_err(|refusal| match refusal {
            TrySendError::Full(request) => Refused { request, reason: RefusalReason::Full },
            TrySendError::Disconnected(request) => Refused { request, reason: RefusalReason::Gone },
        })
    }

    fn poll(&self, completions: &mut Vec<Completion>) {
        completions.extend(self.done.try_iter());
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn rings(&self) -> bool {
        true
    }

    fn has_threads(&self) -> bool {
        true
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.work.take());
        // Nobody polls any more: completions that would not fit must not hold the thread up.
        while !matches!(self.done.try_recv(), Err(TryRecvError::Disconnected)) {
            thread::yield_now();
        }
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on stderr already.
            let _ = thread.join();
        }
    }
}

/// What a worker thread owns.
struct Desk {
    name: &'static str,
    work: Work,
    doorbell: Arc<Doorbell>,
}

impl Desk {
    fn work(mut self, requests: &Receiver<Box<Request>>, completed: &Sender<Completion>) {
        for mut request in requests {
            let begun = cpu_time::of_this_thread();
            // Work that panics must not take the request with it, and with it the migration.
            let result = catch_unwind(AssertUnwindSafe(|| (self.work)(&mut request))).unwrap_or_else(|_| {
                // Whether the baselines are still the old ones or already the new ones, nobody knows.
                request.baselines.iter_mut().flatten().for_each(Baseline::forget);
                Err(Failure::Device { device: self.name.into(), status: "the worker panicked".into() })
            });
            request.cpu = cpu_time::of_this_thread().saturating_sub(begun);
            if completed.send(Completion { request, result }).is_err() {
                return;
            }
            self.doorbell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::units::{PageCount, PageSize};

    fn request(sequence: u64) -> Box<Request> {
        let mut request = Box::new(Request::with_capacity(PageCount(1), PageSize::Kib4));
        request.sequence = sequence;
        request
    }

    fn start(depth: usize, work: Work) -> (Worker, Arc<Doorbell>) {
        let doorbell = Arc::new(Doorbell::default());
        (Worker::start("bench", 0, depth, &doorbell, work).unwrap(), doorbell)
    }

    #[test]
    fn work_that_panics_fails_its_request_and_the_next_one_is_worked_on() {
        let work = Box::new(|request: &mut Request| {
            assert!(request.sequence != 1, "on purpose");
            Ok(())
        });
        let (worker, doorbell) = start(2, work);
        for sequence in [1, 2] {
            let seen = doorbell.count();
            worker.submit(request(sequence)).unwrap();
            doorbell.wait(seen);
            let mut completions = Vec::new();
            worker.poll(&mut completions);
            let Completion { request, result } = completions.pop().unwrap();
            assert_eq!(request.sequence, sequence);
            match sequence {
                1 => assert_eq!(
                    result,
                    Err(Failure::Device { device: "bench".into(), status: "the worker panicked".into() })
                ),
                _ => assert_eq!(result, Ok(())),
            }
        }
    }

    #[test]
    fn a_request_states_the_cpu_time_that_was_worked_on_it_and_none_that_was_slept() {
        const WORKED: Duration = Duration::from_millis(20);
        let work = |request: &mut Request| {
            let begun = cpu_time::of_this_thread();
            while request.sequence == 1 && cpu_time::of_this_thread() - begun < WORKED {}
            thread::sleep(WORKED);
            assert!(request.sequence != 2, "on purpose");
            Ok(())
        };
        let (worker, doorbell) = start(2, Box::new(work));
        let spent = [0, 1, 2].map(|sequence| {
            let seen = doorbell.count();
            worker.submit(request(sequence)).unwrap();
            doorbell.wait(seen);
            let mut completions = Vec::new();
            worker.poll(&mut completions);
            completions.pop().unwrap().request.cpu
        });
        let [slept, worked, panicked] = spent;
        assert!(slept > Duration::ZERO && slept < WORKED && worked >= WORKED, "{spent:?}");
        assert!(panicked > Duration::ZERO, "{spent:?}");
    }

    #[test]
    fn a_worker_that_is_dropped_with_requests_in_it_ends() {
        let (worker, _) = start(3, Box::new(|_| Ok(())));
        let taken = (0..3).filter(|&sequence| worker.submit(request(sequence)).is_ok()).count();
        assert!(taken >= 2, "the channel alone holds two, and took {taken}");
        drop(worker);
    }
}
