//! Everything that is simulated, and the passing of virtual time.

use pageferry_accel::method::Method;

use super::SimulationError;
use super::chooser::Chooser;
use super::composer::Composer;
use super::cores::{Cores, Thread};
use super::destination::Destination;
use super::job::Job;
use super::lanes::{JobId, LaneState};
use super::ledger::Ledger;
use super::link::{Frame, LinkState};
use super::migration_thread::MigrationThread;
use super::poller::Poller;
use super::setup::{Lane, Setup};
use super::time::{Agenda, Nanos};
use crate::page_costs::PageCosts;

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Migration,
    Poller,
    Worker { lane: usize, queue: usize },
    Reader,
    Decoder { lane: usize, queue: usize },
    Collector,
}

/// What happens without a CPU's help.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A device at the source has completed a request.
    Encoded { lane: usize, queue: usize, job: JobId },
    /// A device at the destination has.
    Decoded { lane: usize, queue: usize, job: JobId },
    /// The link has sent a frame.
    Sent,
    /// A frame is with the destination.
    Arrived(Frame),
    /// The sender's poller wakes from a nap.
    PollerAwake,
    /// The receiver's does.
    CollectorAwake,
    /// The budget allows for another request.
    Paced,
    /// The destination's report is here.
    Reported,
}

/// Two hosts at work.
pub(super) struct World<'a> {
    pub(super) setup: &'a Setup,
    pub(super) costs: &'a PageCosts,
    pub(super) chooser: &'a mut dyn Chooser,
    pub(super) now: Nanos,
    pub(super) agenda: Agenda<Event>,
    hosts: Vec<Cores>,
    roles: Vec<Role>,
    pub(super) jobs: Vec<Job>,
    free: Vec<JobId>,
    pub(super) composer: Composer,
    pub(super) migration: MigrationThread,
    pub(super) lanes: Vec<LaneState>,
    pub(super) poller: Poller,
    pub(super) link: LinkState,
    pub(super) destination: Destination,
    pub(super) ledger: Ledger,
    pub(super) failed: Option<SimulationError>,
}

pub(super) const MIGRATION: Thread = Thread(0);
pub(super) const POLLER: Thread = Thread(1);
pub(super) const READER: Thread = Thread(2);
pub(super) const COLLECTOR: Thread = Thread(3);

impl<'a> World<'a> {
    pub(super) fn new(setup: &'a Setup, costs: &'a PageCosts, chooser: &'a mut dyn Chooser) -> Self {
        let mut roles = vec![Role::Migration, Role::Poller, Role::Reader, Role::Collector];
        let lanes = open(&setup.source.lanes, &mut roles, |lane, queue| Role::Worker { lane, queue });
        let decoding =
            open(&setup.destination.lanes, &mut roles, |lane, queue| Role::Decoder { lane, queue });
        let hosts = if setup.one_machine { 1 } else { 2 };
        let cpus = [setup.source.cpus, setup.destination.cpus];
        Self {
            setup,
            costs,
            chooser,
            now: Nanos::ZERO,
            agenda: Agenda::new(),
            hosts: cpus[..hosts].iter().map(|&cpus| Cores::new(cpus, roles.len())).collect(),
            roles,
            jobs: Vec::new(),
            free: Vec::new(),
            composer: Composer::new(costs.pages(), setup.baseline_pages),
            migration: MigrationThread::new(&lanes),
            lanes,
            poller: Poller::new(),
            link: LinkState::new(setup.link),
            destination: Destination::new(decoding),
            ledger: Ledger::new(),
            failed: None,
        }
    }

    /// Sends these pages, ascending, as one round; returns when the destination has confirmed them all.
    pub(super) fn send_round(&mut self, round: u32, dirty: Vec<u32>) -> Result<(), SimulationError> {
        self.begin_round(round, dirty);
        loop {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.migration.is_confirmed() {
                return Ok(());
            }
            if !self.step() {
                return Err(SimulationError::Stuck { round });
            }
        }
    }

    /// Goes on to whatever happens next; false if nothing will.
    fn step(&mut self) -> bool {
        let bursts = self.hosts.iter().enumerate().filter_map(|(host, cores)| Some((cores.next_at()?, host)));
        match (bursts.min(), self.agenda.next_at()) {
            (Some((at, host)), event) if event.is_none_or(|event| at <= event) => {
                self.now = self.now.max(at);
                if let Some(thread) = self.hosts[host].end_next() {
                    self.go_on(self.roles[thread.0]);
                }
            }
            (_, Some(at)) => {
                self.now = self.now.max(at);
                if let Some(event) = self.agenda.take() {
                    self.happen(event);
                }
            }
            _ => return false,
        }
        true
    }

