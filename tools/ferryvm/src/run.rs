//! `ferryvm run`: a guest that stays here.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_engine::vm::Vm;
use pageferry_tools::quantity::{ByteSize, Seconds};
use serde::Serialize;

use crate::cli::{GuestArgs, RunArgs};
use crate::error::Error;
use crate::host::GuestChoice;
use crate::layout::{Layout, PAGE_BYTES};
use crate::proof::{Heartbeat, Proof};
use crate::state::GuestKind;
use crate::vm::{FerryError, FerryVm, ProveError, Watch};
use crate::workload::Workload;

/// How often the live line is drawn.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long a proof may take: so long for any guest, and so much more a GiB.
const PROOF_TIME: Duration = Duration::from_secs(30);
const PROOF_TIME_PER_GIB: Duration = Duration::from_secs(30);

/// What came of a run.
#[derive(Debug, Serialize)]
struct Report {
    guest: GuestKind,
    vcpus: u32,
    memory_bytes: ByteSize,
    workload: Workload,
    seconds: Seconds,
    heartbeat: Heartbeat,
    proof: Proof,
}

/// Runs a guest, and prints what came of it.
pub(crate) fn run(args: &RunArgs) -> Result<(), Error> {
    let mut vm = source(&args.guest)?;
    let workload = workload(&args.guest);
    let watch = vm.watch();
    vm.resume()?;
    let begun = Instant::now();
    watch_for(&watch, args.time.0)?;
    let seconds = Seconds(begun.elapsed());
    // Before the proof, which walks memory that may never have been touched.
    let heartbeat = watch.heartbeat().ok_or(ProveError::NotThere)?;
    let proof = watch.prove(proof_time(args.guest.memory))?;
    vm.pause()?;
    let GuestArgs { vcpus, memory, .. } = args.guest;
    let report =
        Report { guest: vm.kind(), vcpus, memory_bytes: memory, workload, seconds, heartbeat, proof };
    report.print(args.json).map_err(Error::Print)?;
    if report.proof.held { Ok(()) } else { Err(Error::Proof(report.proof)) }
}

/// The guest that the arguments describe.
fn source(args: &GuestArgs) -> Result<FerryVm, FerryError> {
    let layout = Layout::of_size(args.memory.0)?;
    let vm = FerryVm::source(layout, args.vcpus, &workload(args), args.guest)?;
    if vm.kind() == GuestKind::Process && args.guest == GuestChoice::Auto {
        say("no KVM here: the guest is threads of this process, and no virtual machine");
    }
    Ok(vm)
}

fn workload(args: &GuestArgs) -> Workload {
    let &GuestArgs { pattern, rate, seed, fill, working_set, .. } = args;
    let working_set_pages = working_set.map(|size| size.0.div_ceil(PAGE_BYTES));
    Workload { pattern, rate, seed, fill, working_set_pages }
}

/// Waits, and draws what happens meanwhile where somebody sees it.
fn watch_for(watch: &Watch, time: Duration) -> Result<(), ProveError> {
    let until = Instant::now() + time;
    let is_seen = io::stderr().is_terminal();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::sleep(left.min(INTERVAL));
        if let Some(reason) = watch.crash() {
            return Err(ProveError::Crashed(reason));
        }
        if let Some(heartbeat) = watch.heartbeat().filter(|_| is_seen) {
            // A terminal that takes no more is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[2K{}", Line(&heartbeat));
        }
    }
    if is_seen {
        let _ = write!(io::stderr(), "\r\x1b[2K");
    }
    Ok(())
}

fn proof_time(memory: ByteSize) -> Duration {
    let gibs = u32::try_from(memory.0 >> 30).unwrap_or(u32::MAX);
    PROOF_TIME.saturating_add(PROOF_TIME_PER_GIB.saturating_mul(gibs))
}

/// A heartbeat on one line.
struct Line<'a>(&'a Heartbeat);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Heartbeat { beats, pages_written, longest_gap, .. } = self.0;
        let gap_ms = longest_gap.as_secs_f64() * 1000.0;
        write!(f, "{pages_written} pages written, {beats} heartbeats, longest gap {gap_ms:.1} ms")
    }
}

impl Report {
    fn print(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            serde_json::to_writer_pretty(&mut out, self)?;
            return writeln!(out);
        }
        let Self { guest, vcpus, memory_bytes, workload, seconds, heartbeat, proof } = self;
        writeln!(out, "guest      {guest}, {vcpus} vCPU, {memory_bytes}, {}", workload.pattern)?;
        let per_s = proof.pages_written as f64 / seconds.0.as_secs_f64();
        writeln!(out, "written    {} pages, {per_s:.0} a second", proof.pages_written)?;
        let gap_ms = heartbeat.longest_gap.as_secs_f64() * 1000.0;
        writeln!(out, "heartbeat  {} times, longest gap {gap_ms:.1} ms", heartbeat.beats)?;
        writeln!(out, "proof      {proof}")?;
        out.flush()
    }
}

/// Says something on stderr. Where nobody listens any more, nothing is lost.
pub(crate) fn say(words: impl Display) {
    let _ = writeln!(io::stderr(), "ferryvm: {words}");
}
