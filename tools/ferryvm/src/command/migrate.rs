//! `ferryvm migrate`: has the process of a guest move it, and watches.

use std::env;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use pageferry_tools::console;
use pageferry_tools::interrupt;
use pageferry_tools::live_line::LiveLine;
use pageferry_tools::quantity::ByteRate;
use serde_json::{Map, Value};

use super::events::EventLines;
use super::move_args::MoveArgs;
use super::output::{Form, OutputArgs};
use super::report::Moved;
use crate::control::address::ControlAddress;
use crate::control::client::Client;
use crate::control::{Request, Said};
use crate::error::Error;
use crate::outcome::{Glance, Outcome, Verdict};

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Where the guest's process is told what to do, as ferryvm run and receive were: unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) control: ControlAddress,
    #[command(flatten)]
    pub(crate) how: MoveArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Do not wait for the end; ferryvm control status and cancel reach the migration
    #[arg(long, conflicts_with_all = ["events", "json"], help_heading = "Output")]
    pub(crate) detach: bool,
}

/// Migrates. `options` are those that were typed of [`MoveArgs`].
pub(crate) fn migrate(args: &MigrateArgs, options: Map<String, Value>) -> Result<(), Error> {
    let (events, form) = args.output.open()?;
    let mut client = Client::connect(&args.control)?;
    let folder = env::current_dir().ok();
    let brake = (!args.detach).then(|| Brake::at_interrupt(args.control.clone()));
    match client.ask(&Request::Migrate { options, folder })? {
        Said::Begun { warnings } => warnings.iter().for_each(console::warn),
        Said::Refused(refused) => return Err(refused.into()),
        _ => return Err(Error::OutOfTurn("the beginning of a migration")),
    }
    let Some(brake) = brake else { return Ok(()) };
    brake.begun();
    let outcome = watch(&mut client, events)?;
    let completed = outcome.verdict == Verdict::Completed;
    let moved = Moved { to: args.how.to.to_string(), outcome };
    if completed || form == Form::Json {
        form.print(&moved, Moved::words)?;
    }
    let Outcome { verdict, .. } = moved.outcome;
    let reason = moved.outcome.reason_at_source();
    if completed { Ok(()) } else { Err(Error::Ended { verdict, reason }) }
}

/// Ends a migration at an interrupt, also at one that comes before the migration has begun.
#[derive(Clone)]
struct Brake {
    control: ControlAddress,
    phase: Arc<Mutex<Phase>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The migration was asked for.
    Asked,
    /// And is to end as soon as it begins.
    Unwanted,
    Begun,
}

impl Brake {
    /// From now on, the first interrupt ends the migration, and leaves this process to hear how. The next one ends this
    /// process alone.
    fn at_interrupt(control: ControlAddress) -> Self {
        let brake = Self { control, phase: Arc::new(Mutex::new(Phase::Asked)) };
        let pulled = brake.clone();
        interrupt::instead(move || {
            pulled.pull();
            true
        });
        brake
    }

    fn pull(&self) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        match *phase {
            Phase::Asked | Phase::Unwanted => *phase = Phase::Unwanted,
            Phase::Begun => cancel(&self.control),
        }
    }

    fn begun(&self) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *phase, Phase::Begun) == Phase::Unwanted {
            cancel(&self.control);
        }
    }
}

fn cancel(control: &ControlAddress) {
    let asked = Client::connect(control).and_then(|mut client| client.ask(&Request::Cancel {}));
    match asked {
        Ok(Said::Cancelled { in_time: true }) => {
            console::say("cancelling; the guest stays at the source");
        }
        Ok(Said::Cancelled { in_time: false }) => {
            console::say("it is too late to cancel: the guest is at the destination, or about to be");
        }
        // It has ended by itself, which is about to be told.
        Ok(_) => {}
        Err(error) => console::warn(format_args!("the migration goes on: {error}")),
    }
}

