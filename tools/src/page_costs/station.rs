//! One CPU worker that encodes and one that decodes, and the CPU time of each.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::pool::{Pool, PoolSize};
use pageferry_accel::queue::{Accelerator, Attachment, Completion, Queue, RefusalReason};
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::Run;
use pageferry_accel::units::PageCount;

use super::error::MeasureError;
use crate::codecs::Codecs;
use crate::threads::ThreadId;

/// Requests that go through a worker one after the other before its clock is read: it does not fall asleep between them, as it
/// does not in a sender at work.
pub(super) const BATCH: usize = 8;

/// How long it is slept between looking for what they have done.
const NAP: Duration = Duration::from_micros(50);

/// The two workers.
pub(super) struct Station {
    pool: Pool,
    encoder: Worker,
    decoder: Worker,
    baselines: BaselineCache,
}

/// A queue, and the thread behind it.
struct Worker {
    queue: Box<dyn Queue>,
    thread: ThreadId,
}

type Requests = Vec<Box<Request>>;

/// A batch of requests that went through both.
pub(super) struct Batch {
    pub(super) requests: Requests,
    pub(super) encode: Duration,
    pub(super) decode: Duration,
}

impl Station {
    /// Workers for these two guests; `keep`: with room for a baseline of every page.
    pub(super) fn open(
        source: &Arc<GuestRam>,
        destination: &Arc<GuestRam>,
        max_pages: PageCount,
        codecs: Codecs,
        keep: bool,
    ) -> Result<Self, MeasureError> {
        let size = PoolSize {
            max_pages,
            page_size: source.page_size(),
            initial: BATCH,
            bound: BATCH,
            // Two buffers for each of the workers.
            spare: 4,
        };
        let pool = Pool::new(size).map_err(MeasureError::Memory)?;
        let room = if keep { usize::try_from(source.bytes()).unwrap_or(usize::MAX) } else { 0 };
        let baselines = BaselineCache::private(source, room).map_err(MeasureError::Memory)?;
        let encoder = Worker::open(source, &pool, Some(&baselines), codecs)?;
        let decoder = Worker::open(destination, &pool, None, codecs)?;
        Ok(Self { pool, encoder, decoder, baselines })
    }

    /// Encodes as many runs of pages as there are requests for, and decodes them again.
    ///
    /// # Errors
    /// [`MeasureError::Failed`] if a worker fails on one.
    pub(super) fn process(&mut self, method: Method, requests: &[Vec<Run>]) -> Result<Batch, MeasureError> {
        let composed =
            requests.iter().map(|runs| self.compose(method, runs)).collect::<Result<Vec<_>, _>>()?;
        let (mut encoded, encode) = self.encoder.run(composed)?;
        for request in &mut encoded {
            let kept = request.baselines.drain(..).flatten();
            kept.for_each(|baseline| self.baselines.give_back(baseline));
            request.direction = Direction::Decode;
        }
        let (requests, decode) = self.decoder.run(encoded)?;
        Ok(Batch { requests, encode, decode })
    }

    /// Takes the requests of a batch back.
    pub(super) fn recycle(&self, batch: Batch) {
        batch.requests.into_iter().for_each(|request| self.pool.put(request));
    }

    fn compose(&mut self, method: Method, runs: &[Run]) -> Result<Box<Request>, MeasureError> {
        let taken = self.pool.take();
        let mut request = taken.map_err(|error| MeasureError::Failed(error.to_string()))?;
        request.reset(Direction::Encode);
        request.method = method;
        request.runs.extend_from_slice(runs);
        if self.baselines.capacity() > 0 {
            let pages = runs.iter().flat_map(|run| run.pages());
            request.baselines.extend(pages.map(|page| self.baselines.take(page)));
        }
        Ok(request)
    }
}

impl Worker {
    fn open(
        ram: &Arc<GuestRam>,
        pool: &Pool,
        baselines: Option<&BaselineCache>,
        codecs: Codecs,
    ) -> Result<Self, MeasureError> {
        let attachment = Attachment {
            ram: Arc::clone(ram),
            doorbell: Arc::new(Doorbell::default()),
            max_pages: pool.size().max_pages,
            payloads: Arc::clone(pool.arena()),
            baselines: baselines.filter(|cache| cache.capacity() > 0).map(|cache| Arc::clone(cache.arena())),
            deflate_window: codecs.window,
        };
        let config = CpuConfig {
            workers: 1,
            depth: BATCH + 1,
            deflate_level: codecs.levels.deflate,
            deflate_window: codecs.window,
            zstd_level: codecs.levels.zstd,
            detect_zero: codecs.zero_detection,
        };
        let before = ThreadId::named("cpu-");
        let queue = Cpu::new(config).open(&attachment).map_err(MeasureError::Open)?.remove(0);
        let new = |thread: &ThreadId| !before.contains(thread);
        // A thread has its name a moment after it was started.
        let thread = loop {
            match ThreadId::named("cpu-").into_iter().find(new) {
                Some(thread) => break thread,
                None => std::thread::yield_now(),
            }
        };
        Ok(Self { queue, thread })
    }

    /// Lets all requests through; they come back in their order.
    fn run(&self, requests: Requests) -> Result<(Requests, Duration), MeasureError> {
        let (begun, count) = (self.thread.cpu(), requests.len());
        let mut completions = Vec::with_capacity(count);
        for mut request in requests {
            while let Err(refused) = self.queue.submit(request) {
                if refused.reason == RefusalReason::Gone {
                    return Err(MeasureError::Failed("a worker is gone".into()));
                }
                request = refused.request;
                std::thread::yield_now();
            }
        }
        while completions.len() < count {
            self.queue.poll(&mut completions);
            if completions.len() < count {
                // Nobody sleeps at the doorbell: to wake somebody for every request costs more than some requests do, and a
                // poller at work is awake.
                std::thread::sleep(NAP);
            }
        }
        let spent = self.thread.cpu().saturating_sub(begun);
        let done = completions.into_iter().map(|Completion { request, result }| match result {
            Ok(()) => Ok(request),
            Err(failure) => Err(MeasureError::Failed(failure.to_string())),
        });
        Ok((done.collect::<Result<_, _>>()?, spent))
    }
}
