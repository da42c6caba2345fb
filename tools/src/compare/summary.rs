//! What was measured and what was modelled, in a few lines below the tables.

use super::plan::ComparePlan;
use crate::host::Host;
use crate::quantity::Seconds;
use crate::summary::machine;

/// The lines.
pub(crate) fn lines(plan: &ComparePlan, host: &Host) -> Vec<String> {
    let measured: Vec<&str> =
        plan.rows.iter().filter(|row| row.measured.is_some()).map(|row| &*row.name).collect();
    let mut lines =
        vec!["~ is modelled by simulation; what has no ~ was measured on this machine.".to_owned()];
    if !measured.is_empty() {
        lines.push(format!(
            "Measured:  {}; both ends on this machine, which share its CPUs, over sockets held to the link's rate.",
            measured.join(", ")
        ));
    }
    lines.push(format!(
        "Modelled:  two hosts with {} CPUs each, a link of {}; a guest of {}, downtime at most {}; migration and downtime while \
         it writes {:.0} pages/s, one page after the other.",
        plan.cpus.used,
        gbit(plan.link.bytes_per_s.unwrap_or_default()),
        plan.memory,
        Seconds(plan.downtime),
        plan.dirty_pages_per_s
    ));
    if let Some(budget) = plan.cpu_budget {
        lines.push(format!("Budget:    the source uses {budget} at most, all threads together, on average."));
    }
    lines.push(
        "Extra CPU: CPU time of the source (user and system, all threads) over the time that the pages took, less the same of no \
         compression, in percent of one core."
            .to_owned(),
    );
    lines.extend(plan.rows.iter().map(|row| format!("{}: {}.", row.name, row.description)));
    lines.push(format!("Host:      {}.", machine(host)));
    lines
}

/// What a link carries of frames, as links are sold.
fn gbit(bytes_per_s: f64) -> String {
    format!("{:.2} Gbit/s of frames", bytes_per_s * 8.0 / 1e9)
}
