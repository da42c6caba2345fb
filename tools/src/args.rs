//! Arguments as they are typed: those of `list`, `run`, `send` and `recv`, of which other commands take some. What they mean is for
//! [`crate::plan`] to say.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};
use pageferry_engine::budget::CpuBudget;
use pageferry_engine::transport::Address;
use pageferry_engine::transport::tls::PeerName;

use crate::accelerator_name::AcceleratorNames;
use crate::device::{DATA_PATH as PATH, DeviceArgs};
use crate::methods::{LevelChoice, MethodMix};
use crate::quantity::{ByteRate, ByteSize, Seconds};
use crate::security::{SECURITY, TlsArgs};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How the list is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: ListFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    Table,
    Json,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Methods to measure, a row each; a+b mixes methods in one stream, auto picks what fits best for each part of the memory [default: all that have something to do]
    #[arg(long, short, value_name = "METHOD[+METHOD],...", value_delimiter = ',', help_heading = METHOD)]
    pub(crate) method: Vec<MethodMix>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
    #[command(flatten)]
    pub(crate) ends: EndsArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Both ends of a migration on this machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct EndsArgs {
    /// What the two processes talk over
    #[arg(long, value_name = "SOCKET", default_value = "unix", help_heading = PATH)]
    pub(crate) transport: TransportChoice,
    /// What decodes at the destination [default: the same, or the CPU where this machine may have it only once]
    #[arg(long, value_name = "NAME,...", help_heading = PATH)]
    pub(crate) destination_accelerator: Option<AcceleratorNames>,
    /// Run both ends in this process; CPU time is then that of both together
    #[arg(long, help_heading = PATH)]
    pub(crate) in_process: bool,
    /// Migrate so many times a method and report the median run
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=1000), help_heading = OUTPUT)]
    pub(crate) runs: u32,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Where `accelbench recv` listens: tcp:HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Address,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// The name in the destination's certificate [default: the host of the address]
    #[arg(long, value_name = "NAME", requires = "tls_certificate", help_heading = SECURITY)]
    pub(crate) tls_server_name: Option<PeerName>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Method to send by; a+b mixes methods in one stream, auto picks what fits best for each part of the memory
    #[arg(long, short, value_name = "METHOD[+METHOD]", default_value = "deflate", help_heading = METHOD)]
    pub(crate) method: MethodMix,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecvArgs {
    /// Where to wait for `accelbench send`: tcp:HOST:PORT (port 0 picks one) or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Address,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// The name that the source's certificate must have [default: any that the authority has signed]
    #[arg(long, value_name = "NAME", requires = "tls_certificate", help_heading = SECURITY)]
    pub(crate) tls_peer_name: Option<PeerName>,
    /// The largest guest to accept [default: the memory that is available]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_memory: Option<ByteSize>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Be the other end of `accelbench run`: tell the address on stdout, print no result, end with the parent
    #[arg(long, hide = true)]
    pub(crate) for_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct InputArgs {
    /// Raw memory images: the first is sent whole, then the pages in which each differs from the one before
    #[arg(long, short, value_name = "FILE,...", value_delimiter = ',', conflicts_with_all = WORKLOAD_ARGS, help_heading = INPUT)]
    pub(crate) input: Vec<PathBuf>,
    /// Built-in guest memory
    #[arg(long, short, value_name = "NAME", default_value = "mixed", help_heading = INPUT)]
    pub(crate) workload: WorkloadName,
    /// How much memory the workload has
    #[arg(long, short, value_name = "SIZE", default_value = "256M", help_heading = INPUT)]
    pub(crate) size: ByteSize,
    /// The number that all of the workload follows from
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = INPUT)]
    pub(crate) seed: u64,
    /// Rounds, the first (all pages) included; images begin again after the last [default: 8, or one an image]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), help_heading = INPUT)]
    pub(crate) rounds: Option<u32>,
    /// Repeat rounds until they have taken so long, preparation not counted
    #[arg(long, value_name = "TIME", conflicts_with = "rounds", help_heading = INPUT)]
    pub(crate) runtime: Option<Seconds>,
    /// How much of the workload's memory is written between two rounds: always the same, hot pages
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = value_parser!(u8).range(0..=100), help_heading = INPUT)]
    pub(crate) dirty_percent: u8,
    /// How many bytes of such a page are written
    #[arg(long, value_name = "SIZE", default_value = "256", help_heading = INPUT)]
    pub(crate) change_bytes: ByteSize,
    /// The guest's page size: 4K, 16K or 64K
    #[arg(long, value_name = "SIZE", default_value = "4K", help_heading = INPUT)]
    pub(crate) page_size: ByteSize,
}

