//! What was published of the comparison that this one follows, beside what the simulation says.

use serde::Serialize;

use super::figures::Prediction;
use crate::export::grid::{Cell, Grid};

/// What stands above the table.
pub(crate) const TITLE: &str = "Published by Intel of QAT in QEMU (KVM Forum 2020, \"Live Migration With Hardware Acceleration\"; see tools/COMPARE.md):";

/// The profile of the card that the study had: PCIe gen 3.
pub(crate) const CARD: &str = "qat-8970";

/// The CPUs of the published comparison.
pub(crate) const PUBLISHED_CPUS: usize = 16;

/// One published outcome, and the simulation's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Claim {
    pub(crate) claim: &'static str,
    pub(crate) published: &'static str,
    /// What the simulation says, in the same unit.
    pub(crate) modelled: f64,
    pub(crate) agrees: bool,
    /// Why it does not, if it does not.
    pub(crate) why: Option<String>,
}

/// What the simulation says of one workload by the ways that the study compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Studied<'a> {
    pub(crate) workload: &'a str,
    pub(crate) raw: Prediction,
    /// One PCIe gen 3 card.
    pub(crate) qat: Prediction,
    /// 16 CPUs.
    pub(crate) zlib: Prediction,
}

/// What the simulation says of each published outcome whose workload was compared.
pub(crate) fn claims(studied: &[Studied<'_>]) -> Vec<Claim> {
    let of = |workload: &str| studied.iter().find(|one| one.workload == workload);
    let claims = [
        of("ones").and_then(qat_on_ones),
        of("kv").and_then(qat_on_kv),
        of("sequence").and_then(zlib_on_sequence),
        of("ones").and_then(|one| qat_cpu(one, "source CPU of QAT, ones, % of a core", "under 40", 40.0)),
        of("kv").and_then(|one| qat_cpu(one, "source CPU of QAT, kv, % of a core", "under 70", 70.0)),
    ];
    claims.into_iter().flatten().collect()
}

/// The table of all claims.
pub(crate) fn grid(claims: &[Claim]) -> Grid {
    let heads = ["outcome", "published", "modelled", "agrees"];
    let mut grid = Grid::new(heads.map(|head| [String::new(), head.to_owned()]).to_vec());
    for Claim { claim, published, modelled, agrees, .. } in claims {
        let modelled = Cell::figure(Some(*modelled), 2).marked("~");
        let agrees = if *agrees { "yes" } else { "no" };
        grid.row(vec![Cell::text(claim), Cell::text(published), modelled, Cell::text(agrees)]);
    }
    grid
}

/// "About 5": anything from 4 to 6.
fn qat_on_ones(one: &Studied<'_>) -> Option<Claim> {
    let (qat, raw) = (one.qat.pages_per_s?, one.raw.pages_per_s?);
    let factor = qat / raw;
    let why = card_is_the_limit("ones", qat, raw);
    Some(Claim::new("QAT over no compression, ones", "about 5", factor, (4.0..=6.0).contains(&factor), why))
}

fn qat_on_kv(one: &Studied<'_>) -> Option<Claim> {
    let (qat, raw, ratio) = (one.qat.pages_per_s?, one.raw.pages_per_s?, one.qat.ratio?);
    let factor = qat / raw;
    let why = if factor < ratio * LINK_IS_FULL {
        card_is_the_limit("kv", qat, raw)
    } else {
        format!(
            "kv: no compression fills the link here, at {raw:.0} pages/s, and what shrinks by {ratio:.2} gains no more than that \
             on a full link; more than 2 needs a no compression that leaves the link idle."
        )
    };
    Some(Claim::new("QAT over no compression, kv", "more than 2", factor, factor > 2.0, why))
}

/// What gains this share of its ratio over no compression fills the link as no compression does.
const LINK_IS_FULL: f64 = 0.95;

fn card_is_the_limit(workload: &str, qat: f64, raw: f64) -> String {
    format!(
        "{workload}: one card gets through {qat:.0} pages/s however well they shrink, and no compression through {raw:.0} over this \
         link; the factor is as much the link's as the card's."
    )
}

fn zlib_on_sequence(one: &Studied<'_>) -> Option<Claim> {
    let (zlib, raw) = (one.zlib.pages_per_s?, one.raw.pages_per_s?);
    let why = format!(
        "sequence: {PUBLISHED_CPUS} CPUs of this machine's deflate get through {zlib:.0} pages/s; QEMU's zlib takes 35 to 59 µs a \
         page (README, Measured), which {PUBLISHED_CPUS} CPUs make 270,000 to 450,000 pages/s of at best."
    );
    let claim = "16 CPUs of zlib over no compression, sequence";
    Some(Claim::new(claim, "below 1", zlib / raw, zlib < raw, why))
}

/// All of the source's CPU time, which is more than what QAT adds to it: the stricter of what the study may have meant.
fn qat_cpu(one: &Studied<'_>, claim: &'static str, published: &'static str, limit: f64) -> Option<Claim> {
    let used = one.qat.cpu_percent?;
    let why = format!(
        "{}: CPU time goes with pages, and {:.0} pages/s are {:.1} times what the link carries uncompressed.",
        one.workload,
        one.qat.pages_per_s?,
        one.qat.pages_per_s? / one.raw.pages_per_s?
    );
    Some(Claim::new(claim, published, used, used < limit, why))
}

impl Claim {
    fn new(claim: &'static str, published: &'static str, modelled: f64, agrees: bool, why: String) -> Self {
        Self { claim, published, modelled, agrees, why: (!agrees).then_some(why) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(pages_per_s: f64, cpu_percent: f64, ratio: f64) -> Prediction {
        Prediction {
            pages_per_s: Some(pages_per_s),
            cpu_percent: Some(cpu_percent),
            ratio: Some(ratio),
            ..Prediction::default()
        }
    }

    fn studied(workload: &str, qat: f64, zlib: f64) -> Studied<'_> {
        Studied {
            workload,
            raw: prediction(100.0, 20.0, 1.0),
            qat: prediction(qat, 30.0, 1.6),
            zlib: prediction(zlib, 1600.0, 1.6),
        }
    }

    #[test]
    fn a_model_that_says_the_same_agrees_and_gives_no_reason() {
        let claims = claims(&[
            studied("ones", 500.0, 50.0),
            studied("sequence", 500.0, 99.0),
            studied("kv", 210.0, 50.0),
        ]);
        assert_eq!(claims.len(), 5);
        for claim in &claims {
            assert!(claim.agrees && claim.why.is_none(), "{claim:?}");
        }
    }

    #[test]
    fn a_model_that_says_something_else_says_why() {
        let claims = claims(&[
            studied("ones", 2500.0, 50.0),
            studied("sequence", 500.0, 101.0),
            studied("kv", 160.0, 50.0),
        ]);
        let agree: Vec<bool> = claims.iter().map(|claim| claim.agrees).collect();
        assert_eq!(agree, [false, false, false, true, true], "{claims:?}");
        assert!(claims.iter().all(|claim| claim.agrees == claim.why.is_none()), "{claims:?}");
        let why = |claim: &Claim| claim.why.clone().unwrap();
        assert!(why(&claims[1]).contains("shrinks by 1.60"), "{claims:?}");
    }

    #[test]
    fn a_link_that_is_faster_than_the_card_is_no_reason() {
        let claims = claims(&[studied("kv", 70.0, 50.0)]);
        assert!(
            claims[0].why.as_deref().is_some_and(|why| why.contains("one card gets through 70")),
            "{claims:?}"
        );
    }

    #[test]
    fn of_workloads_that_were_not_compared_nothing_is_said() {
        assert!(claims(&[studied("mixed", 500.0, 50.0)]).is_empty());
    }
}
