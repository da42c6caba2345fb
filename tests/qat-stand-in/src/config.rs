//! What a stand-in is, and how a process that does not configure it says so.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::FaultPlan;

/// The environment variable that changes the defaults: `key=value`, separated by commas, where a key is one of
/// `instances`, `depth`, `engines`, `memory` (`iova`, `shared` or `physical`), `map` (`yes` or `no`) and `latency_us`.
pub const VARIABLE: &str = "PAGEFERRY_STAND_IN";

/// What a stand-in is and does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// How many instances a process has.
    pub instances: u16,
    /// How many of them share a device, and so its events.
    pub instances_per_device: u16,
    /// How many operations an instance has in flight at most.
    pub depth: u32,
    /// Threads that do the work, of each device.
    pub engines: usize,
    /// The NUMA nodes of the devices, in turn.
    pub nodes: Vec<u32>,
    /// Which addresses devices take.
    pub memory: Memory,
    /// Whether memory of the caller's can be mapped: as of qatlib 26.02, and not as of 24.02.
    pub map: bool,
    /// What passes at least between an operation's submission and its completion.
    pub latency: Duration,
    /// How long after a fatal error was noticed a device may still write to the destinations of what it had in flight.
    pub lingers: Duration,
    /// Whether operations are done when they are submitted, with nothing read or written and results that are made up: to
    /// measure what they cost the caller. Of the rules, those alone are checked that cost nothing, and there are no faults.
    pub instant: bool,
    /// Whether codes are made for the data.
    pub dynamic: bool,
    /// How many intermediate buffers that takes: none from the fourth generation on.
    pub intermediate_buffers: u16,
    /// What goes wrong.
    pub plan: FaultPlan,
    /// What a violation leads to.
    pub violations: Violations,
}

/// Which addresses devices take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    /// I/O addresses of what was allocated or mapped by the library.
    Iova,
    /// Those of the process.
    Shared,
    /// Physical ones: there is no IOMMU. Needs the right to read them from `/proc/self/pagemap`.
    Physical,
}

/// What a violation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Violations {
    /// The end of the process.
    Abort,
    /// A line in the report, and a call that returns `FATAL`.
    Record,
}

/// Why the environment variable cannot be followed.
#[derive(Debug)]
pub struct BadSetting {
    setting: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instances: 2,
            instances_per_device: 1,
            depth: 512,
            engines: 2,
            nodes: vec![0],
            memory: Memory::Iova,
            map: true,
            latency: Duration::ZERO,
            lingers: Duration::from_millis(10),
            instant: false,
            dynamic: true,
            intermediate_buffers: 0,
            plan: FaultPlan::none(),
            violations: Violations::Abort,
        }
    }
}

impl Config {
    /// The defaults, as [`VARIABLE`] has changed them.
    ///
    /// # Errors
    /// If it says what nobody understands.
    pub fn from_environment() -> Result<Self, BadSetting> {
        let settings = std::env::var(VARIABLE).unwrap_or_default();
        Self::default().with(&settings)
    }

    fn with(mut self, settings: &str) -> Result<Self, BadSetting> {
        for setting in settings.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
            self.set(setting).ok_or_else(|| BadSetting { setting: setting.to_owned() })?;
        }
        Ok(self)
    }

    fn set(&mut self, setting: &str) -> Option<()> {
        let (key, value) = setting.split_once('=')?;
        match key {
            "instances" => self.instances = positive(value)?,
            "depth" => self.depth = positive(value)?,
            "engines" => self.engines = positive(value)?,
            "latency_us" => self.latency = Duration::from_micros(value.parse().ok()?),
            "map" => self.map = yes(value)?,
            "memory" => {
                self.memory = match value {
                    "iova" => Memory::Iova,
                    "shared" => Memory::Shared,
                    "physical" => Memory::Physical,
                    _ => return None,
                };
            }
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn devices(&self) -> usize {
        usize::from(self.instances).div_ceil(usize::from(self.instances_per_device.max(1)))
    }

    pub(crate) fn device_of(&self, instance: usize) -> usize {
        instance / usize::from(self.instances_per_device.max(1))
    }
}

fn positive<T: std::str::FromStr + PartialEq + From<u8>>(value: &str) -> Option<T> {
    value.parse().ok().filter(|number| *number != T::from(0))
}

fn yes(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{VARIABLE}: `{}` is not a setting: instances=N, depth=N, engines=N, latency_us=N, map=yes|no and \
             memory=iova|shared|physical are",
            self.setting
        )
    }
}

impl std::error::Error for BadSetting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_environment_change_the_defaults() {
        let config = Config::default()
            .with("instances=4,depth=64,memory=shared,map=no,engines=3,latency_us=20")
            .expect("settings that are");
        assert_eq!((config.instances, config.depth, config.engines), (4, 64, 3));
        assert_eq!((config.memory, config.map), (Memory::Shared, false));
        assert_eq!(config.latency, Duration::from_micros(20));
    }

    #[test]
    fn a_setting_that_is_none_is_named() {
        for setting in ["depth=0", "depth", "memory=far", "colour=red"] {
            let error = Config::default().with(setting).expect_err(setting);
            assert!(error.to_string().contains(setting), "{error}");
        }
    }
}
