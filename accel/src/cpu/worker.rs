//! One worker thread and the queue in front of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::CpuConfig;
use super::decode::Decoder;
use super::encode::Encoder;
use crate::baseline::Baseline;
use crate::doorbell::Doorbell;
use crate::queue::{Attachment, Completion, Failure, OpenError, Queue, RefusalReason, Refused};
use crate::request::{Direction, Request};

pub(super) const NAME: &str = "cpu";

pub(super) struct Worker {
    /// Taken on drop, which ends the thread.
    work: Option<Sender<Box<Request>>>,
    done: Receiver<Completion>,
    thread: Option<JoinHandle<()>>,
    depth: usize,
}

impl Worker {
    pub(super) fn start(index: usize, config: CpuConfig, attachment: &Attachment) -> Result<Self, OpenError> {
        let no_memory = |source| OpenError::Memory { accelerator: NAME.into(), source };
        let encoder = Encoder::new(config, attachment, attachment.buffer().map_err(no_memory)?)
            .map_err(|reason| OpenError::Codec { accelerator: NAME.into(), reason })?;
        let decoder = Decoder::new(Arc::clone(&attachment.ram), attachment.buffer().map_err(no_memory)?);
        // The request that is being worked on has left the channel, so the channel is one shorter than the queue.
        let (work, requests) = bounded(config.depth - 1);
        let (completed, done) = bounded(config.depth);
        let doorbell = Arc::clone(&attachment.doorbell);
        let thread = thread::Builder::new()
            .name(format!("{NAME}-{index}"))
            .spawn(move || Desk { encoder, decoder, doorbell }.work(&requests, &completed))
            .map_err(|source| OpenError::Worker { accelerator: NAME.into(), worker: index, source })?;
        Ok(Self { work: Some(work), done, thread: Some(thread), depth: config.depth })
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
    encoder: Encoder,
    decoder: Decoder,
    doorbell: Arc<Doorbell>,
}

impl Desk {
    fn work(mut self, requests: &Receiver<Box<Request>>, completed: &Sender<Completion>) {
        for mut request in requests {
            // A codec that panics must not take the request with it, and with it the migration.
            let result = catch_unwind(AssertUnwindSafe(|| self.run(&mut request))).unwrap_or_else(|_| {
                // Whether the baselines are still the old ones or already the new ones, nobody knows.
                request.baselines.iter_mut().flatten().for_each(Baseline::forget);
                Err(Failure::Device { device: NAME.into(), status: "the worker panicked".into() })
            });
            if completed.send(Completion { request, result }).is_err() {
                return;
            }
            self.doorbell.ring();
        }
    }

    fn run(&mut self, request: &mut Request) -> Result<(), Failure> {
        match request.direction {
            Direction::Encode => {
                self.encoder.encode(request);
                Ok(())
            }
            Direction::Decode => self.decoder.decode(request),
        }
    }
}
