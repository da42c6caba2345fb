//! `ferryvm control`: asks the process of a guest something.

use std::io::Write;

use clap::{Args, ValueEnum};
use pageferry_tools::console;

use super::output::Form;
use crate::control::address::ControlAddress;
use crate::control::client::Client;
use crate::control::{Request, Said};
use crate::error::Error;

#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// What to ask for
    #[arg(value_enum)]
    what: Asked,
    /// Where the guest's process is asked: unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    control: ControlAddress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Asked {
    /// How the guest is, and the migration if one is on, as JSON
    Status,
    /// What the guest says of its own memory, as JSON; it runs on afterwards
    Prove,
    /// End the migration that is on; the guest runs on where it is
    Cancel,
    /// Run a guest that is paused here since nobody could tell whether it runs at the other end
    Resume,
    /// End the guest, after its proof
    Quit,
}

/// Asks, and prints the answer.
pub(crate) fn control(args: &ControlArgs) -> Result<(), Error> {
    let request = match args.what {
        Asked::Status => Request::Status {},
        Asked::Prove => Request::Prove {},
        Asked::Cancel => Request::Cancel {},
        Asked::Resume => Request::Resume {},
        Asked::Quit => Request::Quit {},
    };
    match Client::connect(&args.control)?.ask(&request)? {
        Said::Status(status) => writeln!(console::out(), "{status:#}").map_err(Error::Print),
        Said::Proved(proof) => {
            Form::Json.print(&proof, |_| String::new())?;
            if proof.held { Ok(()) } else { Err(Error::Proof(proof)) }
        }
        Said::Cancelled { in_time: true } => {
            console::say("the migration is cancelled; the guest runs on where it was");
            Ok(())
        }
        Said::Cancelled { in_time: false } => Err(Error::TooLate),
        Said::Refused(refused) => Err(refused.into()),
        _ => Ok(()),
    }
}
