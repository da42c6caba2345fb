//! The command line.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, value_parser};
use pageferry_tools::quantity::{ByteSize, Seconds};

use crate::error::Exit;
use crate::host::GuestChoice;
use crate::layout::MAX_VCPUS;
use crate::run;
use crate::workload::{Fill, Pattern, Rate};

/// A small virtual machine whose guest proves what its memory holds.
///
/// The guest writes pages of its memory at a set rate and in a set pattern, keeps account of them, and at the end compares
/// all of its memory with that account.
#[derive(Debug, Parser)]
#[command(name = "ferryvm", version, after_help = EXAMPLES, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a guest here, and ask it for its proof at the end
    #[command(after_help = RUN)]
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// How long the guest runs
    #[arg(long = "for", value_name = "TIME", default_value = "10s")]
    pub(crate) time: Seconds,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the guest is, and what it does.
#[derive(Debug, Args)]
pub(crate) struct GuestArgs {
    /// What runs the guest: kvm, process (threads of this process, no virtual machine), or auto: kvm where it is there
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) guest: GuestChoice,
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

const EXAMPLES: &str = "\
Examples:
  ferryvm run                                       a guest of 256 MiB that writes 1000 pages a second, for 10 s
  ferryvm run --help                                all options

Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 no such guest here, 4 the guest's proof failed.";

const RUN: &str = "\
Examples:
  ferryvm run --memory 1G --vcpus 2 --pattern sparse --rate 50000 --for 30s
  ferryvm run --guest process --pattern hot-cold --rate max
  ferryvm run --pattern random --fill random --working-set 64M --json

Sizes: K, M, G, T are powers of 1024, KB, MB, GB, TB of 1000.";

/// Runs `ferryvm` with this process's arguments.
///
/// The exit code is 0 if all went well, 2 for wrong usage, 3 where there is no such guest, 4 if the guest's proof failed, 1
/// for anything else.
#[must_use]
pub fn ferryvm() -> ExitCode {
    let carried_out = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
    };
    match carried_out {
        Ok(()) => Exit::Fine.into(),
        Err(error) if error.is_broken_pipe() => Exit::Fine.into(),
        Err(error) => {
            run::say(&error);
            error.exit().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_no_option_value_is_refused() {
        for wrong in [
            ["--vcpus", "0"],
            ["--vcpus", "65"],
            ["--pattern", "twos"],
            ["--rate", "-1"],
            ["--guest", "xen"],
            ["--fill", "ones"],
            ["--for", "0"],
        ] {
            let parsed = Cli::try_parse_from(["ferryvm", "run"].iter().chain(&wrong));
            assert!(parsed.is_err(), "{wrong:?} was taken");
        }
    }
}
