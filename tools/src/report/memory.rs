//! What the selector chose for guest memory, over time.

use std::collections::BTreeMap;

use crate::chart::{Grid, Map, MapStep, Slot, grouped};
use crate::trace::{Choices, NOTHING_YET};

use super::drawing::Drawing;
use super::subject::{Entry, Subject};

/// A map for every row that had a selector.
pub(super) fn choices(subject: &Subject) -> Drawing {
    let chosen = subject.entries.iter().filter_map(|entry| Some((entry, entry.row.choices.as_ref()?)));
    let chosen = chosen.filter(|(_, choices)| !choices.steps.is_empty()).enumerate();
    let maps = chosen.map(|(number, (entry, choices))| map(number, entry, choices).draw());
    Drawing {
        title: "The selector's choices over guest memory",
        figures: maps.collect(),
        missing: "no row was sent by a selector that chooses by region of guest memory",
    }
}

fn map(number: usize, entry: &Entry, choices: &Choices) -> Map {
    let steps: Vec<MapStep> = choices
        .steps
        .iter()
        .map(|step| MapStep {
            at: step.seconds,
            slots: step.methods.chars().map(|letter| slot(choices, letter)).collect(),
        })
        .collect();
    let last = choices.steps.last().map_or(0.0, |step| step.seconds);
    let end = entry.row.timeline.last().map_or(0.0, |sample| sample.seconds);
    // A last step without an end is as long as the others.
    let until = if end > last { end } else { last + (last / (steps.len().max(2) - 1) as f64).max(0.001) };
    let bytes = choices.region_bytes as f64 * choices.regions as f64;
    let (unit, name) = if bytes >= 4.0 * GIB { (GIB, "GiB") } else { (MIB, "MiB") };
    Map {
        id: format!("choices-{}", number + 1),
        title: format!("The selector's choices over guest memory: {}", entry.full),
        sentence: sentence(choices, &steps),
        across: "seconds since the migration began".to_owned(),
        down: format!("guest memory, {name}"),
        end: bytes / unit,
        steps,
        until,
        grid: grid(choices),
    }
}

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// What a letter stands for, if anything was chosen.
fn slot(choices: &Choices, letter: char) -> Option<Slot> {
    let name = choices.legend.get(&letter).map_or("", String::as_str);
    (name != NOTHING_YET).then(|| Slot::of(name))
}

/// What most of memory ended with, and how often the selector changed its mind: a first choice is no change.
fn sentence(choices: &Choices, steps: &[MapStep]) -> String {
    let shares = steps.last().map(|step| shares(&step.slots)).unwrap_or_default();
    let most = shares.iter().max_by(|one, other| one.1.total_cmp(other.1));
    let most = most.map_or_else(String::new, |(slot, share)| {
        format!(" At the end {:.0}% of it goes by {}.", share * 100.0, slot.name())
    });
    let changed = |two: &[MapStep]| {
        two[0].slots.iter().zip(&two[1].slots).filter(|(one, other)| one.is_some() && one != other).count()
    };
    let changes: usize = steps.windows(2).map(changed).sum();
    format!(
        "Each line is a stretch of guest memory, its colour what the selector chose for it; what is blank it had not sent yet.{most} A region of {} changed {} \
         times on average.",
        crate::quantity::ByteSize(choices.region_bytes),
        grouped(changes as f64 / choices.regions.max(1) as f64)
    )
}

/// Which share of all regions each has.
fn shares(slots: &[Option<Slot>]) -> BTreeMap<Slot, f64> {
    let mut shares = BTreeMap::new();
    for slot in slots.iter().copied().flatten() {
        *shares.entry(slot).or_insert(0.0) += 1.0 / slots.len() as f64;
    }
    shares
}

/// The share of memory by method after each round.
fn grid(choices: &Choices) -> Grid {
    let mut rounds: BTreeMap<u32, Vec<Option<Slot>>> = BTreeMap::new();
    for step in &choices.steps {
        rounds.insert(step.round, step.methods.chars().map(|letter| slot(choices, letter)).collect());
    }
    let used: Vec<Slot> = Slot::ALL
        .into_iter()
        .filter(|&slot| rounds.values().any(|slots| slots.contains(&Some(slot))))
        .collect();
    let head = std::iter::once("at the end of round".to_owned());
    let row = |(round, slots): (&u32, &Vec<Option<Slot>>)| {
        let shares = shares(slots);
        let share = |slot: &Slot| format!("{:.0}%", shares.get(slot).copied().unwrap_or(0.0) * 100.0);
        std::iter::once((round + 1).to_string()).chain(used.iter().map(share)).collect()
    };
    Grid {
        head: head.chain(used.iter().map(|slot| slot.name().to_owned())).collect(),
        rows: rounds.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::subject::tests::subject;
    use super::*;

    #[test]
    fn a_selector_s_choices_are_a_map_with_its_colours() {
        let mut subject = subject(&["raw"]);
        assert!(choices(&subject).figures.is_empty());
        let made_up = json!({
            "region_bytes": 2 << 20, "regions": 4, "legend": { "r": "raw", "z": "zstd", "d": "delta" },
            "steps": [
                { "seconds": 0.0, "round": 0, "methods": "rrzz" },
                { "seconds": 0.5, "round": 1, "methods": "ddzz" },
            ]
        });
        subject.entries[0].row.choices = Some(serde_json::from_value(made_up).unwrap());
        let figure = choices(&subject).figures.remove(0);
        for words in ["f-raw", "f-zstd", "f-delta", "guest memory, MiB"] {
            assert!(figure.inline().contains(words), "{words} is not in {}", figure.inline());
        }
        assert!(figure.sentence.contains("A region of 2 MiB changed 0.50 times"), "{}", figure.sentence);
        subject.entries[0].row.choices.as_mut().unwrap().legend.insert('z', NOTHING_YET.to_owned());
        assert!(!choices(&subject).figures[0].inline().contains("f-mix"), "what is not there has no colour");
        assert_eq!(figure.grid.rows, [["1", "50%", "50%", "0%"], ["2", "0%", "50%", "50%"]]);
    }
}
