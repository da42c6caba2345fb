//! What a sweep measures: every combination of the settings, each of them a plan as of `run`.

use pageferry_engine::budget::CpuBudget;
use serde::Serialize;
use serde_json::{Value, json};

use super::args::SweepArgs;
use crate::args::{RunArgs, StreamArgs};
use crate::device::DeviceArgs;
use crate::plan::{Output, PlanError, RunPlan};
use crate::quantity::ByteRate;

/// What `accelbench sweep` does.
#[derive(Clone, Debug)]
pub(crate) struct SweepPlan {
    pub(crate) points: Vec<Point>,
    /// All settings, defaults included: lists of those that are swept.
    pub(crate) config: Value,
    pub(crate) output: Output,
}

/// One combination.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) settings: Settings,
    pub(crate) plan: RunPlan,
}

/// The settings that are swept, as they were at one point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) max_pages: u32,
    /// Queues of each device; nothing if there are all.
    pub(crate) queues: Option<usize>,
    pub(crate) connections: u16,
    /// In bytes a second; nothing without a limit.
    pub(crate) max_bandwidth: Option<ByteRate>,
    /// In cores; nothing without a limit.
    pub(crate) cpu_budget: Option<CpuBudget>,
}

/// What one point differs from another by, as it is typed.
#[derive(Clone, Copy, Debug)]
struct Choice {
    workers: Option<u32>,
    max_pages: u32,
    queues: Option<u32>,
    connections: u16,
    max_bandwidth: Option<ByteRate>,
    cpu_budget: Option<CpuBudget>,
}

impl SweepPlan {
    /// # Errors
    /// [`PlanError`] says which option to change.
    pub(crate) fn resolve(args: SweepArgs) -> Result<Self, PlanError> {
        let names = &args.accelerators.accelerator;
        if !args.queues.is_empty() && !names.have_queues_of_devices() {
            return Err(PlanError::NoQueues(names.clone()));
        }
        let output = Output::resolve(args.output.clone())?;
        let points = choices(&args)
            .into_iter()
            .map(|choice| Point::resolve(&args, choice))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { config: config(&args, &points), points, output })
    }
}

impl Point {
    fn resolve(args: &SweepArgs, choice: Choice) -> Result<Self, PlanError> {
        let Choice { workers, max_pages, queues, connections, max_bandwidth, cpu_budget } = choice;
        let SweepArgs { input, method, codec, accelerators, destination, ends, no_verify, output, .. } =
            args.clone();
        let stream = StreamArgs {
            codec,
            max_pages,
            connections,
            max_bandwidth,
            cpu_budget,
            trace_selector: None,
            no_verify,
        };
        let device = DeviceArgs { choice: accelerators, workers };
        let mut plan =
            RunPlan::resolve(RunArgs { input, method, stream, device, destination, ends, output })?;
        let queues = queues.map(|queues| queues as usize);
        plan.transfer.device.queues = queues;
        let workers = plan.transfer.device.workers;
        let settings = Settings { workers, max_pages, queues, connections, max_bandwidth, cpu_budget };
        Ok(Self { settings, plan })
    }
}

/// Every combination, the last setting changing fastest.
fn choices(args: &SweepArgs) -> Vec<Choice> {
    let mut choices = Vec::new();
    for workers in or_default(&args.workers) {
        for &max_pages in &args.max_pages {
            for queues in or_default(&args.queues) {
                for &connections in &args.connections {
                    let choice = |(max_bandwidth, cpu_budget)| Choice {
                        workers,
                        max_pages,
                        queues,
                        connections,
                        max_bandwidth,
                        cpu_budget,
                    };
                    choices.extend(limits(args).into_iter().map(choice));
                }
            }
        }
    }
    choices
}

/// What links and CPUs may be used, in every combination.
fn limits(args: &SweepArgs) -> Vec<(Option<ByteRate>, Option<CpuBudget>)> {
    let budgets = or_default(&args.cpu_budget);
    let links = or_default(&args.max_bandwidth).into_iter();
    links.flat_map(|link| budgets.iter().map(move |&budget| (link, budget))).collect()
}

/// All values of a list, or once none.
fn or_default<T: Copy>(values: &[T]) -> Vec<Option<T>> {
    if values.is_empty() { vec![None] } else { values.iter().copied().map(Some).collect() }
}

/// The plan of the first point, with the lists in place of what differs from point to point.
fn config(args: &SweepArgs, points: &[Point]) -> Value {
    let mut config = points.first().map_or(Value::Null, |point| json!(point.plan));
    let workers = points.first().map_or(0, |point| point.settings.workers);
    if let Some(fields) = config.as_object_mut() {
        let workers = if args.workers.is_empty() { json!([workers]) } else { json!(args.workers) };
        fields.insert("workers".to_owned(), workers);
        fields.insert("max_pages".to_owned(), json!(args.max_pages));
        fields.insert("queues".to_owned(), json!(args.queues));
        fields.insert("connections".to_owned(), json!(args.connections));
        fields.insert("max_bandwidth".to_owned(), json!(args.max_bandwidth));
        fields.insert("cpu_budget".to_owned(), json!(args.cpu_budget));
        if let Some(destination) = fields.get_mut("destination").and_then(Value::as_object_mut) {
            // The same as the source's, at every point.
            destination.remove("workers");
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(arguments: &[&str]) -> Result<SweepPlan, PlanError> {
        let command = Cli::parse_from([&["accelbench", "sweep", "--size", "1M"], arguments].concat()).command;
        let Command::Sweep(args) = command else { panic!("{command:?}") };
        SweepPlan::resolve(*args)
    }

    #[test]
    fn every_combination_is_a_point_whose_plan_has_its_settings() {
        let lists = ["--workers", "1,2", "--max-pages", "8,63,256", "--queues", "1,4"];
        let more = ["--connections", "1,3", "--max-bandwidth", "1Gbit,10Gbit", "--cpu-budget", "0.25,1"];
        let device = ["--accelerator", "iaa-model"];
        let plan = plan(&[&lists[..], &more, &device].concat()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for Point { settings, plan } in &plan.points {
            let transfer = &plan.transfer;
            let rate = settings.max_bandwidth.unwrap();
            let of_plan = (
                transfer.device.workers,
                transfer.max_pages,
                transfer.device.queues,
                transfer.connections,
                transfer.max_bandwidth.unwrap().0,
                transfer.cpu_budget.unwrap().to_string(),
            );
            let Settings { workers, max_pages, queues, connections, .. } = *settings;
            let budget = settings.cpu_budget.unwrap().to_string();
            assert_eq!(of_plan, (workers, max_pages, queues, connections, rate.0, budget));
            assert_eq!(plan.destination.workers, workers);
            seen.insert(of_plan);
        }
        assert_eq!((plan.points.len(), seen.len()), (96, 96));
        assert_eq!(
            (&plan.config["max_pages"], &plan.config["queues"]),
            (&json!([8, 63, 256]), &json!([1, 4]))
        );
    }

    #[test]
    fn without_lists_there_is_one_point_with_the_defaults_of_run() {
        let plan = plan(&[]).unwrap();
        let [Point { settings, .. }] = &plan.points[..] else { panic!("{:?}", plan.points.len()) };
        assert_eq!((settings.max_pages, settings.connections), (63, 1));
        assert_eq!((settings.queues, settings.max_bandwidth, settings.cpu_budget), (None, None, None));
    }
}
