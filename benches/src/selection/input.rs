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

/// All inputs: the images, if there are any; the built-in workloads; some of them side by side in one guest; and guests whose
/// memory changes over time. Workloads have so many bytes.
///
/// # Errors
/// [`MeasureError`] if one cannot be measured.
pub fn inputs(images: Vec<PathBuf>, bytes: u64) -> Result<Vec<Named>, MeasureError> {
    let mut all = Vec::new();
    let mut add = |name: &str, changes, costs| all.push(Named { name: name.to_owned(), changes, costs });
    let has_images = !images.is_empty();
    if has_images {
        add("redis", false, of_images(images, &METHODS)?);
    }
    let workload = |name, bytes, dirty_percent, change_bytes| {
        of_workload(Writer { name, bytes, dirty_percent, change_bytes }, ROUNDS, &METHODS)
    };
    let (half, third) = (bytes / 2, bytes / 4);
    let ones = workload("ones", bytes, 50, 4096)?;
    let sequence = workload("sequence", bytes, 50, 4096)?;
    let random = workload("random", bytes, 50, 4096)?;
    let counters = workload("random", bytes, 50, 64)?;
    let kv = workload("kv", bytes, 50, 1024)?;
    let mixed = workload("mixed", bytes, 50, 256)?;
    let corner = |name, change| workload(name, third, 50, change);
    let beside_each_other = beside(&[
        &corner("kv", 1024)?,
        &corner("random", 64)?,
        &corner("mixed", 256)?,
        &corner("random", 4096)?,
    ]);
    let halves = beside(&[&workload("random", half, 50, 4096)?, &workload("sequence", half, 50, 64)?]);
    let phases = after(&[&counters, &sequence, &random, &kv, &ones]);
    add("ones", false, ones);
    add("sequence", false, sequence);
    add("random", false, random);
    add("counters in noise", false, counters);
    add("kv", false, kv);
    add("mixed", false, mixed);
    add("four guests in one", false, beside_each_other);
    add("two guests in one", false, halves);
    add("five phases", true, phases);
    Ok(all)
}

/// One guest whose memory is that of several, one behind the other.
#[must_use]
pub fn beside(parts: &[&PageCosts]) -> PageCosts {
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
            let of_part = |part: &&PageCosts| part.round(round).of(method).to_vec();
            let costs: Vec<Cost> = parts.iter().flat_map(of_part).collect();
            if !costs.is_empty() {
                whole.set(method, costs);
            }
        }
        whole
    });
    like(parts[0], rounds.collect())
}

/// One guest that is first one, then the next: when it changes, all of its memory does.
#[must_use]
pub fn after(phases: &[&PageCosts]) -> PageCosts {
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
    like(phases[0], rounds.collect())
}

fn like(one: &PageCosts, rounds: Vec<RoundCosts>) -> PageCosts {
    PageCosts::new(one.page_bytes(), rounds, one.zero(), one.keep_ns())
}
