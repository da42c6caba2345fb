//! A row of a result, whatever it is a result of.

use std::collections::BTreeMap;

use crate::chart::Slot;
use crate::figures::{MethodPages, RequestMicros};
use crate::trace::{Choices, LatencyBucket, Sample};

/// A row of a result: one method or device under one setting.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// What tells it from all other rows of its file, and pairs it with a row of another file.
    pub(crate) id: String,
    /// The same before rows of one name were numbered.
    pub(crate) base_id: String,
    /// Its name among the rows of its set and link.
    pub(crate) name: String,
    /// Which memory was moved: rows of one set can be compared.
    pub(crate) set: String,
    /// How fast the link was, in bytes a second, if it had a limit.
    pub(crate) link: Option<u64>,
    /// What of the settings differs between the rows of its file, as people say it.
    pub(crate) settings: String,
    pub(crate) slot: Slot,
    pub(crate) provenance: Provenance,
    pub(crate) figures: BTreeMap<Quantity, Known>,
    /// How the timeline and the latency were come by: in a comparison not as the throughput was.
    pub(crate) course: Provenance,
    pub(crate) timeline: Vec<Sample>,
    pub(crate) latency: Vec<LatencyBucket>,
    pub(crate) request_us: Option<RequestMicros>,
    pub(crate) pages_by_method: MethodPages,
    pub(crate) choices: Option<Choices>,
}

/// How a row was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// Measured on a device or on CPUs.
    Measured,
    /// Run, but by a model or a stand-in in place of hardware.
    StoodIn,
    /// Calculated.
    Modelled,
}

/// A figure that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) value: f64,
    /// Whether it was calculated, or is of a model in place of hardware.
    pub(crate) modelled: bool,
}

/// What figures are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quantity {
    /// Pages a second.
    PagesPerSecond,
    /// Pages a second over those of no compression.
    Relative,
    /// Pages a second that a guest may write and still be moved.
    MaxDirtyRate,
    /// CPU time of both ends a page, in microseconds; of a comparison, where there is extra CPU time, that of the source, less that
    /// of no compression.
    CpuPerPage,
    /// CPU time beyond that of a guest that is not moved, in percent of one core.
    ExtraCpuPercent,
    /// Source bytes over wire bytes.
    Ratio,
    /// Seconds.
    Seconds,
    /// Milliseconds for which the guest stood still.
    DowntimeMs,
}

impl Quantity {
    pub(crate) const ALL: [Self; 8] = [
        Self::PagesPerSecond,
        Self::Relative,
        Self::MaxDirtyRate,
        Self::CpuPerPage,
        Self::ExtraCpuPercent,
        Self::Ratio,
        Self::Seconds,
        Self::DowntimeMs,
    ];

    /// With its unit.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PagesPerSecond => "pages/s",
            Self::Relative => "of no compression",
            Self::MaxDirtyRate => "largest dirty rate, pages/s",
            Self::CpuPerPage => "CPU, µs a page",
            Self::ExtraCpuPercent => "extra CPU, % of a core",
            Self::Ratio => "ratio",
            Self::Seconds => "seconds",
            Self::DowntimeMs => "downtime, ms",
        }
    }
}

impl Row {
    /// A figure, if it is known.
    pub(crate) fn figure(&self, quantity: Quantity) -> Option<Known> {
        self.figures.get(&quantity).copied()
    }

    /// All that it is called.
    pub(super) fn words_mut(&mut self) -> [&mut String; 4] {
        [&mut self.id, &mut self.base_id, &mut self.name, &mut self.set]
    }

    /// Its value, if it is known.
    pub(crate) fn value(&self, quantity: Quantity) -> Option<f64> {
        self.figure(quantity).map(|known| known.value)
    }
}

impl Provenance {
    /// Of a label that the data path gives.
    pub(crate) fn of(label: &str) -> Self {
        match label {
            "modelled" => Self::Modelled,
            "model" | "stand-in" => Self::StoodIn,
            // What a vendor's library did on the CPU was measured on the CPU.
            _ => Self::Measured,
        }
    }

    pub(crate) fn is_modelled(self) -> bool {
        self != Self::Measured
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::StoodIn => "a model in place of hardware",
            Self::Modelled => "modelled",
        }
    }
}
