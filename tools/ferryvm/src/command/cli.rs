//! The command line.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use pageferry_tools::{console, interrupt};

use super::control::{self, ControlArgs};
use super::migrate::{self, MigrateArgs};
use super::move_args;
use super::receive::{self, ReceiveArgs};
use super::run::{self, RunArgs};
use crate::error::{Error, Exit};

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
    /// Wait for a guest, run it here, and ask it for its proof
    #[command(after_help = RECEIVE)]
    Receive(Box<ReceiveArgs>),
    /// Move a guest that runs to where `ferryvm receive` waits; Ctrl-C cancels, and the guest runs on where it was
    #[command(after_help = MIGRATE)]
    Migrate(Box<MigrateArgs>),
    /// Ask the process of a guest how it is, or tell it to cancel, to resume or to quit
    Control(ControlArgs),
}

const EXAMPLES: &str = "\
Examples:
  ferryvm run                                       a guest of 256 MiB that writes 1000 pages a second, for 10 s
  A guest that moves, in three terminals:
    ferryvm run --control unix:/tmp/a.sock
    ferryvm receive --listen unix:/tmp/b.sock --for 10s
    ferryvm migrate --control unix:/tmp/a.sock --to unix:/tmp/b.sock

Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 no such guest or accelerator here, 4 the guest's proof failed, 5 the guest
writes too fast, 6 the two hosts do not fit each other, 7 nobody can tell where the guest runs, 130 cancelled or interrupted.";

const RUN: &str = "\
Examples:
  ferryvm run --memory 1G --vcpus 2 --pattern sparse --rate 50000 --for 30s
  ferryvm run --guest process --pattern hot-cold --rate max
  ferryvm run --pattern random --fill random --working-set 64M --json
  ferryvm run --control unix:/tmp/a.sock

A guest that was migrated away ends this process with 0. Sizes: K, M, G, T are powers of 1024, KB, MB, GB, TB of 1000.";

const RECEIVE: &str = "\
Examples:
  ferryvm receive --listen unix:/tmp/b.sock --for 10s
  ferryvm receive --listen tcp:0.0.0.0:4444 --prove --json
      --tls-certificate destination.pem --tls-key destination.key --tls-authority authority.pem
  ferryvm receive --listen unix:/tmp/b.sock --control unix:/tmp/c.sock       to be migrated on from here

The command takes one guest. What does not fit is said at both ends, and the guest runs on at the source.";

const MIGRATE: &str = "\
Examples:
  ferryvm migrate --control unix:/tmp/a.sock --to unix:/tmp/b.sock
  ferryvm migrate --control unix:/tmp/a.sock --to tcp:there:4444 --connections 4 --method zstd+delta
      --tls-certificate source.pem --tls-key source.key --tls-authority authority.pem
  ferryvm migrate --control unix:/tmp/a.sock --to unix:/tmp/b.sock --max-bandwidth 1Gbit --on-stall force:2s
  ferryvm migrate --control unix:/tmp/a.sock --to unix:/tmp/b.sock --events - | jq .state

A stream that leaves the machine is TLS 1.3, unless --plain says that it need not be encrypted. Files are read by the
guest's process, from where this command is typed.

Exit codes: 0 the guest is at the destination; otherwise it runs on at the source: 1 failed, 2 wrong usage, 3 an accelerator cannot
be used, 5 the guest writes too fast, 6 the destination does not fit, 130 cancelled; but 7: nobody can tell where it runs.";

/// Runs `ferryvm` with this process's arguments.
///
/// The exit code is 0 if all went well, 2 for wrong usage, 3 where there is no such guest or accelerator, 4 if the guest's proof
/// failed, 5 for a guest that writes too fast to be moved, 6 where two hosts do not fit each other, 7 if nobody can tell where
/// the guest runs, 130 after a cancel or an interrupt, 1 for anything else.
#[must_use]
pub fn ferryvm() -> ExitCode {
    console::speak_as("ferryvm");
    if let Err(error) = interrupt::watch() {
        console::warn(format_args!("Ctrl-C will not clean up: {error}"));
    }
    match carry_out() {
        Ok(()) => Exit::Fine.into(),
        Err(error) if error.is_broken_pipe() => Exit::Fine.into(),
        Err(error) => {
            console::say(&error);
            error.exit().into()
        }
    }
}

fn carry_out() -> Result<(), Error> {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Receive(args) => receive::receive(*args),
        Command::Migrate(args) => {
            let typed = matches.subcommand_matches("migrate");
            let options = typed.map(move_args::typed).transpose()?;
            migrate::migrate(&args, options.unwrap_or_default())
        }
        Command::Control(args) => control::control(&args),
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
            ["--dirty", "dust"],
            ["--fill", "ones"],
            ["--for", "0"],
        ] {
            let parsed = Cli::try_parse_from(["ferryvm", "run"].iter().chain(&wrong));
            assert!(parsed.is_err(), "{wrong:?} was taken");
        }
    }
}
