//! How far accelbench is, on one line of the terminal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::live_line::LiveLine;

/// A line that is gone when this value goes.
pub(crate) struct Progress {
    state: Arc<Mutex<State>>,
    _line: LiveLine,
}

#[derive(Debug)]
struct State {
    /// Parts of the whole that are done, and how many there are.
    done: (usize, usize),
    part: String,
    step: String,
    begun: Instant,
}

const BAR_WIDTH: usize = 24;

impl Progress {
    /// A line for so many parts, such as the runs of all methods.
    pub(crate) fn new(parts: usize) -> Self {
        let state =
            State { done: (0, parts), part: String::new(), step: String::new(), begun: Instant::now() };
        let state = Arc::new(Mutex::new(state));
        let drawn = Arc::clone(&state);
        Self { state, _line: LiveLine::new(move || lock(&drawn).line()) }
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
        lock(&self.state)
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
