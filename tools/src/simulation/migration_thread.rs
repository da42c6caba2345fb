//! The migration thread: composes requests and hands them to queues.

use super::SimulationError;
use super::chooser::Choice;
use super::composer::Next;
use super::lanes::{JobId, LaneState, device_method};
use super::setup::Lane;
use super::time::Nanos;
use super::world::{Event, MIGRATION, World, is_known, some_lane};

/// What the migration thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Another one of its bursts.
    Composing(JobId),
    /// It waits for room in a queue.
    Holding(JobId),
    /// It waits for a request to come back.
    WantsRequest(JobId),
    /// It waits for the budget.
    Paced(JobId),
    /// It waits for all requests.
    Draining,
    /// It waits for the destination's report.
    Waiting,
    /// The round is over.
    Confirmed,
}

#[derive(Clone, Debug)]
pub(super) struct MigrationThread {
    doing: Doing,
    /// Requests that are out of the pool.
    out: usize,
    /// The most that may be.
    bound: usize,
    /// Since when it cannot go on, and how long it could not before, since it was last asked.
    waits_since: Option<Nanos>,
    waited: Nanos,
    budget: Budget,
}

/// What the source has used of its CPU time.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// When everything that was used will have been due.
    due: Nanos,
    /// How much that is.
    counted: Nanos,
}

/// Requests that may be with the poller while every queue is full (`engine/src/sender/mod.rs`).
const WITH_THE_POLLER: usize = 2;

/// How far the source may run ahead of its budget (`engine/src/budget.rs`).
const BUDGET_SLACK: Nanos = Nanos(5e6);

/// Regions by which ways are chosen.
const REGION_BYTES: u32 = 2 << 20;

impl MigrationThread {
    pub(super) fn new(lanes: &[LaneState]) -> Self {
        let held: usize = lanes.iter().map(LaneState::capacity).sum();
        Self {
            doing: Doing::Confirmed,
            out: 0,
            bound: 2 * (held + WITH_THE_POLLER),
            waits_since: None,
            waited: Nanos::ZERO,
            budget: Budget { due: Nanos::ZERO, counted: Nanos::ZERO },
        }
    }

    /// How long it could not go on since this was last asked.
    pub(super) fn take_waited(&mut self, now: Nanos) -> Nanos {
        if let Some(since) = &mut self.waits_since {
            self.waited = self.waited + (now - *since);
            *since = now;
        }
        std::mem::replace(&mut self.waited, Nanos::ZERO)
    }

    /// It does something else now.
    fn set(&mut self, doing: Doing, now: Nanos) {
        // Rest for the budget's sake is no waiting.
        let waits = matches!(doing, Doing::Holding(_) | Doing::WantsRequest(_));
        if let Some(since) = self.waits_since.take() {
            self.waited = self.waited + (now - since);
        }
        self.waits_since = waits.then_some(now);
        self.doing = doing;
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.doing == Doing::Confirmed
    }
}

