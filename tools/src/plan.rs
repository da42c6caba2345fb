//! What a command line means: checked, with every default filled in.

use std::path::PathBuf;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::method::Method;
use pageferry_accel::units::{PageSize, UnknownPageSize};
use pageferry_engine::budget::CpuBudget;
use pageferry_engine::transport::Address;
use serde::{Serialize, Serializer};

use crate::accelerator_name::AcceleratorNames;
use crate::address::as_text;
use crate::args::{
    CodecArgs, EndsArgs, FormatChoice, InputArgs, OutputArgs, RecvArgs, RunArgs, SendArgs, StreamArgs,
    TransportChoice,
};
use crate::codecs::{self, Codecs, UnknownWindow};
use crate::device::{DeviceArgs, DevicePlan};
use crate::format::Format;
use crate::host;
use crate::input::{ImageError, Input};
use crate::methods::{LevelError, Levels, MethodMix};
use crate::profile::ProfileError;
use crate::quantity::{ByteRate, ByteSize, Seconds};
use crate::security::{SecurityError, SecurityPlan};
use crate::workload::Workload;

/// What `accelbench run` does.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunPlan {
    pub(crate) methods: Vec<MethodMix>,
    #[serde(flatten)]
    pub(crate) transfer: Transfer,
    pub(crate) destination: DevicePlan,
    /// Whether the destination's memory is allocated before the migration begins.
    pub(crate) prealloc: bool,
    pub(crate) transport: &'static str,
    pub(crate) in_process: bool,
    pub(crate) runs: u32,
    #[serde(skip)]
    pub(crate) output: Output,
}

/// What `accelbench send` does.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SendPlan {
    #[serde(serialize_with = "as_text")]
    pub(crate) to: Address,
    pub(crate) security: SecurityPlan,
    pub(crate) methods: [MethodMix; 1],
    #[serde(flatten)]
    pub(crate) transfer: Transfer,
    #[serde(skip)]
    pub(crate) output: Output,
}

/// What `accelbench recv` does.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RecvPlan {
    #[serde(serialize_with = "as_text")]
    pub(crate) listen: Address,
    pub(crate) security: SecurityPlan,
    #[serde(flatten)]
    pub(crate) memory: MemoryPlan,
    #[serde(flatten)]
    pub(crate) device: DevicePlan,
    #[serde(skip)]
    pub(crate) for_run: bool,
    #[serde(skip)]
    pub(crate) output: Output,
}

/// A migration as the source sees it, but for its methods.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Transfer {
    #[serde(flatten)]
    pub(crate) input: Input,
    /// How many rounds, unless a time is given.
    pub(crate) rounds: Option<u32>,
    #[serde(rename = "runtime_s")]
    pub(crate) runtime: Option<Seconds>,
    #[serde(rename = "page_size", serialize_with = "page_bytes")]
    pub(crate) page_size: PageSize,
    pub(crate) levels: Levels,
    #[serde(serialize_with = "window_bytes")]
    pub(crate) window: Window,
    pub(crate) baseline_cache: ByteSize,
    /// Where the decisions of an adaptive selector are written.
    pub(crate) trace_selector: Option<PathBuf>,
    pub(crate) zero_detection: bool,
    pub(crate) max_pages: u32,
    pub(crate) connections: u16,
    pub(crate) max_bandwidth: Option<ByteRate>,
    pub(crate) cpu_budget: Option<CpuBudget>,
    pub(crate) verify: bool,
    #[serde(flatten)]
    pub(crate) device: DevicePlan,
}

/// The memory that a destination has for a guest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct MemoryPlan {
    #[serde(rename = "max_memory")]
    pub(crate) max: ByteSize,
    /// Whether it is allocated before the migration begins.
    pub(crate) prealloc: bool,
}

/// Where the result goes.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) export: Option<(PathBuf, Format)>,
}

