//! What a comparison compares: guests, rows, and the hosts that these are thought between.

use std::ops::RangeInclusive;
use std::time::Duration;

use pageferry_engine::budget::CpuBudget;
use serde_json::{Value, json};

use super::args::CompareArgs;
use super::cpus::Cpus;
use super::guest::Guest;
use super::measured::Course;
use super::rows::{self, Row};
use crate::host;
use crate::plan::{Output, PlanError, RunPlan};
use crate::quantity::{ByteRate, ByteSize};
use crate::simulation::Link;

/// What `accelbench compare` does.
#[derive(Clone, Debug)]
pub(crate) struct ComparePlan {
    pub(crate) guests: Vec<GuestPlan>,
    pub(crate) rows: Vec<Row>,
    pub(crate) link: Link,
    pub(crate) cpus: Cpus,
    pub(crate) cpu_budget: Option<CpuBudget>,
    /// The memory of the guest whose migration is modelled.
    pub(crate) memory: ByteSize,
    /// How fast it writes where migration time and downtime are told.
    pub(crate) dirty_pages_per_s: f64,
    pub(crate) downtime: Duration,
    /// How close the largest dirty rate is looked for, as a factor.
    pub(crate) precision: f64,
    /// All settings, defaults included.
    pub(crate) config: Value,
    pub(crate) output: Output,
}

/// A guest, and what `run` would do with it, a plan a row that can be measured.
#[derive(Clone, Debug)]
pub(crate) struct GuestPlan {
    pub(crate) guest: Guest,
    /// By no compression; every other row's differs in its method and what encodes.
    pub(crate) run: RunPlan,
    /// In the order of the rows; none for a row that is only modelled.
    pub(crate) runs: Vec<Option<RunPlan>>,
}

const GBIT: u64 = 1_000_000_000 / 8;

/// How large a guest may be: a simulation takes every page in turn.
const MEMORY: RangeInclusive<ByteSize> = ByteSize(1 << 20)..=ByteSize(256 << 30);

/// What a page of 4 KiB is on the wire that is sent as it is: 8 bytes of tables in a frame of 63 pages come with it.
const RAW_PAGE_BYTES: f64 = 4104.0;

/// From the switch to the host and back is well below that in a data centre; it is no part of any figure but of the end of a round.
const PROPAGATION: Duration = Duration::from_micros(50);

impl ComparePlan {
    /// # Errors
    /// [`PlanError`] says which option to change.
    pub(crate) fn resolve(args: CompareArgs) -> Result<Self, PlanError> {
        let link = link(args.link)?;
        if !MEMORY.contains(&args.memory) {
            return Err(PlanError::Memory(args.memory));
        }
        let cpus = Cpus::resolve(args.cpus, host::cores());
        let rows = rows::rows(&args, cpus)?;
        let bytes_per_s = link.bytes_per_s.unwrap_or_default();
        let runs = if args.quick { 1 } else { 3 };
        let course = Course { bytes_per_s, runs, cpu_budget: args.cpu_budget };
        let guests = Guest::all(&args);
        let guests: Vec<GuestPlan> = guests
            .into_iter()
            .map(|guest| GuestPlan::resolve(guest, course, &rows))
            .collect::<Result<_, _>>()?;
        let dirty_pages_per_s = args.dirty_rate.map_or(bytes_per_s / RAW_PAGE_BYTES / 2.0, f64::from);
        Ok(Self {
            config: config(&args, (cpus, dirty_pages_per_s), &guests, &rows),
            guests,
            rows,
            link,
            cpus,
            cpu_budget: args.cpu_budget,
            memory: args.memory,
            dirty_pages_per_s,
            downtime: args.downtime.0,
            precision: if args.quick { 1.1 } else { 1.02 },
            output: Output::resolve(args.output)?,
        })
    }
}

impl ComparePlan {
    /// What must be said whatever comes of it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.cpus.warning().into_iter().collect()
    }
}

impl GuestPlan {
    fn resolve(guest: Guest, course: Course, rows: &[Row]) -> Result<Self, PlanError> {
        let run = course.plan(&guest, &["--method".to_owned(), "raw".to_owned()])?;
        let plan =
            |row: &Row| row.measured.as_ref().map(|arguments| course.plan(&guest, arguments)).transpose();
        let runs = rows.iter().map(plan).collect::<Result<_, _>>()?;
        Ok(Self { guest, run, runs })
    }
}

fn link(rate: ByteRate) -> Result<Link, PlanError> {
    if !(GBIT..=200 * GBIT).contains(&rate.0) {
        return Err(PlanError::Link(rate));
    }
    Ok(Link::network(rate.0 as f64 * 8.0 / 1e9, PROPAGATION))
}

fn config(
    args: &CompareArgs,
    (cpus, dirty_pages_per_s): (Cpus, f64),
    guests: &[GuestPlan],
    rows: &[Row],
) -> Value {
    json!({
        "max_bandwidth": args.link,
        "cpus": cpus.used,
        "devices": args.devices,
        "cpu_budget": args.cpu_budget,
        "memory": args.memory,
        "dirty_pages_per_s": dirty_pages_per_s,
        "downtime_s": args.downtime,
        "quick": args.quick,
        "modelled_only": args.modelled_only,
        "profiles": rows.iter().filter_map(Row::profile).collect::<Vec<_>>(),
        "workloads": guests.iter().map(|one| json!({ "name": one.guest.name, "run": one.run })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_16_cpus_or_what_there_is_and_it_is_said() {
        assert_eq!(Cpus::resolve(None, 64), Cpus { used: 16, here: 64, asked: false });
        assert_eq!(Cpus::resolve(None, 64).warning(), None);
        let few = Cpus::resolve(None, 2);
        assert!(few.used == 2 && few.are_here(), "{few:?}");
        assert!(few.warning().is_some_and(|words| words.contains("has 2 CPUs, not 16")), "{few:?}");
        assert_eq!(Cpus::resolve(Some(2), 2).warning(), None);
        let many = Cpus::resolve(Some(16), 2);
        assert!(many.used == 16 && !many.are_here(), "{many:?}");
        assert!(many.warning().is_some_and(|words| words.contains("modelled")), "{many:?}");
    }

    #[test]
    fn links_have_1_to_200_gbit() {
        for (rate, good) in [(GBIT - 1, false), (GBIT, true), (200 * GBIT, true), (200 * GBIT + 1, false)] {
            assert_eq!(link(ByteRate(rate)).is_ok(), good, "{rate}");
        }
    }
}
