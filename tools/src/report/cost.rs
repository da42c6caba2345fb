//! What a migration costs: CPU time, and the time for which the guest stands still.

use crate::chart::{Bars, Point, Scale, Scatter, grouped};
use crate::results::Quantity;

use super::drawing::{self, Drawing};
use super::subject::{Group, Subject};
use super::throughput;

/// CPU against throughput, a chart for each group.
pub(super) fn cpu(subject: &Subject) -> Drawing {
    let groups = subject.groups(Quantity::PagesPerSecond);
    let figures = groups.iter().filter_map(|group| {
        // What an operator counts in, where it is known.
        let by = |quantity: Quantity| {
            group.entries.iter().filter(|entry| entry.row.value(quantity).is_some()).count()
        };
        let up =
            if by(Quantity::ExtraCpuPercent) > 0 { Quantity::ExtraCpuPercent } else { Quantity::CpuPerPage };
        if by(up) > 0 { Some((group, up)) } else { None }
    });
    let figures =
        figures.enumerate().map(|(number, (group, up))| scatter(number, group, up).draw()).collect();
    Drawing {
        title: "CPU against throughput",
        figures,
        missing: "no row has both its CPU time and its throughput: measure with accelbench run --export r.json",
    }
}

fn scatter(number: usize, group: &Group<'_>, up: Quantity) -> Scatter {
    let points = group.entries.iter().filter_map(|entry| {
        let (x, y) = (entry.row.figure(Quantity::PagesPerSecond)?, entry.row.figure(up)?);
        let (label, slot) = (entry.label.clone(), entry.row.slot);
        Some(Point { label, slot, x: x.value, y: y.value, modelled: x.modelled || y.modelled })
    });
    let unit = if up == Quantity::CpuPerPage { " µs a page" } else { "% of a core" };
    let least = group.best(up, false).map_or_else(String::new, |(entry, value)| {
        format!(" {} takes the least CPU, {}{unit}", entry.label, grouped(value))
    });
    let most = group.best(Quantity::PagesPerSecond, true).map_or_else(String::new, |(entry, value)| {
        format!("; {} moves the most, {} pages/s.", entry.label, grouped(value))
    });
    Scatter {
        id: format!("cpu-{}", number + 1),
        title: format!("CPU against throughput: {}", group.title),
        sentence: format!("Low and to the right is where one wants to be.{least}{most}"),
        across: "pages/s".to_owned(),
        up: if up == Quantity::CpuPerPage {
            "CPU of both ends, µs a page"
        } else {
            "extra CPU, % of a core"
        }
        .to_owned(),
        points: points.collect(),
        grid: drawing::grid(&group.entries, &[Quantity::PagesPerSecond, up]),
    }
}

/// For how long the guest stood still.
pub(super) fn downtime(subject: &Subject) -> Drawing {
    let groups = subject.groups(Quantity::DowntimeMs);
    let longest = groups.iter().filter_map(|group| group.best(Quantity::DowntimeMs, true));
    let longest = longest.max_by(|one, other| one.1.total_cmp(&other.1));
    let words =
        longest.map(|(entry, value)| format!(" The longest is {}'s: {} ms.", entry.full, grouped(value)));
    let bars = Bars {
        id: "downtime".to_owned(),
        title: "Downtime".to_owned(),
        sentence: format!(
            "For so long the guest stands still at the end; the shorter the better.{}",
            words.unwrap_or_default()
        ),
        axis: "milliseconds".to_owned(),
        scale: Scale::Linear,
        sections: throughput::sections(&groups, Quantity::DowntimeMs, &|_, _, value| {
            format!("{} ms", grouped(value))
        }),
        marker: None,
        grid: throughput::grid(&groups, &[Quantity::DowntimeMs, Quantity::Seconds]),
    };
    Drawing {
        title: "Downtime",
        figures: if groups.is_empty() { Vec::new() } else { vec![bars.draw()] },
        missing: "accelbench run moves the memory of a guest that does not run, so that nothing stands still: measure \
                  with accelbench compare, or move a guest with ferryvm",
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::subject;
    use super::*;

    #[test]
    fn each_row_is_a_dot_by_its_throughput_and_its_cpu_time() {
        let drawing = cpu(&subject(&["raw", "deflate"]));
        let [figure] = &drawing.figures[..] else { panic!("{drawing:?}") };
        assert_eq!(figure.inline().matches("<circle class=\"mark").count(), 2);
        assert!(figure.sentence.contains("10.0 µs a page"), "{}", figure.sentence);
    }

    #[test]
    fn where_no_guest_ran_there_is_no_downtime() {
        assert!(downtime(&subject(&["raw"])).figures.is_empty());
    }
}
