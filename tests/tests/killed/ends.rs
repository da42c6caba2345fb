//! Both ends, as processes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::starved::Room;
use crate::{Moment, Role, claims};

/// What has become of an end that was not killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs the guest, which has proven itself.
    Proven,
    /// It has no guest to run.
    Elsewhere,
    /// Its guest is paused, and it cannot tell.
    InDoubt,
    /// Nobody came.
    NeverArrived,
    /// It died, or its guest is not whole.
    Broken,
}

/// Two processes.
pub struct Ends {
    source: End,
    destination: End,
    at: Option<Role>,
}

struct End {
    process: Child,
    stdin: ChildStdin,
    /// What it says to this test.
    said: Receiver<String>,
    log: Vec<String>,
}

/// A wait of more than this is a hang.
const TIME_LIMIT: Duration = Duration::from_secs(90);

impl Ends {
    /// Starts both. The migration begins at once, and stands still at the moment if there is one.
    pub fn start(folder: &Path, has_arbiter: bool, moment: Option<Moment>) -> Self {
        if has_arbiter {
            std::fs::create_dir(claims(folder)).unwrap();
        }
        Self::begin(folder, moment, None)
    }

    /// Starts both, and lets the destination have no more memory than that.
    pub fn start_in(folder: &Path, room: Room) -> Self {
        Self::begin(folder, None, Some(room))
    }

    fn begin(folder: &Path, moment: Option<Moment>, room: Option<Room>) -> Self {
        let mut destination = End::start(Role::Destination, folder, moment, room);
        destination.await_line("listening");
        let mut source = End::start(Role::Source, folder, moment, None);
        source.await_line("begins");
        Self { source, destination, at: moment.map(Moment::role) }
    }

    pub fn await_moment(&mut self, moment: Moment) {
        self.end(moment.role()).await_line(&format!("at {moment:?}"));
    }

    /// Kills one of them, and returns when it is gone.
    pub fn kill(&mut self, victim: Role) {
        let end = self.end(victim);
        end.process.kill().expect("it is a child of this process");
        end.process.wait().expect("it is a child of this process");
    }

    /// Lets the one that stands still go on, if it is there.
    pub fn go_on(&mut self) {
        if let Some(at) = self.at {
            // The one that was killed hears nothing.
            let _ = writeln!(self.end(at).stdin, "go on");
        }
    }

    /// What became of the other one, and what it said.
    pub fn fate_of_other(&mut self, victim: Role) -> (Fate, Vec<String>) {
        let other = if victim == Role::Source { Role::Destination } else { Role::Source };
        let end = self.end(other);
        let fate = match end.await_line("fate ").as_str() {
            "proven" => Fate::Proven,
            "elsewhere" => Fate::Elsewhere,
            "in doubt" => Fate::InDoubt,
            "never arrived" => Fate::NeverArrived,
            _ => Fate::Broken,
        };
        (fate, end.log.clone())
    }

    fn end(&mut self, role: Role) -> &mut End {
        match role {
            Role::Source => &mut self.source,
            Role::Destination => &mut self.destination,
        }
    }
}

impl End {
    fn start(role: Role, folder: &Path, moment: Option<Moment>, room: Option<Room>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["child::an_end", "--exact", "--nocapture"])
            .env("PAGEFERRY_KILLED_ROLE", role.to_string());
        command.env("PAGEFERRY_KILLED_FOLDER", folder);
        command.env("PAGEFERRY_KILLED_AT", moment.map(|moment| format!("{moment:?}")).unwrap_or_default());
        if let Some(Room { has_guest, mib }) = room {
            let name = if has_guest { "PAGEFERRY_KILLED_ROOM_BESIDE" } else { "PAGEFERRY_KILLED_ROOM" };
            command.env(name, mib.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("this program starts again");
        let stdin = process.stdin.take().expect("a pipe");
        let out = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, said) = channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // The test harness speaks too, and on the same line.
                if let Some((_, words)) = line.split_once("> ") {
                    let _ = sender.send(words.to_owned());
                }
            }
        });
        Self { process, stdin, said, log: Vec::new() }
    }

    /// Waits until it says something that begins so; returns the rest, which is nothing if it has died.
    fn await_line(&mut self, beginning: &str) -> String {
        let until = Instant::now() + TIME_LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.said.recv_timeout(left) else { return String::new() };
            self.log.push(line.clone());
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // One that was killed already cannot be killed again, and need not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