/// Hears of everything until the end.
fn watch(client: &mut Client, mut events: EventLines) -> Result<Outcome, Error> {
    let now = Arc::new(Mutex::new(Now::default()));
    let drawn = Arc::clone(&now);
    let _line = LiveLine::new(move || drawn.lock().unwrap_or_else(PoisonError::into_inner).line());
    loop {
        match client.hear()? {
            Said::Event(event) => events.write(&event),
            Said::Glance(glance) => now.lock().unwrap_or_else(PoisonError::into_inner).see(*glance),
            Said::Ended(outcome) => return Ok(*outcome),
            _ => return Err(Error::OutOfTurn("the course of a migration")),
        }
    }
}

/// How the migration stands, and how fast it goes.
#[derive(Default)]
struct Now {
    glance: Option<Glance>,
    bytes_per_s: f64,
}

impl Now {
    fn see(&mut self, glance: Glance) {
        if let Some(before) = &self.glance {
            let (bytes, time) =
                (glance.wire_bytes.saturating_sub(before.wire_bytes), glance.seconds - before.seconds);
            if time > 0.0 {
                // Half of what is new, so that the figure can be read.
                self.bytes_per_s = 0.5 * self.bytes_per_s + 0.5 * (bytes as f64 / time);
            }
        }
        self.glance = Some(glance);
    }

    fn line(&self) -> String {
        let Some(Glance {
            state,
            round,
            left_pages,
            dirty_pages_per_s,
            throttle_percent,
            expected_downtime_ms,
            pages_by_method,
            ..
        }) = &self.glance
        else {
            return "setup".to_owned();
        };
        let rate = ByteRate(whole(self.bytes_per_s));
        let mut line = format!(
            "{state}  round {}  {left_pages} pages left  {rate}  dirty {dirty_pages_per_s:.0}/s",
            round + 1
        );
        if *throttle_percent > 0 {
            line += &format!("  throttle {throttle_percent}%");
        }
        if let Some(time) = expected_downtime_ms {
            line += &format!("  downtime {time:.0} ms");
        }
        let sum: u64 = pages_by_method.iter().map(|(_, pages)| pages).sum();
        for (name, pages) in pages_by_method.iter() {
            line += &format!("  {name} {:.0}%", 100.0 * pages as f64 / sum.max(1) as f64);
        }
        line
    }
}

/// A number of bytes that was measured, which is neither negative nor beyond what can be counted.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded right before")]
fn whole(bytes: f64) -> u64 {
    bytes.clamp(0.0, 1e18) as u64
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    #[test]
    fn an_interrupt_before_the_migration_begins_ends_it_when_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (listener, control) = (UnixListener::bind(&path).unwrap(), format!("unix:{}", path.display()));
        listener.set_nonblocking(true).unwrap();
        let brake = Brake { control: control.parse().unwrap(), phase: Arc::new(Mutex::new(Phase::Asked)) };
        brake.pull();
        assert!(listener.accept().is_err(), "there is nothing to cancel yet");
        listener.set_nonblocking(false).unwrap();
        let asked = thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
            line
        });
        brake.begun();
        assert!(asked.join().unwrap().contains("cancel"));
    }

    fn glance(seconds: f64, wire_bytes: u64) -> Glance {
        serde_json::from_value(serde_json::json!({
            "state": "rounds", "seconds": seconds, "round": 2, "left_pages": 77, "guest_pages": 1000, "pages": 4,
            "zero_pages": 0, "wire_bytes": wire_bytes, "dirty_pages_per_s": 1234.5, "throttle_percent": 30,
            "expected_downtime_ms": 45.4, "pages_by_method": { "zstd": 3, "raw": 1 },
        }))
        .unwrap()
    }

    #[test]
    fn the_line_says_how_the_migration_stands() {
        let mut now = Now::default();
        assert_eq!(now.line(), "setup");
        now.see(glance(1.0, 0));
        now.see(glance(2.0, 4 << 20));
        let line = now.line();
        for part in [
            "rounds  round 3  77 pages left  2 MiB/s  dirty 1234/s",
            "throttle 30%  downtime 45 ms",
            "zstd 75%",
            "raw 25%",
        ] {
            assert!(line.contains(part), "`{part}` is not in `{line}`");
        }
    }
}