impl World<'_> {
    pub(super) fn begin_round(&mut self, round: u32, dirty: Vec<u32>) {
        self.begin_window();
        self.chooser.begin_round(dirty.len() as u64);
        self.composer.begin(round, dirty);
        self.compose_or_end();
    }

    /// Composes the next request, or ends the round.
    fn compose_or_end(&mut self) {
        match self.gather() {
            Ok(Some(job)) => {
                self.migration.set(Doing::WantsRequest(job), self.now);
                self.compose_next();
            }
            Ok(None) => {
                self.migration.set(Doing::Draining, self.now);
                self.drain();
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Begins to compose what was gathered, if there is a request for it and time in the budget.
    pub(super) fn compose_next(&mut self) {
        let (Doing::WantsRequest(job) | Doing::Paced(job)) = self.migration.doing else { return };
        if self.migration.out >= self.migration.bound {
            self.migration.set(Doing::WantsRequest(job), self.now);
            return;
        }
        if let Some(wait) = self.ahead_of_budget() {
            self.migration.set(Doing::Paced(job), self.now);
            return self.later(wait, Event::Paced);
        }
        self.migration.out += 1;
        self.migration.set(Doing::Composing(job), self.now);
        self.work(MIGRATION, self.compose_ns(job));
    }

    /// How long the source must rest, if it used more than its share: what it did not use lately it may not use later, but for a
    /// little (`engine/src/budget.rs`).
    fn ahead_of_budget(&mut self) -> Option<Nanos> {
        let cpus = self.setup.cpu_budget?;
        let (now, used) = (self.now, self.source_cpu());
        let budget = &mut self.migration.budget;
        budget.due = budget.due.max(now - BUDGET_SLACK) + Nanos((used - budget.counted).0 / cpus);
        budget.counted = used;
        let wait = budget.due - now;
        // Less than a nanosecond is not worth an event, and might not move the clock.
        (wait.0 > 1.0).then_some(wait)
    }

    fn compose_ns(&self, job: JobId) -> f64 {
        let (host, job) = (&self.setup.host, self.job(job));
        let pages = f64::from(job.pages);
        let baselines = if job.choice.keep_baselines { host.baseline_page_ns } else { 0.0 };
        let of_pages = host.compose_page_ns + baselines + self.chooser.ns_a_page();
        let device = self.setup.source.lanes[job.choice.lane].device();
        let of_device = device.map_or(0.0, |device| {
            let zero_ns = f64::from(self.costs.zero().encode_ns);
            let zeros = if device.host_finds_zeros { f64::from(job.zero_pages()) * zero_ns } else { 0.0 };
            device.submit_ns + zeros
        });
        host.compose_request_ns + pages * of_pages + of_device
    }

    /// Puts dirty pages into requests until one is full or there are no more pages.
    fn gather(&mut self) -> Result<Option<JobId>, SimulationError> {
        let region_pages = (REGION_BYTES / self.costs.page_bytes()).max(1);
        loop {
            match self.composer.next(region_pages, self.chooser.most_pages()) {
                Next::Choose(piece) => {
                    let choice = self.chooser.choose(piece);
                    self.check(choice)?;
                    self.composer.choose(piece, choice);
                }
                Next::Fill(choice) => {
                    if let Some(full) = self.fill(choice)? {
                        return Ok(Some(full));
                    }
                }
                Next::Flush(job) => return Ok(Some(job)),
                Next::Nothing => return Ok(None),
            }
        }
    }

    /// Puts the piece into the request of its way, until that is full.
    fn fill(&mut self, choice: Choice) -> Result<Option<JobId>, SimulationError> {
        let job = self.composer.open(choice).unwrap_or_else(|| {
            let job = self.new_job(choice);
            self.composer.begin_request(choice, job);
            job
        });
        let (costs, round) = (self.costs, self.composer.round);
        while let Some((page, has_baseline)) = self.composer.take_page() {
            let added = self.job_mut(job).add(costs, round, page, has_baseline);
            added.ok_or(SimulationError::UnknownCost { method: choice.method, round, page })?;
            if self.job(job).pages == self.setup.max_pages {
                self.composer.close(choice);
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Whether a way leads anywhere.
    fn check(&self, choice: Choice) -> Result<(), SimulationError> {
        let Choice { method, lane, .. } = choice;
        if !some_lane(&self.setup.source.lanes, lane, |lane| lane.encodes(method)) {
            return Err(SimulationError::CannotEncode { method, lane });
        }
        if !some_lane(&self.setup.destination.lanes, 0, |lane| lane.decodes(method)) {
            return Err(SimulationError::CannotDecode { method });
        }
        if !is_known(self.costs, method) && !method.needs_baseline() {
            return Err(SimulationError::UnknownCost { method, round: self.composer.round, page: 0 });
        }
        Ok(())
    }

    /// A request is composed.
    pub(super) fn composed(&mut self) {
        if let Doing::Composing(job) = self.migration.doing {
            self.submit(job);
        }
    }

    fn submit(&mut self, job: JobId) {
        if self.place(job) {
            self.compose_or_end();
        } else {
            self.migration.set(Doing::Holding(job), self.now);
        }
    }

    /// Hands a request to the first accelerator from its own on that can and has room.
    fn place(&mut self, job: JobId) -> bool {
        let setup = self.setup;
        let Choice { method, lane: first, keep_baselines } = self.job(job).choice;
        for (lane, of) in setup.source.lanes.iter().enumerate().skip(first) {
            if !of.encodes(method) {
                continue;
            }
            let Some(queue) = self.lanes[lane].take(job) else { continue };
            let now = self.now;
            let one = self.job_mut(job);
            (one.lane, one.submitted) = (lane, now);
            let device = device_method(of, method, true);
            let known = keep_baselines && device.is_none_or(|device| device.keeps_baselines);
            self.keep_baselines(job, known);
            self.serve(lane, queue, job, of);
            return true;
        }
        false
    }

    fn keep_baselines(&mut self, job: JobId, known: bool) {
        if self.setup.baseline_pages > 0 {
            let runs = std::mem::take(&mut self.job_mut(job).runs);
            let pages = runs.iter().flat_map(|run| run.pages());
            self.composer.keep(pages.filter_map(|page| u32::try_from(page.0).ok()), known);
            self.job_mut(job).runs = runs;
        }
    }

    fn serve(&mut self, lane: usize, queue: usize, job: JobId, of: &Lane) {
        if let Some(work) = device_method(of, self.job(job).choice.method, true) {
            let bytes = self.page_bytes_of(job);
            let done = self.lanes[lane].serve(self.now, work, bytes);
            self.poller.silent += 1;
            self.agenda.enter(done, Event::Encoded { lane, queue, job });
            self.ring_poller();
        } else if let Some(worker) = self.lanes[lane].idle_worker(queue) {
            self.work(worker, self.encode_ns(job));
        }
    }

    /// What a request costs its worker.
    fn encode_ns(&self, job: JobId) -> f64 {
        let (host, one) = (&self.setup.host, self.job(job));
        let kept = if one.choice.keep_baselines { f64::from(one.data_pages) } else { 0.0 };
        let payload = self.payload_bytes(job) * host.encode_byte_ns;
        host.encode_request_ns + payload + kept * host.keep_page_ns + one.encode_ns()
    }

    /// A worker is done with a request, and goes on with the next.
    pub(super) fn encoded(&mut self, lane: usize, queue: usize) {
        let Some(job) = self.lanes[lane].at_work(queue) else { return };
        let pages = self.job(job).pages;
        let cpu_ns = self.encode_ns(job);
        self.job_mut(job).cpu_ns = cpu_ns;
        self.lanes[lane].busy = self.lanes[lane].busy + Nanos(cpu_ns);
        self.note_occupancy(job, lane);
        self.lanes[lane].release(queue, job, pages);
        if let (Some(worker), Some(next)) = (self.lanes[lane].worker(queue), self.lanes[lane].at_work(queue))
        {
            self.work(worker, self.encode_ns(next));
        }
        self.poller.ready.push_back(job);
        self.ring_poller();
    }

    pub(super) fn note_occupancy(&mut self, job: JobId, lane: usize) {
        let (now, in_flight) = (self.now, self.lanes[lane].in_flight);
        let one = self.job_mut(job);
        one.completed = now;
        one.in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
    }

    /// A request came back to the pool.
    pub(super) fn returned(&mut self, requests: usize) {
        self.migration.out -= requests;
    }

    /// The migration thread is told so.
    pub(super) fn announce(&mut self) {
        match self.migration.doing {
            Doing::Holding(job) => self.submit(job),
            Doing::WantsRequest(_) => self.compose_next(),
            Doing::Draining => self.drain(),
            _ => {}
        }
    }

    /// Ends the round once all requests are back.
    fn drain(&mut self) {
        if self.migration.out == 0 {
            self.migration.set(Doing::Waiting, self.now);
            self.poller.end_of_round = true;
            self.ring_poller();
        }
    }

    pub(super) fn round_confirmed(&mut self) {
        self.migration.set(Doing::Confirmed, self.now);
    }
}
