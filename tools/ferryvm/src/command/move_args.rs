//! How a guest is to be moved: the options of `ferryvm migrate`, which are also what a request of that name holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, Parser, value_parser};
use pageferry_accel::queue::Accelerator;
use pageferry_engine::budget::CpuBudget;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::migration::{
    Arbiter, ArbiterError, ConvergenceConfig, FileArbiter, Patience, SourceConfig,
};
use pageferry_engine::sender::SenderConfig;
use pageferry_engine::transport::tls::PeerName;
use pageferry_engine::transport::{Address, Dialer};
use pageferry_tools::accelerators::{self, AcceleratorError};
use pageferry_tools::codecs::{self, Codecs, UnknownWindow};
use pageferry_tools::device::{DeviceArgs, DevicePlan};
use pageferry_tools::methods::{LevelChoice, LevelError, Levels, MethodMix};
use pageferry_tools::quantity::{ByteRate, ByteSize, Seconds};
use pageferry_tools::security::{SecurityError, SecurityPlan, TlsArgs};
use serde_json::{Map, Value};

use super::on_stall::StallChoice;

/// Where a guest goes, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct MoveArgs {
    /// Where `ferryvm receive` listens: tcp:HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Address,
    #[command(flatten)]
    tls: TlsArgs,
    /// The name in the destination's certificate [default: the host of the address]
    #[arg(long, value_name = "NAME", requires = "tls_certificate", help_heading = "Security")]
    tls_server_name: Option<PeerName>,
    /// How long the guest may stand still
    #[arg(long, value_name = "TIME", default_value = "300ms", help_heading = CONVERGENCE)]
    downtime: Seconds,
    /// When the rounds get no nearer to that: throttle or throttle:INITIAL,STEP,MAX (percent), force:TIME (a longer downtime) or give-up
    #[arg(long, value_name = "WHAT", default_value = "throttle:20,10,99", help_heading = CONVERGENCE)]
    on_stall: StallChoice,
    /// The most rounds before that is done [default: no limit]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), help_heading = CONVERGENCE)]
    max_rounds: Option<u32>,
    /// How pages are encoded; a+b mixes methods in one stream, auto picks what fits best for each part of the memory
    #[arg(long, value_name = "METHOD[+METHOD]", default_value = "zstd", help_heading = METHOD)]
    method: MethodMix,
    /// Level of deflate (0 to 3) and zstd; deflate=N,zstd=N sets them apart [default: 1]
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true, help_heading = METHOD)]
    level: Option<LevelChoice>,
    /// How far back deflate refers: 4K or 32K [default: 4K with an IAA and no QAT, else 32K]
    #[arg(long, value_name = "SIZE", help_heading = METHOD)]
    window: Option<ByteSize>,
    /// Memory for baselines of xbzrle and delta
    #[arg(long, value_name = "SIZE", default_value = "64M", help_heading = METHOD)]
    baseline_cache: ByteSize,
    /// Sockets side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=64), help_heading = PATH)]
    connections: u16,
    /// Not more than this a second on the wire, as in 100M (bytes) or 10Gbit (bits) [default: no limit]
    #[arg(long, value_name = "RATE", help_heading = PATH)]
    max_bandwidth: Option<ByteRate>,
    /// Not more CPU time than this at the source, on average and all threads of the data path together, as in 0.25 [default: no limit]
    #[arg(long, value_name = "CORES", help_heading = PATH)]
    cpu_budget: Option<CpuBudget>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    bond: BondArgs,
}

/// What keeps two ends together, at either of them.
#[derive(Clone, Debug, Args)]
pub(crate) struct BondArgs {
    /// Make connections that broke anew for so long, and go on from where they broke; 0: not at all
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = PATH)]
    recovery: Recovery,
    /// A folder that both hosts reach: who makes a claim there first has the guest, should they lose each other in the switchover
    #[arg(long, value_name = "FOLDER", help_heading = PATH)]
    arbiter: Option<PathBuf>,
}

/// A request's options alone.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    args: MoveArgs,
}

