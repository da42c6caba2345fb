//! Looks for events of the library's devices, in a thread of its own: where a device restarts, the vendor's library sleeps for a
//! second in that call (qatlib `adf_common_user_bundles.c`), which nobody that submits or polls is to wait for.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pageferry_bindings::qat::library::Libqat;

/// Looks for events when somebody asks for it, until it is dropped.
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    library: Arc<Libqat>,
    /// Held while events are looked for: the library bears one thread at a time.
    looking: Mutex<()>,
    wanted: Mutex<Wanted>,
    asked: Condvar,
}

struct Wanted {
    look: bool,
    end: bool,
    /// When events were last looked for.
    last: Instant,
}

/// How long after a look for events the next one is not worth a register read for each device.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Watch {
    /// Begins, with a library whose service is up.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(super) fn start(library: &Arc<Libqat>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            library: Arc::clone(library),
            looking: Mutex::new(()),
            wanted: Mutex::new(Wanted { look: false, end: false, last: Instant::now() }),
            asked: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("qat events".to_owned()).spawn(move || theirs.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has events looked for, if nobody did a moment ago. Waits for nothing.
    pub(super) fn look(&self) {
        let Ok(mut wanted) = self.shared.wanted.try_lock() else { return };
        if !wanted.look && wanted.last.elapsed() >= LOOK_EVERY {
            wanted.look = true;
            self.shared.asked.notify_one();
        }
    }

    /// Does something while nobody is told of events.
    pub(super) fn between<T>(&self, what: impl FnOnce() -> T) -> T {
        let _looking = lock(&self.shared.looking);
        what()
    }

    /// Does something while nobody is told of events, unless somebody is just now.
    pub(super) fn try_between<T>(&self, what: impl FnOnce() -> T) -> Option<T> {
        let _looking = match self.shared.looking.try_lock() {
            Ok(looking) => looking,
            Err(TryLockError::Poisoned(looking)) => looking.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(what())
    }
}

impl Shared {
    fn run(&self) {
        let mut wanted = lock(&self.wanted);
        loop {
            let idle = |wanted: &mut Wanted| !wanted.look && !wanted.end;
            wanted = self.asked.wait_while(wanted, idle).unwrap_or_else(PoisonError::into_inner);
            if wanted.end {
                return;
            }
            drop(wanted);
            {
                let _looking = lock(&self.looking);
                // SAFETY: this is the only thread that makes this call. It tells those whose cells still live: a cell is taken
                // out of the library's hands, under this lock, before it goes.
                unsafe { (self.library.poll_device_events)() };
            }
            wanted = lock(&self.wanted);
            (wanted.look, wanted.last) = (false, Instant::now());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.shared.wanted).end = true;
        self.shared.asked.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
