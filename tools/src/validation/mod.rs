//! The simulation held against the pipeline that it is of: the same input, sent by both on this machine.
//!
//! What is predicted is calculated from what pages cost, each method alone on one worker, and from what the pipeline's threads
//! cost, measured with raw pages of another guest. Nothing of the run that is predicted goes into its prediction.

mod device;

use std::sync::Arc;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::queue::Accelerator;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::SenderConfig;

use crate::calibration::ferry::{Crossing, Ends, cross};
use crate::calibration::{Calibration, CalibrationError, median};
use crate::codecs::Codecs;
use crate::guest_memory::MemoryKind;
use crate::host;
use crate::input::Input;
use crate::page_costs::MeasureError;
use crate::page_costs::measure::{Measurement, measure};
use crate::page_costs::{Guest, PageCosts};
use crate::simulation::{CpuLane, Fixed, Host, Lane, Link, Setup, Simulated, SimulationError, transfer};

pub use device::DeviceTiming;

/// A comparison that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValidationError {
    /// The guest cannot be had.
    #[error("{0}")]
    Input(String),
    /// The pipeline cannot be run.
    #[error(transparent)]
    Pipeline(#[from] CalibrationError),
    /// The pages cannot be measured.
    #[error(transparent)]
    Costs(#[from] MeasureError),
    /// The simulation refuses the set-up.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
}

/// What was measured, and what was predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// How long all rounds took, in seconds: the median of the runs.
    pub measured_s: f64,
    /// How long they were predicted to take.
    pub predicted_s: f64,
    /// CPU time of both ends, in seconds: that of the median run.
    pub measured_cpu_s: f64,
    /// What it was predicted to be.
    pub predicted_cpu_s: f64,
    /// The same by thread: its name, what was measured, what was predicted; in seconds.
    pub threads: [(&'static str, f64, f64); 6],
    /// Bytes on the wire.
    pub measured_bytes: u64,
    /// What they were predicted to be.
    pub predicted_bytes: u64,
}

impl Comparison {
    /// How much longer the run was predicted to take than it took, as a share of that; negative if shorter.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.predicted_s / self.measured_s - 1.0
    }
}

/// A guest that is sent by both.
pub struct Contest {
    input: Input,
    rounds: u32,
    workers: usize,
}

/// Pages a request, as by default.
const MAX_PAGES: u32 = 63;

const PAGE_SIZE: PageSize = PageSize::Kib4;

impl Contest {
    /// A contest over so many rounds of a guest, with as many workers at each end as this machine has CPUs.
    #[must_use]
    pub fn new(guest: Guest, rounds: u32) -> Self {
        Self { input: guest.input, rounds, workers: host::cores() }
    }

    /// How many workers each end has, for which to calibrate.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Lets both send it by `method` on CPU workers, `runs` times in turns, so that what else this machine does befalls both.
    ///
    /// # Errors
    /// [`ValidationError`] if either cannot.
    pub fn on_cpu(
        &self,
        calibration: &Calibration,
        method: Method,
        runs: usize,
    ) -> Result<Comparison, ValidationError> {
        let (cpu, lane) = (self.cpu(), self.cpu_lane());
        self.compete(calibration, method, runs, Codecs::default(), (&cpu, self.workers, &lane))
    }

    /// The same on a device model of an IAA in the place of the source's workers, with this timing: deflate.
    ///
    /// # Errors
    /// As [`on_cpu`](Self::on_cpu).
    pub fn on_device(
        &self,
        calibration: &Calibration,
        timing: &DeviceTiming,
        runs: usize,
    ) -> Result<Comparison, ValidationError> {
        let codecs = Codecs { window: Window::Kib4, ..Codecs::default() };
        let costs = self.costs(Method::Deflate, codecs)?;
        let (device, lane) = timing.device(&costs)?;
        self.compete(calibration, Method::Deflate, runs, codecs, (&device, 0, &lane))
    }

    fn compete(
        &self,
        calibration: &Calibration,
        method: Method,
        runs: usize,
        codecs: Codecs,
        (accelerator, workers, lane): (&Arc<dyn Accelerator>, usize, &Lane),
    ) -> Result<Comparison, ValidationError> {
        let (mut crossings, mut predictions) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let costs = self.costs(method, codecs)?;
            predictions.push(self.predict(method, *calibration, &costs, lane)?);
            crossings.push(self.run(method, codecs, accelerator, workers)?);
        }
        Ok(compare(crossings, predictions))
    }

    fn cpu(&self) -> Arc<dyn Accelerator> {
        Arc::new(Cpu::new(CpuConfig { workers: self.workers, ..CpuConfig::default() }))
    }

    fn cpu_lane(&self) -> Lane {
        Lane::Cpu(CpuLane { workers: self.workers, depth: CpuConfig::default().depth })
    }

    fn costs(&self, method: Method, codecs: Codecs) -> Result<PageCosts, ValidationError> {
        Ok(measure(&Measurement {
            input: &self.input,
            rounds: self.rounds,
            methods: &[method],
            max_pages: MAX_PAGES,
            page_size: PAGE_SIZE,
            codecs,
        })?)
    }

    fn predict(
        &self,
        method: Method,
        calibration: Calibration,
        costs: &PageCosts,
        lane: &Lane,
    ) -> Result<Simulated, ValidationError> {
        let cpus = host::cores() as f64;
        let setup = Setup {
            max_pages: MAX_PAGES,
            host: calibration.host,
            source: Host { cpus, lanes: vec![lane.clone()] },
            destination: Host { cpus, lanes: vec![self.cpu_lane()] },
            one_machine: true,
            link: Link::local(),
            baseline_pages: if method.needs_baseline() { costs.pages() as usize } else { 0 },
            cpu_budget: None,
        };
        Ok(transfer(&setup, costs, self.rounds, &mut Fixed::new(method, 0))?)
    }

    fn run(
        &self,
        method: Method,
        codecs: Codecs,
        accelerator: &Arc<dyn Accelerator>,
        workers: usize,
    ) -> Result<Crossing, ValidationError> {
        let ends = Ends {
            source: vec![Arc::clone(accelerator)],
            source_workers: workers,
            destination: vec![self.cpu()],
            destination_workers: self.workers,
        };
        let [source, destination] = [self.guest()?, self.guest()?];
        let config = SenderConfig::new(MigrationId([0; 16]), Selector::fixed(method));
        let bytes = usize::try_from(self.input.bytes()).unwrap_or(usize::MAX);
        let baseline_bytes = if method.needs_baseline() { bytes } else { 0 };
        let config = SenderConfig {
            max_pages: PageCount(MAX_PAGES),
            deflate_window_bits: codecs.window.bits(),
            baseline_bytes,
            ..config
        };
        let crossing = cross(&source, &destination, &ends, config, |round| {
            if round == self.rounds {
                return Ok(None);
            }
            self.input.prepare(&source, round).map(Some).map_err(CalibrationError::pipeline)
        });
        Ok(crossing?)
    }

    /// Memory that has been written, as that of a VM with preallocated memory.
    fn guest(&self) -> Result<Arc<GuestRam>, ValidationError> {
        let ram = self.input.guest(PAGE_SIZE, MemoryKind::Private);
        let ram = ram.map_err(|error| ValidationError::Input(error.to_string()))?;
        self.input.prepare(&ram, 0).map_err(|error| ValidationError::Input(error.to_string()))?;
        Ok(ram)
    }
}