/// A command line that means nothing that can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PlanError {
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error("--input: {0}")]
    Image(#[from] ImageError),
    #[error("--page-size {0}: use 4K, 16K or 64K")]
    PageSize(ByteSize),
    #[error(transparent)]
    Window(#[from] UnknownWindow),
    #[error("--size {size}: a guest has whole pages of {page_size}, one at least")]
    Size { size: ByteSize, page_size: PageSize },
    #[error("--change-bytes {0}: use 8 up to the page size, {1}")]
    ChangeBytes(ByteSize, PageSize),
    #[error("--baseline-cache {0}: this machine cannot address so much")]
    BaselineCache(ByteSize),
    #[error("--trace-selector has nothing to write: no method is auto; add --method auto, or leave it out")]
    NothingToTrace,
    #[error(transparent)]
    Security(#[from] SecurityError),
    #[error(
        "--queues has no effect: {0} has workers and no queues of a device; use --workers, or name a device with \
         --accelerator, as in --accelerator iaa-model"
    )]
    NoQueues(AcceleratorNames),
    #[error("--queues {wanted}: {accelerator} has {has} queues; use 1 to {has}")]
    TooManyQueues { wanted: usize, accelerator: String, has: usize },
    #[error("--link {0}: links have 1Gbit to 200Gbit")]
    Link(ByteRate),
    #[error("--profile: {0}")]
    Profile(#[from] ProfileError),
    #[error("--memory {0}: a guest is modelled of 1M to 256G")]
    Memory(ByteSize),
    #[error("--profile {0}: the device encodes by nothing; give it an [encode.METHOD]")]
    IdleProfile(String),
    #[error("no row can be run: {0}")]
    Run(String),
    #[error("{0} names no format: end it in .json, .csv, .md or .txt, or add --export-format")]
    ExportFormat(String),
}

/// QEMU's default of 64 MiB holds too little of any guest to show what deltas are worth.
const LARGEST_DEFAULT_CACHE: u64 = 1 << 30;

impl RunPlan {
    /// # Errors
    /// [`PlanError`] says which option to change.
    pub(crate) fn resolve(args: RunArgs) -> Result<Self, PlanError> {
        let RunArgs { input, method, stream, device, destination, ends, output } = args;
        let EndsArgs { transport, destination_accelerator, in_process, runs } = ends;
        let pace = (input.rounds, input.runtime);
        let page_size = page_size(input.page_size)?;
        let source = resolve_input(input, page_size)?;
        let several_rounds = pace.1.is_some() || pace.0.unwrap_or(source.default_rounds()) > 1;
        let methods = if method.is_empty() { all_methods(several_rounds) } else { method };
        let transport = match transport {
            TransportChoice::Unix => "unix",
            TransportChoice::Tcp => "tcp",
        };
        let mut transfer = Transfer::resolve(source, pace, page_size, stream, device, &methods)?;
        let output = Output::resolve(output)?;
        let prealloc = !destination.no_prealloc;
        let mut destination = transfer.device.at_the_destination(destination_accelerator);
        let halves =
            in_process && transfer.device.accelerators.share_instances_with(&destination.accelerators);
        (transfer.device.halves, destination.halves) = (halves, halves);
        Ok(Self { methods, transfer, destination, prealloc, transport, in_process, runs, output })
    }
}

impl SendPlan {
    /// # Errors
    /// [`PlanError`] says which option to change.
    pub(crate) fn resolve(args: SendArgs) -> Result<Self, PlanError> {
        let SendArgs { to, tls, tls_server_name, input, method, stream, device, output } = args;
        let security = SecurityPlan::of_source(tls, tls_server_name, &to)?;
        let pace = (input.rounds, input.runtime);
        let page_size = page_size(input.page_size)?;
        let source = resolve_input(input, page_size)?;
        let methods = [method];
        let transfer = Transfer::resolve(source, pace, page_size, stream, device, &methods)?;
        Ok(Self { to, security, methods, transfer, output: Output::resolve(output)? })
    }
}

impl RecvPlan {
    /// # Errors
    /// [`PlanError`] says which option to change.
    pub(crate) fn resolve(args: RecvArgs) -> Result<Self, PlanError> {
        let RecvArgs { listen, tls, tls_peer_name, max_memory, device, destination, output, for_run } = args;
        let security = SecurityPlan::of_destination(tls, tls_peer_name, &listen)?;
        let available = || ByteSize(host::available_memory().unwrap_or(u64::MAX));
        let memory =
            MemoryPlan { max: max_memory.unwrap_or_else(available), prealloc: !destination.no_prealloc };
        let output = Output::resolve(output)?;
        Ok(Self { listen, security, memory, device: DevicePlan::resolve(device), for_run, output })
    }
}

impl Transfer {
    fn resolve(
        input: Input,
        (rounds, runtime): (Option<u32>, Option<Seconds>),
        page_size: PageSize,
        stream: StreamArgs,
        device: DeviceArgs,
        methods: &[MethodMix],
    ) -> Result<Self, PlanError> {
        let device = DevicePlan::resolve(device);
        let StreamArgs {
            codec,
            max_pages,
            connections,
            max_bandwidth,
            cpu_budget,
            trace_selector,
            no_verify,
        } = stream;
        let CodecArgs { level, window, baseline_cache, no_zero_detection } = codec;
        let baseline_cache = baseline_cache.unwrap_or(ByteSize(input.bytes().min(LARGEST_DEFAULT_CACHE)));
        if usize::try_from(baseline_cache.0).is_err() {
            return Err(PlanError::BaselineCache(baseline_cache));
        }
        if trace_selector.is_some() && !methods.iter().any(MethodMix::is_auto) {
            return Err(PlanError::NothingToTrace);
        }
        Ok(Self {
            rounds: runtime.is_none().then(|| rounds.unwrap_or(input.default_rounds())),
            input,
            runtime,
            page_size,
            levels: Levels::resolve(level, methods)?,
            window: codecs::window(window, &device.accelerators)?,
            baseline_cache,
            trace_selector,
            zero_detection: !no_zero_detection,
            max_pages,
            connections,
            max_bandwidth,
            cpu_budget,
            verify: !no_verify,
            device,
        })
    }

    /// How the source's codecs are set.
    pub(crate) fn codecs(&self) -> Codecs {
        Codecs { levels: self.levels, window: self.window, zero_detection: self.zero_detection }
    }
}

impl Output {
    /// # Errors
    /// [`PlanError::ExportFormat`]
    pub(crate) fn resolve(args: OutputArgs) -> Result<Self, PlanError> {
        let OutputArgs { format, export, export_format } = args;
        let export = export.map(|path| {
            let format = export_format.map(Format::from).or_else(|| Format::of_file(&path));
            let format = format.ok_or_else(|| PlanError::ExportFormat(path.display().to_string()))?;
            Ok::<_, PlanError>((path, format))
        });
        Ok(Self { format: format.into(), export: export.transpose()? })
    }
}

impl From<FormatChoice> for Format {
    fn from(choice: FormatChoice) -> Self {
        match choice {
            FormatChoice::Table => Self::Table,
            FormatChoice::Json => Self::Json,
            FormatChoice::Csv => Self::Csv,
            FormatChoice::Markdown => Self::Markdown,
        }
    }
}

fn resolve_input(args: InputArgs, page_size: PageSize) -> Result<Input, PlanError> {
    let InputArgs { input, workload, size, seed, dirty_percent, change_bytes, .. } = args;
    if !input.is_empty() {
        return Ok(Input::images(input, page_size)?);
    }
    let page_bytes = page_size.bytes() as u64;
    if size.0 == 0 || size.0 % page_bytes != 0 {
        return Err(PlanError::Size { size, page_size });
    }
    if !(8..=page_bytes).contains(&change_bytes.0) {
        return Err(PlanError::ChangeBytes(change_bytes, page_size));
    }
    Ok(Input::Workload(Workload { name: workload, size, seed, dirty_percent, change_bytes }))
}

/// Every method, those against a baseline only where a page can come twice; and what picks among them.
fn all_methods(several_rounds: bool) -> Vec<MethodMix> {
    let asked = |method: &Method| *method != Method::Zero && (several_rounds || !method.needs_baseline());
    let fixed = Method::ALL.into_iter().filter(asked).map(MethodMix::of);
    fixed.chain([MethodMix::AUTO]).collect()
}

fn page_size(size: ByteSize) -> Result<PageSize, PlanError> {
    let shift = u8::try_from(size.0.checked_ilog2().unwrap_or(0)).unwrap_or(0);
    let found = PageSize::from_shift(shift).map_err(|UnknownPageSize { .. }| PlanError::PageSize(size))?;
    if found.bytes() as u64 == size.0 { Ok(found) } else { Err(PlanError::PageSize(size)) }
}

fn page_bytes<S: Serializer>(page_size: &PageSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(page_size.bytes() as u64)
}

fn window_bytes<S: Serializer>(window: &Window, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(1 << window.bits())
}
