//! `accelbench`, the tool of pageferry: moves guest memory from one process or host to another as a live migration
//! would, by whatever accelerators there are, and says what that cost and what came of it.
//!
//! A command line is parsed (`cli`), becomes a plan in which nothing is left open (`plan`), is carried out by the
//! module of its subcommand (`run`, `send`, `recv`, `list`, `sweep`, `compare`) over one `source` and one `destination`, and ends as a
//! report (`outcome`) that an exporter writes (`export`). What was exported is read back as rows (`results`), drawn (`chart`)
//! on a page (`report`), and held against an earlier one (`regression`).
//!
//! What is public is what `ferryvm` shares with it: how accelerators are named and made, how quantities and protection are
//! said, and how a tool speaks on a terminal; and the charts, which the benchmarks draw too.
#![forbid(unsafe_code)]

pub mod accelerator_name;
pub mod accelerators;
mod address;
mod args;
pub mod calibration;
pub mod chart;
mod cli;
pub mod codecs;
mod compare;
pub mod console;
mod destination;
pub mod device;
mod devices;
mod digest;
mod error;
mod exchange;
mod export;
pub mod figures;
mod format;
mod grouped;
mod guest_memory;
mod help;
pub mod host;
mod idxd_model;
mod input;
pub mod interrupt;
mod list;
pub mod live_line;
mod measure;
mod memory;
pub mod methods;
mod outcome;
pub mod page_costs;
mod peer;
mod plan;
pub mod profile;
mod progress;
pub mod quantity;
mod recv;
mod regression;
mod report;
mod results;
mod run;
pub mod security;
mod send;
pub mod simulation;
mod source;
mod summary;
mod sweep;
mod threads;
mod trace;
pub mod validation;
mod warnings;
mod workload;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use compare::ComparePlan;
use error::{Error, Exit};
use plan::{RecvPlan, RunPlan, SendPlan};
use sweep::SweepPlan;

pub use idxd_model::idxd_model;

/// Runs `accelbench` with this process's arguments.
///
/// The exit code is 0 if all went well, 2 for wrong usage, 3 for an accelerator that cannot be used, 4 if memory
/// differed at the end, 5 if one result is worse than another by more than it may be, 130 after Ctrl-C, 1 for anything else.
#[must_use]
pub fn accelbench() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = interrupt::watch() {
        console::warn(format_args!("Ctrl-C will not clean up: {error}"));
    }
    match carry_out(cli.command) {
        Ok(()) => Exit::Fine.into(),
        Err(error) if error.is_broken_pipe() => Exit::Fine.into(),
        Err(error) => {
            interrupt::hold_if_interrupted();
            console::say(&error);
            error.exit().into()
        }
    }
}

fn carry_out(command: Command) -> Result<(), Error> {
    match command {
        Command::List(args) => list::list(args.format),
        Command::Run(args) => run::run(&RunPlan::resolve(*args)?),
        Command::Send(args) => send::send(&SendPlan::resolve(*args)?),
        Command::Recv(args) => recv::recv(&RecvPlan::resolve(*args)?),
        Command::Compare(args) => compare::compare(&ComparePlan::resolve(*args)?),
        Command::Sweep(args) => sweep::sweep(&SweepPlan::resolve(*args)?),
        Command::Report(args) => report::report(&args),
        Command::CompareResults(args) => regression::compare_results(&args),
    }
}
