//! What goes on, on one line of the terminal; nothing where stderr is none.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::console;

/// A line that is drawn again and again until the value goes, and is gone then.
pub(crate) struct Progress {
    state: Arc<(Mutex<State>, Condvar)>,
    painter: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    /// Parts of the whole that are done, and how many there are.
    done: (usize, usize),
    part: String,
    step: String,
    begun: Instant,
    ended: bool,
}

const INTERVAL: Duration = Duration::from_millis(100);
const BAR_WIDTH: usize = 24;

impl Progress {
    /// A line for so many parts, such as the runs of all methods.
    pub(crate) fn new(parts: usize) -> Self {
        let state = State {
            done: (0, parts),
            part: String::new(),
            step: String::new(),
            begun: Instant::now(),
            ended: false,
        };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let painter = console::err().is_terminal().then(|| {
            let state = Arc::clone(&state);
            thread::spawn(move || paint(&state))
        });
        Self { state, painter }
    }

    /// Begins a part.
    pub(crate) fn part(&self, part: String) {
        self.state().part = part;
    }

    /// Ends the part that was begun last.
    pub(crate) fn part_done(&self) {
        self.state().done.0 += 1;
    }

    /// A round of this part begins, of so many if that is known.
    pub(crate) fn round(&self, round: u32, rounds: Option<u32>) {
        let number = u64::from(round) + 1;
        self.say(
            &rounds.map_or_else(|| format!("round {number}"), |rounds| format!("round {number} of {rounds}")),
        );
    }

    /// What is done in this part now.
    pub(crate) fn say(&self, step: &str) {
        step.clone_into(&mut self.state().step);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state.0)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.state().ended = true;
        self.state.1.notify_all();
        if let Some(painter) = self.painter.take() {
            // A painter that panicked leaves a line behind and nothing worse.
            let _ = painter.join();
        }
    }
}

impl State {
    fn line(&self) -> String {
        let (done, parts) = self.done;
        let filled = BAR_WIDTH * done / parts.max(1);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR_WIDTH - filled.min(BAR_WIDTH)));
        let seconds = self.begun.elapsed().as_secs();
        format!("{bar} {done}/{parts}  {:02}:{:02}  {}  {}", seconds / 60, seconds % 60, self.part, self.step)
    }
}

fn paint(state: &(Mutex<State>, Condvar)) {
    let mut now = lock(&state.0);
    while !now.ended {
        // A terminal that takes no more is no reason to stop measuring.
        let _ = write!(console::err(), "\r\x1b[2K{}", now.line());
        now = state.1.wait_timeout(now, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
    }
    let _ = write!(console::err(), "\r\x1b[2K");
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is_and_what_it_does() {
        let progress = Progress::new(4);
        progress.part("deflate, run 1 of 2".to_owned());
        progress.round(2, Some(6));
        progress.part_done();
        let line = progress.state().line();
        assert!(line.contains(" 1/4 ") && line.ends_with("deflate, run 1 of 2  round 3 of 6"), "{line}");
        assert_eq!(line.matches('█').count(), BAR_WIDTH / 4, "{line}");
        progress.round(2, None);
        assert!(progress.state().line().ends_with("round 3"));
    }
}
