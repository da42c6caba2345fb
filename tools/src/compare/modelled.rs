//! What the simulation says of a row: two hosts, the link between them, and a guest that goes on writing.

use std::time::Duration;

use pageferry_accel::method::Method;

use super::figures::Prediction;
use super::trace::Trace;
use crate::methods::MethodMix;
use crate::page_costs::PageCosts;
use crate::profile::Profile;
use crate::simulation::{
    Adapting, Chooser, CpuLane, Effort, Fixed, Host, HostCosts, Lane, LargestRate, Link, Pattern, Setup,
    Simulated, SimulationError, Switchover, Writes, largest_dirty_rate, migration, transfer,
};

/// Requests that a CPU worker holds, as `accelbench run` has it if nothing is said.
const WORKER_DEPTH: usize = 4;

/// Hosts, link and guest that all rows have in common.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// What the sender's and the receiver's own threads cost.
    pub(crate) host: HostCosts,
    /// CPUs of each host.
    pub(crate) cpus: usize,
    pub(crate) link: Link,
    pub(crate) max_pages: u32,
    pub(crate) cpu_budget: Option<f64>,
    pub(crate) switchover: Switchover,
    /// How fast the guest writes whose migration time and downtime are told, in pages a second.
    pub(crate) dirty_pages_per_s: f64,
    /// How close the largest rate is looked for, as a factor.
    pub(crate) precision: f64,
}

/// What all pages of a guest cost: as it was measured, and made as large as guests are that take time to migrate.
#[derive(Clone, Debug)]
pub(crate) struct GuestCosts {
    measured: PageCosts,
    rounds: u32,
    large: PageCosts,
}

/// What decides how pages go, and what encodes them.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) by: By,
    pub(crate) lanes: Vec<Lane>,
}

/// What decides by which method pages go, and by which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Nothing: all go by one method, and by the first lane.
    Method(Method),
    /// The engine's selector, which may use every method and every lane.
    Selector,
}

/// What the simulation says, and how the migration went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Modelled {
    pub(crate) prediction: Prediction,
    pub(crate) trace: Trace,
    /// Whether any rate that was tried works, so that there is no largest.
    pub(crate) any_rate_works: bool,
}

impl Means {
    /// So many devices of a kind, which do what they encode by, and nothing else beside them; none if they encode by nothing.
    pub(crate) fn of_device(profile: &Profile, devices: usize) -> Option<Self> {
        let lane = profile.lane(devices);
        let method = match &lane {
            Lane::Device(device) => device.encode.first()?.method,
            Lane::Cpu(_) => return None,
        };
        Some(Self { by: By::Method(method), lanes: vec![lane] })
    }

    /// So many workers of a CPU.
    pub(crate) fn cpu(by: By, workers: usize) -> Self {
        Self { by, lanes: vec![Lane::Cpu(CpuLane { workers, depth: WORKER_DEPTH })] }
    }

    /// The lanes of all of these, behind each other, for the selector.
    pub(crate) fn together<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let lanes = all.into_iter().flat_map(|means| means.lanes.iter().cloned()).collect();
        Self { by: By::Selector, lanes }
    }
}

impl By {
    /// The same, as `accelbench run` takes it.
    pub(crate) fn mix(self) -> MethodMix {
        match self {
            Self::Method(method) => MethodMix::of(method),
            Self::Selector => MethodMix::AUTO,
        }
    }

    /// Whether nothing comes of it where no page comes twice.
    fn is_a_delta(self) -> bool {
        matches!(self, Self::Method(method) if method.needs_baseline())
    }

    /// A chooser that knows nothing yet.
    fn chooser(self, setup: &Setup, costs: &PageCosts) -> Box<dyn Chooser> {
        match self {
            Self::Method(method) => Box::new(Fixed::new(method, 0)),
            Self::Selector => Box::new(Adapting::new(setup, costs, self.mix().methods(), None)),
        }
    }
}