const THREADS: [&str; 6] =
    ["migration thread", "workers", "poller", "reader", "destination's workers", "destination's poller"];

fn compare(mut crossings: Vec<Crossing>, predictions: Vec<Simulated>) -> Comparison {
    crossings.sort_by_key(|crossing| crossing.wall);
    let middle = crossings.swap_remove(crossings.len() / 2);
    let of = |part: fn(&Simulated) -> f64| median(predictions.iter().map(part));
    let cpu = middle.cpu;
    let measured = [cpu.migration, cpu.workers, cpu.poller, cpu.reader, cpu.decoders, cpu.collector];
    let predicted = [
        of(|one| one.source_cpu.migration_s),
        of(|one| one.source_cpu.workers_s),
        of(|one| one.source_cpu.poller_s),
        of(|one| one.destination_cpu.reader_s),
        of(|one| one.destination_cpu.workers_s),
        of(|one| one.destination_cpu.poller_s),
    ];
    Comparison {
        threads: std::array::from_fn(|thread| {
            (THREADS[thread], measured[thread].as_secs_f64(), predicted[thread])
        }),
        measured_s: middle.wall.as_secs_f64(),
        predicted_s: of(|simulated| simulated.seconds),
        measured_cpu_s: middle.cpu.total().as_secs_f64(),
        predicted_cpu_s: of(|simulated| simulated.source_cpu.total_s() + simulated.destination_cpu.total_s()),
        measured_bytes: middle.report.wire_bytes,
        predicted_bytes: predictions.first().map_or(0, |simulated| simulated.wire_bytes),
    }
}
