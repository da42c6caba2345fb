//! What makes figures doubtful, each with what to do about it.

use pageferry_accel::codec::deflate;
use pageferry_accel::method::Method;
use pageferry_accel::queue::Provenance;

use crate::figures::WorkCounts;
use crate::host;
use crate::methods::MethodMix;
use crate::outcome::Outcome;
use crate::plan::Transfer;

/// For figures of a build that is not made for speed.
pub(crate) const DEBUG_BUILD: &str = "accelbench was built without optimization: build it with --release";

/// What differs by more than this share is worth a word.
const NOISY: f64 = 0.1;

/// What is over before this many seconds measures start-up more than anything else.
const SHORT: f64 = 0.1;

/// What is to be said before anything is measured.
pub(crate) fn before(transfer: &Transfer, methods: &[MethodMix]) -> Vec<String> {
    let mut warnings = Vec::new();
    let (cores, workers) = (host::cores(), transfer.device.workers);
    if cfg!(debug_assertions) {
        warnings.push(DEBUG_BUILD.to_owned());
    }
    if workers > cores {
        warnings.push(format!(
            "{workers} workers at each end share {cores} CPUs and hold each other up: use --workers {cores} or fewer"
        ));
    }
    let deflates = methods.iter().any(|mix| mix.methods().contains(&Method::Deflate));
    if let Some(reason) = deflate::why_not_isal().filter(|_| deflates) {
        warnings.push(format!("deflate runs on {}: {reason}", deflate::library()));
    }
    warnings
}

/// What the results themselves give rise to.
pub(crate) fn after(transfer: &Transfer, outcomes: &[Outcome], neighbours: Option<f64>) -> Vec<String> {
    let mut warnings = Vec::new();
    let cores = host::cores();
    if let Some(others) = neighbours.filter(|&others| others > cores as f64 * NOISY) {
        warnings.push(format!(
            "other programs kept {others:.1} of {cores} CPUs busy meanwhile: end them, or take --runs 5 and look at \
             the spread"
        ));
    }
    let noisy: Vec<&str> =
        outcomes.iter().filter(|one| spread(one) > NOISY).map(|one| &*one.method).collect();
    if !noisy.is_empty() {
        warnings.push(format!(
            "runs of {} differ by more than {:.0}%: make the machine calm, or measure longer with --runtime or --size",
            noisy.join(", "),
            NOISY * 100.0
        ));
    }
    let short: Vec<&str> =
        outcomes.iter().filter(|one| one.seconds < SHORT).map(|one| &*one.method).collect();
    if !short.is_empty() {
        warnings.push(format!(
            "{} took less than {SHORT} s: measure longer with --runtime, --rounds or a larger guest",
            short.join(", ")
        ));
    }
    let backup = |one: &&WorkCounts| one.provenance == Provenance::SoftwareBackup.to_string();
    let mut work =
        outcomes.iter().flat_map(|one| one.accelerators.iter().chain(&one.destination_accelerators));
    if let Some(software) = work.find(backup) {
        warnings.push(format!(
            "{} had no device and worked in software, on the CPU: `accelbench list` shows what is missing, and without a \
             device --accelerator cpu does the same faster",
            software.accelerator
        ));
    }
    if let Some(crowded) = outcomes.iter().find(|one| missed(transfer, one) > NOISY) {
        warnings.push(format!(
            "{} found no baseline for {:.0}% of the pages that came again: a larger --baseline-cache than {} lets \
             more of them travel as deltas",
            crowded.method,
            missed(transfer, crowded) * 100.0,
            transfer.baseline_cache
        ));
    }
    warnings
}

/// Which share of the pages that came again had lost their baseline to others.
fn missed(transfer: &Transfer, outcome: &Outcome) -> f64 {
    let counts = outcome.baselines;
    if transfer.baseline_cache.0 >= transfer.input.bytes() {
        return 0.0;
    }
    // In the first round every page misses.
    let first = transfer.input.bytes() >> transfer.page_size.shift();
    let again = (counts.hits + counts.misses).saturating_sub(first);
    counts.misses.saturating_sub(first) as f64 / again.max(1) as f64
}

/// How far the runs lie apart, as a share of the median.
fn spread(outcome: &Outcome) -> f64 {
    let all = || outcome.runs.iter().map(|run| run.pages_per_s);
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
    if outcome.pages_per_s > 0.0 { (most - least) / outcome.pages_per_s } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::migrated;

    #[test]
    fn runs_far_apart_are_noisy_and_runs_close_together_are_not() {
        let of = |seconds: &[f64]| {
            let runs: Vec<_> = seconds.iter().map(|&seconds| migrated("raw", seconds)).collect();
            spread(&Outcome::of(&runs, false).unwrap())
        };
        assert!(of(&[1.0, 1.02, 0.98]) < NOISY);
        assert!(of(&[1.0, 1.5, 1.0]) > NOISY);
        assert_eq!(of(&[1.0]), 0.0);
    }
}
