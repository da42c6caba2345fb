//! `idxd-model`: a modelled DSA or IAA in a process of its own, which drivers reach by vfio-user.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use pageferry_accel::model::fault::{Fault, FaultPlan, Rule, When};
use pageferry_accel::model::profile::Profile;
use pageferry_accel::model::server::{ModelServer, ServeError};
use pageferry_accel::model::{Model, Timing};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::quantity::{ByteRate, Seconds};

const EXAMPLES: &str = "\
Examples:
  idxd-model --profile spr-dsa --socket /tmp/dsa.sock
  idxd-model --profile spr-iaa --socket /tmp/iaa.sock --latency 3us --bandwidth 4G --engines 8
  idxd-model --profile dsa-full --socket /tmp/dsa.sock --fault at=100:never --fault chance=0.001:page-fault --seed 7

A fault is WHEN:WHAT. WHEN is at=N (the descriptor with this number, from 0), from=N (it and all behind it) or chance=P
(0 to 1). WHAT is one of
  refuse          the portal drops the submission
  page-fault      a page is absent; page-fault@BYTE says where in the first operand
  hardware-error  status 0x20
  wrong-count, wrong-result, wrong-checksum
  late=TIME       it is done so much later
  never           it is not done before it is aborted
  reset           the device drops all it has, and is as after a reset
  gone            the device is not there any more

It serves one client and ends when that leaves, or at SIGINT, SIGTERM or SIGHUP. Nothing that it does is hardware's: drivers
report `model`.

Exit codes: 0 fine, 1 failed, 2 wrong usage.";

/// A modelled DSA or IAA that drivers in other processes reach by vfio-user.
#[derive(Debug, Parser)]
#[command(name = "idxd-model", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// Which device is modelled
    #[arg(long, value_name = "PROFILE")]
    profile: ProfileName,
    /// Where to listen; nothing may be there yet
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// What passes between the end of a descriptor's work and its completion record [default: nothing]
    #[arg(long, value_name = "TIME")]
    latency: Option<Seconds>,
    /// What one engine works on in a second [default: as fast as this CPU]
    #[arg(long, value_name = "RATE")]
    bandwidth: Option<ByteRate>,
    /// How many engines it has [default: those of the profile]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    engines: Option<u8>,
    /// Something that it does wrong, WHEN:WHAT; may be given several times
    #[arg(long, value_name = "WHEN:WHAT")]
    fault: Vec<FaultRule>,
    /// What chance is drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// The DSA of Sapphire Rapids, without delta operations
    SprDsa,
    /// The same with delta operations
    DsaFull,
    /// The IAA of Sapphire Rapids
    SprIaa,
}

impl ProfileName {
    fn profile(self) -> Profile {
        match self {
            Self::SprDsa => Profile::spr_dsa(),
            Self::DsaFull => Profile::dsa_full(),
            Self::SprIaa => Profile::spr_iaa(),
        }
    }
}

/// A fault as it is typed.
#[derive(Clone, Copy, Debug)]
struct FaultRule(Rule);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum FaultError {
    #[error("`{0}` is no fault: write WHEN:WHAT, as in at=3:never")]
    Form(String),
    #[error("`{0}` does not say when: write at=N, from=N or chance=P with P from 0 to 1")]
    When(String),
    #[error("`{0}` is nothing that goes wrong: idxd-model --help lists what does")]
    What(String),
}

impl FromStr for FaultRule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (when, what) = text.split_once(':').ok_or_else(|| FaultError::Form(text.to_owned()))?;
        let when = self::when(when).ok_or_else(|| FaultError::When(when.to_owned()))?;
        let fault = fault(what).ok_or_else(|| FaultError::What(what.to_owned()))?;
        Ok(Self(Rule { when, fault }))
    }
}

fn when(text: &str) -> Option<When> {
    let (word, number) = text.split_once('=')?;
    match word {
        "at" => number.parse().ok().map(When::At),
        "from" => number.parse().ok().map(When::From),
        "chance" => per_million(number.parse().ok()?).map(When::PerMillion),
        _ => None,
    }
}

/// A probability in the plan's unit.
fn per_million(chance: f64) -> Option<u32> {
    // A duration of as many seconds has as many microseconds: no cast, and nothing is lost.
    let micros = Duration::try_from_secs_f64(chance).ok()?.as_micros();
    u32::try_from(micros).ok().filter(|&share| share <= 1_000_000)
}

