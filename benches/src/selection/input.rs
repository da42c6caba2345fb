//! What is sent: guests alone, side by side, and one after the other.

use std::path::PathBuf;

use pageferry_accel::method::Method;
use pageferry_tools::page_costs::{
    Cost, MeasureError, PageCosts, RoundCosts, Writer, of_images, of_workload,
};

use super::METHODS;

/// An input, and what it is called.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name in the table.
    pub name: String,
    /// Whether it changes over time, so that no method fits all of it.
    pub changes: bool,
    /// What its pages cost.
    pub costs: PageCosts,
}

/// Rounds of each workload.
const ROUNDS: u32 = 6;

/// The inputs that there are, by the names that the table has.
pub const INPUTS: [&str; 9] = [
    "redis",
    "ones",
    "sequence",
    "random",
    "counters in noise",
    "kv",
    "mixed",
    "four guests in one",
    "five phases",
];

/// The input of that name, measured: images of a guest, of which four lie in a larger one; a built-in workload; several of them
/// side by side in one guest; or one whose memory changes over time. Workloads have so many bytes. None if it is the images',
/// and there are none.
///
/// # Errors
/// [`MeasureError`] if it cannot be measured.
pub fn input(name: &str, images: &[PathBuf], bytes: u64) -> Result<Option<Named>, MeasureError> {
    let workload = |name, bytes, change_bytes| {
        of_workload(Writer { name, bytes, dirty_percent: 50, change_bytes }, ROUNDS, &METHODS)
    };
    let quarter = |name, change| workload(name, bytes / 4, change);
    let costs = match name {
        "redis" if images.is_empty() => return Ok(None),
        "redis" => of_images(images.to_vec(), &METHODS)?.repeated(8),
        "counters in noise" => workload("random", bytes, 64)?,
        "kv" => workload("kv", bytes, 1024)?,
        "mixed" => workload("mixed", bytes, 256)?,
        "four guests in one" => {
            let parts = [("kv", 1024), ("random", 64), ("mixed", 256), ("random", 4096)];
            beside(
                &parts
                    .map(|(name, change)| quarter(name, change))
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()?,
            )
        }
        "five phases" => {
            let parts = [("random", 64), ("sequence", 4096), ("random", 4096), ("kv", 1024), ("ones", 4096)];
            after(
                &parts
                    .map(|(name, change)| workload(name, bytes, change))
                    .into_iter()
                    .collect::<Result<Vec<_>, _>>()?,
            )
        }
        other => workload(other, bytes, 4096)?,
    };
    let costs = if name == "redis" { costs } else { costs.repeated(4) };
    Ok(Some(Named { name: name.to_owned(), changes: name == "five phases", costs }))
}

/// One guest whose memory is that of several, one behind the other.
#[must_use]
pub fn beside(parts: &[PageCosts]) -> PageCosts {
    let rounds = parts.iter().map(|part| part.rounds().len()).min().unwrap_or(0);
    let rounds = (0..).take(rounds).map(|round: u32| {
        let (mut dirty, mut zero, mut first) = (Vec::new(), Vec::new(), 0);
        for part in parts {
            let pages = part.round(round).dirty();
            dirty.extend(pages.iter().map(|page| first + page));
            zero.extend(pages.iter().map(|&page| part.is_zero(round, page)));
            first += part.pages();
        }
        let mut whole = RoundCosts::new(first, dirty, zero);
        for method in METHODS {
            let of_part = |part: &PageCosts| part.round(round).of(method).to_vec();
            let costs: Vec<Cost> = parts.iter().flat_map(of_part).collect();
            if !costs.is_empty() {
                whole.set(method, costs);
            }
        }
        whole
    });
    like(&parts[0], rounds.collect())
}

/// One guest that is first one, then the next: when it changes, all of its memory does.
#[must_use]
pub fn after(phases: &[PageCosts]) -> PageCosts {
    let rounds = phases.iter().enumerate().flat_map(|(phase, costs)| {
        costs.rounds().iter().enumerate().map(move |(round, known)| {
            let mut known = known.clone();
            if phase > 0 && round == 0 {
                // Nothing is left of what the destination has.
                let raw = known.of(Method::Raw).to_vec();
                known.set(Method::Xbzrle, raw.clone());
                known.set(Method::Delta, raw);
            }
            known
        })
    });
    like(&phases[0], rounds.collect())
}

fn like(one: &PageCosts, rounds: Vec<RoundCosts>) -> PageCosts {
    PageCosts::new(one.page_bytes(), rounds, one.zero(), one.keep_ns())
}
