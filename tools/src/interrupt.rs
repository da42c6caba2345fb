//! What must not be left behind, also when the user presses Ctrl-C.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::{fs, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::console;

/// Something that goes when this value does, or when the process is interrupted before.
pub struct Cleanup {
    number: u64,
}

/// What is to be removed.
enum Leftover {
    File(PathBuf),
    Directory(PathBuf),
    Process(Pid),
}

/// What there is to remove, newest last.
static LEFTOVERS: Mutex<(u64, BTreeMap<u64, Leftover>)> = Mutex::new((0, BTreeMap::new()));

/// Set by the signal's handler itself, before any call that the signal breaks off returns.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

impl Cleanup {
    /// A file that is removed.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Self::of(Leftover::File(path))
    }

    pub(crate) fn directory(path: PathBuf) -> Self {
        Self::of(Leftover::Directory(path))
    }

    /// A child that is killed. Whoever reaps it drops this first: its number may be another's afterwards.
    pub(crate) fn process(pid: Pid) -> Self {
        Self::of(Leftover::Process(pid))
    }

    fn of(leftover: Leftover) -> Self {
        let mut leftovers = leftovers();
        leftovers.0 += 1;
        let number = leftovers.0;
        leftovers.1.insert(number, leftover);
        Self { number }
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let leftover = leftovers().1.remove(&self.number);
        leftover.into_iter().for_each(|leftover| leftover.remove());
    }
}

impl Leftover {
    /// What is not there any more needs no removing; what resists is not ours to fight.
    fn remove(&self) {
        match self {
            Self::File(path) => drop(fs::remove_file(path)),
            Self::Directory(path) => drop(fs::remove_dir_all(path)),
            Self::Process(pid) => drop(kill(*pid, Signal::SIGKILL)),
        }
    }
}

/// Does something instead of ending the process, and says whether there was something to do.
type Instead = Box<dyn FnOnce() -> bool + Send>;

/// What the next interrupt does.
static INSTEAD: Mutex<Option<Instead>> = Mutex::new(None);

/// Has the next interrupt do this first. Where `act` says that it has done something, the process goes on, and only the
/// interrupt after that ends it.
///
/// Interrupts are noticed from [`watch`] on.
pub fn instead(act: impl FnOnce() -> bool + Send + 'static) {
    *INSTEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
}

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Ends the process at SIGINT, SIGTERM and SIGHUP, with nothing left behind; the exit code is 128 and the signal's
/// number, 130 for Ctrl-C.
///
/// # Errors
/// What the system says.
pub fn watch() -> io::Result<()> {
    for signal in SIGNALS {
        flag::register(signal, Arc::clone(&INTERRUPTED))?;
    }
    let mut signals = Signals::new(SIGNALS)?;
    let wait = move || {
        for signal in signals.forever() {
            let instead = INSTEAD.lock().unwrap_or_else(PoisonError::into_inner).take();
            if instead.is_some_and(|act| act()) {
                continue;
            }
            leftovers().1.values().rev().for_each(Leftover::remove);
            console::say("interrupted");
            process::exit(128 + signal);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

/// Holds a thread that failed because of the interrupt, so that it does not report the consequence as the cause.
pub(crate) fn hold_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        thread::park();
    }
}

fn leftovers() -> MutexGuard<'static, (u64, BTreeMap<u64, Leftover>)> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}
