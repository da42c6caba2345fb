//! What this machine has of the devices that pageferry is made for, and what is missing of each.

mod idxd;
mod qat;

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::{AccessFlags, User, access, geteuid};
use pageferry_accel::idxd::device::Kind;
use pageferry_accel::idxd::kernel::sysfs;
use serde::Serialize;

use qat::libraries::Libraries;

/// Devices of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Device {
    /// As `--accelerator` would name it.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// PCI functions of this kind, by their addresses, with the kernel driver that has each.
    pub(crate) functions: Vec<Function>,
    /// What user space opens to use it.
    pub(crate) nodes: Vec<PathBuf>,
    /// Libraries that drive it from user space.
    pub(crate) libraries: Vec<String>,
    /// What else there is to know of it, by name.
    pub(crate) details: Vec<Detail>,
    /// What is not there, in the order in which it is needed.
    pub(crate) missing: Vec<String>,
    /// What to do next.
    pub(crate) next_step: String,
}

/// Something about a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Detail {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Function {
    pub(crate) address: String,
    /// Vendor and device number, as lspci prints them.
    pub(crate) id: String,
    pub(crate) driver: Option<String>,
    /// Whether it is a virtual function of another one.
    pub(crate) is_virtual: bool,
}

/// Where devices are looked for, and who looks; tests lay out a tree of their own.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) pci: PathBuf,
    pub(crate) dev: PathBuf,
    /// Where the idxd driver shows its devices.
    pub(crate) idxd: PathBuf,
    pub(crate) firmware: Vec<PathBuf>,
    pub(crate) iommu_groups: PathBuf,
    /// Where the qat service listens.
    pub(crate) qat_service: PathBuf,
    /// How many bytes the user may lock; no limit if it does not say.
    pub(crate) memlock: Option<u64>,
    pub(crate) user: String,
    /// Whether the user may read and write a file.
    pub(crate) may_open: fn(&Path) -> bool,
    /// The vendor's libraries for QAT.
    pub(crate) qat_libraries: fn() -> Libraries,
}

/// Something that is missing, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    what: String,
    next: String,
}

const INTEL: &str = "8086";

impl Default for Places {
    fn default() -> Self {
        let user = User::from_uid(geteuid()).ok().flatten();
        Self {
            pci: "/sys/bus/pci/devices".into(),
            dev: "/dev".into(),
            idxd: sysfs::ROOT.into(),
            firmware: ["/lib/firmware/updates", "/lib/firmware"].map(PathBuf::from).to_vec(),
            iommu_groups: "/sys/kernel/iommu_groups".into(),
            qat_service: "/run/qat/qatmgr.sock".into(),
            memlock: memlock(),
            user: user.map_or_else(|| geteuid().to_string(), |user| user.name),
            may_open: |path| access(path, AccessFlags::R_OK | AccessFlags::W_OK).is_ok(),
            qat_libraries: Libraries::load,
        }
    }
}

/// Every kind of device, there or not.
pub(crate) fn look(places: &Places) -> Vec<Device> {
    let functions = functions(&places.pci);
    let mut devices = [Kind::Dsa, Kind::Iaa].map(|kind| idxd::look(places, kind, &functions)).to_vec();
    devices.push(qat::look(places, &functions));
    devices
}

impl Lack {
    fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

/// How much memory this process may lock: all that it likes with the capability to (bit 14, `capability.h`).
fn memlock() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    if capabilities.unwrap_or(0) & 1 << 14 != 0 {
        return None;
    }
    getrlimit(Resource::RLIMIT_MEMLOCK).ok().map(|(soft, _)| soft).filter(|&soft| soft != RLIM_INFINITY)
}

/// All PCI functions.
fn functions(pci: &Path) -> Vec<Function> {
    let number = |folder: &Path, file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        Some(text.trim().trim_start_matches("0x").to_owned())
    };
    let function = |folder: PathBuf| {
        let id = format!("{}:{}", number(&folder, "vendor")?, number(&folder, "device")?);
        let is_virtual = fs::symlink_metadata(folder.join("physfn")).is_ok();
        let driver = link(&folder.join("driver"));
        Some(Function { address: name(&folder).to_owned(), id, driver, is_virtual })
    };
    entries(pci).into_iter().filter_map(function).collect()
}

/// Intel's number of a function, if it is Intel's.
fn number(function: &Function) -> Option<&str> {
    function.id.split_once(':').filter(|(vendor, _)| *vendor == INTEL).map(|(_, number)| number)
}

/// The name of what a link points to.
fn link(path: &Path) -> Option<String> {
    fs::read_link(path).ok().map(|target| name(&target).to_owned())
}

/// What a folder holds, in order; nothing if it is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten();
    let mut entries: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine below `root`, whose user may do anything and has no libraries.
    pub(super) fn places(root: &Path) -> Places {
        Places {
            pci: root.join("pci"),
            dev: root.join("dev"),
            idxd: root.join("idxd"),
            firmware: vec![root.join("firmware")],
            iommu_groups: root.join("iommu_groups"),
            qat_service: root.join("qatmgr.sock"),
            memlock: None,
            user: "ann".to_owned(),
            may_open: |_| true,
            qat_libraries: Libraries::none,
        }
    }

    pub(super) fn function(root: &Path, address: &str, device: &str, driver: Option<&str>) {
        let folder = root.join("pci").join(address);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vendor"), "0x8086\n").unwrap();
        fs::write(folder.join("device"), format!("0x{device}\n")).unwrap();
        if let Some(driver) = driver {
            symlink(format!("../../drivers/{driver}"), folder.join("driver")).unwrap();
        }
    }

    pub(super) fn file(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_machine_without_devices_is_told_where_to_begin() {
        let root = tempfile::tempdir().unwrap();
        function(root.path(), "0000:00:00.0", "1237", None);
        for device in look(&places(root.path())) {
            assert!(device.functions.is_empty() && device.nodes.is_empty() && device.libraries.is_empty());
            assert!(device.missing[0].contains("no PCI function"), "{:?}", device.missing);
            assert_eq!(device.missing.len(), 2, "{:?}", device.missing);
            assert!(device.next_step.contains("machine"), "{}", device.next_step);
        }
    }
}