/// How pages are encoded.
#[derive(Clone, Debug, Args)]
pub(crate) struct CodecArgs {
    /// Level of deflate (0 to 3) and zstd; deflate=N,zstd=N sets them apart [default: 1]
    #[arg(long, short, value_name = "LEVEL", allow_hyphen_values = true, help_heading = METHOD)]
    pub(crate) level: Option<LevelChoice>,
    /// How far back deflate refers: 4K, which is all that IAA decodes, or 32K, without which QAT encodes none [default: 4K with an IAA and no QAT, else 32K]
    #[arg(long, value_name = "SIZE", help_heading = METHOD)]
    pub(crate) window: Option<ByteSize>,
    /// Memory for baselines of xbzrle and delta [default: as large as the guest, at most 1G]
    #[arg(long, value_name = "SIZE", help_heading = METHOD)]
    pub(crate) baseline_cache: Option<ByteSize>,
    /// Treat zero pages like any others
    #[arg(long, help_heading = METHOD)]
    pub(crate) no_zero_detection: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StreamArgs {
    #[command(flatten)]
    pub(crate) codec: CodecArgs,
    /// The most pages a request has
    #[arg(long, value_name = "N", default_value_t = 63, value_parser = value_parser!(u32).range(1..=1024), help_heading = PATH)]
    pub(crate) max_pages: u32,
    /// Sockets side by side
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=64), help_heading = PATH)]
    pub(crate) connections: u16,
    /// Not more than this a second on the wire, as in 100M (bytes) or 10Gbit (bits) [default: no limit]
    #[arg(long, value_name = "RATE", help_heading = PATH)]
    pub(crate) max_bandwidth: Option<ByteRate>,
    /// Not more CPU time than this at the source, on average and all threads together, as in 0.25 [default: no limit]
    #[arg(long, value_name = "CORES", help_heading = PATH)]
    pub(crate) cpu_budget: Option<CpuBudget>,
    /// Write every decision of --method auto, with its reasons, to a file: a JSON object a line
    #[arg(long, value_name = "FILE", help_heading = METHOD)]
    pub(crate) trace_selector: Option<PathBuf>,
    /// Do not compare the two memories at the end
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) no_verify: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DestinationArgs {
    /// Have the destination's memory allocated as pages arrive, not beforehand; its page faults are measured then
    #[arg(long, help_heading = PATH)]
    pub(crate) no_prealloc: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct OutputArgs {
    /// How the result is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "table", help_heading = OUTPUT)]
    pub(crate) format: FormatChoice,
    /// Also write the result to a file, in the format that its ending names
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub(crate) export: Option<PathBuf>,
    /// The format of that file, whatever its ending
    #[arg(long, value_name = "FORMAT", requires = "export", help_heading = OUTPUT)]
    pub(crate) export_format: Option<FormatChoice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatChoice {
    Table,
    Json,
    Csv,
    Markdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportChoice {
    Unix,
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WorkloadName {
    /// Nothing but zero pages: what detection costs
    Zeros,
    /// Every byte 1: shrinks as far as anything can
    Ones,
    /// Numbers that count up: shrinks somewhat
    Sequence,
    /// The memory of a key-value store with random values: shrinks by about 1.6
    Kv,
    /// Noise: does not shrink
    Random,
    /// Like a guest at work: zero pages, text, structures full of pointers, data that is compressed already
    Mixed,
}

pub(crate) const INPUT: &str = "Guest memory";
pub(crate) const METHOD: &str = "Method";
pub(crate) const OUTPUT: &str = "Measurement and output";
const WORKLOAD_ARGS: [&str; 5] = ["workload", "size", "seed", "dirty_percent", "change_bytes"];
