//! The source's end: a migration thread that composes and submits, and a poller that sends.

mod error;
mod link;
mod outgoing;
mod pacing;
mod picker;
mod poller;
mod report;
mod stop;
mod watch;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender as ChannelSender, bounded};
use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::dma::Arena;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::pool::{Pool, PoolSize};
use pageferry_accel::queue::{Accelerator, Attachment, MemoryAccess, requests_and_buffers};
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::Run;
use pageferry_accel::units::PageCount;

pub use error::SendError;
pub use link::LinkClock;
pub use outgoing::Outgoing;
pub use report::{MethodCount, MethodCounts, Progress, RequestTime, SendReport};
pub use stop::Stop;
pub use watch::SendWatch;

use crate::batcher::Batcher;
use crate::budget::CpuBudget;
use crate::connection::Connection;
use crate::dirty::{DirtyBitmap, DirtyRun};
use crate::dispatcher::{Dispatcher, Unplaced};
use crate::frame::Report;
use crate::handshake::{Agreement, MigrationId};
use crate::poll;
use crate::rate::RateLimit;
use crate::selector::Selector;
use crate::vm::Machine;
use pacing::Pacing;
use picker::{Lot, Picker};
use poller::{Command, Landing, Poller};

/// What a sender is told.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// Which migration this is: unique among those that the destination may see.
    pub migration: MigrationId,
    /// Which method a request is encoded with.
    pub selector: Selector,
    /// Pages a request, 1 to 1024. The 63 of Intel's work on QEMU (KVM Forum 2020) suit a core's second-level cache.
    pub max_pages: PageCount,
    /// The binary logarithm of the largest deflate window that the accelerators here use: 12 or 15.
    pub deflate_window_bits: u8,
    /// How many bytes of baselines are kept for delta methods; 0 for none.
    pub baseline_bytes: usize,
    /// The most bytes a second that are sent, if there is a limit.
    pub max_bytes_per_s: Option<u64>,
    /// The most CPU time that its threads use on average, if there is a limit.
    pub cpu_budget: Option<CpuBudget>,
    /// What the guest needs of a processor, for the destination to check; without one it is not checked.
    pub machine: Option<Machine>,
    /// Which attempt at the migration this is: 0, and one more whenever it is taken up again after its connections broke.
    pub attempt: u32,
}

impl SenderConfig {
    /// The settings that suit most: 63 pages a request, no limits, and a baseline cache of 64 MiB, QEMU's default,
    /// where a method needs one.
    #[must_use]
    pub fn new(migration: MigrationId, selector: Selector) -> Self {
        let deltas = selector.methods().iter().any(|method| method.needs_baseline());
        Self {
            migration,
            selector,
            max_pages: PageCount(63),
            deflate_window_bits: 15,
            baseline_bytes: if deltas { 64 << 20 } else { 0 },
            max_bytes_per_s: None,
            cpu_budget: None,
            machine: None,
            attempt: 0,
        }
    }
}

/// The source's end of a migration's data path.
///
/// The thread that calls it is the migration thread. It sends rounds of dirty pages and ends with
/// [`finish`](Self::finish); dropping it before gives the migration up, and leaves the guest as it is.
pub struct Sender {
    pool: Arc<Pool>,
    dispatcher: Arc<Dispatcher>,
    doorbell: Arc<Doorbell>,
    commands: ChannelSender<Command>,
    reports: Receiver<Report>,
    poller: Option<JoinHandle<Landing>>,
    picker: Picker,
    batcher: Batcher,
    baselines: BaselineCache,
    agreement: Agreement,
    watch: SendWatch,
    stop: Stop,
    pacing: Pacing,
    round: u32,
    sequence: u64,
    barrier: Duration,
}

/// Keeps the memory of a sender until it is dropped. To unmap a cache of baselines takes a tenth of a second a GiB, and more.
pub(crate) struct SenderMemory {
    _pool: Arc<Pool>,
    _baselines: Arc<Arena>,
}

