//! Devices as they are described in public: what the simulation takes for hardware.
//!
//! A profile is a TOML file in which every figure has its source next to it. Those of `tools/profiles/` are part of the program;
//! any other is read from its path.

mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pageferry_accel::method::Method;

use crate::simulation::{DeviceLane, DeviceMethod, Lane};
use file::{File, Work};

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The name by which it was found: `qat-8970`, or the file's.
    pub name: String,
    /// What it is, in words.
    pub description: String,
    /// Where each figure comes from: the figure's name, such as `encode.deflate.gb_per_s`, and its source.
    pub sources: Vec<(String, String)>,
    device: DeviceLane,
}

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// There is no such file.
    #[error(
        "cannot read the profile {}: {source}; give the path of a TOML file, or one of {}", path.display(), BUILT_IN_NAMES
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML, or a field is missing, unknown, or of another kind.
    #[error("the profile {name} is not one: {source}correct that line; tools/profiles/ has examples")]
    Syntax {
        /// The profile.
        name: String,
        /// Where, and what.
        source: Box<toml::de::Error>,
    },
    /// A field has a value that no device has.
    #[error("the profile {name}: {field} is {value}; {remedy}")]
    Field {
        /// The profile.
        name: String,
        /// The field, by the names of the tables that it is in.
        field: String,
        /// What it says.
        value: String,
        /// What it may say.
        remedy: &'static str,
    },
}

/// The profiles that are part of the program.
const BUILT_IN: [(&str, &str); 5] = [
    ("qat-8970", include_str!("../../profiles/qat-8970.toml")),
    ("qat-4xxx", include_str!("../../profiles/qat-4xxx.toml")),
    ("iaa-spr", include_str!("../../profiles/iaa-spr.toml")),
    ("dsa-spr", include_str!("../../profiles/dsa-spr.toml")),
    ("dsa-full", include_str!("../../profiles/dsa-full.toml")),
];

const BUILT_IN_NAMES: &str = "qat-8970, qat-4xxx, iaa-spr, dsa-spr, dsa-full";

impl Profile {
    /// The names of the profiles that are part of the program.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.into_iter().map(|(name, _)| name)
    }

    /// The profile of this name or, if none has it, of this path.
    ///
    /// # Errors
    /// [`ProfileError`] names the file and the field, and says what can be done.
    pub fn find(name: &str) -> Result<Self, ProfileError> {
        if let Some((name, text)) = BUILT_IN.into_iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| ProfileError::Read { path: path.to_owned(), source })?;
        Self::parse(name, &text)
    }

    /// The profile that `text` is.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let file: File = toml::from_str(text)
            .map_err(|source| ProfileError::Syntax { name: name.to_owned(), source: Box::new(source) })?;
        file.check(name)?;
        let methods = |works: &[(Method, Work)]| {
            works.iter().map(|(method, work)| work.method(*method, file.engines.count)).collect()
        };
        let device = DeviceLane {
            name: name.to_owned(),
            queues: file.queues.count,
            depth: file.queues.depth,
            engines: file.engines.count,
            encode: methods(&file.encode.methods()),
            decode: methods(&file.decode.methods()),
            submit_ns: file.host.submit_us * 1e3,
            collect_ns: file.host.collect_us * 1e3,
            host_finds_zeros: file.host.finds_zeros,
        };
        Ok(Self {
            name: name.to_owned(),
            description: file.description.clone(),
            sources: file.sources(),
            device,
        })
    }

    /// So many of these devices as one accelerator; one at least.
    #[must_use]
    pub fn lane(&self, devices: usize) -> Lane {
        let (one, devices) = (&self.device, devices.max(1));
        Lane::Device(DeviceLane {
            queues: one.queues * devices,
            engines: one.engines * devices,
            ..one.clone()
        })
    }
}

impl Work {
    fn method(&self, method: Method, engines: usize) -> DeviceMethod {
        DeviceMethod {
            method,
            bytes_per_s: self.gb_per_s * 1e9 / engines as f64,
            latency: Duration::try_from_secs_f64(self.latency_us / 1e6).unwrap_or_default(),
            relative_bytes: self.relative_bytes.unwrap_or(1.0),
            keeps_baselines: self.keeps_baselines,
            cpu_share: self.cpu_share.unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_one_and_says_where_its_figures_come_from() {
        for name in Profile::built_in() {
            let profile = Profile::find(name).unwrap();
            assert!(profile.sources.len() >= 8, "{name}: {:?}", profile.sources);
            assert!(profile.sources.iter().all(|(_, source)| source.len() > 20), "{:?}", profile.sources);
            assert!(BUILT_IN_NAMES.contains(name));
            let (Lane::Device(one), Lane::Device(three)) = (profile.lane(1), profile.lane(3)) else {
                panic!("{name} is no device");
            };
            assert_eq!(
                (three.engines, three.queues, three.depth),
                (3 * one.engines, 3 * one.queues, one.depth)
            );
        }
    }

    #[test]
    fn profiles_do_what_their_devices_are_known_to_do() {
        let encodes = |name: &str, method| Profile::find(name).unwrap().lane(1).encodes(method);
        let decodes = |name: &str, method| Profile::find(name).unwrap().lane(1).decodes(method);
        for name in ["qat-8970", "qat-4xxx", "iaa-spr"] {
            assert!(encodes(name, Method::Deflate) && decodes(name, Method::Deflate), "{name}");
            assert!(!encodes(name, Method::Delta), "{name}");
        }
        assert!(encodes("dsa-full", Method::Delta) && decodes("dsa-full", Method::Delta));
        assert!(encodes("dsa-spr", Method::Delta) && !decodes("dsa-spr", Method::Delta));
    }

    #[test]
    fn a_profile_that_is_none_is_refused_with_its_name_its_field_and_a_remedy() {
        let missing = Profile::find("/no/such/file.toml").unwrap_err().to_string();
        assert!(missing.contains("/no/such/file.toml") && missing.contains("qat-8970"), "{missing}");
        let text = BUILT_IN[0].1;
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Profile::parse("mine.toml", &text.replacen(from, to, 1)).unwrap_err().to_string()
        };
        let field = refused("gb_per_s = 8.47", "gb_per_s = -1.0");
        assert!(field.contains("mine.toml") && field.contains("encode.deflate.gb_per_s is -1"), "{field}");
        let source = refused("latency_source = \"arXiv", "latency_origin = \"arXiv");
        assert!(source.contains("latency_"), "{source}");
        let empty = refused("count_source = \"https", "count_source = \"\" # \"https");
        assert!(empty.contains("queues.count_source"), "{empty}");
        assert!(refused("count = 18", "count = 0").contains("queues.count is 0"));
        assert!(refused("[queues]", "[queues").contains("mine.toml"));
    }
}
