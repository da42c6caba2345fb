//! A process that has the guest, and is killed should the test end before it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::trip::Trip;

pub struct Host {
    process: Child,
    control: String,
}

/// A wait of more than this is a hang.
const PATIENCE: Duration = Duration::from_secs(60);

fn ferryvm<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferryvm"));
    command.args(arguments).stdin(Stdio::null());
    command
}

impl Host {
    /// Where the guest begins.
    pub fn run(folder: &Path) -> Self {
        let control = format!("unix:{}", folder.join("0.control").display());
        let command = ["run", "--memory", "64M", "--vcpus", "2", "--pattern", "random", "--fill", "random"];
        let more = ["--rate", "2000", "--working-set", "8M", "--control", &control];
        let process = ferryvm(&[&command[..], &more].concat()).stdout(Stdio::null()).spawn().unwrap();
        let host = Self { process, control };
        host.await_guest();
        host
    }

    /// Moves the guest to a process that is started for it; this one ends.
    pub fn send_on(mut self, number: usize, trip: &Trip, folder: &Path) -> (Self, Value) {
        let control = format!("unix:{}", folder.join(format!("{number}.control")).display());
        let listen = trip.listen(folder, number);
        let arguments =
            [&["receive", "--listen", &listen, "--control", &control], &trip.receives()[..]].concat();
        let mut process = ferryvm(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let to = listening_at(&mut process);
        let next = Self { process, control };
        let arguments =
            [&["migrate", "--control", &self.control, "--to", &to, "--json"], &trip.migrates()[..]].concat();
        let moved = ferryvm(&arguments).output().unwrap();
        let outcome = json(&moved, &format!("move {number} by {trip:?}"));
        assert!(
            self.process.wait().unwrap().success(),
            "move {number} by {trip:?}: the source did not end well"
        );
        next.await_guest();
        (next, outcome)
    }

    /// Has the guest say what it finds in its memory.
    pub fn prove(&self, number: usize, trip: &Trip) -> Value {
        let proof = json(&self.ask("prove"), &format!("the proof after move {number} by {trip:?}"));
        assert_eq!(proof["held"], true, "move {number} by {trip:?}: {proof}");
        proof
    }

    /// How long the guest stood still on its way here, in milliseconds.
    pub fn downtime(&self, number: usize, trip: &Trip) -> f64 {
        let status = json(&self.ask("status"), "the status");
        assert_eq!(status["heartbeat"]["counter_went_on"], true, "move {number} by {trip:?}: {status}");
        status["heartbeat"]["gap_of_move"].as_f64().map_or(f64::NAN, |seconds| seconds * 1e3)
    }

    /// Ends the guest, which is asked for its proof once more.
    pub fn quit(mut self) {
        assert!(self.ask("quit").status.success());
        assert!(self.process.wait().unwrap().success(), "the last proof failed");
    }

    fn ask(&self, what: &str) -> Output {
        ferryvm(&["control", "--control", &self.control, what]).output().unwrap()
    }

    /// Waits until the guest runs and its heart has been felt.
    fn await_guest(&self) {
        let begun = Instant::now();
        loop {
            let status: Value = serde_json::from_slice(&self.ask("status").stdout).unwrap_or_default();
            if status["standing"] == "here" && status["heartbeat"]["pages_written"].as_u64() > Some(0) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no guest has come: {status}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address that a process says it listens at. What it says later is read too, so that it never waits to be heard.
fn listening_at(process: &mut Child) -> String {
    let mut said = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let line = said.next().expect("it says something").expect("in UTF-8");
    thread::spawn(move || said.for_each(drop));
    let rest = line.split_once("listening at ").unwrap_or_else(|| panic!("it says: {line}")).1;
    rest.split_whitespace().next().expect("an address").to_owned()
}

fn json(output: &Output, what: &str) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{what}: {error}"))
}
