//! What a stand-in knows between calls: devices, instances, sessions, and the operations in flight.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pageferry_bindings::qat::cpa::{CpaStatus, NotifyFn, TranslateFn};
use pageferry_bindings::qat::dc::CallbackFn;

use crate::codec::{Job, Outcome};
use crate::config::Config;
use crate::dma::Piece;
use crate::inflight::InFlight;
use crate::list::List;
use crate::report::Report;
use crate::session::Session;

#[derive(Debug, Default)]
pub(crate) struct State {
    /// How often the process started the library and did not stop it.
    pub starts: u32,
    pub devices: Vec<Device>,
    pub instances: Vec<Instance>,
    /// By the address of their memory.
    pub sessions: HashMap<usize, Session>,
    pub operations: HashMap<u64, Operation>,
    /// The next operation's number, which only goes up and is used once.
    pub next: u64,
    /// Submissions that the fault plan has seen.
    pub numbered: u64,
    /// Submissions below this number are told to retry.
    pub refused_below: u64,
    pub memory: InFlight,
    pub report: Report,
    pub stopping: bool,
    pub engines: Vec<JoinHandle<()>>,
}

/// A device, on which one or more instances are.
#[derive(Debug, Default)]
pub(crate) struct Device {
    pub phase: Phase,
    /// How often it restarted.
    pub epoch: u32,
    /// Something happened to it that nobody has noticed yet: it begins nothing any more.
    pub stopped: Option<Trouble>,
    pub queue: VecDeque<u64>,
    pub delayed: Vec<(Instant, u64)>,
    /// Engines that wait for work, to be woken.
    pub idle: usize,
    /// Whether it is waited for that engines let go.
    pub awaited: bool,
    /// Engines that are at work.
    pub working: usize,
    /// When it is up again, or restarts.
    pub until: Option<Instant>,
    /// After a fatal error, until when it may still write to destinations.
    pub lingers: Option<Instant>,
    pub late_writes: Vec<(Instant, Arc<Plan>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Running,
    /// It had a fatal error.
    Failed,
    Restarting,
}

/// What happened to a device.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Restart { down: Duration },
    Fatal { down: Option<Duration> },
}

#[derive(Debug, Default)]
pub(crate) struct Instance {
    pub started: bool,
    pub translate: Option<TranslateFn>,
    /// Who is told of events, and with what.
    pub notify: Option<(NotifyFn, usize)>,
    pub done: VecDeque<u64>,
    pub in_flight: u32,
    /// The highest number of an operation that completed.
    pub furthest: Option<u64>,
    pub polled: bool,
    /// The intermediate buffers that it was started with.
    pub intermediate: Vec<Piece>,
}

#[derive(Debug)]
pub(crate) struct Operation {
    pub instance: usize,
    /// The address of its session's memory.
    pub session: usize,
    pub callback: CallbackFn,
    pub tag: usize,
    pub results: usize,
    pub lists: [List; 2],
    pub plan: Arc<Plan>,
    pub stage: Stage,
    /// Before when its completion is not seen.
    pub ready: Option<Instant>,
}

/// What a device works with.
#[derive(Debug)]
pub(crate) struct Plan {
    pub job: Job,
    pub source: Vec<Piece>,
    pub destination: Vec<Piece>,
    /// The source, in order of addresses.
    pub read: Vec<Piece>,
    /// The destination, the metadata and the results, in order of addresses.
    pub written: Vec<Piece>,
}

#[derive(Debug)]
pub(crate) enum Stage {
    Waiting,
    Done(Outcome),
    /// Its callback was called with a failure, but the device may still write.
    Answered,
}

impl State {
    pub(crate) fn new(config: &Config) -> Self {
        let instances = usize::from(config.instances);
        Self {
            devices: std::iter::repeat_with(Device::default).take(config.devices()).collect(),
            instances: std::iter::repeat_with(Instance::default).take(instances).collect(),
            report: Report { most_in_flight: vec![0; instances], ..Report::default() },
            ..Self::default()
        }
    }

    /// Whether an instance's device works, as the library answers if not.
    pub(crate) fn check_running(&self, device: usize) -> Result<(), CpaStatus> {
        match self.devices[device].phase {
            Phase::Running => Ok(()),
            Phase::Failed => Err(CpaStatus::FAIL),
            Phase::Restarting => Err(CpaStatus::RESTARTING),
        }
    }

    /// Takes an operation out of flight.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Operation> {
        let operation = self.operations.remove(&number)?;
        self.memory.give_back(number, &operation.plan.read, &operation.plan.written);
        Some(operation)
    }

    /// Forgets what devices could still have written to a while ago.
    pub(crate) fn expire(&mut self, config: &Config) {
        if self.devices.iter().all(|device| device.lingers.is_none()) {
            return;
        }
        let now = Instant::now();
        for device in 0..self.devices.len() {
            if self.devices[device].lingers.is_some_and(|until| until <= now) {
                self.devices[device].lingers = None;
                self.devices[device].late_writes.clear();
                let answered = |operation: &Operation| {
                    config.device_of(operation.instance) == device
                        && matches!(operation.stage, Stage::Answered)
                };
                let over = self.operations.iter().filter(|(_, operation)| answered(operation));
                for number in over.map(|(number, _)| *number).collect::<Vec<_>>() {
                    self.remove(number);
                }
            }
        }
    }

    /// Numbers of what an instance has in flight and was not answered, in order.
    pub(crate) fn unanswered(&self, instance: usize) -> Vec<u64> {
        let waits = |operation: &Operation| {
            operation.instance == instance && !matches!(operation.stage, Stage::Answered)
        };
        let mut numbers: Vec<u64> = self
            .operations
            .iter()
            .filter(|(_, operation)| waits(operation))
            .map(|(number, _)| *number)
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// What in some memory would be pulled from under a device.
    pub(crate) fn user(&self, piece: Piece) -> Option<String> {
        if let Some(taken) = self.memory.user(piece) {
            return Some(taken.to_string());
        }
        let overlaps = |other: &Piece| other.address < piece.end() && piece.address < other.end();
        if self.instances.iter().any(|instance| instance.intermediate.iter().any(overlaps)) {
            return Some("an instance that is started has intermediate buffers there".to_owned());
        }
        let within = |(address, session): &(&usize, &Session)| {
            (piece.address..piece.end()).contains(*address) && session.in_flight > 0
        };
        let session = self.sessions.iter().find(within);
        session.map(|(address, _)| format!("the session at {address:#x} has operations in flight"))
    }
}
