//! Rows of `compare`: of every workload the same devices.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Known, Provenance, Quantity, Results, Row, run};
use crate::chart::Slot;
use crate::figures::MethodPages;
use crate::host::Host;
use crate::trace::{Choices, LatencyBucket, Sample};

/// The file.
#[derive(Debug, Deserialize)]
pub(super) struct Compare {
    host: Host,
    #[serde(default)]
    config: Value,
    workloads: Vec<Compared>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// What came of one workload.
#[derive(Debug, Deserialize)]
struct Compared {
    name: String,
    rows: Vec<CompareRow>,
}

#[derive(Debug, Deserialize)]
struct CompareRow {
    name: String,
    figures: Figures,
    #[serde(default)]
    timeline: Vec<Sample>,
    #[serde(default)]
    latency: Vec<LatencyBucket>,
    #[serde(default)]
    choices: Option<Choices>,
}

/// Figures that are not known are absent or null.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Figures {
    pages_per_s: Option<Sourced>,
    relative: Option<Sourced>,
    max_dirty_pages_per_s: Option<Sourced>,
    extra_cpu_percent: Option<Sourced>,
    ratio: Option<Sourced>,
    migration_s: Option<Sourced>,
    downtime_ms: Option<Sourced>,
}

/// A figure, and how it was come by.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Sourced {
    value: Option<f64>,
    provenance: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Measured,
    Modelled,
}

pub(super) fn results(compare: Compare, name: &str) -> Results {
    let Compare { host, config, workloads, warnings } = compare;
    let link = run::link(&config);
    let rows = workloads.into_iter().flat_map(|Compared { name, rows }| {
        rows.into_iter().map(move |compared| row(compared, &name, link)).collect::<Vec<_>>()
    });
    let rows = rows.collect();
    Results { name: name.to_owned(), host, config, rows, warnings }
}

fn row(compared: CompareRow, workload: &str, link: Option<u64>) -> Row {
    let CompareRow { name, figures, timeline, latency, choices } = compared;
    let figures = figures.known();
    let throughput = figures.get(&Quantity::PagesPerSecond).or(figures.values().next());
    let modelled = throughput.is_some_and(|known| known.modelled);
    let id = format!("{workload}: {name}");
    Row {
        base_id: id.clone(),
        id,
        slot: Slot::of(&name),
        name,
        set: workload.to_owned(),
        link,
        settings: String::new(),
        provenance: if modelled { Provenance::Modelled } else { Provenance::Measured },
        figures,
        // It is of the migration of a guest that writes, which is never measured.
        course: Provenance::Modelled,
        pages_by_method: timeline
            .last()
            .map_or_else(MethodPages::default, |last| last.pages_by_method.clone()),
        timeline,
        latency,
        request_us: None,
        choices,
    }
}

impl Figures {
    fn known(&self) -> BTreeMap<Quantity, Known> {
        let all = [
            (Quantity::PagesPerSecond, self.pages_per_s),
            (Quantity::Relative, self.relative),
            (Quantity::MaxDirtyRate, self.max_dirty_pages_per_s),
            (Quantity::ExtraCpuPercent, self.extra_cpu_percent),
            (Quantity::Ratio, self.ratio),
            (Quantity::Seconds, self.migration_s),
            (Quantity::DowntimeMs, self.downtime_ms),
        ];
        let known = |Sourced { value, provenance }: Sourced| {
            Some(Known { value: value?, modelled: provenance == Source::Modelled })
        };
        let mut known: BTreeMap<Quantity, Known> = all
            .into_iter()
            .filter_map(|(quantity, figure)| Some((quantity, figure.and_then(known)?)))
            .collect();
        known.extend(cpu_per_page(&known).map(|cpu| (Quantity::CpuPerPage, cpu)));
        known
    }
}

/// The extra CPU time over the pages that were moved in it.
fn cpu_per_page(known: &BTreeMap<Quantity, Known>) -> Option<Known> {
    let (cpu, pages) = (known.get(&Quantity::ExtraCpuPercent)?, known.get(&Quantity::PagesPerSecond)?);
    let micros_a_second = cpu.value / 100.0 * 1e6;
    let value = Some(micros_a_second / pages.value).filter(|value| value.is_finite())?;
    Some(Known { value, modelled: cpu.modelled || pages.modelled })
}
