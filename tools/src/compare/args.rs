//! The command line of `accelbench compare`.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, value_parser};
use pageferry_engine::budget::CpuBudget;

use crate::args::{INPUT, OUTPUT, OutputArgs, WorkloadName};
use crate::quantity::{ByteRate, ByteSize, Seconds};

/// The heading of what is compared.
const HOSTS: &str = "Hosts and devices";

#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// The link between the two hosts, from 1Gbit to 200Gbit
    #[arg(long, value_name = "RATE", default_value = "10Gbit", help_heading = HOSTS)]
    pub(crate) link: ByteRate,
    /// CPUs of each host that zlib, zstd, xbzrle and the selector work on [default: 16, or what this machine has]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024), help_heading = HOSTS)]
    pub(crate) cpus: Option<u32>,
    /// A device to model, by the name of a built-in profile or a file; once for each row [default: one of each kind]
    #[arg(long, value_name = "NAME|FILE", help_heading = HOSTS)]
    pub(crate) profile: Vec<String>,
    /// How many of each device there are
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=64), help_heading = HOSTS)]
    pub(crate) devices: u32,
    /// Not more CPU time than this at the source, on average and all threads together, as in 0.25 [default: no limit]
    #[arg(long, value_name = "CORES", help_heading = HOSTS)]
    pub(crate) cpu_budget: Option<CpuBudget>,
    /// How much memory the guest has whose migration is modelled; its pages are those of the guests below, again and again
    #[arg(long, value_name = "SIZE", default_value = "4G", help_heading = HOSTS)]
    pub(crate) memory: ByteSize,
    /// How many pages a second it writes where migration time and downtime are told [default: half of what the link carries]
    #[arg(long, value_name = "PAGES/S", value_parser = value_parser!(u32).range(1..), help_heading = HOSTS)]
    pub(crate) dirty_rate: Option<u32>,
    /// For how long the guest may stand still
    #[arg(long, value_name = "TIME", default_value = "300ms", help_heading = HOSTS)]
    pub(crate) downtime: Seconds,
    /// Built-in guests to compare by [default: ones, sequence and kv; none with --input]
    #[arg(long, short, value_name = "NAME,...", value_delimiter = ',', help_heading = INPUT)]
    pub(crate) workload: Vec<WorkloadName>,
    /// Raw memory images of one guest in order, and again for another guest
    #[arg(long, short, value_name = "FILE,...", help_heading = INPUT)]
    pub(crate) input: Vec<Snapshots>,
    /// How much memory the built-in guests have [default: 256M, or 64M with --quick]
    #[arg(long, short, value_name = "SIZE", help_heading = INPUT)]
    pub(crate) size: Option<ByteSize>,
    /// The number that all of the built-in guests follows from
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = INPUT)]
    pub(crate) seed: u64,
    /// Smaller guests, one run a row, and limits to 10% instead of 2%
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) quick: bool,
    /// Measure nothing: every figure comes from the simulation
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) modelled_only: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Images of one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshots(pub(crate) Vec<PathBuf>);

impl FromStr for Snapshots {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.split(',').map(PathBuf::from).collect()))
    }
}
