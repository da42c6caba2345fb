//! The limit of one method on one pattern, and what sets it.

use std::fmt;
use std::time::Duration;

use ferryvm::Pattern;
use pageferry_accel::method::Method;
use pageferry_tools::calibration::median;
use serde::Serialize;

use super::search::{Effort, Found, Tried, largest, rate_of};
use super::trial::{Broken, Downtime, Setting, Trial, migrate, own_speed};

/// What was found of one method on one pattern.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What the guest wrote.
    pub pattern: Pattern,
    /// How its pages were encoded.
    #[serde(serialize_with = "by_name")]
    pub method: Method,
    /// The largest dirty rate that migrates, as the guest wrote: the median of the tries that made sure of it.
    pub pages_per_s: f64,
    /// How many different pages that is: a page that is written again in the same round counts once.
    pub dirty_pages_per_s: f64,
    /// How many pages the guest wrote to, when that was made sure.
    pub working_set_pages: u64,
    /// Bytes on the wire a page.
    pub wire_bytes_per_page: f64,
    /// How many pages of that size the link carries.
    pub link_pages_per_s: f64,
    /// Medians of the tries at the limit.
    pub downtime: Downtime,
    /// What keeps a faster guest from being moved.
    pub limit: Limit,
    /// The share of the link that is used where the guest is too fast, or at the largest rate tried.
    pub link_share: f64,
    /// The same of this machine's CPUs.
    pub cpu_share: f64,
    /// All tries, in order.
    pub trials: Vec<Trial>,
}

/// What a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The link is full.
    Link,
    /// It is not: guest, both ends and link take what CPUs there are.
    Cpu,
    /// The guest writes no faster.
    Guest,
    /// None was found: a faster guest would need more memory than it may have, or nobody looked any further.
    NotReached,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Cpu => "CPU",
            Self::Guest => "guest",
            Self::NotReached => "not reached",
        })
    }
}

impl Limit {
    /// What stands before a rate that is no limit.
    #[must_use]
    pub const fn at_least(self) -> &'static str {
        match self {
            Self::NotReached => "≥ ",
            Self::Link | Self::Cpu | Self::Guest => "",
        }
    }
}

/// From this share on the link is what limits: frames wait for each other where two connections take turns.
const FULL: f64 = 0.85;

/// How many pages a guest writes to, at least and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingSet {
    /// For slow guests.
    pub least_pages: u64,
    /// For fast ones.
    pub most_pages: u64,
}

impl WorkingSet {
    /// So many that what a guest of this rate writes in a downtime of 300 ms is a sixth of them: a guest whose few pages fit the
    /// downtime is moved at any rate.
    #[must_use]
    pub fn for_rate(self, pages_per_s: u64) -> u64 {
        (pages_per_s.saturating_mul(9) / 5).clamp(self.least_pages, self.most_pages)
    }

    /// The largest rate at which there are so many. All that a faster guest dirties would fit its downtime sooner or later, which says
    /// nothing about rates.
    #[must_use]
    pub fn largest_rate(self) -> u64 {
        self.most_pages / 9 * 5
    }
}

/// Looks for the limit; `tell` is told of every try.
///
/// # Errors
/// If a migration fails of anything but the rate; if not even a guest that hardly writes is moved.
pub fn row(
    setting: Setting,
    memory: WorkingSet,
    effort: Effort,
    mut tell: impl FnMut(&Trial),
) -> Result<Row, Broken> {
    let mut setting = Setting { working_set_pages: memory.least_pages, ..setting };
    let own_speed = rate_of(own_speed(&setting)?);
    let ceiling = own_speed.min(effort.ceiling).min(memory.largest_rate());
    let mut trials = Vec::new();
    let found = largest(Effort { ceiling, ..effort }, |rate| {
        setting.working_set_pages = memory.for_rate(rate);
        let trial = migrate(&setting, rate)?;
        tell(&trial);
        trials.push(trial.clone());
        Ok::<_, Broken>(judge(trial, setting.downtime_limit))
    })?;
    let found = found.ok_or_else(|| format!("no guest is moved by {}, however slow", setting.method))?;
    let unlimited = if ceiling == own_speed { Limit::Guest } else { Limit::NotReached };
    Ok(Row::of(&setting, &found, unlimited, trials))
}

