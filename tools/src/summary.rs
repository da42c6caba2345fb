//! What was measured, in a line or two below the table.

use crate::figures::WorkCounts;
use crate::grouped::count;
use crate::host::Host;
use crate::input::Input;
use crate::outcome::Outcome;
use crate::plan::{RunPlan, SendPlan, Transfer};
use crate::quantity::ByteSize;

/// What `accelbench run` measured.
pub(crate) fn of_run(plan: &RunPlan, outcomes: &[Outcome], host: &Host) -> Vec<String> {
    let ends = if plan.in_process { "both ends in one process" } else { "two processes" };
    let socket = if plan.transport == "tcp" { "TCP on loopback" } else { "Unix sockets" };
    lines(&plan.transfer, outcomes, host, &format!("{ends} on this host over {socket}"))
}

/// What `accelbench send` measured.
pub(crate) fn of_send(plan: &SendPlan, outcomes: &[Outcome], host: &Host) -> Vec<String> {
    lines(&plan.transfer, outcomes, host, &format!("from this host to {}", plan.to))
}

/// What `accelbench recv` measured.
pub(crate) fn of_recv(outcomes: &[Outcome], workers: usize, host: &Host) -> Vec<String> {
    let mut lines = pages(outcomes).into_iter().collect::<Vec<_>>();
    lines.push(format!("Destination: {workers} workers; {}; {}.", verified(outcomes), machine(host)));
    lines
}

fn lines(transfer: &Transfer, outcomes: &[Outcome], host: &Host, way: &str) -> Vec<String> {
    let memory = ByteSize(transfer.input.bytes());
    let what = match &transfer.input {
        Input::Images { images, .. } if images.len() == 1 => format!("{}, {memory}", images[0].display()),
        Input::Images { images, .. } => {
            format!("{} and {} snapshots after it, {memory}", images[0].display(), images.len() - 1)
        }
        Input::Workload(workload) => {
            let name = format!("{:?}", workload.name).to_lowercase();
            format!("built-in {name} guest, {memory}, seed {}", workload.seed)
        }
    };
    let device = &transfer.device;
    let limit = transfer.max_bandwidth.map(|rate| format!(", at most {rate}")).unwrap_or_default();
    let budget =
        transfer.cpu_budget.map(|budget| format!(", at most {budget} at the source")).unwrap_or_default();
    let mut lines = vec![format!("Guest: {what}, pages of {}, {}.", transfer.page_size, rounds(outcomes))];
    lines.extend(pages(outcomes));
    lines.push(format!(
        "Path:  {} CPU workers at each end, {} pages a request, {} connection{}, {way}{limit}{budget}; {}.",
        device.workers,
        transfer.max_pages,
        transfer.connections,
        if transfer.connections == 1 { "" } else { "s" },
        verified(outcomes)
    ));
    lines.push(format!(
        "Work:  {} at the source; {} at the destination.",
        work(outcomes, |one| &one.accelerators),
        work(outcomes, |one| &one.destination_accelerators)
    ));
    lines.push(format!("Host:  {}.", machine(host)));
    lines
}

/// Which accelerators did how much in all, and what they are.
fn work(outcomes: &[Outcome], of: impl Fn(&Outcome) -> &Vec<WorkCounts>) -> String {
    let mut sums: Vec<WorkCounts> = Vec::new();
    for one in outcomes.iter().flat_map(of) {
        match sums.iter_mut().find(|sum| sum.accelerator == one.accelerator) {
            Some(sum) => sum.requests += one.requests,
            None => sums.push(one.clone()),
        }
    }
    sums.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn rounds(outcomes: &[Outcome]) -> String {
    let counts = || outcomes.iter().map(|one| one.rounds);
    match (counts().min(), counts().max()) {
        (Some(1), Some(1)) => "one round".to_owned(),
        (Some(least), Some(most)) if least == most => format!("{most} rounds"),
        (Some(least), Some(most)) => format!("{least} to {most} rounds"),
        _ => "no round".to_owned(),
    }
}

fn pages(outcomes: &[Outcome]) -> Option<String> {
    let first = outcomes.first()?;
    let same = outcomes.iter().all(|one| (one.pages, one.zero_pages) == (first.pages, first.zero_pages));
    let pages = if same {
        format!("{} sent and {} zero pages", count(first.pages), count(first.zero_pages))
    } else {
        "a number of pages that differs by method".to_owned()
    };
    Some(format!("Pages: {pages}; zero pages are in no figure."))
}

fn verified(outcomes: &[Outcome]) -> &'static str {
    if outcomes.iter().all(|one| one.verified == Some(true)) {
        "memory was the same at both ends"
    } else if outcomes.iter().any(|one| one.verified == Some(false)) {
        "memory was NOT the same at both ends"
    } else {
        "memory was not compared"
    }
}

/// This machine, in a line.
pub(crate) fn machine(host: &Host) -> String {
    let Host { cpu, cores, memory_bytes, kernel, deflate_library, .. } = host;
    // Tenths of a GiB are enough to know a machine by.
    let memory = ByteSize(memory_bytes >> 20 << 20);
    format!("{cpu}, {cores} CPUs, {memory}, Linux {kernel}, deflate by {deflate_library}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::migrated;

    #[test]
    fn what_is_no_hardware_is_called_what_it_is() {
        let mut outcome = Outcome::of(&[migrated("deflate", 1.0)], false).unwrap();
        let mut said = |provenance: &str| {
            outcome.accelerators[0].provenance = provenance.to_owned();
            outcome.accelerators[0].accelerator = "it".to_owned();
            work(std::slice::from_ref(&outcome), |one| &one.accelerators)
        };
        for (provenance, what) in [
            ("hardware", "(hardware)"),
            ("model", "(a model, no hardware)"),
            ("stand-in", "(stand-in, no hardware)"),
            ("software-backup", "(software backup: no QAT device)"),
        ] {
            assert_eq!(said(provenance), format!("15 requests by it {what}, 2 requests by cpu"));
        }
    }
}
