//! What each accelerator did of a migration.

use pageferry_accel::queue::Provenance;

/// What one accelerator did at one end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Its name.
    pub accelerator: String,
    /// How figures that come from it must be labelled.
    pub provenance: Provenance,
    /// Requests that it completed well.
    pub requests: u64,
    /// Pages in them, zero pages included.
    pub pages: u64,
}

impl Work {
    /// Adds what the same accelerators did in another attempt.
    pub(crate) fn absorb(all: &mut Vec<Self>, more: &[Self]) {
        for work in more {
            match all.iter_mut().find(|known| known.accelerator == work.accelerator) {
                Some(known) => {
                    known.requests += work.requests;
                    known.pages += work.pages;
                }
                None => all.push(work.clone()),
            }
        }
    }
}
