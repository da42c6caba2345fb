//! The real pipeline, both ends in this process, with the CPU time of each of its threads.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_accel::guest::GuestRam;
use pageferry_accel::queue::Accelerator;
use pageferry_engine::connection::Connection;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::receiver::Incoming;
use pageferry_engine::sender::{SendReport, Sender, SenderConfig};

use super::CalibrationError;
use crate::threads::{self, ThreadId};

/// What works at the two ends, and how many threads of it.
pub(crate) struct Ends {
    /// The source's accelerators.
    pub(crate) source: Vec<Arc<dyn Accelerator>>,
    /// CPU workers among them.
    pub(crate) source_workers: usize,
    /// The destination's.
    pub(crate) destination: Vec<Arc<dyn Accelerator>>,
    /// CPU workers among them.
    pub(crate) destination_workers: usize,
}

/// CPU time of the pipeline's threads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ThreadTimes {
    pub(crate) migration: Duration,
    pub(crate) workers: Duration,
    pub(crate) poller: Duration,
    pub(crate) reader: Duration,
    pub(crate) decoders: Duration,
    pub(crate) collector: Duration,
}

/// What one or more rounds took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crossing {
    pub(crate) wall: Duration,
    pub(crate) cpu: ThreadTimes,
    pub(crate) report: SendReport,
}

/// The threads of a pipeline that is running; the migration thread is the caller.
struct Threads {
    workers: Vec<ThreadId>,
    poller: Vec<ThreadId>,
    reader: Vec<ThreadId>,
    decoders: Vec<ThreadId>,
    collector: Vec<ThreadId>,
}

/// Sends rounds of `source` to a guest of its own kind: as many as `next` gives dirty pages for, which no time is counted for.
///
/// # Errors
/// [`CalibrationError::Pipeline`] if a migration fails.
pub(crate) fn cross(
    source: &Arc<GuestRam>,
    destination: &Arc<GuestRam>,
    ends: &Ends,
    config: SenderConfig,
    mut next: impl FnMut(u32) -> Result<Option<DirtyBitmap>, CalibrationError>,
) -> Result<Crossing, CalibrationError> {
    let (ours, theirs) = UnixStream::pair().map_err(CalibrationError::pipeline)?;
    let ours = Connection::unix(ours, None).map_err(CalibrationError::pipeline)?;
    let theirs = Connection::unix(theirs, None).map_err(CalibrationError::pipeline)?;
    let (go, gate) = mpsc::channel::<()>();
    let (ram, accelerators) = (Arc::clone(destination), ends.destination.clone());
    let receiver = thread::spawn(move || {
        let incoming = Incoming::begin(theirs).map_err(|error| error.to_string())?;
        let receiver = incoming.accept(ram, &accelerators).map_err(|error| error.to_string())?;
        // Threads of both ends have the same names, and are told apart by their order.
        let _ = gate.recv();
        receiver.run().map(drop).map_err(|error| error.to_string())
    });
    let before = Names::now();
    let mut sender = Sender::new(Arc::clone(source), &ends.source, vec![ours], config)
        .map_err(CalibrationError::pipeline)?;
    drop(go);
    let threads = before.wait_for(ends);
    let mut crossing = Crossing::default();
    let mut round = 0;
    while let Some(dirty) = next(round)? {
        let (cpu, own, begun) = (threads.times(), threads::own(), Instant::now());
        sender.send_round(&dirty).map_err(CalibrationError::pipeline)?;
        crossing.wall += begun.elapsed();
        let spent = threads.times().since(&cpu);
        crossing.cpu.add(&ThreadTimes { migration: threads::own() - own, ..spent });
        round += 1;
    }
    let (report, _) = sender.finish().map_err(CalibrationError::pipeline)?;
    let received = receiver.join().map_err(|_| CalibrationError::Pipeline("the receiver panicked".into()))?;
    received.map_err(CalibrationError::Pipeline)?;
    Ok(Crossing { report, ..crossing })
}

/// Threads that were there before, by the beginning of their names.
struct Names([Vec<ThreadId>; 3]);

const NAMES: [&str; 3] = ["cpu-", "poller", "channel-"];

/// How long is waited for the last thread to start.
const PATIENCE: Duration = Duration::from_secs(1);

impl Names {
    fn now() -> Self {
        Self(NAMES.map(ThreadId::named))
    }

    /// The threads that have come since, once all of them have.
    fn wait_for(&self, ends: &Ends) -> Threads {
        let workers = ends.source_workers + ends.destination_workers;
        let begun = Instant::now();
        loop {
            let [cpu, pollers, channels] = self.since();
            let all = cpu.len() >= workers && pollers.len() >= 2 && !channels.is_empty();
            if all || begun.elapsed() > PATIENCE {
                // The destination opens its queues before it answers; the source's poller starts before the gate is opened.
                let (decoders, encoders) = cpu.split_at(ends.destination_workers.min(cpu.len()));
                let (poller, collector) = pollers.split_at(1.min(pollers.len()));
                return Threads {
                    workers: encoders.to_vec(),
                    poller: poller.to_vec(),
                    reader: channels,
                    decoders: decoders.to_vec(),
                    collector: collector.to_vec(),
                };
            }
            thread::yield_now();
        }
    }

    fn since(&self) -> [Vec<ThreadId>; 3] {
        let Self(now) = Self::now();
        let mut new = now;
        for (new, before) in new.iter_mut().zip(&self.0) {
            new.retain(|thread| !before.contains(thread));
        }
        new
    }
}

impl Threads {
    /// CPU time until now, but for the migration thread's.
    fn times(&self) -> ThreadTimes {
        let sum = |threads: &[ThreadId]| threads.iter().map(|thread| thread.cpu()).sum();
        ThreadTimes {
            migration: Duration::ZERO,
            workers: sum(&self.workers),
            poller: sum(&self.poller),
            reader: sum(&self.reader),
            decoders: sum(&self.decoders),
            collector: sum(&self.collector),
        }
    }
}

impl ThreadTimes {
    fn since(&self, before: &Self) -> Self {
        let [now, before] = [self, before].map(Self::all);
        let mut spent = now;
        spent.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(before));
        let [migration, workers, poller, reader, decoders, collector] = spent;
        Self { migration, workers, poller, reader, decoders, collector }
    }

    fn add(&mut self, more: &Self) {
        self.migration += more.migration;
        self.workers += more.workers;
        self.poller += more.poller;
        self.reader += more.reader;
        self.decoders += more.decoders;
        self.collector += more.collector;
    }

    fn all(&self) -> [Duration; 6] {
        [self.migration, self.workers, self.poller, self.reader, self.decoders, self.collector]
    }

    /// All of them together.
    pub(crate) fn total(&self) -> Duration {
        self.all().iter().sum()
    }
}
