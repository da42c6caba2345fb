//! The fault matrix: whatever breaks, and whenever, a migration ends within its time in one of two ways. Either the guest
//! is at the destination, whole, or it runs on at the source as if nothing had been.
//!
//! `PAGEFERRY_MATRIX` sets how many random cases are tried, `PAGEFERRY_MATRIX_SEED` the first of them.

mod again;
mod law;
mod moments;
mod places;
mod refusals;
mod scene;
mod sweep;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use law::Outcome;
use scene::Scene;

/// Most of the time something waits, so more are tried at a time than there are cores.
const AT_A_TIME: usize = 16;

/// How often each outcome was met.
type Tally = BTreeMap<Outcome, usize>;

/// Tries so many cases, and holds each to the laws.
fn try_all(count: usize, scene: impl Fn(usize) -> Scene + Sync) -> Tally {
    let (next, tally, broken) = (AtomicUsize::new(0), Mutex::new(Tally::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME.min(count) {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Relaxed)).filter(|&number| number < count) {
                    match scene(number).play().judge() {
                        Ok(outcome) => *tally.lock().unwrap().entry(outcome).or_default() += 1,
                        Err(laws) => broken.lock().unwrap().push(laws),
                    }
                }
            });
        }
    });
    let (tally, broken) = (tally.into_inner().unwrap(), broken.into_inner().unwrap());
    assert!(broken.is_empty(), "{} of {count} cases broke a law:\n{}", broken.len(), broken.join("\n"));
    tally
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
