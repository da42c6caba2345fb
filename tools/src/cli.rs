//! The command line: which command it is. Each has its own arguments; what they mean is for [`crate::plan`] to say.

use clap::{Parser, Subcommand};

use crate::args::{ListArgs, RecvArgs, RunArgs, SendArgs};
use crate::compare::CompareArgs;
use crate::help;
use crate::regression::CompareResultsArgs;
use crate::report::ReportArgs;
use crate::sweep::SweepArgs;

/// What an accelerator is worth to a live migration.
///
/// accelbench moves guest memory from one process to another as a VMM's live migration would (dirty pages, a method
/// that shrinks them, frames over sockets, the pages restored and compared at the other end) and says what that cost
/// and what came of it.
#[derive(Debug, Parser)]
#[command(name = "accelbench", version, after_help = help::EXAMPLES, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the accelerators of this machine, and what is missing for those that are not there
    #[command(after_help = help::LIST)]
    List(ListArgs),
    /// Migrate a guest's memory from this process to another one on this machine, and measure it
    #[command(after_help = help::RUN)]
    Run(Box<RunArgs>),
    /// Migrate a guest's memory to `accelbench recv` on another host, and measure it
    #[command(after_help = help::SEND)]
    Send(Box<SendArgs>),
    /// Receive one migration from `accelbench send`
    #[command(after_help = help::RECV)]
    Recv(Box<RecvArgs>),
    /// Measure every combination of several settings, as `run` measures one
    #[command(after_help = help::SWEEP)]
    Sweep(Box<SweepArgs>),
    /// Draw results as a page to look at: what was fastest, what it cost, how it went
    #[command(after_help = help::REPORT)]
    Report(ReportArgs),
    /// Hold a result against an earlier one, row by row, and fail if it is worse
    #[command(after_help = help::COMPARE_RESULTS)]
    CompareResults(CompareResultsArgs),
    /// Compare no compression, the CPU, QAT, IAA and DSA: measured where they are here, modelled where not
    #[command(after_help = help::COMPARE)]
    Compare(Box<CompareArgs>),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        Cli::command().debug_assert();
    }
}
