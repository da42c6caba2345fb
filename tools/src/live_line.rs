//! One line of the terminal that is drawn again and again; nothing where stderr is none.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::console;

/// A line that is drawn until this value goes, and is gone then.
pub struct LiveLine {
    ended: Arc<(Mutex<bool>, Condvar)>,
    painter: Option<JoinHandle<()>>,
}

const INTERVAL: Duration = Duration::from_millis(100);

impl LiveLine {
    /// The line that `line` says each time.
    pub fn new(line: impl Fn() -> String + Send + 'static) -> Self {
        let ended = Arc::new((Mutex::new(false), Condvar::new()));
        let painter = console::err().is_terminal().then(|| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || paint(&ended, &line))
        });
        Self { ended, painter }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        *lock(&self.ended.0) = true;
        self.ended.1.notify_all();
        if let Some(painter) = self.painter.take() {
            // A painter that panicked leaves a line behind and nothing worse.
            let _ = painter.join();
        }
    }
}

fn paint(ended: &(Mutex<bool>, Condvar), line: &dyn Fn() -> String) {
    let mut now = lock(&ended.0);
    while !*now {
        // A terminal that takes no more is no reason to stop working.
        let _ = write!(console::err(), "\r\x1b[2K{}", line());
        now = ended.1.wait_timeout(now, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
    }
    let _ = write!(console::err(), "\r\x1b[2K");
}

fn lock(ended: &Mutex<bool>) -> MutexGuard<'_, bool> {
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}