fn fault(text: &str) -> Option<Fault> {
    Some(match text {
        "refuse" => Fault::Refuse,
        "page-fault" => Fault::PageFault { operand: None, byte: None },
        "hardware-error" => Fault::HardwareError,
        "wrong-count" => Fault::WrongCount,
        "wrong-result" => Fault::WrongResult,
        "wrong-checksum" => Fault::WrongChecksum,
        "never" => Fault::Never,
        "reset" => Fault::Reset,
        "gone" => Fault::Gone,
        _ => match (text.strip_prefix("page-fault@"), text.strip_prefix("late=")) {
            (Some(byte), _) => Fault::PageFault { operand: Some(0), byte: Some(byte.parse().ok()?) },
            (None, Some(time)) => Fault::Late(time.parse::<Seconds>().ok()?.0),
            (None, None) => return None,
        },
    })
}

/// Runs `idxd-model` with this process's arguments.
///
/// The exit code is 0 once the client has left or a signal ended the wait, 2 for wrong usage, 1 for anything else.
#[must_use]
pub fn idxd_model() -> ExitCode {
    match serve(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(error);
            ExitCode::FAILURE
        }
    }
}

/// Why there is no model to be reached.
#[derive(Debug, thiserror::Error)]
enum ModelError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot start the model's thread: {0}")]
    Start(io::Error),
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
}

fn serve(cli: Cli) -> Result<(), ModelError> {
    let profile = cli.profile.profile();
    let profile = Profile { engines: cli.engines.unwrap_or(profile.engines), ..profile };
    let timing = Timing {
        latency: cli.latency.map_or(Duration::ZERO, |latency| latency.0),
        bytes_per_s: cli.bandwidth.and_then(|rate| NonZeroU64::new(rate.0)),
    };
    let rules = cli.fault.iter().map(|rule| rule.0).collect();
    let name = profile.name;
    let model =
        Model::new(profile, timing, FaultPlan { seed: cli.seed, rules }).map_err(ModelError::Start)?;
    let server = ModelServer::bind(model, &cli.socket)?;
    end_at_signals(&cli.socket).map_err(ModelError::Signals)?;
    say(format_args!("{name} listens at {}", cli.socket.display()));
    server.serve(&mut |refusal| say(refusal))?;
    Ok(())
}

/// Ends the process at a signal, without its socket. What a client has mapped goes with the process.
fn end_at_signals(socket: &Path) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let socket = socket.to_owned();
    let wait = move || {
        if signals.forever().next().is_some() {
            drop(fs::remove_file(socket));
            process::exit(0);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// Where nobody listens any more, nothing is lost.
fn say(words: impl Display) {
    let _ = writeln!(io::stderr(), "idxd-model: {words}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn rule(text: &str) -> (When, Fault) {
        let FaultRule(Rule { when, fault }) = text.parse().unwrap();
        (when, fault)
    }

    #[test]
    fn faults_are_read_as_they_are_written() {
        assert_eq!(rule("at=3:never"), (When::At(3), Fault::Never));
        assert_eq!(rule("from=0:hardware-error"), (When::From(0), Fault::HardwareError));
        assert_eq!(rule("chance=0.001:late=5ms").0, When::PerMillion(1000));
        assert_eq!(
            rule("chance=1:late=20us"),
            (When::PerMillion(1_000_000), Fault::Late(Duration::from_micros(20)))
        );
        let at_byte = Fault::PageFault { operand: Some(0), byte: Some(4096) };
        assert_eq!(rule("at=0:page-fault@4096").1, at_byte);
    }

    #[test]
    fn what_is_no_fault_is_refused_with_what_would_be_one() {
        let told = |text: &str| text.parse::<FaultRule>().unwrap_err().to_string();
        assert!(told("never").contains("WHEN:WHAT"));
        for when in ["at", "at=-1", "chance=1.5", "chance=nan", "sometimes=1"] {
            assert!(told(&format!("{when}:never")).contains("does not say when"), "{when}");
        }
        for what in ["explode", "late", "late=0", "page-fault@x"] {
            assert!(told(&format!("at=1:{what}")).contains("nothing that goes wrong"), "{what}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
