//! Whether a PCI function is there, bound to vfio-pci and behind an IOMMU, as sysfs shows it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use vfio_ioctls::VfioError;

/// Why a PCI address did not become a function.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PciError {
    /// Nothing at that address.
    #[error(
        "{address}: there is no such PCI function ({path} is missing): lspci -D -d 8086: lists those of Intel"
    )]
    NoFunction {
        /// The address that was given.
        address: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Another driver has it.
    #[error(
        "{address}: it is bound to {driver}, not to vfio-pci: \
         echo {address} > /sys/bus/pci/drivers/{driver}/unbind, \
         echo vfio-pci > /sys/bus/pci/devices/{address}/driver_override, \
         echo {address} > /sys/bus/pci/drivers_probe"
    )]
    OtherDriver {
        /// The address.
        address: String,
        /// The driver.
        driver: String,
    },
    /// No driver has it.
    #[error(
        "{address}: it is bound to no driver: modprobe vfio-pci, \
         echo vfio-pci > /sys/bus/pci/devices/{address}/driver_override, \
         echo {address} > /sys/bus/pci/drivers_probe"
    )]
    NoDriver {
        /// The address.
        address: String,
    },
    /// It is not behind an IOMMU.
    #[error("{address}: it is in no IOMMU group: enable VT-d in the firmware and boot with intel_iommu=on")]
    NoGroup {
        /// The address.
        address: String,
    },
    /// VFIO refused it.
    #[error("{address}: {source}; {remedy}")]
    Vfio {
        /// The address.
        address: String,
        /// What it said.
        source: VfioError,
        /// What can be done about it.
        remedy: String,
    },
    /// The function could not be told to master the bus.
    #[error("{address}: its configuration space cannot be used: {source}; reset the function and try again")]
    Configuration {
        /// The address.
        address: String,
        /// What came back.
        source: io::Error,
    },
}

/// How an address looks in sysfs: what is needed of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) path: PathBuf,
    pub(super) group: String,
    pub(super) numa_node: Option<u32>,
    /// Whether there is a device node for iommufd.
    pub(super) has_node: bool,
}

impl Bound {
    /// Looks whether a function is there, bound to vfio-pci, and behind an IOMMU.
    pub(super) fn find(devices: &Path, address: &str) -> Result<Self, PciError> {
        let path = devices.join(address);
        let address = address.to_owned();
        if !path.is_dir() {
            return Err(PciError::NoFunction { address, path });
        }
        match link(&path, "driver") {
            Some(driver) if driver == "vfio-pci" => {}
            Some(driver) => return Err(PciError::OtherDriver { address, driver }),
            None => return Err(PciError::NoDriver { address }),
        }
        let Some(group) = link(&path, "iommu_group") else {
            return Err(PciError::NoGroup { address });
        };
        // -1 where the firmware does not say.
        let numa_node =
            fs::read_to_string(path.join("numa_node")).ok().and_then(|text| text.trim().parse().ok());
        let has_node = path.join("vfio-dev").is_dir();
        Ok(Self { path, group, numa_node, has_node })
    }
}

/// The last part of what a link of a device points to.
pub(super) fn link(path: &Path, name: &str) -> Option<String> {
    Some(fs::read_link(path.join(name)).ok()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const ADDRESS: &str = "0000:6a:01.0";

    /// A sysfs of its own, with one function.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("pageferry-pci-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join(ADDRESS)).unwrap();
            Self(root)
        }

        fn device(&self) -> PathBuf {
            self.0.join(ADDRESS)
        }

        fn link(&self, name: &str, to: &str) -> &Self {
            symlink(to, self.device().join(name)).unwrap();
            self
        }

        fn told(&self, address: &str) -> String {
            Bound::find(&self.0, address).unwrap_err().to_string()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_is_missing_for_vfio_is_named_with_the_next_step() {
        let tree = Tree::new("missing");
        assert!(tree.told("0000:6a:02.0").contains("no such PCI function"), "{}", tree.told("0000:6a:02.0"));
        assert!(
            tree.told(ADDRESS).contains("bound to no driver: modprobe vfio-pci"),
            "{}",
            tree.told(ADDRESS)
        );
        tree.link("driver", "../../../bus/pci/drivers/idxd");
        let told = tree.told(ADDRESS);
        assert!(
            told.contains("bound to idxd")
                && told.contains("echo 0000:6a:01.0 > /sys/bus/pci/drivers/idxd/unbind"),
            "{told}"
        );
        fs::remove_file(tree.device().join("driver")).unwrap();
        tree.link("driver", "../../../bus/pci/drivers/vfio-pci");
        assert!(tree.told(ADDRESS).contains("intel_iommu=on"), "{}", tree.told(ADDRESS));
    }

    #[test]
    fn a_function_that_is_bound_is_found_with_group_and_node() {
        let tree = Tree::new("bound");
        tree.link("driver", "../drivers/vfio-pci").link("iommu_group", "../../../kernel/iommu_groups/17");
        fs::write(tree.device().join("numa_node"), "1\n").unwrap();
        let bound = Bound::find(&tree.0, ADDRESS).unwrap();
        assert_eq!((bound.group.as_str(), bound.numa_node, bound.has_node), ("17", Some(1), false));
        fs::write(tree.device().join("numa_node"), "-1\n").unwrap();
        fs::create_dir_all(tree.device().join("vfio-dev/vfio0")).unwrap();
        let bound = Bound::find(&tree.0, ADDRESS).unwrap();
        assert_eq!((bound.numa_node, bound.has_node), (None, true));
    }
}
