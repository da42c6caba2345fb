//! `ferryvm run`: a guest that begins here.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use pageferry_engine::frame::End;
use pageferry_engine::vm::Vm;
use pageferry_tools::console;
use pageferry_tools::live_line::LiveLine;
use pageferry_tools::quantity::{ByteSize, Seconds};

use clap::Args;

use super::guest_args::GuestArgs;
use super::output::Form;
use super::report::{Moved, Report};
use super::serve_args::ServeArgs;
use crate::control::desk::Desk;
use crate::dirty::DirtyKind;
use crate::error::Error;
use crate::host::{GuestChoice, HostChoice};
use crate::keeper::{Keeper, Kept};
use crate::layout::{Layout, PAGE_BYTES};
use crate::outcome::Outcome;
use crate::proof::Heartbeat;
use crate::state::GuestKind;
use crate::vm::{FerryError, FerryVm, ProveError, Watch};
use crate::workload::Workload;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// How long the guest runs before it is asked for its proof [default: 10s, or with --control until it has left or is told to quit]
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) time: Option<Seconds>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long a proof may take: so long for any guest, and so much more a GiB.
const PROOF_TIME: Duration = Duration::from_secs(30);
const PROOF_TIME_PER_GIB: Duration = Duration::from_secs(30);
/// How long a guest runs if nobody says so, and nobody can say that it is to end.
const DEFAULT_TIME: Duration = Duration::from_secs(10);

/// Runs a guest, and prints what came of it.
pub(crate) fn run(args: &RunArgs) -> Result<(), Error> {
    let mut vm = source(&args.guest)?;
    let (watch, kind, dirty) = (vm.watch(), vm.kind(), vm.dirty_kind());
    let (desk, orders) = Desk::new();
    desk.seat(kind, watch.clone());
    let _served = args.serve.start(&desk, End::Source)?;
    vm.resume()?;
    let begun = Instant::now();
    let time = args.time.map(|time| time.0);
    let time = if args.serve.control.is_some() { time } else { time.or(Some(DEFAULT_TIME)) };
    let keeper = Keeper::new(Box::new(vm), watch.clone(), (desk, orders));
    let kept = {
        let _line = live_line(&watch);
        keeper.keep(time.map(|time| begun + time))?
    };
    let GuestArgs { vcpus, memory, .. } = args.guest;
    let stay = Stay { kind, dirty, memory, watch, begun, arrival: None };
    stay.end(kept, Form::json_if(args.json), |report| Report {
        vcpus: Some(vcpus),
        workload: Some(workload(&args.guest)),
        ..report
    })
}

/// A guest's time here, from its first moment on.
pub(crate) struct Stay {
    pub(crate) kind: GuestKind,
    pub(crate) dirty: DirtyKind,
    pub(crate) memory: ByteSize,
    pub(crate) watch: Watch,
    pub(crate) begun: Instant,
    pub(crate) arrival: Option<Outcome>,
}

impl Stay {
    /// Asks a guest that is still here for its proof, and prints what came of it.
    pub(crate) fn end(self, kept: Kept, form: Form, add: impl FnOnce(Report) -> Report) -> Result<(), Error> {
        let Self { kind, dirty, memory, watch, begun, arrival } = self;
        let seconds = Seconds(begun.elapsed());
        // Before the proof, which walks memory that may never have been touched; but a guest that has just come may not have
        // been felt before.
        let mut heartbeat = watch.heartbeat().ok_or(ProveError::NotThere)?;
        let (proof, departure) = match kept {
            Kept::Here(mut vm) => {
                let proof = watch.prove(proof_time(memory))?;
                vm.pause()?;
                (Some(proof), None)
            }
            Kept::Gone { to, outcome } => {
                console::say(format_args!("the guest has left for {to}, and runs there"));
                (None, Some(Moved { to: to.to_string(), outcome: (*outcome).clone() }))
            }
        };
        if heartbeat.gap_of_move.is_none() {
            heartbeat = watch.heartbeat().unwrap_or(heartbeat);
        }
        let report = add(Report {
            guest: kind,
            dirty_pages: dirty,
            vcpus: None,
            memory_bytes: memory,
            workload: None,
            seconds,
            arrival,
            heartbeat,
            proof,
            departure,
        });
        form.print(&report, Report::words)?;
        match report.proof {
            Some(proof) if !proof.held => Err(Error::Proof(proof)),
            _ => Ok(()),
        }
    }
}

/// What is felt of a guest, where somebody sees it.
pub(crate) fn live_line(watch: &Watch) -> LiveLine {
    let watch = watch.clone();
    LiveLine::new(move || {
        watch.heartbeat().map_or_else(String::new, |heartbeat| Line(&heartbeat).to_string())
    })
}

/// The guest that the arguments describe.
fn source(args: &GuestArgs) -> Result<FerryVm, FerryError> {
    let layout = Layout::of_size(args.memory.0)?;
    let vm = FerryVm::source(
        layout,
        args.vcpus,
        &workload(args),
        HostChoice { guest: args.guest, dirty: args.dirty },
    )?;
    say_what_runs_it(&vm, args.guest);
    Ok(vm)
}

/// Threads of a process are no virtual machine.
pub(crate) fn say_what_runs_it(vm: &FerryVm, choice: GuestChoice) {
    if vm.kind() == GuestKind::Process && choice == GuestChoice::Auto {
        console::say("no KVM here: the guest is threads of this process, and no virtual machine");
    }
}

fn workload(args: &GuestArgs) -> Workload {
    let &GuestArgs { pattern, rate, seed, fill, working_set, .. } = args;
    let working_set_pages = working_set.map(|size| size.0.div_ceil(PAGE_BYTES));
    Workload { pattern, rate, seed, fill, working_set_pages }
}

fn proof_time(memory: ByteSize) -> Duration {
    let gibs = u32::try_from(memory.0 >> 30).unwrap_or(u32::MAX);
    PROOF_TIME.saturating_add(PROOF_TIME_PER_GIB.saturating_mul(gibs))
}

/// A heartbeat on one line.
struct Line<'a>(&'a Heartbeat);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Heartbeat { beats, pages_written, longest_gap, .. } = self.0;
        let gap_ms = longest_gap.as_secs_f64() * 1000.0;
        write!(f, "{pages_written} pages written, {beats} heartbeats, longest gap {gap_ms:.1} ms")
    }
}
