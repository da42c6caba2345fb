//! Takes samples of a sender while it runs.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pageferry_engine::sender::SendWatch;

use super::Sample;
use crate::measure::{Measured, Stopwatch};

/// How often a sample is taken, at first. It costs some microseconds.
const INTERVAL: Duration = Duration::from_millis(20);

/// More than this many samples no chart can show: then every other one goes, and the rest is taken half as often.
const MOST: usize = 256;

/// A stopwatch, and a thread that notes how far a sender is while it runs.
pub(crate) struct Recorder {
    stopwatch: Arc<Mutex<Stopwatch>>,
    sender: SendWatch,
    thread: Option<(Sender<()>, JoinHandle<Vec<Sample>>)>,
}

impl Recorder {
    /// One whose stopwatch stands still at zero.
    ///
    /// # Errors
    /// What the system says if it has no thread.
    pub(crate) fn new(sender: SendWatch) -> io::Result<Self> {
        let stopwatch = Arc::new(Mutex::new(Stopwatch::new()));
        let (end, ended) = mpsc::channel();
        let (watched, shared) = (sender.clone(), Arc::clone(&stopwatch));
        let record = move || {
            let mut samples = Samples::default();
            while ended.recv_timeout(samples.interval()) == Err(RecvTimeoutError::Timeout) {
                // Both under one lock, so that no sample is of a later time than it says.
                let stopwatch = lock(&shared);
                if stopwatch.is_running() {
                    samples.push(Sample::new(stopwatch.elapsed(), &watched.progress()));
                }
            }
            samples.taken
        };
        let thread = thread::Builder::new().name("recorder".to_owned()).spawn(record)?;
        Ok(Self { stopwatch, sender, thread: Some((end, thread)) })
    }

    /// Lets the stopwatch run.
    pub(crate) fn run(&self) {
        lock(&self.stopwatch).run();
    }

    /// Holds the stopwatch; no samples are taken meanwhile.
    pub(crate) fn hold(&self) {
        lock(&self.stopwatch).hold();
    }

    /// What the stopwatch saw until it was held last.
    pub(crate) fn measured(&self) -> Measured {
        lock(&self.stopwatch).measured()
    }

    /// All samples; the last one is of now.
    pub(crate) fn finish(mut self) -> Vec<Sample> {
        let mut samples = self.end();
        samples.push(Sample::new(lock(&self.stopwatch).elapsed(), &self.sender.progress()));
        samples
    }

    fn end(&mut self) -> Vec<Sample> {
        let Some((end, thread)) = self.thread.take() else { return Vec::new() };
        drop(end);
        thread.join().unwrap_or_default()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// Samples, fewer the longer it takes.
#[derive(Default)]
struct Samples {
    taken: Vec<Sample>,
    thinned: u32,
}

impl Samples {
    fn interval(&self) -> Duration {
        INTERVAL.saturating_mul(2_u32.saturating_pow(self.thinned))
    }

    fn push(&mut self, sample: Sample) {
        self.taken.push(sample);
        if self.taken.len() >= MOST {
            let mut number = 0;
            self.taken.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.thinned += 1;
        }
    }
}

fn lock(stopwatch: &Mutex<Stopwatch>) -> MutexGuard<'_, Stopwatch> {
    stopwatch.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use pageferry_engine::sender::{Progress, SendReport};

    use super::*;

    #[test]
    fn a_long_migration_has_no_more_samples_than_a_chart_shows() {
        let mut samples = Samples::default();
        for number in 0..10_000 {
            let progress = Progress::from(&SendReport { pages: number, ..SendReport::default() });
            samples.push(Sample::new(Duration::from_millis(number), &progress));
        }
        assert!(samples.taken.len() < MOST, "{}", samples.taken.len());
        assert!(samples.interval() > INTERVAL * 8, "{:?}", samples.interval());
        assert!(samples.taken.windows(2).all(|two| two[0].pages < two[1].pages));
    }
}
