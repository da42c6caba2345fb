//! The figures of a row, each of which says how it was come by.

use serde::Serialize;

use crate::outcome::Outcome;

/// How a figure was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// By real runs on this machine's CPU or devices.
    Measured,
    /// By the simulation.
    Modelled,
}

/// A figure, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) value: Option<f64>,
    pub(crate) provenance: Origin,
}

/// What a row says of one workload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// Pages that reach the destination in a second while all of memory is sent.
    pub(crate) pages_per_s: Figure,
    /// The same over that of no compression, come by in the same way.
    pub(crate) relative: Figure,
    /// The largest dirty rate at which the guest still moves within its downtime.
    pub(crate) max_dirty_pages_per_s: Figure,
    /// CPU time of the source a second of throughput, less that of no compression, in percent of one core.
    pub(crate) extra_cpu_percent: Figure,
    /// Bytes of pages over bytes on the wire.
    pub(crate) ratio: Figure,
    /// From the first page to the guest's running at the destination.
    pub(crate) migration_s: Figure,
    /// For how long it stands still.
    pub(crate) downtime_ms: Figure,
}

/// What real runs said of throughput. Only runs on a CPU or a device make one: what a model, a stand-in or a vendor's software
/// in a device's place did is no measurement of that device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measurement {
    pages_per_s: f64,
    cpu_percent: Option<f64>,
    ratio: Option<f64>,
}

/// What the simulation said of the same, and of a whole migration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) pages_per_s: Option<f64>,
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) max_dirty_pages_per_s: Option<f64>,
    pub(crate) migration_s: Option<f64>,
    pub(crate) downtime_ms: Option<f64>,
}

/// A row's material: what was measured, if anything was, and what the simulation says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Evidence {
    pub(crate) measured: Option<Measurement>,
    pub(crate) modelled: Prediction,
}

impl Measurement {
    /// Of a run on the CPU or on hardware; of any other none.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        if !matches!(&*outcome.provenance, "cpu" | "hardware") || outcome.verified == Some(false) {
            return None;
        }
        let busy = outcome.source_cpu_us_per_page.map(|micros| micros * outcome.pages as f64 / 1e6);
        let cpu_percent = busy.filter(|_| outcome.seconds > 0.0).map(|busy| busy / outcome.seconds * 100.0);
        Some(Self { pages_per_s: outcome.pages_per_s, cpu_percent, ratio: outcome.ratio })
    }
}

impl Figure {
    fn modelled(value: Option<f64>) -> Self {
        Self { value: value.filter(|value| value.is_finite()), provenance: Origin::Modelled }
    }

    /// A figure of a measurement; the argument is the proof that there was one.
    fn measured(_of: &Measurement, value: Option<f64>) -> Self {
        Self { value: value.filter(|value| value.is_finite()), provenance: Origin::Measured }
    }
}

impl Figures {
    /// What the evidence of a row says, held against that of no compression. Where this row was measured and no compression
    /// was not, or the other way round, what holds one against the other is modelled.
    pub(crate) fn of(row: &Evidence, raw: &Evidence) -> Self {
        let Evidence { measured, modelled } = row;
        let over = |value: Option<f64>, by: Option<f64>| Some(value? / by?);
        let less = |value: Option<f64>, by: Option<f64>| Some(value? - by?);
        let (relative, extra_cpu_percent) = match (measured, &raw.measured) {
            (Some(here), Some(raw)) => (
                Figure::measured(here, Some(here.pages_per_s / raw.pages_per_s)),
                Figure::measured(here, less(here.cpu_percent, raw.cpu_percent)),
            ),
            _ => (
                Figure::modelled(over(modelled.pages_per_s, raw.modelled.pages_per_s)),
                Figure::modelled(less(modelled.cpu_percent, raw.modelled.cpu_percent)),
            ),
        };
        let (pages_per_s, ratio) = match measured {
            Some(here) => {
                (Figure::measured(here, Some(here.pages_per_s)), Figure::measured(here, here.ratio))
            }
            None => (Figure::modelled(modelled.pages_per_s), Figure::modelled(modelled.ratio)),
        };
        Self {
            pages_per_s,
            relative,
            max_dirty_pages_per_s: Figure::modelled(modelled.max_dirty_pages_per_s),
            extra_cpu_percent,
            ratio,
            migration_s: Figure::modelled(modelled.migration_s),
            downtime_ms: Figure::modelled(modelled.downtime_ms),
        }
    }

    /// All, in the order of the table, with their names.
    pub(crate) fn all(&self) -> [(&'static str, Figure); 7] {
        [
            ("pages_per_s", self.pages_per_s),
            ("relative", self.relative),
            ("max_dirty_pages_per_s", self.max_dirty_pages_per_s),
            ("extra_cpu_percent", self.extra_cpu_percent),
            ("ratio", self.ratio),
            ("migration_s", self.migration_s),
            ("downtime_ms", self.downtime_ms),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::migrated;

    fn outcome(provenance: &str, seconds: f64) -> Outcome {
        let mut outcome = Outcome::of(&[migrated("deflate", seconds)], false).unwrap();
        outcome.provenance = provenance.to_owned();
        outcome
    }

    fn evidence(outcome: &Outcome) -> Evidence {
        let modelled = Prediction {
            pages_per_s: Some(7.0),
            cpu_percent: Some(70.0),
            ratio: Some(1.5),
            max_dirty_pages_per_s: Some(5.0),
            migration_s: Some(2.0),
            downtime_ms: Some(30.0),
        };
        Evidence { measured: Measurement::of(outcome), modelled }
    }

    #[test]
    fn nothing_that_a_model_or_a_stand_in_did_is_called_measured() {
        let raw = evidence(&outcome("cpu", 1.0));
        for provenance in ["model", "stand-in", "software-backup", "something new"] {
            let figures = Figures::of(&evidence(&outcome(provenance, 0.5)), &raw);
            for (name, figure) in figures.all() {
                assert_eq!(figure.provenance, Origin::Modelled, "{name} of {provenance}");
            }
        }
        let mut differs = outcome("cpu", 0.5);
        differs.verified = Some(false);
        assert!(Measurement::of(&differs).is_none(), "what arrived wrong is no throughput");
    }

    #[test]
    fn what_was_measured_is_held_against_what_was_measured() {
        let raw = evidence(&outcome("cpu", 1.0));
        for provenance in ["cpu", "hardware"] {
            let figures = Figures::of(&evidence(&outcome(provenance, 0.5)), &raw);
            let measured = |value| Figure { value: Some(value), provenance: Origin::Measured };
            assert_eq!((figures.pages_per_s, figures.relative), (measured(2000.0), measured(2.0)));
            // 8 ms of CPU in 0.5 s, less 8 ms in 1 s.
            let extra = figures.extra_cpu_percent;
            assert!(
                (extra.value.unwrap() - 0.8).abs() < 1e-9 && extra.provenance == Origin::Measured,
                "{extra:?}"
            );
            assert_eq!(figures.max_dirty_pages_per_s.provenance, Origin::Modelled);
        }
    }

    #[test]
    fn what_was_modelled_is_held_against_what_was_modelled() {
        let raw = Evidence {
            modelled: Prediction { pages_per_s: Some(2.0), cpu_percent: Some(50.0), ..Prediction::default() },
            ..evidence(&outcome("cpu", 1.0))
        };
        let row = Evidence { measured: None, ..evidence(&outcome("cpu", 1.0)) };
        let figures = Figures::of(&row, &raw);
        assert_eq!((figures.relative.value, figures.extra_cpu_percent.value), (Some(3.5), Some(20.0)));
    }
}
