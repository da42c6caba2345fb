//! What makes a comparison doubtful, each with what to do about it.

use pageferry_accel::codec::deflate;

use crate::host;
use crate::outcome::Outcome;
use crate::warnings::DEBUG_BUILD;

/// What is over before this many seconds measures start-up more than anything else.
const SHORT_S: f64 = 0.1;

/// From this share of the CPUs on, what others do is worth a word.
const NOISY: f64 = 0.1;

/// What holds before anything was measured.
pub(crate) fn before() -> Vec<String> {
    let mut doubts = Vec::new();
    if cfg!(debug_assertions) {
        doubts.push(DEBUG_BUILD.to_owned());
    }
    if let Some(reason) = deflate::why_not_isal() {
        doubts.push(format!("deflate runs on {}: {reason}", deflate::library()));
    }
    doubts
}

/// What others did meanwhile, in CPUs.
pub(crate) fn of_neighbours(cpus: Option<f64>) -> Option<String> {
    let here = host::cores();
    let others = cpus.filter(|&others| others > here as f64 * NOISY)?;
    Some(format!(
        "other programs kept {others:.1} of {here} CPUs busy meanwhile, so that what was measured is too low, and what was \
         modelled from it too: end them and compare again"
    ))
}

/// What measured rows of a guest give rise to.
pub(crate) fn of_rows(guest: &str, outcomes: &[Outcome]) -> Option<String> {
    let short: Vec<&str> =
        outcomes.iter().filter(|one| one.seconds < SHORT_S).map(|one| &*one.method).collect();
    (!short.is_empty()).then(|| {
        format!(
            "{guest}: {} took less than {SHORT_S} s: use a larger --size, or do without --quick",
            short.join(", ")
        )
    })
}
