//! The program `idxd-model`, driven by the driver over its socket.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pageferry_accel::dma::Arena;
use pageferry_accel::idxd::device::{Device, Quiet};
use pageferry_accel::idxd::vfio::user::UserFunction;
use pageferry_accel::idxd::vfio::{Settings, VfioDevice};

/// The program, listening.
struct Running {
    child: Child,
    words: BufReader<ChildStderr>,
    socket: PathBuf,
}

impl Running {
    fn new(folder: &Path, arguments: &[&str]) -> Self {
        let socket = folder.join("model.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_idxd-model"));
        command.arg("--socket").arg(&socket).args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut words = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        words.read_line(&mut line).unwrap();
        assert!(line.contains("listens at"), "{line}");
        Self { child, words, socket }
    }

    fn device(&self) -> VfioDevice {
        VfioDevice::new(Arc::new(UserFunction::connect(&self.socket).unwrap()), Settings::default()).unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let rest: Result<Vec<_>, _> = self.words.lines().collect();
        (status, rest.unwrap().join("\n"))
    }
}

#[test]
fn it_serves_a_client_and_ends_without_its_socket_when_that_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let running =
        Running::new(folder.path(), &["--profile", "spr-iaa", "--engines", "4", "--latency", "2us"]);
    let device = running.device();
    assert_eq!(device.facts().engines.engines(), 4);
    let arena = Arena::new(1, 4096).unwrap();
    let queues = device.open(&[arena.range()]).unwrap();
    assert_eq!(queues.len(), 4);
    drop((queues, device));
    let socket = running.socket.clone();
    let (status, words) = running.end();
    assert!(status.success() && words.is_empty(), "{status}: {words}");
    assert!(!socket.exists());
}

#[test]
fn a_signal_ends_it_with_or_without_a_client_and_the_socket_goes() {
    for with_client in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::new(folder.path(), &["--profile", "spr-dsa"]);
        let device = with_client.then(|| running.device());
        let arena = Arena::new(1, 4096).unwrap();
        let queues = device.as_ref().map(|device| device.open(&[arena.range()]).unwrap());
        kill(running.pid(), Signal::SIGTERM).unwrap();
        let socket = running.socket.clone();
        let (status, words) = running.end();
        assert!(status.success(), "{status}: {words}");
        assert!(!socket.exists());
        for queue in queues.into_iter().flatten() {
            let quiet = loop {
                match queue.control.quiesce() {
                    Quiet::Pending => std::thread::yield_now(),
                    quiet => break quiet,
                }
            };
            assert_eq!(quiet, Quiet::Gone, "a process that ended touches nothing");
        }
    }
}

#[test]
fn a_place_that_is_taken_and_an_option_that_means_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::new(folder.path(), &["--profile", "dsa-full"]);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_idxd-model")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let socket = running.socket.to_str().unwrap();
    let (code, words) = run(&["--profile", "spr-dsa", "--socket", socket]);
    assert!(code == Some(1) && words.contains("is there already"), "{code:?}: {words}");
    let (code, words) = run(&["--profile", "spr-dsa", "--socket", "x.sock", "--fault", "at=1:explode"]);
    assert!(code == Some(2) && words.contains("nothing that goes wrong"), "{code:?}: {words}");
    kill(running.pid(), Signal::SIGINT).unwrap();
    assert!(running.end().0.success());
}
