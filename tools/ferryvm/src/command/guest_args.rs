//! Options that say what a guest is.

use clap::{Args, value_parser};
use pageferry_tools::quantity::ByteSize;

use crate::dirty::DirtyChoice;
use crate::host::GuestChoice;
use crate::layout::MAX_VCPUS;
use crate::workload::{Fill, Pattern, Rate};

/// What the guest is, and what it does.
#[derive(Debug, Args)]
pub(crate) struct GuestArgs {
    /// What runs the guest: kvm, process (threads of this process, no virtual machine), or auto: kvm where it is there
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) guest: GuestChoice,
    /// Who notices which pages it writes: log or ring (KVM's), userfaultfd, marks (of threads of this process), or auto: log, else userfaultfd, else marks
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub(crate) dirty: DirtyChoice,
    /// How much memory it has; more than 3G has a hole below 4G
    #[arg(long, short, value_name = "SIZE", default_value = "256M")]
    pub(crate) memory: ByteSize,
    /// How many vCPUs it has
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=i64::from(MAX_VCPUS)))]
    pub(crate) vcpus: u32,
    /// What it writes: ones, sequence, random, sparse (8 bytes a page), hot-cold (an eighth of the pages has most of the writes) or idle
    #[arg(long, short, value_name = "NAME", default_value = "random")]
    pub(crate) pattern: Pattern,
    /// How many pages a second it writes, all vCPUs together; max: as many as it can
    #[arg(long, short, value_name = "PAGES", default_value = "1000")]
    pub(crate) rate: Rate,
    /// How much of its memory it writes to [default: all]
    #[arg(long, value_name = "SIZE")]
    pub(crate) working_set: Option<ByteSize>,
    /// What its memory holds before: zero or random
    #[arg(long, value_name = "FILL", default_value = "zero")]
    pub(crate) fill: Fill,
    /// The number that all it writes follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}