impl GuestCosts {
    /// Of a guest whose pages cost so much in so many rounds, repeated as often as `pages` pages have room for.
    pub(crate) fn new(measured: PageCosts, rounds: u32, pages: u32) -> Self {
        let times = pages / measured.pages().max(1);
        Self { large: measured.clone().repeated(times), measured, rounds }
    }
}

impl World {
    /// What the rounds that `accelbench run` would measure come to.
    ///
    /// # Errors
    /// [`SimulationError`] if the simulation cannot be run.
    pub(crate) fn throughput(
        &self,
        guest: &GuestCosts,
        means: &Means,
    ) -> Result<Prediction, SimulationError> {
        let setup = self.setup(means, &guest.measured);
        let mut chooser = means.by.chooser(&setup, &guest.measured);
        let steady = transfer(&setup, &guest.measured, guest.rounds, &mut *chooser)?;
        let there = steady.seconds > 0.0;
        Ok(Prediction {
            pages_per_s: there.then_some(steady.pages_per_s),
            cpu_percent: there.then(|| steady.source_cpu.total_s() / steady.seconds * 100.0),
            ratio: (steady.wire_bytes > 0).then_some(steady.ratio),
            ..Prediction::default()
        })
    }

    /// Runs the row: the rounds that `accelbench run` would measure, the migration of a guest that writes, and the
    /// search for the largest rate at which that still goes. Nothing comes of a delta method where no page comes twice.
    ///
    /// # Errors
    /// [`SimulationError`] if the simulation cannot be run.
    pub(crate) fn predict(
        &self,
        guest: &GuestCosts,
        means: &Means,
    ) -> Result<Option<Modelled>, SimulationError> {
        if means.by.is_a_delta() && guest.rounds < 2 {
            return Ok(None);
        }
        let throughput = self.throughput(guest, means)?;
        let setup = self.setup(means, &guest.large);
        let chooser = || means.by.chooser(&setup, &guest.large);
        let writes =
            Writes { pages_per_s: self.dirty_pages_per_s, pattern: Pattern::InOrder, hot_pages: None };
        let moved = migration(&setup, &guest.large, &writes, &self.switchover, &mut *chooser())?;
        let effort = Effort { precision: self.precision, ..Effort::default() };
        let pattern = (Pattern::InOrder, None);
        let largest = largest_dirty_rate(&setup, &guest.large, pattern, &self.switchover, effort, chooser)?;
        Ok(Some(Modelled {
            prediction: with_migration(throughput, &moved, &largest),
            trace: Trace::of(&moved, guest.large.page_bytes()),
            any_rate_works: largest.at_ceiling,
        }))
    }

    /// The destination decodes by the same means; a device's host has its CPUs behind it there.
    fn setup(&self, means: &Means, costs: &PageCosts) -> Setup {
        let cpus = self.cpus as f64;
        let behind = Means::cpu(means.by, self.cpus).lanes;
        let only_devices = means.lanes.iter().all(|lane| matches!(lane, Lane::Device(_)));
        let decode = means.lanes.iter().cloned().chain(behind.into_iter().filter(|_| only_devices));
        Setup {
            max_pages: self.max_pages,
            host: self.host,
            source: Host { cpus, lanes: means.lanes.clone() },
            destination: Host { cpus, lanes: decode.collect() },
            one_machine: false,
            link: self.link,
            baseline_pages: if means.by.mix().needs_baseline() { costs.pages() as usize } else { 0 },
            cpu_budget: self.cpu_budget,
        }
    }
}

fn with_migration(throughput: Prediction, moved: &Simulated, largest: &LargestRate) -> Prediction {
    let rate = Some(largest.pages_per_s).filter(|rate| *rate > 0.0 && !largest.at_ceiling);
    Prediction {
        max_dirty_pages_per_s: rate,
        migration_s: moved.migrated.then_some(moved.seconds),
        downtime_ms: moved.downtime_s.filter(|_| moved.migrated).map(|downtime| downtime * 1e3),
        ..throughput
    }
}

/// When the guest is stopped: nothing is fixed, as what a VMM's devices take is not the accelerator's doing.
pub(crate) fn switchover(limit: Duration) -> Switchover {
    Switchover { limit, ..Switchover::default() }
}