/// Requests that may be with the poller while every queue is full.
const WITH_THE_POLLER: usize = 2;

impl Sender {
    /// Agrees with the destination on every connection and gets everything ready to send.
    ///
    /// `accelerators` are tried in their order; the last one, most often the CPU, is the one to fall back on.
    ///
    /// # Errors
    /// [`SendError`] if the two ends do not fit, a connection fails, an accelerator cannot be opened, or a method
    /// of the selector cannot be encoded here or decoded there.
    pub fn new(
        ram: Arc<GuestRam>,
        accelerators: &[Arc<dyn Accelerator>],
        connections: Vec<Connection>,
        config: SenderConfig,
    ) -> Result<Self, SendError> {
        Outgoing::offer(&ram, accelerators, connections, &config)?.open(ram, accelerators, config)
    }

    fn open(
        Outgoing { agreement, connections }: Outgoing,
        ram: Arc<GuestRam>,
        accelerators: &[Arc<dyn Accelerator>],
        config: SenderConfig,
    ) -> Result<Self, SendError> {
        let limits = agreement.limits().clone();
        let max_pages = PageCount(limits.max_pages);
        let doorbell = Arc::new(Doorbell::default());
        let baselines = baselines(&ram, accelerators, config.baseline_bytes).map_err(SendError::Memory)?;
        let ways = ways(accelerators, &config.selector);
        let pool = Arc::new(pool(&ram, max_pages, accelerators, ways).map_err(SendError::Memory)?);
        let attachment = Attachment {
            ram: Arc::clone(&ram),
            doorbell: Arc::clone(&doorbell),
            max_pages,
            payloads: Arc::clone(pool.arena()),
            baselines: (baselines.capacity() > 0).then(|| Arc::clone(baselines.arena())),
            deflate_window: agreement.deflate_window(),
        };
        let dispatcher = Arc::new(Dispatcher::open(accelerators, &attachment)?);
        let picker = Picker::new(&config, &dispatcher, accelerators, &ram, &limits)?;
        let interrupts = connections.iter().map(|connection| Arc::clone(&connection.interrupt)).collect();
        let stop = Stop::new(Arc::clone(&pool), Arc::clone(&doorbell), interrupts);
        let watch = SendWatch::new(Arc::clone(&dispatcher));
        let (commands, received) = bounded(1);
        let (to_report, reports) = bounded(1);
        let poller = Poller {
            dispatcher: Arc::clone(&dispatcher),
            pool: Arc::clone(&pool),
            connections,
            head: Vec::with_capacity(crate::frame::Header::BYTES + limits.max_tables_bytes()),
            limits,
            rate: RateLimit::new(config.max_bytes_per_s, Instant::now()),
            commands: received,
            reports: to_report,
            watch: watch.clone(),
            stop: stop.clone(),
            begun: Instant::now(),
            sent: Instant::now(),
            broke_off: false,
            turn: 0,
            unannounced: 0,
            waiting: Vec::new(),
            outcome: Ok(()),
        };
        Ok(Self {
            poller: Some(start(poller, Arc::clone(&doorbell))?),
            baselines,
            batcher: Batcher::new(picker.ways(), max_pages),
            picker,
            pool,
            dispatcher,
            doorbell,
            commands,
            reports,
            agreement,
            watch,
            stop,
            pacing: Pacing::new(config.cpu_budget),
            round: 0,
            sequence: 0,
            barrier: Duration::ZERO,
        })
    }

    /// What the two ends agreed on.
    #[must_use]
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// A look at what it does, from another thread.
    #[must_use]
    pub fn watch(&self) -> SendWatch {
        self.watch.clone()
    }

    /// A way to end it from another thread.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Its memory, for whoever has no time to let go of so much when the sender ends.
    pub(crate) fn memory(&self) -> SenderMemory {
        SenderMemory { _pool: Arc::clone(&self.pool), _baselines: Arc::clone(self.baselines.arena()) }
    }