    fn go_on(&mut self, role: Role) {
        match role {
            Role::Migration => self.composed(),
            Role::Poller => self.poller_worked(),
            Role::Worker { lane, queue } => self.encoded(lane, queue),
            Role::Reader => self.frame_read(),
            Role::Decoder { lane, queue } => self.decoded(lane, queue),
            Role::Collector => self.collector_worked(),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Encoded { lane, queue, job } => self.device_encoded(lane, queue, job),
            Event::Decoded { lane, queue, job } => self.device_decoded(lane, queue, job),
            Event::Sent => self.frame_sent(),
            Event::Arrived(frame) => self.frame_arrived(frame),
            Event::PollerAwake => self.poller_awake(),
            Event::CollectorAwake => self.collector_awake(),
            Event::Paced => self.compose_next(),
            Event::Reported => self.round_confirmed(),
        }
    }

    /// Something happens so long from now.
    pub(super) fn later(&mut self, after: Nanos, event: Event) {
        self.agenda.enter(self.now + after, event);
    }

    /// Lets an idle thread work for so many nanoseconds.
    pub(super) fn work(&mut self, thread: Thread, burst_ns: f64) {
        let host = self.host_of(thread);
        self.hosts[host].start(self.now, thread, Nanos(burst_ns));
    }

    /// CPU time of one thread until now, in whole bursts.
    pub(super) fn used(&self, thread: Thread) -> Nanos {
        self.hosts[self.host_of(thread)].used(thread)
    }

    /// CPU time of the threads with such a role.
    pub(super) fn used_by(&self, is: impl Fn(Role) -> bool) -> Nanos {
        let threads = self.roles.iter().enumerate().filter(|&(_, &role)| is(role));
        threads.fold(Nanos::ZERO, |sum, (thread, _)| sum + self.used(Thread(thread)))
    }

    /// CPU time of all the source's threads.
    pub(super) fn source_cpu(&self) -> Nanos {
        self.used_by(Role::is_source)
    }

    fn host_of(&self, thread: Thread) -> usize {
        usize::from(!self.roles[thread.0].is_source()).min(self.hosts.len() - 1)
    }

    pub(super) fn job(&self, job: JobId) -> &Job {
        &self.jobs[job]
    }

    pub(super) fn job_mut(&mut self, job: JobId) -> &mut Job {
        &mut self.jobs[job]
    }

    pub(super) fn new_job(&mut self, choice: super::chooser::Choice) -> JobId {
        if let Some(job) = self.free.pop() {
            self.jobs[job].reset(choice);
            return job;
        }
        self.jobs.push(Job::new(choice));
        self.jobs.len() - 1
    }

    pub(super) fn recycle(&mut self, job: JobId) {
        self.free.push(job);
    }

    /// Bytes of a request's payload, as the accelerator that has encoded it made it.
    pub(super) fn payload_bytes(&self, job: JobId) -> f64 {
        let job = self.job(job);
        let device = super::lanes::device_method(&self.setup.source.lanes[job.lane], job.choice.method, true);
        job.payload_bytes(device, self.costs.page_bytes())
    }

    /// Bytes of the pages that an accelerator is to look at.
    pub(super) fn page_bytes_of(&self, job: JobId) -> f64 {
        f64::from(self.job(job).data_pages) * f64::from(self.costs.page_bytes())
    }

    /// The link begins to send whatever it can.
    pub(super) fn pump(&mut self) {
        if let Some(took) = self.link.begin() {
            self.later(took, Event::Sent);
        }
    }

    fn frame_sent(&mut self) {
        if let Some(frame) = self.link.end() {
            self.later(self.link.propagation(), Event::Arrived(frame));
        }
        self.pump();
        self.write_again();
    }
}

impl Role {
    /// Whether it is a thread of the source.
    pub(super) fn is_source(self) -> bool {
        matches!(self, Self::Migration | Self::Poller | Self::Worker { .. })
    }
}

fn open(lanes: &[Lane], roles: &mut Vec<Role>, role: impl Fn(usize, usize) -> Role) -> Vec<LaneState> {
    let mut opened = Vec::new();
    for (index, lane) in lanes.iter().enumerate() {
        let state = LaneState::new(lane, roles.len());
        roles.extend((0..state.threads()).map(|queue| role(index, queue)));
        opened.push(state);
    }
    opened
}

/// Whether some lane from the first one given on does what is asked.
pub(super) fn some_lane(lanes: &[Lane], from: usize, can: impl Fn(&Lane) -> bool) -> bool {
    lanes.iter().skip(from).any(can)
}

/// The methods that the costs of an input say something of.
pub(super) fn is_known(costs: &PageCosts, method: Method) -> bool {
    costs.rounds().iter().any(|round| !round.of(method).is_empty())
}
