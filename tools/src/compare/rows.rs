//! The rows of a comparison.

use std::path::Path;

use pageferry_accel::method::Method;
use pageferry_accel::queue::Provenance;

use super::args::CompareArgs;
use super::cpus::Cpus;
use super::modelled::{By, Means};
use crate::accelerators;
use crate::console;
use crate::devices::{self, Places};
use crate::plan::PlanError;
use crate::profile::Profile;

/// One way to move a guest.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) means: Means,
    /// The arguments of `accelbench run` that measure it, if this machine can.
    pub(crate) measured: Option<Vec<String>>,
    /// The profile of the device that is modelled, if it is one.
    profile: Option<String>,
}

/// The devices that are compared if the user names none: of each kind one, of QAT the card that the study had and what
/// processors have had since.
const DEFAULT_PROFILES: [&str; 4] = ["qat-8970", "qat-4xxx", "iaa-spr", "dsa-spr"];

/// The kinds of devices.
const KINDS: [&str; 3] = ["qat", "iaa", "dsa"];

/// The row that all others are held against; it is the first.
pub(crate) const NO_COMPRESSION: &str = "no compression";

/// The row of the engine's selector on the CPU alone.
const SELECTOR: &str = "selector";

/// The row of the selector that has the devices of all other rows too.
const SELECTOR_OF_ALL: &str = "selector, all devices";

/// All rows.
///
/// # Errors
/// [`PlanError::Profile`] if there is no such profile.
pub(crate) fn rows(args: &CompareArgs, cpus: Cpus) -> Result<Vec<Row>, PlanError> {
    let measure = !args.modelled_only;
    let cpu = |name: &str, description: &str, by| {
        let used = cpus.used;
        let measured = (measure && cpus.are_here()).then(|| run_by_cpu(by, used));
        Row {
            name: name.to_owned(),
            description: format!("{description}, on {used} CPUs"),
            means: Means::cpu(by, used),
            measured,
            profile: None,
        }
    };
    let zlib = format!("zlib level 1 on {} CPUs", cpus.used);
    let mut rows = vec![
        cpu(NO_COMPRESSION, "pages as they are", By::Method(Method::Raw)),
        cpu(&zlib, "pageferry's deflate at level 1", By::Method(Method::Deflate)),
        cpu("zstd", "zstd at level 1", By::Method(Method::Zstd)),
        cpu("xbzrle", "QEMU's delta encoding against what was sent before", By::Method(Method::Xbzrle)),
    ];
    let there = if measure { devices_here() } else { Vec::new() };
    for name in profiles(args) {
        let row = Row::of_device(&name, args.devices, &there, &rows)?;
        rows.push(row);
    }
    let on_cpus = cpu(SELECTOR, "for every piece of memory the method that looks best", By::Selector);
    let all = Row::of_all(&on_cpus, &rows);
    rows.extend([on_cpus, all]);
    Ok(rows)
}

impl Row {
    fn of_device(
        profile: &str,
        devices: u32,
        there: &[&'static str],
        before: &[Self],
    ) -> Result<Self, PlanError> {
        let found = Profile::find(profile)?;
        let means = Means::of_device(&found, devices as usize);
        let means = means.ok_or_else(|| PlanError::IdleProfile(found.name.clone()))?;
        let kind = kind_of(&found.name);
        let here = there.iter().find(|&&device| Some(device) == kind);
        let count = if devices == 1 { String::new() } else { format!("{devices} × ") };
        Ok(Self {
            name: name_of(&found.name, kind, before),
            description: format!("{count}{}", found.description),
            measured: here.map(|device| run_by_device(means.by, device)),
            means,
            profile: Some(found.name),
        })
    }

    /// The selector with the devices of all rows so far, and with the CPUs behind them.
    fn of_all(on_cpus: &Self, before: &[Self]) -> Self {
        let devices: Vec<&Self> = before.iter().filter(|row| row.profile.is_some()).collect();
        let names: Vec<&str> = devices.iter().map(|row| &*row.name).collect();
        Self {
            name: SELECTOR_OF_ALL.to_owned(),
            description: format!("{}, and on {}, side by side", on_cpus.description, names.join(", ")),
            means: Means::together(devices.into_iter().chain([on_cpus]).map(|row| &row.means)),
            measured: None,
            profile: None,
        }
    }

    /// The profile of the device that is modelled, if it is one.
    pub(crate) fn profile(&self) -> Option<&str> {
        self.profile.as_deref()
    }
}

fn profiles(args: &CompareArgs) -> Vec<String> {
    if args.profile.is_empty() { DEFAULT_PROFILES.map(str::to_owned).to_vec() } else { args.profile.clone() }
}

/// Of which kind the device of a profile is, as accelerators are named; profiles are named after the kind and the part.
fn kind_of(profile: &str) -> Option<&'static str> {
    let name = Path::new(profile).file_stem()?.to_str()?;
    KINDS.into_iter().find(|kind| name.split('-').next() == Some(kind))
}

/// A row is named after its kind, and those of the same kind that come later after their profile.
fn name_of(profile: &str, kind: Option<&str>, before: &[Row]) -> String {
    let kind = kind.map(str::to_uppercase);
    kind.filter(|kind| before.iter().all(|row| row.name != *kind)).unwrap_or_else(|| profile.to_owned())
}

fn run_by_cpu(by: By, workers: usize) -> Vec<String> {
    ["--method", &by.mix().to_string(), "--workers", &workers.to_string()].map(str::to_owned).to_vec()
}

fn run_by_device(by: By, accelerator: &str) -> Vec<String> {
    ["--method", &by.mix().to_string(), "--accelerator", accelerator].map(str::to_owned).to_vec()
}

/// The kinds of device that this machine has and can use: hardware, and nothing in its place.
fn devices_here() -> Vec<&'static str> {
    console::keep_libraries_apart();
    let found = devices::look(&Places::default());
    let has_qat = found.iter().any(|device| device.name == "qat" && device.missing.is_empty());
    let available = accelerators::available(has_qat);
    let hardware = |kind: &&str| {
        available.iter().any(|(name, one)| name == kind && one.provenance() == Provenance::Hardware)
    };
    KINDS.into_iter().filter(hardware).collect()
}