    /// How long the destination took to confirm the last round once all of it had been sent.
    #[must_use]
    pub fn last_barrier(&self) -> Duration {
        self.barrier
    }

    /// Sends every dirty page once, and waits until the destination has confirmed them all.
    ///
    /// # Errors
    /// [`SendError`] if the migration failed. The sender is of no further use then.
    pub fn send_round(&mut self, dirty: &DirtyBitmap) -> Result<Report, SendError> {
        self.pacing.begin_round();
        self.take_back_requests();
        self.picker.begin_round(dirty, &self.watch);
        let (round, mut pages) = (self.round, 0);
        for run in dirty.runs() {
            pages += run.pages;
            self.put(run)?;
        }
        while let Some(request) = self.batcher.take_open() {
            self.submit(request)?;
        }
        let report = self.end_round()?;
        self.picker.look_at_report(&report);
        self.count();
        if report.pages == pages {
            Ok(report)
        } else {
            Err(self.give_up(SendError::Count { round, sent: pages, reported: report.pages }))
        }
    }

    /// Tells the destination that nothing more will come.
    ///
    /// # Errors
    /// [`SendError`] if the migration failed.
    pub fn finish(mut self) -> Result<(SendReport, Vec<Connection>), SendError> {
        self.command(Command::Finish { round: self.round, sequence: self.sequence });
        let landing = self.join()?;
        landing.outcome?;
        Ok((self.watch.report(), landing.connections))
    }

    /// Puts the pages of a run into requests, and submits those that are full.
    fn put(&mut self, mut rest: DirtyRun) -> Result<(), SendError> {
        let most = self.pool.size().max_pages;
        while rest.pages > 0 {
            let lot = self.picker.pick(rest, most, &self.baselines);
            let pages = u64::from(lot.run.count.0);
            rest = DirtyRun { first: rest.first.offset(pages), pages: rest.pages - pages };
            let mut left = lot.run;
            while left.count.0 > 0 {
                if !self.batcher.is_open(lot.number) {
                    let request = self.begin(lot)?;
                    self.batcher.open(lot.number, request);
                }
                if let Some((run, request)) = self.batcher.fill(lot.number, &mut left) {
                    take_baselines(&mut self.baselines, request, run, lot.keep);
                }
                if let Some(request) = self.batcher.take_full(lot.number) {
                    self.submit(request)?;
                }
            }
        }
        Ok(())
    }

    /// An empty request, for the pages of a lot.
    fn begin(&mut self, lot: Lot) -> Result<Box<Request>, SendError> {
        let asked = Instant::now();
        let Ok(mut request) = self.pool.take() else {
            return Err(self.failure());
        };
        self.picker.waited(asked.elapsed());
        self.picker.look_at(&request, &self.watch);
        take_back(&mut self.baselines, &mut request);
        request.reset(Direction::Encode);
        self.picker.direct(&mut request, lot);
        request.round = self.round;
        request.sequence = self.sequence;
        self.sequence += 1;
        Ok(request)
    }

    /// Hands a request to a queue; waits only while there is room in none.
    fn submit(&mut self, request: Box<Request>) -> Result<(), SendError> {
        self.pacing.wait(&self.watch, &self.pool);
        let offered = Instant::now();
        self.dispatcher.place(request, &self.pool).map_err(|unplaced| match unplaced {
            Unplaced::QueuesGone(method) => self.give_up(SendError::QueuesGone(method)),
            Unplaced::PoolClosed => self.failure(),
        })?;
        self.picker.waited(offered.elapsed());
        Ok(())
    }

    fn end_round(&mut self) -> Result<Report, SendError> {
        if self.pool.wait_for_all().is_err() {
            return Err(self.failure());
        }
        let begun = Instant::now();
        self.command(Command::EndRound { round: self.round, sequence: self.sequence });
        self.round += 1;
        // The poller dropped its end if it failed.
        let report = self.reports.recv().map_err(|_| self.failure())?;
        self.barrier = begun.elapsed();
        Ok(report)
    }

