//! The limits as text: a Markdown table for people, JSON for programs.

use std::fmt::Write;

use ferryvm::GuestKind;
use pageferry_accel::method::Method;
use serde::Serialize;

use super::row::Row;
use super::trial::Downtime;

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What ran the guest.
    pub guest: GuestKind,
    /// What the link carried each way.
    pub link_bytes_per_s: u64,
    /// How long the guest might stand still.
    pub downtime_limit_ms: f64,
    /// How near the largest rate that migrates is to one that does not, as a factor.
    pub precision: f64,
    /// The share of this machine's CPUs that others took meanwhile, if that is known.
    pub others_cpu_share: Option<f64>,
    /// A row a method and pattern.
    pub rows: Vec<Row>,
}

impl Report {
    /// As a Markdown table, and what is to be said of it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| pattern | method | largest dirty rate, pages/s | of raw's | different pages/s | bytes a page on the wire | link carries, pages/s | \
             limited by | downtime reported, ms | felt, ms |\n|---|---|---:|---:|---:|---:|---:|---|---:|---:|\n",
        );
        for row in &self.rows {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", self.line(row));
        }
        let _ = writeln!(text, "\n{}", self.agreement());
        if let Some(share) = self.others_cpu_share {
            let _ = writeln!(text, "Others took {:.0}% of this machine's CPUs meanwhile.", share * 100.0);
        }
        text
    }

    fn line(&self, row: &Row) -> String {
        let Row { pattern, method, pages_per_s, wire_bytes_per_page, link_pages_per_s, limit, .. } = row;
        let times = self
            .times_raw(row)
            .map_or_else(String::new, |times| format!("{}{times:.2}", row.limit.at_least()));
        let Downtime { reported_ms, felt_ms, .. } = row.downtime;
        let at_least = row.limit.at_least();
        format!(
            "| {pattern} | {method} | {at_least}{} | {times} | {} | {wire_bytes_per_page:.0} | {} | {limit} (link {:.0}%, CPU {:.0}%) | {reported_ms:.0} | \
             {felt_ms:.0} |",
            thousands(*pages_per_s),
            thousands(row.dirty_pages_per_s),
            thousands(*link_pages_per_s),
            row.link_share * 100.0,
            row.cpu_share * 100.0,
        )
    }

    /// How many times the rate of raw on the same pattern a row has, if raw was measured.
    #[must_use]
    pub fn times_raw(&self, row: &Row) -> Option<f64> {
        let raw = self.rows.iter().find(|raw| raw.method == Method::Raw && raw.pattern == row.pattern)?;
        Some(row.pages_per_s / raw.pages_per_s)
    }

    /// How far the downtime that the guest felt is from the one that was reported.
    fn agreement(&self) -> String {
        let trials = self.rows.iter().flat_map(|row| &row.trials);
        let downtimes: Vec<&Downtime> = trials.filter_map(|trial| trial.downtime.as_ref()).collect();
        let agree = downtimes.iter().filter(|downtime| downtime.agrees()).count();
        let worst = downtimes.iter().max_by(|one, other| one.deviation_ms().total_cmp(&other.deviation_ms()));
        let worst = worst.map_or_else(String::new, |worst| {
            let Downtime { reported_ms, felt_ms, .. } = worst;
            format!(
                "; furthest apart {:.1} ms (reported {reported_ms:.1}, felt {felt_ms:.1})",
                worst.deviation_ms()
            )
        });
        format!(
            "Downtime felt by the guest within 10% or 10 ms of the downtime reported: {agree} of {} migrations{worst}.",
            downtimes.len()
        )
    }
}

/// A number with commas.
#[must_use]
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use ferryvm::Pattern;

    use super::*;
    use crate::dirty_rate::row::Limit;
    use crate::dirty_rate::trial::Trial;

    pub(crate) fn report() -> Report {
        let row = |pattern, method, pages_per_s: f64, felt_ms: f64| {
            let downtime = Downtime { expected_ms: 290.0, reported_ms: 280.0, felt_ms };
            let trial = Trial {
                guest: GuestKind::Process,
                asked_pages_per_s: 30_000,
                written_pages_per_s: pages_per_s,
                dirty_pages_per_s: 28_500.0,
                sent_pages_per_s: 30_000.0,
                working_set_pages: 32_768,
                downtime: Some(downtime),
                expected_ms: 290.0,
                stayed: None,
                rounds: 9,
                seconds: 4.0,
                wire_bytes_per_page: 4104.0,
                link_share: 0.99,
                cpu_share: 0.2,
                others_cpu_share: None,
            };
            Row {
                pattern,
                method,
                pages_per_s,
                dirty_pages_per_s: 28_500.0,
                working_set_pages: 32_768,
                wire_bytes_per_page: 4104.0,
                link_pages_per_s: 30_458.0,
                downtime,
                limit: Limit::Link,
                link_share: 0.99,
                cpu_share: 0.2,
                trials: vec![trial],
            }
        };
        Report {
            guest: GuestKind::Process,
            link_bytes_per_s: 125_000_000,
            downtime_limit_ms: 300.0,
            precision: 1.05,
            others_cpu_share: Some(0.031),
            rows: vec![
                row(Pattern::Sparse, Method::Raw, 30_000.0, 282.0),
                row(Pattern::Sparse, Method::Delta, 1_234_567.0, 308.1),
                row(Pattern::Sequence, Method::Raw, 29_000.0, 281.0),
            ],
        }
    }

    #[test]
    fn a_row_is_held_against_raw_on_its_own_pattern() {
        let text = report().markdown();
        assert!(
            text.contains("| sparse | delta | 1,234,567 | 41.15 | 28,500 | 4104 | 30,458 | link (link 99%, CPU 20%) | 280 | 308 |"),
            "{text}"
        );
        assert!(text.contains("| sequence | raw | 29,000 | 1.00 |"), "{text}");
    }

    #[test]
    fn a_rate_beyond_which_nobody_looked_is_told_as_the_least_that_it_is() {
        let mut report = report();
        report.rows[1].limit = Limit::NotReached;
        let text = report.markdown();
        assert!(text.contains("| sparse | delta | ≥ 1,234,567 | ≥ 41.15 |"), "{text}");
        assert!(text.contains("| not reached (link 99%, CPU 20%) |"), "{text}");
    }

    #[test]
    fn a_downtime_that_guest_and_source_do_not_agree_on_is_told() {
        let text = report().markdown();
        assert!(
            text.contains("2 of 3 migrations; furthest apart 28.1 ms (reported 280.0, felt 308.1)"),
            "{text}"
        );
    }

    #[test]
    fn numbers_have_commas_where_they_belong() {
        for (number, text) in [(0.0, "0"), (999.0, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