/// Options that nothing can be done by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PlanError {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error(transparent)]
    Window(#[from] UnknownWindow),
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error("--arbiter: {0}")]
    Arbiter(#[from] ArbiterError),
    #[error("--baseline-cache {0}: this machine cannot address so much")]
    BaselineCache(ByteSize),
    #[error("--accelerator: {0}")]
    Accelerator(#[from] AcceleratorError),
    #[error("--accelerator: a device in another process cannot map this guest's memory, which is private")]
    OtherProcess,
    #[error("the system has no random bytes for the migration's id: {0}")]
    Random(std::io::Error),
}

/// All that a migration away from here needs.
pub(crate) struct Departure {
    pub(crate) to: Address,
    pub(crate) dialer: Dialer,
    pub(crate) accelerators: Vec<Arc<dyn Accelerator>>,
    pub(crate) config: SourceConfig,
    pub(crate) warnings: Vec<String>,
}

const CONVERGENCE: &str = "Convergence";
const METHOD: &str = "Method";
const PATH: &str = "Data path";

impl MoveArgs {
    /// The options as words of a command line.
    ///
    /// # Errors
    /// [`PlanError::Options`]
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, PlanError> {
        let parsed = Alone::try_parse_from(words);
        parsed.map(|alone| alone.args).map_err(|error| {
            let said = error.to_string();
            // Behind the first paragraph is how the command is used, which nobody typed.
            let first = said.split("\n\n").next().unwrap_or_default();
            PlanError::Options(first.trim_start_matches("error: ").replace('\n', " "))
        })
    }

    /// Files and folders as seen from where the command was typed.
    pub(crate) fn seen_from(mut self, folder: &Path) -> Self {
        let place = |path: &mut Option<PathBuf>| *path = path.take().map(|path| folder.join(path));
        place(&mut self.tls.tls_certificate);
        place(&mut self.tls.tls_key);
        place(&mut self.tls.tls_authority);
        place(&mut self.bond.arbiter);
        self.device.choice.accelerator = self.device.choice.accelerator.seen_from(folder);
        if let Address::Unix(path) = self.to {
            self.to = Address::Unix(folder.join(path));
        }
        self
    }

    /// Gets everything ready.
    ///
    /// # Errors
    /// [`PlanError`] says which option to change.
    pub(crate) fn resolve(self) -> Result<Departure, PlanError> {
        let levels = Levels::resolve(self.level, std::slice::from_ref(&self.method))?;
        let window = codecs::window(self.window, &self.device.choice.accelerator)?;
        let security = SecurityPlan::of_source(self.tls, self.tls_server_name, &self.to)?;
        let SecurityPlan { security, mut warnings } = security;
        let device = DevicePlan::resolve(self.device);
        let dialer = Dialer::new(self.to.clone(), security, Some(device.timeout.0));
        let dialer = dialer.map_err(SecurityError::from)?;
        let (patience, arbiter) = self.bond.resolve()?;
        let Chosen { accelerators, warnings: more } =
            choose(&device, Codecs { levels, window, zero_detection: true })?;
        warnings.extend(more);
        let cache = self.baseline_cache;
        let baseline_bytes = usize::try_from(cache.0).map_err(|_| PlanError::BaselineCache(cache))?;
        let id = MigrationId::random().map_err(PlanError::Random)?;
        let selector = self.method.selector(None).map_err(|error| PlanError::Options(error.to_string()))?;
        let sender = SenderConfig {
            deflate_window_bits: window.bits(),
            baseline_bytes: if self.method.needs_baseline() { baseline_bytes } else { 0 },
            max_bytes_per_s: self.max_bandwidth.map(|rate| rate.0),
            cpu_budget: self.cpu_budget,
            ..SenderConfig::new(id, selector)
        };
        let convergence = ConvergenceConfig {
            downtime_limit: self.downtime.0,
            on_stall: self.on_stall.0,
            max_rounds: self.max_rounds,
        };
        let connections = self.connections;
        let config =
            SourceConfig { connections, convergence, patience, arbiter, ..SourceConfig::new(sender) };
        Ok(Departure { to: self.to, dialer, accelerators, config, warnings })
    }
}

impl BondArgs {
    /// How long to wait, and whom to ask.
    ///
    /// # Errors
    /// [`PlanError::Arbiter`]
    pub(crate) fn resolve(self) -> Result<(Patience, Option<Arc<dyn Arbiter>>), PlanError> {
        let patience = Patience { recovery: self.recovery.0, ..Patience::default() };
        let arbiter = self.arbiter.map(FileArbiter::new).transpose()?;
        Ok((patience, arbiter.map(|arbiter| Arc::new(arbiter) as _)))
    }
}

/// The options of a [`MoveArgs`] that were typed, by their names, for a request.
///
/// # Errors
/// [`PlanError::Options`] if one is not text that JSON can hold.
pub(crate) fn typed(matches: &ArgMatches) -> Result<Map<String, Value>, PlanError> {
    let mut options = Map::new();
    for arg in Alone::command().get_arguments() {
        let (id, Some(name)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let value = if arg.get_action().takes_values() {
            let raw = matches.get_raw(id).into_iter().flatten().next_back();
            let text = raw.and_then(|raw| raw.to_str());
            text.map(Value::from).ok_or_else(|| PlanError::Options(format!("--{name} is not UTF-8")))?
        } else {
            Value::Bool(true)
        };
        options.insert(name.to_owned(), value);
    }
    Ok(options)
}

/// The accelerators of an end, and what is to be said about them.
pub(crate) struct Chosen {
    pub(crate) accelerators: Vec<Arc<dyn Accelerator>>,
    pub(crate) warnings: Vec<String>,
}

/// The accelerators that were asked for.
///
/// # Errors
/// [`PlanError`] if one cannot be had.
pub(crate) fn choose(device: &DevicePlan, codecs: Codecs) -> Result<Chosen, PlanError> {
    if device.accelerators.have_other_processes() {
        return Err(PlanError::OtherProcess);
    }
    let warnings = std::cell::RefCell::new(Vec::new());
    let accelerators =
        accelerators::choose(device, codecs, &|words| warnings.borrow_mut().push(words.to_owned()))?;
    Ok(Chosen { accelerators, warnings: warnings.into_inner() })
}

/// A time that may be none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recovery(Duration);

impl std::str::FromStr for Recovery {
    type Err = pageferry_tools::quantity::QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" { Ok(Self(Duration::ZERO)) } else { text.parse().map(|Seconds(time)| Self(time)) }
    }
}
