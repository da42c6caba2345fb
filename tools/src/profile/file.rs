//! A profile as it is written.

use pageferry_accel::method::Method;
use serde::Deserialize;

use super::ProfileError;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) description: String,
    pub(super) queues: Queues,
    pub(super) engines: Engines,
    pub(super) host: HostWork,
    pub(super) encode: Direction,
    #[serde(default)]
    pub(super) decode: Direction,
}

/// How requests wait.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Queues {
    pub(super) count: usize,
    count_source: String,
    /// Requests that each holds.
    pub(super) depth: usize,
    depth_source: String,
}

/// Parts that work side by side.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Engines {
    pub(super) count: usize,
    count_source: String,
}

/// What the driver does on the CPU, a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostWork {
    pub(super) finds_zeros: bool,
    pub(super) submit_us: f64,
    submit_source: String,
    pub(super) collect_us: f64,
    collect_source: String,
}

/// What the device does in one direction, by method.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Direction {
    deflate: Option<Work>,
    zstd: Option<Work>,
    lz4: Option<Work>,
    xbzrle: Option<Work>,
    delta: Option<Work>,
}

/// What the device does by one method.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Work {
    /// Bytes of pages that the whole device gets through, in 10^9 a second.
    pub(super) gb_per_s: f64,
    gb_per_s_source: String,
    /// What passes beside the work, in microseconds.
    pub(super) latency_us: f64,
    latency_source: String,
    /// Bytes of the payload for each that the CPU's codec makes.
    pub(super) relative_bytes: Option<f64>,
    relative_source: Option<String>,
    /// What the poller does for the device, as a share of the CPU time that the CPU's codec takes.
    pub(super) cpu_share: Option<f64>,
    cpu_share_source: Option<String>,
    /// Whether what was sent is known afterwards.
    #[serde(default)]
    pub(super) keeps_baselines: bool,
}

impl Direction {
    pub(super) fn methods(&self) -> Vec<(Method, Work)> {
        let all = [
            (Method::Deflate, &self.deflate),
            (Method::Zstd, &self.zstd),
            (Method::Lz4, &self.lz4),
            (Method::Xbzrle, &self.xbzrle),
            (Method::Delta, &self.delta),
        ];
        all.into_iter().filter_map(|(method, work)| Some((method, work.clone()?))).collect()
    }
}

impl File {
    /// Every figure with its name and its source.
    pub(super) fn sources(&self) -> Vec<(String, String)> {
        let own = [
            ("queues.count", &self.queues.count_source),
            ("queues.depth", &self.queues.depth_source),
            ("engines.count", &self.engines.count_source),
            ("host.submit", &self.host.submit_source),
            ("host.collect", &self.host.collect_source),
        ];
        let mut sources: Vec<_> =
            own.into_iter().map(|(name, source)| (name.to_owned(), source.clone())).collect();
        for (prefix, method, work) in self.works() {
            let of = |name: &str| format!("{prefix}.{method}.{name}");
            sources.push((of("gb_per_s"), work.gb_per_s_source));
            sources.push((of("latency"), work.latency_source));
            sources.extend(work.relative_source.map(|source| (of("relative"), source)));
            sources.extend(work.cpu_share_source.map(|source| (of("cpu_share"), source)));
        }
        sources
    }

    fn works(&self) -> Vec<(&'static str, Method, Work)> {
        let both = [("encode", &self.encode), ("decode", &self.decode)];
        let works = both.into_iter().flat_map(|(prefix, direction)| {
            direction.methods().into_iter().map(move |(method, work)| (prefix, method, work))
        });
        works.collect()
    }

    /// Refuses what no device is.
    ///
    /// # Errors
    /// [`ProfileError::Field`] for the first field that is so.
    pub(super) fn check(&self, name: &str) -> Result<(), ProfileError> {
        let refuse = |field: String, value: String, remedy| {
            Err(ProfileError::Field { name: name.to_owned(), field, value, remedy })
        };
        let counts = [
            ("queues.count", self.queues.count),
            ("queues.depth", self.queues.depth),
            ("engines.count", self.engines.count),
        ];
        if let Some((field, count)) = counts.into_iter().find(|(_, count)| !(1..=65_536).contains(count)) {
            return refuse(field.to_owned(), count.to_string(), "give a number from 1 to 65536");
        }
        if let Some((field, value)) = self.figures().into_iter().find(|(_, value)| !is_plausible(*value)) {
            return refuse(
                field,
                value.to_string(),
                "give a number that is positive, or 0 where nothing is needed",
            );
        }
        for (prefix, method, work) in self.works() {
            let of = |field: &str| format!("{prefix}.{method}.{field}");
            if work.gb_per_s <= 0.0 {
                return refuse(of("gb_per_s"), work.gb_per_s.to_string(), "give a number above 0");
            }
            for (field, figure, source) in [
                ("relative_source", work.relative_bytes, &work.relative_source),
                ("cpu_share_source", work.cpu_share, &work.cpu_share_source),
            ] {
                if figure.is_some() && source.is_none() {
                    return refuse(of(field), "missing".into(), "say where the figure comes from");
                }
            }
        }
        if self.encode.methods().is_empty() {
            return refuse("encode".into(), "empty".into(), "name a method, as in [encode.deflate]");
        }
        let unsourced = self.sources().into_iter().find(|(_, source)| source.trim().is_empty());
        match unsourced {
            Some((field, _)) => {
                refuse(format!("{field}_source"), "empty".into(), "say where the figure comes from")
            }
            None => Ok(()),
        }
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let own = [("host.submit_us", self.host.submit_us), ("host.collect_us", self.host.collect_us)];
        let mut figures: Vec<_> = own.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        for (prefix, method, work) in self.works() {
            let of = |field: &str| format!("{prefix}.{method}.{field}");
            figures.push((of("gb_per_s"), work.gb_per_s));
            figures.push((of("latency_us"), work.latency_us));
            figures.extend(work.relative_bytes.map(|value| (of("relative_bytes"), value)));
            figures.extend(work.cpu_share.map(|value| (of("cpu_share"), value)));
        }
        figures
    }
}

/// Not negative, a number, and not out of this world.
fn is_plausible(value: f64) -> bool {
    (0.0..=1e9).contains(&value)
}
