//! A process of ferryvm, which is killed should the test end before it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A wait of more than this is a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that runs.
pub struct Process {
    child: Child,
    what: String,
    stdout: Option<JoinHandle<String>>,
    /// What it has said so far, and whether that is all.
    said: Arc<(Mutex<(String, bool)>, Condvar)>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A folder for sockets, and places in it.
pub struct Places(TempDir);

impl Places {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// `unix:` and the path of a socket of this name.
    pub fn socket(&self, name: &str) -> String {
        format!("unix:{}", self.0.path().join(name).display())
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// A small guest that is served at the socket `name`, and runs.
    pub fn guest(&self, name: &str, more: &str) -> Process {
        let arguments =
            format!("run --guest process --memory 64M --control {} {more} --json", self.socket(name));
        let process = Process::start(&arguments);
        self.await_guest(name);
        process
    }

    /// Waits until the guest that is served at the socket runs, and has been felt.
    pub fn await_guest(&self, name: &str) {
        await_that("a guest", || {
            let status = ferryvm(&format!("control status --control {}", self.socket(name)));
            let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
            status["standing"] == "here" && status["heartbeat"]["beats"].as_u64() > Some(0)
        });
    }

    /// What is said of the guest at the socket.
    pub fn status(&self, name: &str) -> Value {
        ferryvm(&format!("control status --control {}", self.socket(name))).json()
    }

    /// Sees that the guest runs at this socket and that its proof holds; ends it.
    pub fn runs_on(&self, name: &str, process: Process) -> Value {
        let status = self.status(name);
        assert_eq!(status["standing"], "here", "{status}");
        let quit = ferryvm(&format!("control quit --control {}", self.socket(name)));
        assert_eq!(quit.code, Some(0), "{quit:?}");
        let report = process.end().json();
        assert_eq!(report["proof"]["held"], true, "{report}");
        report
    }
}

/// Runs a command to its end.
pub fn ferryvm(arguments: &str) -> Ended {
    Process::start(arguments).end()
}

impl Process {
    /// Starts ferryvm with these words.
    pub fn start(arguments: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferryvm"));
        command.args(arguments.split_whitespace()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        let said = Arc::<(Mutex<(String, bool)>, Condvar)>::default();
        let (lines, heard) = (BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&said));
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.0.lock().unwrap().0 += &format!("{line}\n");
                heard.1.notify_all();
            }
            heard.0.lock().unwrap().1 = true;
            heard.1.notify_all();
        });
        Self { child, what: arguments.to_owned(), stdout: Some(stdout), said }
    }

    /// Waits until it has said this, and gives the word behind it.
    pub fn hear(&self, words: &str) -> String {
        let said = self.said.0.lock().unwrap();
        let is_missing = |said: &mut (String, bool)| !said.0.contains(words) && !said.1;
        let (said, _) = self.said.1.wait_timeout_while(said, PATIENCE, is_missing).unwrap();
        let rest = said.0.split_once(words);
        let rest = rest.unwrap_or_else(|| panic!("{}: it never said `{words}`, but {said:?}", self.what)).1;
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Where a receiver listens.
    pub fn address(&self) -> String {
        self.hear("listening at ")
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let what = self.what.clone();
        let mut code = None;
        await_that(&what, || match self.child.try_wait().unwrap() {
            None => false,
            Some(status) => {
                code = status.code();
                true
            }
        });
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let said = self.said.0.lock().unwrap();
        let (said, _) = self.said.1.wait_timeout_while(said, PATIENCE, |said| !said.1).unwrap();
        Ended { code, stdout, stderr: said.0.clone() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Asserts the exit code, and that these words were said.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in {self:?}");
        }
    }

    /// What it printed, after it ended well.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} is still waited for");
        thread::sleep(Duration::from_millis(10));
    }
}
