//! What works at one end of a migration, as it is typed and as it is meant.

use clap::{Args, value_parser};
use serde::Serialize;

use crate::accelerator_name::AcceleratorNames;
use crate::guest_memory::MemoryKind;
use crate::host;
use crate::quantity::Seconds;

/// The heading that these options stand under.
pub(crate) const DATA_PATH: &str = "Data path";

/// The options that say it.
#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// Which accelerators.
    #[command(flatten)]
    pub choice: AcceleratorArgs,
    /// CPU workers at each end, each of them a queue [default: one a CPU]
    #[arg(long, visible_alias = "queues", value_name = "N", value_parser = value_parser!(u32).range(1..=1024), help_heading = DATA_PATH)]
    pub workers: Option<u32>,
}

/// The options that say which accelerators work, however many workers there are.
#[derive(Clone, Debug, Args)]
pub struct AcceleratorArgs {
    /// What encodes and decodes, in the order of preference; `accelbench list` shows what there is. The CPU takes what the
    /// others cannot; with `cpu` in the list, it also takes over from one that cannot be had at all
    #[arg(long, short, value_name = "NAME,...", default_value = "cpu", help_heading = DATA_PATH)]
    pub accelerator: AcceleratorNames,
    /// Do without the CPU, unless it is in the list of accelerators: what the others cannot do fails
    #[arg(long, help_heading = DATA_PATH)]
    pub no_fallback: bool,
    /// Requests that a queue may hold, the one it works on included [default: 4 of a worker, 8 of a DSA or an IAA, 16 of QAT]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(2..=1024), help_heading = DATA_PATH)]
    pub queue_depth: Option<u32>,
    /// Give up when the other end does nothing for so long; also while it prepares a round
    #[arg(long, value_name = "TIME", default_value = "60s", help_heading = DATA_PATH)]
    pub timeout: Seconds,
}

/// What works at one end.
#[derive(Clone, Debug, Serialize)]
pub struct DevicePlan {
    /// In the order of preference.
    #[serde(rename = "accelerator")]
    pub accelerators: AcceleratorNames,
    /// Whether the CPU takes what the others cannot.
    pub fallback: bool,
    /// Threads of the CPU.
    pub workers: usize,
    /// Requests a queue, if all accelerators are to have the same.
    pub queue_depth: Option<usize>,
    /// How many of its queues each device has here, if not all.
    #[serde(skip)]
    pub(crate) queues: Option<usize>,
    /// Give up when the other end does nothing for so long.
    #[serde(rename = "timeout_s")]
    pub timeout: Seconds,
    /// Whether the other end is in this process and uses instances of the same QAT library: each has half of them then.
    #[serde(skip)]
    pub(crate) halves: bool,
}

impl DevicePlan {
    /// The memory that its accelerators can work with.
    pub(crate) fn memory(&self) -> MemoryKind {
        if self.accelerators.have_other_processes() { MemoryKind::Shared } else { MemoryKind::Private }
    }

    /// The other end's on the same machine: with other accelerators, if there are none to share.
    pub(crate) fn at_the_destination(&self, asked: Option<AcceleratorNames>) -> Self {
        let same = self.accelerators.are_unlimited();
        let accelerators =
            asked.unwrap_or_else(|| if same { self.accelerators.clone() } else { AcceleratorNames::cpu() });
        Self { accelerators, queues: None, ..self.clone() }
    }

    /// What the options mean.
    #[must_use]
    pub fn resolve(args: DeviceArgs) -> Self {
        let DeviceArgs { choice, workers } = args;
        let AcceleratorArgs { accelerator: accelerators, no_fallback, queue_depth, timeout } = choice;
        let workers = workers.map_or_else(host::cores, |workers| workers as usize);
        let queue_depth = queue_depth.map(|depth| depth as usize);
        Self {
            accelerators,
            fallback: !no_fallback,
            workers,
            queue_depth,
            queues: None,
            timeout,
            halves: false,
        }
    }
}