    /// What was in flight in the last round is at rest now: requests tell what became of them, and their baselines come back.
    fn take_back_requests(&mut self) {
        let Self { pool, baselines, picker, watch, .. } = self;
        pool.for_each_free(|request| {
            picker.look_at(request, watch);
            take_back(baselines, request);
            request.runs.clear();
        });
    }

    fn count(&mut self) {
        let counts = &mut *self.watch.counts();
        counts.cpu = self.pacing.end_round();
        counts.baselines = self.baselines.counters();
        counts.selector = self.picker.counts();
    }

    fn command(&self, command: Command) {
        // A poller that has failed takes no commands; what it failed of is found when it is joined.
        let _ = self.commands.send(command);
        self.doorbell.ring();
    }

    /// Ends the poller for a reason that it does not know of.
    fn give_up(&mut self, error: SendError) -> SendError {
        self.command(Command::Abandon);
        self.pool.close();
        match self.join() {
            Ok(Landing { outcome: Err(earlier), .. }) => earlier,
            _ => error,
        }
    }

    /// Why the poller closed the pool.
    fn failure(&mut self) -> SendError {
        match self.join() {
            Ok(landing) => landing.outcome.err().unwrap_or(SendError::Failed),
            Err(error) => error,
        }
    }

    fn join(&mut self) -> Result<Landing, SendError> {
        let thread = self.poller.take().ok_or(SendError::Failed)?;
        thread.join().map_err(|_| SendError::Panicked)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if self.poller.is_some() {
            self.command(Command::Abandon);
            // What it failed of, if it did, was asked for by nobody.
            let _ = self.join();
        }
    }
}

/// How many requests are filled at the same time at most.
fn ways(accelerators: &[Arc<dyn Accelerator>], selector: &Selector) -> usize {
    if selector.is_adaptive() { accelerators.len() * selector.methods().len() } else { 1 }
}

/// As many requests as all queues hold, and twice as many when they are slow to come back; and those that are being filled.
fn pool(
    ram: &GuestRam,
    max_pages: PageCount,
    accelerators: &[Arc<dyn Accelerator>],
    filling: usize,
) -> io::Result<Pool> {
    let (in_queues, spare) = requests_and_buffers(accelerators);
    let initial = in_queues + WITH_THE_POLLER + filling - 1;
    let bound = 2 * (in_queues + WITH_THE_POLLER) + filling - 1;
    Pool::new(PoolSize { max_pages, page_size: ram.page_size(), initial, bound, spare })
}

/// The cache of baselines, in memory that every device reaches if there is one.
fn baselines(
    ram: &GuestRam,
    accelerators: &[Arc<dyn Accelerator>],
    bytes: usize,
) -> io::Result<BaselineCache> {
    let is_copied =
        |accelerator: &Arc<dyn Accelerator>| accelerator.capabilities().memory == MemoryAccess::Copied;
    if accelerators.iter().all(is_copied) {
        BaselineCache::private(ram, bytes)
    } else {
        BaselineCache::new(ram, bytes)
    }
}

/// Has the baselines of a run go with its request, or forgets them: what the destination has will be something else then.
fn take_baselines(cache: &mut BaselineCache, request: &mut Request, run: Run, keep: bool) {
    if cache.capacity() == 0 {
        return;
    }
    let baseline = |page| {
        if keep {
            return cache.take(page);
        }
        cache.forget(page);
        None
    };
    request.baselines.extend(run.pages().map(baseline));
}

fn take_back(cache: &mut BaselineCache, request: &mut Request) {
    request.baselines.drain(..).flatten().for_each(|baseline| cache.give_back(baseline));
}

fn start(mut poller: Poller, doorbell: Arc<Doorbell>) -> Result<JoinHandle<Landing>, SendError> {
    let dispatcher = Arc::clone(&poller.dispatcher);
    let body = move || {
        poll::run(&dispatcher, &doorbell, &mut poller);
        poller.land()
    };
    thread::Builder::new().name("poller".into()).spawn(body).map_err(SendError::Thread)
}
