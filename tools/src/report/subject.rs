//! What a report is about: all rows of all files, each with a name that no other has.

use std::collections::BTreeSet;

use crate::results::{Quantity, Results, Row};

/// Everything that is reported.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) files: Vec<Results>,
    pub(super) entries: Vec<Entry>,
}

/// A row, and what it is called here.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its name within its group.
    pub(super) label: String,
    /// Its name among all.
    pub(super) full: String,
    pub(super) row: Row,
}

/// Rows that can be compared with each other: of the same memory over the same link.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) title: String,
    pub(super) entries: Vec<&'a Entry>,
}

impl Subject {
    pub(super) fn new(mut files: Vec<Results>) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for file in &mut files {
            let rows = std::mem::take(&mut file.rows);
            entries.extend(rows.into_iter().map(|row| Entry {
                label: row.name.clone(),
                // The file's name, until it is known whether it is needed.
                full: file.name.clone(),
                row,
            }));
        }
        name_apart(&mut entries);
        let groups: BTreeSet<String> = entries.iter().map(Entry::group).collect();
        for entry in &mut entries {
            entry.full = if groups.len() > 1 {
                format!("{} · {}", entry.label, entry.group())
            } else {
                entry.label.clone()
            };
        }
        Self { files, entries }
    }

    /// The rows that have this figure, by what they can be compared with; in the order of the files.
    pub(super) fn groups(&self, quantity: Quantity) -> Vec<Group<'_>> {
        self.groups_with(|row| row.value(quantity).is_some())
    }

    /// Likewise, of the rows of which something is known.
    pub(super) fn groups_with(&self, known: impl Fn(&Row) -> bool) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for entry in self.entries.iter().filter(|entry| known(&entry.row)) {
            let title = entry.group();
            match groups.iter_mut().find(|group| group.title == title) {
                Some(group) => group.entries.push(entry),
                None => groups.push(Group { title, entries: vec![entry] }),
            }
        }
        groups
    }
}

/// Gives names to rows of one group that have the same: first their files', then numbers.
fn name_apart(entries: &mut [Entry]) {
    let repeated = |entries: &[Entry]| -> Vec<bool> {
        let key = |entry: &Entry| (entry.label.clone(), entry.group());
        let keys: Vec<_> = entries.iter().map(key).collect();
        keys.iter().map(|one| keys.iter().filter(|other| *other == one).count() > 1).collect()
    };
    for (again, entry) in repeated(entries).into_iter().zip(entries.iter_mut()) {
        if again {
            entry.label = format!("{} ({})", entry.label, entry.full);
        }
    }
    let again = repeated(entries);
    for (number, entry) in entries.iter_mut().enumerate().filter(|&(index, _)| again[index]) {
        entry.label = format!("{} {}", entry.label, number + 1);
    }
}

impl Entry {
    /// The memory that was moved, and over what.
    pub(super) fn group(&self) -> String {
        self.row
            .link
            .map_or_else(|| self.row.set.clone(), |link| format!("{}, {}", self.row.set, link_words(link)))
    }
}

impl Group<'_> {
    /// The row with the most of a quantity, or the least.
    pub(super) fn best(&self, quantity: Quantity, most: bool) -> Option<(&Entry, f64)> {
        let values = self.entries.iter().filter_map(|&entry| Some((entry, entry.row.value(quantity)?)));
        let order = |one: &(&Entry, f64), other: &(&Entry, f64)| one.1.total_cmp(&other.1);
        if most { values.max_by(order) } else { values.min_by(order) }
    }

    /// The row without any compression that a row is held against: under the same settings.
    pub(super) fn plain(&self, of: &Entry) -> Option<&Entry> {
        let raw = crate::chart::Slot::of("raw");
        let fits = |entry: &&Entry| entry.row.slot == raw && entry.row.settings == of.row.settings;
        self.entries.iter().copied().find(fits)
    }
}

/// A link's speed, as links are sold.
pub(super) fn link_words(bytes_per_s: u64) -> String {
    let bits = bytes_per_s as f64 * 8.0;
    let (scale, unit) = match bits {
        bits if bits >= 1e9 => (1e9, "Gbit/s"),
        bits if bits >= 1e6 => (1e6, "Mbit/s"),
        _ => (1e3, "kbit/s"),
    };
    format!("{} {unit}", crate::chart::compact(bits / scale))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::results::tests::{parsed, run_file};

    pub(in super::super) fn subject(methods: &[&str]) -> Subject {
        Subject::new(vec![parsed(&run_file(methods)).unwrap()])
    }

    #[test]
    fn rows_of_the_same_name_in_two_files_are_told_apart_by_the_files() {
        let mut other = parsed(&run_file(&["raw", "zstd"])).unwrap();
        other.name = "after".to_owned();
        let subject = Subject::new(vec![parsed(&run_file(&["raw"])).unwrap(), other]);
        let labels: Vec<&str> = subject.entries.iter().map(|entry| &*entry.label).collect();
        assert_eq!(labels, ["raw (a)", "raw (after)", "zstd"]);
    }

    #[test]
    fn rows_over_another_link_are_of_another_group() {
        let mut fast = run_file(&["raw"]);
        fast["config"]["max_bandwidth"] = serde_json::json!(1_250_000_000);
        let subject = Subject::new(vec![parsed(&run_file(&["raw"])).unwrap(), parsed(&fast).unwrap()]);
        let groups = subject.groups(Quantity::PagesPerSecond);
        let titles: Vec<&str> = groups.iter().map(|group| &*group.title).collect();
        assert_eq!(titles, ["mixed, 256 MiB, 1 Gbit/s", "mixed, 256 MiB, 10 Gbit/s"]);
        assert_eq!(subject.entries[0].full, "raw · mixed, 256 MiB, 1 Gbit/s");
    }
}
