//! The outcome as a Markdown table, with what the bars ask for below.

use std::fmt::Write;

use super::{Named, Race};

/// A row for every race, and what is to be said of all of them.
#[must_use]
pub fn table(races: &[(Named, Vec<Race>)]) -> String {
    let mut text = String::from(
        "| input | Gbit/s | CPUs | best fixed | pages/s | selector, pages/s | against it | regret | changes/s | probes |\n\
         |---|---:|---:|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (input, races) in races {
        for race in races {
            let (method, outcome) = race.best();
            let counts = race.counts;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {method} | {:.0} | {:.0} | {:+.1}% | {:.1}% | {:.0} | {:.1}% |",
                input.name,
                race.case.link,
                race.case.cpus,
                outcome.pages_per_s,
                race.selector.pages_per_s,
                100.0 * race.gain(),
                100.0 * race.regret(),
                race.changes_per_s(),
                100.0 * counts.probes as f64 / counts.decisions.max(1) as f64,
            );
        }
    }
    text.push('\n');
    summary(races, &mut text);
    text
}

fn summary(races: &[(Named, Vec<Race>)], text: &mut String) {
    let all = || races.iter().flat_map(|(input, races)| races.iter().map(move |race| (input, race)));
    let gain = |race: &Race| 100.0 * race.gain();
    if let Some((input, worst)) = all().min_by(|one, other| one.1.gain().total_cmp(&other.1.gain())) {
        let _ = writeln!(
            text,
            "Against the best fixed method of each case: {:+.1}% at worst ({}, {} Gbit/s, {} CPUs).",
            gain(worst),
            input.name,
            worst.case.link,
            worst.case.cpus
        );
    }
    let changing: Vec<&Race> = all().filter(|(input, _)| input.changes).map(|(_, race)| race).collect();
    if !changing.is_empty() {
        let least = changing.iter().map(|race| gain(race)).fold(f64::INFINITY, f64::min);
        let mut gains: Vec<f64> = changing.iter().map(|race| gain(race)).collect();
        gains.sort_by(f64::total_cmp);
        let _ = writeln!(
            text,
            "Over memory that changes in phases, against the best single fixed method: {:+.1}% in the median case, {least:+.1}% at \
             least.",
            gains[gains.len() / 2]
        );
    }
    let regrets: Vec<f64> = all().map(|(_, race)| 100.0 * race.regret()).collect();
    let most = regrets.iter().copied().fold(0.0, f64::max);
    let mean = regrets.iter().sum::<f64>() / regrets.len().max(1) as f64;
    let _ = writeln!(text, "Longer than what is possible: {mean:.1}% on average, {most:.1}% at most.");
}
