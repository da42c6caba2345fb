//! The course of a migration: rounds, and the switchover.

use pageferry_engine::migration::convergence::{Convergence, FixedCosts, Next, RoundSeen};
use pageferry_engine::migration::{ConvergenceConfig, OnStall};
use std::time::Duration;

use super::chooser::Chooser;
use super::guest::{Guest, Writes};
use super::outcome::{DestinationCpu, LaneFigures, RoundFigures, Simulated, SourceCpu};
use super::setup::{Lane, Setup};
use super::time::Nanos;
use super::world::{COLLECTOR, MIGRATION, POLLER, READER, Role, World};
use super::{SimulationError, whole};
use crate::page_costs::PageCosts;

/// When a guest is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switchover {
    /// How long the guest may stand still.
    pub limit: Duration,
    /// What a switchover takes beside its pages: to stop the guest, to move its state, to start it.
    pub fixed: Duration,
    /// The most rounds before that; a migration that is not ready by then is given up.
    pub max_rounds: u32,
}

impl Default for Switchover {
    /// 300 ms, as QEMU has it by default (`downtime-limit`), of which nothing is fixed, and 64 rounds.
    fn default() -> Self {
        Self { limit: Duration::from_millis(300), fixed: Duration::ZERO, max_rounds: 64 }
    }
}

/// Sends `rounds` rounds of an input, between which no time passes: what `accelbench run` measures.
///
/// # Errors
/// [`SimulationError`] if pages are to go a way that does not exist, or whose costs are not known.
pub fn transfer(
    setup: &Setup,
    costs: &PageCosts,
    rounds: u32,
    chooser: &mut dyn Chooser,
) -> Result<Simulated, SimulationError> {
    check(setup)?;
    let mut world = World::new(setup, costs, chooser);
    let mut figures = Vec::new();
    for round in 0..rounds {
        figures.push(world.round(round, costs.dirty(round))?);
    }
    Ok(Simulated { migrated: true, ..world.outcome(figures) })
}

/// Moves a guest that goes on writing: rounds until what is left fits into the time that the guest may stand still, by the
/// engine's own judgement; then the switchover. Given up when it stalls.
///
/// # Errors
/// As [`transfer`].
pub fn migration(
    setup: &Setup,
    costs: &PageCosts,
    writes: &Writes,
    switchover: &Switchover,
    chooser: &mut dyn Chooser,
) -> Result<Simulated, SimulationError> {
    check(setup)?;
    let mut convergence = Convergence::new(ConvergenceConfig {
        downtime_limit: switchover.limit,
        on_stall: OnStall::GiveUp,
        max_rounds: Some(switchover.max_rounds),
    });
    let round_wall = Nanos(setup.host.round_wall_ns) + Nanos::from(setup.link.propagation * 2);
    convergence.set_fixed_costs(FixedCosts { round: round_wall.duration(), switchover: switchover.fixed });
    let mut world = World::new(setup, costs, chooser);
    let mut guest = Guest::new(costs, writes);
    let (mut figures, mut dirty) = (Vec::new(), costs.dirty(0));
    loop {
        let round = u32::try_from(figures.len()).unwrap_or(u32::MAX);
        let done = world.round(round, dirty)?;
        figures.push(done);
        guest.run(world.now);
        let took = Nanos::from_s(done.seconds).duration();
        let next = convergence.after_round(&RoundSeen {
            pages: done.pages,
            zero_pages: done.zero_pages,
            wire_bytes: done.wire_bytes,
            took,
            left_pages: guest.dirty_pages() as u64,
            dirtied_over: took,
        });
        dirty = guest.collect();
        match next {
            Next::Round | Next::Throttle(_) => {}
            Next::GiveUp(_) => return Ok(world.outcome(figures)),
            Next::SwitchOver { .. } => {
                let last = world.round(round + 1, dirty)?;
                figures.push(last);
                let downtime = last.seconds + switchover.fixed.as_secs_f64();
                let migrated = downtime <= switchover.limit.as_secs_f64();
                return Ok(Simulated { migrated, downtime_s: Some(downtime), ..world.outcome(figures) });
            }
        }
    }
}

/// A set-up without a CPU, a queue or a page would never end.
fn check(setup: &Setup) -> Result<(), SimulationError> {
    let positive = |value: f64| value > 0.0 && value.is_finite();
    let cpus = [setup.source.cpus, setup.destination.cpus, setup.cpu_budget.unwrap_or(1.0)];
    let rates = [setup.link.bytes_per_s.unwrap_or(1.0)];
    let lanes = setup.source.lanes.iter().chain(&setup.destination.lanes);
    let devices =
        lanes.filter_map(Lane::device).flat_map(|device| device.encode.iter().chain(&device.decode));
    let devices = devices.map(|work| work.bytes_per_s);
    if setup.max_pages == 0 || !cpus.into_iter().chain(rates).chain(devices).all(positive) {
        return Err(SimulationError::Setup);
    }
    Ok(())
}

impl World<'_> {
    fn round(&mut self, round: u32, dirty: Vec<u32>) -> Result<RoundFigures, SimulationError> {
        let (begun, cpu, wire) = (self.now, self.source_cpu(), self.ledger.wire_bytes);
        let (pages, zeros) = (dirty.len() as u64, self.ledger.zero_pages);
        self.send_round(round, dirty)?;
        Ok(RoundFigures {
            pages,
            zero_pages: self.ledger.zero_pages - zeros,
            wire_bytes: whole(self.ledger.wire_bytes - wire),
            seconds: (self.now - begun).s(),
            source_cpu_s: (self.source_cpu() - cpu).s(),
        })
    }

    fn outcome(&self, rounds: Vec<RoundFigures>) -> Simulated {
        let ledger = &self.ledger;
        let seconds = self.now.s();
        let per = |sum: f64, by: f64| if by > 0.0 { sum / by } else { 0.0 };
        let lanes = self.setup.source.lanes.iter().zip(&self.lanes).map(|(lane, state)| LaneFigures {
            name: lane.device().map_or("cpu", |device| &device.name).to_owned(),
            requests: state.requests,
            pages: state.pages,
            busy_s: state.busy.s(),
        });
        Simulated {
            migrated: false,
            seconds,
            pages: ledger.data_pages,
            zero_pages: ledger.zero_pages,
            pages_per_s: per(ledger.data_pages as f64, seconds),
            wire_bytes: whole(ledger.wire_bytes),
            ratio: per(ledger.source_bytes, ledger.wire_bytes),
            source_cpu: SourceCpu {
                migration_s: self.used(MIGRATION).s(),
                poller_s: self.used(POLLER).s(),
                workers_s: self.used_by(|role| matches!(role, Role::Worker { .. })).s(),
            },
            destination_cpu: DestinationCpu {
                reader_s: self.used(READER).s(),
                workers_s: self.used_by(|role| matches!(role, Role::Decoder { .. })).s(),
                poller_s: self.used(COLLECTOR).s(),
            },
            blocked_s: ledger.blocked.s(),
            downtime_s: None,
            rounds,
            methods: ledger.methods(),
            lanes: lanes.collect(),
            latency: ledger.latencies(),
            samples: ledger.samples(),
        }
    }
}
