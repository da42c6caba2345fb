//! The other end of `accelbench run`: this program once more as `recv`, or a thread.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use pageferry_engine::transport::{Address, Security};

use crate::address::Listener;
use crate::destination;
use crate::error::{Error, PeerError};
use crate::interrupt::Cleanup;
use crate::plan::{MemoryPlan, RunPlan};
use crate::quantity::ByteSize;

/// A destination on this machine that receives one migration.
pub(crate) struct Peer {
    address: Address,
    end: End,
    patience: Duration,
}

enum End {
    /// Killed when the value goes, if it has not ended by itself.
    Process {
        child: Child,
        cleanup: Cleanup,
    },
    Thread(JoinHandle<Result<(), Error>>),
}

impl Peer {
    /// Starts a destination that listens in `folder`, or on a port of the loopback interface. One at a time.
    ///
    /// # Errors
    /// [`Error`] if it cannot be started, or ends at once.
    pub(crate) fn start(plan: &RunPlan, folder: &Path) -> Result<Self, Error> {
        let wanted = match plan.transport {
            "tcp" => Address::Tcp("127.0.0.1:0".to_owned()),
            _ => Address::Unix(folder.join("destination.sock")),
        };
        let device = &plan.transfer.device;
        let (end, address) =
            if plan.in_process { spawn_thread(&wanted, plan)? } else { spawn_process(&wanted, plan)? };
        Ok(Self { address, end, patience: device.timeout.0 })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Waits for its end after a migration that went through.
    ///
    /// # Errors
    /// [`Error`] if it did not end well.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.end {
            End::Thread(thread) => thread.join().unwrap_or(Err(Error::Panicked)),
            End::Process { mut child, cleanup } => {
                let ended = wait(&child, self.patience)?;
                // Dead, but not reaped: its number is still its own.
                drop(cleanup);
                let said = listen(&mut child);
                child.wait().map_err(Error::Wait)?;
                // 4 says that memory differs, which this end knows by itself.
                if ended == 0 || ended == 4 { Ok(()) } else { Err(PeerError::Failed { said }.into()) }
            }
        }
    }

    /// Ends it after a migration that failed, and adds what it said to the reason.
    pub(crate) fn abandon(self, error: Error) -> Error {
        match self.end {
            // It fails by itself, of the connections that are gone, or ends with the process.
            End::Thread(_) => error,
            End::Process { mut child, cleanup } => {
                // One that has failed is about to end; one that hangs is not waited for.
                let ended = wait(&child, Duration::from_secs(1)).ok();
                drop(cleanup);
                let said = listen(&mut child);
                drop(child.wait());
                match ended {
                    Some(code) if code != 0 && !said.is_empty() => {
                        Error::WithPeer { error: Box::new(error), said, code }
                    }
                    _ => error,
                }
            }
        }
    }
}

fn spawn_thread(wanted: &Address, plan: &RunPlan) -> Result<(End, Address), Error> {
    let timeout = plan.destination.timeout.0;
    let mut listener = Listener::bind(wanted, Security::Plain, timeout)?;
    let (address, device) = (listener.address().clone(), plan.destination.clone());
    let memory = MemoryPlan { max: ByteSize(u64::MAX), prealloc: plan.prealloc };
    let body = move || destination::receive(&mut listener, &device, memory, &|_| {}).map(drop);
    let thread = thread::Builder::new().name("destination".into()).spawn(body).map_err(Error::Thread)?;
    Ok((End::Thread(thread), address))
}

fn spawn_process(wanted: &Address, plan: &RunPlan) -> Result<(End, Address), Error> {
    let device = &plan.destination;
    let failed = |program: String| |source| PeerError::Start { program, source };
    let program = env::current_exe().map_err(failed("accelbench".to_owned()))?;
    let mut command = Command::new(&program);
    command
        .args(["recv", "--for-run", "--listen", &wanted.to_string()])
        .args(["--accelerator", &device.accelerators.to_string()])
        .args((!device.fallback).then_some("--no-fallback"))
        .args(["--workers", &device.workers.to_string()])
        .args(device.queue_depth.iter().flat_map(|depth| ["--queue-depth".to_owned(), depth.to_string()]))
        .args(["--timeout", &device.timeout.0.as_secs_f64().to_string()])
        .args((!plan.prealloc).then_some("--no-prealloc"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for this process, which ends the other in its turn.
        .process_group(0);
    let mut child = command.spawn().map_err(failed(program.display().to_string()))?;
    let cleanup = Cleanup::process(pid(&child));
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // A child that ends says nothing; nothing is no address either.
        let _ = BufReader::new(stdout).take(4096).read_line(&mut line);
    }
    match line.trim_end().parse() {
        Ok(address) => Ok((End::Process { child, cleanup }, address)),
        Err(_) => {
            let code = wait(&child, Duration::from_secs(1)).unwrap_or(1);
            drop(cleanup);
            let said = listen(&mut child);
            drop(child.wait());
            Err(Error::Destination { error: PeerError::Silent { said }, code })
        }
    }
}

/// Waits until the child has ended, without reaping it, and returns its exit code; a signal counts as 1.
fn wait(child: &Child, patience: Duration) -> Result<i32, PeerError> {
    let begun = Instant::now();
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    loop {
        match waitid(Id::Pid(pid(child)), flags) {
            Ok(WaitStatus::StillAlive) if begun.elapsed() < patience => {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::StillAlive) => return Err(PeerError::Hangs(patience.as_secs_f64())),
            Ok(_) | Err(_) => return Ok(1),
        }
    }
}

/// What a child that has ended said, without the program's name.
fn listen(child: &mut Child) -> String {
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What is no text is not worth printing.
        let _ = stderr.take(1 << 16).read_to_string(&mut said);
    }
    let said = said.trim();
    said.strip_prefix("accelbench: ").unwrap_or(said).to_owned()
}

fn pid(child: &Child) -> Pid {
    // Process numbers are positive and small; the system's own type for them is signed.
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}