/// Whether the guest moved in time and wrote as it was to, or how far from that it was.
fn judge(trial: Trial, limit: Duration) -> Tried<Trial> {
    const FAR: f64 = 3.0;
    // A guest that writes somewhat faster than its pages are sent is not moved.
    const BEYOND: f64 = 1.15;
    let limit_ms = limit.as_secs_f64() * 1e3;
    match &trial.downtime {
        Some(downtime) if downtime.reported_ms <= limit_ms && trial.wrote_as_asked() => {
            let expected = rate_of(trial.sent_pages_per_s * BEYOND);
            Tried::Works(trial, expected)
        }
        None if trial.expected_ms > FAR * limit_ms => Tried::Fails(trial),
        _ => Tried::Misses(trial),
    }
}

impl Row {
    /// `unlimited` is what there is to say of a rate that nothing but the search's ceiling kept down.
    fn of(setting: &Setting, found: &Found<Trial>, unlimited: Limit, trials: Vec<Trial>) -> Self {
        let Setting { pattern, method, link_bytes_per_s, .. } = *setting;
        let successes = &found.successes;
        let of_successes = |figure: fn(&Trial) -> f64| median(successes.iter().map(figure));
        let of_downtimes = |figure: fn(&Downtime) -> f64| {
            median(successes.iter().filter_map(|trial| trial.downtime.as_ref()).map(figure))
        };
        let last = found.failure.as_ref().map(|(_, trial)| trial).or(successes.last());
        let (link_share, cpu_share) = last.map_or((0.0, 0.0), |trial| (trial.link_share, trial.cpu_share));
        let limit = match found.failure {
            Some(_) if link_share >= FULL => Limit::Link,
            Some(_) => Limit::Cpu,
            None => unlimited,
        };
        let wire_bytes_per_page = of_successes(|trial| trial.wire_bytes_per_page);
        Self {
            pattern,
            method,
            pages_per_s: of_successes(|trial| trial.written_pages_per_s),
            dirty_pages_per_s: of_successes(|trial| trial.dirty_pages_per_s),
            working_set_pages: successes.first().map_or(0, |trial| trial.working_set_pages),
            wire_bytes_per_page,
            link_pages_per_s: link_bytes_per_s as f64 / wire_bytes_per_page,
            downtime: Downtime {
                expected_ms: of_downtimes(|downtime| downtime.expected_ms),
                reported_ms: of_downtimes(|downtime| downtime.reported_ms),
                felt_ms: of_downtimes(|downtime| downtime.felt_ms),
            },
            limit,
            link_share,
            cpu_share,
            trials,
        }
    }
}

fn by_name<S: serde::Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirty_rate::report::tests::report;

    #[test]
    fn a_rate_counts_where_the_guest_wrote_at_it_and_stood_still_no_longer_than_it_may() {
        let limit = Duration::from_millis(300);
        let trial = |written: f64, reported_ms: f64| {
            let mut trial = report().rows[0].trials[0].clone();
            trial.written_pages_per_s = written;
            trial.downtime.as_mut().unwrap().reported_ms = reported_ms;
            judge(trial, limit)
        };
        assert!(matches!(trial(27_500.0, 299.0), Tried::Works(_, 34_500)), "{:?}", trial(27_500.0, 299.0));
        assert!(matches!(trial(26_500.0, 299.0), Tried::Misses(_)), "it was to write 30,000");
        assert!(matches!(trial(30_000.0, 301.0), Tried::Misses(_)));
        let mut stayed = report().rows[0].trials[0].clone();
        stayed.downtime = None;
        assert!(matches!(judge(stayed.clone(), limit), Tried::Misses(_)), "290 ms were expected");
        stayed.expected_ms = 1000.0;
        assert!(matches!(judge(stayed, limit), Tried::Fails(_)));
    }

    #[test]
    fn a_working_set_takes_six_downtimes_to_be_written() {
        let memory = WorkingSet { least_pages: 1 << 15, most_pages: 1 << 18 };
        for rate in [100, 30_000, 72_000, 145_000] {
            let pages = memory.for_rate(rate);
            assert!(pages as f64 >= 6.0 * 0.3 * rate as f64 - 1.0, "{pages} pages at {rate} pages a second");
        }
        assert_eq!(memory.for_rate(10), 1 << 15);
        assert_eq!(memory.for_rate(10_000_000), 1 << 18);
        let most = memory.for_rate(memory.largest_rate());
        assert!(most <= 1 << 18 && most + 10 > 1 << 18, "{most} pages at the largest rate");
    }
}
