//! Ctrl-C: both ends go, and nothing stays.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{accelbench, ended};

/// Waits for something that another process does; half a minute without it is a failure.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// The children of a process.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; state and parent follow.
        let parent_of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        parent_of == Some(&parent.to_string())
    })
    .collect()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Whether a process receives a migration: it has a thread that reads a channel.
fn receives(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.any(|name| name.trim() == "channel-0")
}

/// Starts a run that would last for a minute, and waits until pages move.
fn long_run(sockets: &Path) -> (Child, Vec<u32>) {
    let arguments = ["run", "--size", "4M", "--method", "zstd", "--runtime", "60"];
    let mut command = accelbench(&arguments);
    let child = command.env("TMPDIR", sockets).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let peers = until("the migration", || {
        Some(children(child.id())).filter(|found| found.iter().any(|&pid| receives(pid)))
    });
    (child, peers)
}

#[test]
fn an_interrupted_run_leaves_no_process_and_no_file() {
    for (sent, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let sockets = tempfile::tempdir().unwrap();
        let (child, peers) = long_run(sockets.path());
        signal(&child, sent);
        let ended = ended(child.wait_with_output().unwrap());
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert_eq!((ended.stdout.as_str(), ended.stderr.trim()), ("", "accelbench: interrupted"));
        assert!(is_empty(sockets.path()), "a socket was left behind");
        until("the end of the destination", || {
            peers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }
}

#[test]
fn a_killed_run_takes_its_destination_with_it() {
    let sockets = tempfile::tempdir().unwrap();
    let (mut child, peers) = long_run(sockets.path());
    child.kill().unwrap();
    child.wait().unwrap();
    until("the end of the destination", || {
        peers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

#[test]
fn a_destination_that_is_killed_fails_the_run() {
    let sockets = tempfile::tempdir().unwrap();
    let (child, peers) = long_run(sockets.path());
    for pid in peers {
        // It may have ended with the one before.
        let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    }
    let ended = ended(child.wait_with_output().unwrap());
    ended.fails(1, &["the migration failed at the source: connection 0"]);
    assert!(is_empty(sockets.path()), "a socket was left behind");
}

#[test]
fn an_interrupted_receiver_removes_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("a.sock");
    let address = format!("unix:{}", socket.display());
    let mut command = accelbench(&["recv", "--listen", &address]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the socket", || socket.exists().then_some(()));
    signal(&child, Signal::SIGINT);
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(is_empty(folder.path()), "the socket was left behind");
}
