//! The command line of `accelbench sweep`.

use clap::{Args, value_parser};
use pageferry_engine::budget::CpuBudget;

use crate::args::{CodecArgs, DestinationArgs, EndsArgs, InputArgs, METHOD, OUTPUT, OutputArgs};
use crate::device::AcceleratorArgs;
use crate::methods::MethodMix;
use crate::quantity::ByteRate;

/// The heading of what is swept.
const SWEPT: &str = "Settings, several of each";

#[derive(Clone, Debug, Args)]
pub(crate) struct SweepArgs {
    /// CPU workers at each end [default: one a CPU]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = value_parser!(u32).range(1..=1024), help_heading = SWEPT)]
    pub(crate) workers: Vec<u32>,
    /// The most pages a request has
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "63", value_parser = value_parser!(u32).range(1..=1024), help_heading = SWEPT)]
    pub(crate) max_pages: Vec<u32>,
    /// Queues of each device at the source [default: all that it has]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = value_parser!(u32).range(1..=1024), help_heading = SWEPT)]
    pub(crate) queues: Vec<u32>,
    /// Sockets side by side
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1", value_parser = value_parser!(u16).range(1..=64), help_heading = SWEPT)]
    pub(crate) connections: Vec<u16>,
    /// Not more than this a second on the wire, as in 1Gbit,10Gbit [default: no limit]
    #[arg(long, value_name = "RATE,...", value_delimiter = ',', help_heading = SWEPT)]
    pub(crate) max_bandwidth: Vec<ByteRate>,
    /// Not more CPU time than this at the source, in cores, as in 0.25,1 [default: no limit]
    #[arg(long, value_name = "CORES,...", value_delimiter = ',', help_heading = SWEPT)]
    pub(crate) cpu_budget: Vec<CpuBudget>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Methods to measure at each combination; a+b mixes methods in one stream [default: all that have something to do]
    #[arg(long, short, value_name = "METHOD[+METHOD],...", value_delimiter = ',', help_heading = METHOD)]
    pub(crate) method: Vec<MethodMix>,
    #[command(flatten)]
    pub(crate) codec: CodecArgs,
    #[command(flatten)]
    pub(crate) accelerators: AcceleratorArgs,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
    #[command(flatten)]
    pub(crate) ends: EndsArgs,
    /// Do not compare the two memories at the end
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) no_verify: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
