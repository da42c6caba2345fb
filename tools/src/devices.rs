//! What this machine has of the devices that pageferry is made for, as far as the file system tells.

use std::fs;
use std::path::{Path, PathBuf};

use pageferry_accel::idxd::device as idxd;
use pageferry_accel::idxd::kernel::{self, Host, sysfs};
use serde::Serialize;

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
    pub(crate) libraries: Vec<PathBuf>,
    /// What is not there, in the order in which it is needed.
    pub(crate) missing: Vec<String>,
    /// What to do next.
    pub(crate) next_step: String,
}

/// A PCI function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Function {
    pub(crate) address: String,
    /// Vendor and device number, as lspci prints them.
    pub(crate) id: String,
    pub(crate) driver: Option<String>,
}

/// Where devices are looked for; tests lay out a tree of their own.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) pci: PathBuf,
    pub(crate) dev: PathBuf,
    /// Where the idxd driver shows its devices.
    pub(crate) idxd: PathBuf,
    pub(crate) libraries: Vec<PathBuf>,
}

/// How a kind of device is recognized.
struct Kind {
    name: &'static str,
    description: &'static str,
    /// Device numbers of Intel's.
    ids: &'static [&'static str],
    /// The folder of its nodes, below `/dev`, and how they begin.
    nodes: (&'static str, &'static str),
    driver: &'static str,
    /// Which of idxd's devices it is, if one.
    idxd: Option<idxd::Kind>,
    /// How the file of its library begins, if it is driven by one.
    library: Option<&'static str>,
    next: NextSteps,
}

/// What to do if the first thing missing is the function, the driver, the node, the library, or nothing.
struct NextSteps {
    function: &'static str,
    driver: &'static str,
    node: &'static str,
    library: &'static str,
}

const INTEL: &str = "8086";

const SAID: &str = "as said there; accel/src/idxd/OPERATORS.md goes through it from the start";
const NOT_DRIVEN: &str = "nothing here: the device is there, this version of accelbench does not drive it";

/// The kernel's idxd driver serves DSA and IAA alike.
const NEXT_OF_IDXD: NextSteps = NextSteps {
    function: "use a machine that has one (Xeon from the 4th generation on), and enable it in the firmware",
    driver: "load the kernel's driver: modprobe idxd",
    node: "",
    library: "",
};

/// Device numbers: Linux `drivers/dma/idxd/init.c` (DSA, IAA), DPDK and `drivers/crypto/intel/qat` (QAT; physical and
/// virtual functions of the fourth generation and after, then those of the second).
const KINDS: [Kind; 3] = [
    Kind {
        name: "dsa",
        description: "Intel Data Streaming Accelerator (delta, compare, copy)",
        ids: &["0b25", "11fb", "1212"],
        nodes: ("dsa", "wq"),
        driver: "idxd",
        idxd: Some(idxd::Kind::Dsa),
        library: None,
        next: NEXT_OF_IDXD,
    },
    Kind {
        name: "iaa",
        description: "Intel In-Memory Analytics Accelerator (deflate)",
        ids: &["0cfe", "1216"],
        nodes: ("iax", "wq"),
        driver: "idxd",
        idxd: Some(idxd::Kind::Iaa),
        library: None,
        next: NEXT_OF_IDXD,
    },
    Kind {
        name: "qat",
        description: "Intel QuickAssist Technology (deflate)",
        ids: &[
            "4940", "4941", "4942", "4943", "4944", "4945", "4946", "4947", "4948", "4949", "37c8", "37c9",
            "19e2", "19e3", "18a0", "18a1", "0435", "0443",
        ],
        nodes: ("vfio", ""),
        driver: "",
        idxd: None,
        library: Some("libqat.so"),
        next: NextSteps {
            function: "use a machine or a card that has one, and enable it in the firmware",
            driver: "load the kernel's driver (modprobe qat_4xxx for the fourth generation) and install its firmware",
            node: "bind virtual functions to vfio-pci, as the qat service does: systemctl start qat",
            library: "install the vendor's library (Debian: libqat4, Fedora: qatlib)",
        },
    },
];

impl Default for Places {
    fn default() -> Self {
        let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
        let folders = ["/usr/lib64", "/lib64", "/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/lib"];
        let multiarch = ["/usr/lib", "/lib"].map(|folder| Path::new(folder).join(&multiarch));
        Self {
            pci: "/sys/bus/pci/devices".into(),
            dev: "/dev".into(),
            idxd: sysfs::ROOT.into(),
            libraries: multiarch.into_iter().chain(folders.map(PathBuf::from)).collect(),
        }
    }
}

/// Every kind of device, there or not.
pub(crate) fn look(places: &Places) -> Vec<Device> {
    let functions = functions(&places.pci);
    KINDS.iter().map(|kind| kind.look(places, &functions)).collect()
}

impl Kind {
    fn look(&self, places: &Places, all: &[Function]) -> Device {
        let ours = |id: &str| {
            id.split_once(':').is_some_and(|(vendor, number)| vendor == INTEL && self.ids.contains(&number))
        };
        let functions: Vec<Function> = all.iter().filter(|function| ours(&function.id)).cloned().collect();
        let (folder, prefix) = self.nodes;
        let folder = places.dev.join(folder);
        let mut nodes = entries(&folder);
        // `vfio` itself is the container, there without any device.
        nodes.retain(|node| name(node).starts_with(prefix) && name(node) != "vfio");
        let library = self.library.unwrap_or_default();
        let mut libraries: Vec<PathBuf> =
            places.libraries.iter().flat_map(|folder| entries(folder)).collect();
        libraries.retain(|file| self.library.is_some() && name(file).starts_with(library));
        let bound = functions.iter().any(|function| {
            function.driver.as_deref().is_some_and(|driver| self.driver.is_empty() || driver == self.driver)
        });
        let checks = [
            (!functions.is_empty(), format!("no PCI function ({})", self.numbers()), self.next.function),
            (bound, "no kernel driver bound to it".to_owned(), self.next.driver),
            (
                self.idxd.is_some() || !nodes.is_empty(),
                format!("no device node in {}", folder.display()),
                self.next.node,
            ),
            (
                self.library.is_none() || !libraries.is_empty(),
                format!("no {library} in the library folders"),
                self.next.library,
            ),
        ];
        let absent: Vec<&(bool, String, &str)> = checks.iter().filter(|(there, ..)| !there).collect();
        let mut missing: Vec<String> = absent.iter().map(|(_, what, _)| what.clone()).collect();
        let of_vfio = functions.iter().find(|function| function.driver.as_deref() == Some("vfio-pci"));
        let next_step = match (absent.first(), self.idxd, of_vfio) {
            (Some((.., next)), Some(_), None) | (Some((.., next)), None, _) => (*next).to_owned(),
            (_, Some(_), Some(function)) => format!("use --accelerator vfio:{}", function.address),
            (None, Some(kind), None) => {
                missing = self.unusable(places, kind);
                let ready = format!("nothing: use --accelerator {}", self.name);
                missing.first().map_or(ready, |_| SAID.to_owned())
            }
            (None, None, _) => NOT_DRIVEN.to_owned(),
        };
        Device {
            name: self.name,
            description: self.description,
            functions,
            nodes,
            libraries,
            missing,
            next_step,
        }
    }

    /// Why the work queues that the kernel's driver has cannot be used, if that is so.
    fn unusable(&self, places: &Places, kind: idxd::Kind) -> Vec<String> {
        let host = Host { sysfs: places.idxd.clone(), nodes: places.dev.clone(), ..Host::default() };
        match kernel::find(&host, kind, &[]) {
            Err(error) => vec![error.to_string()],
            Ok(found) if !found.devices.is_empty() => Vec::new(),
            Ok(found) if found.passed_over.is_empty() => {
                vec![format!("the driver shows no {kind} in {}: look at dmesg", host.sysfs.display())]
            }
            Ok(found) => found.passed_over.iter().map(ToString::to_string).collect(),
        }
    }

    /// The device numbers, as lspci prints them; of many the first.
    fn numbers(&self) -> String {
        match self.ids {
            [first, _, _, _, ..] => format!("{INTEL}:{first} or one of {} like it", self.ids.len() - 1),
            few => few.iter().map(|id| format!("{INTEL}:{id}")).collect::<Vec<_>>().join(", "),
        }
    }
}

/// All PCI functions.
fn functions(pci: &Path) -> Vec<Function> {
    let number = |folder: &Path, file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        Some(text.trim().trim_start_matches("0x").to_owned())
    };
    let function = |folder: PathBuf| {
        let id = format!("{}:{}", number(&folder, "vendor")?, number(&folder, "device")?);
        let driver = fs::read_link(folder.join("driver")).ok().map(|driver| name(&driver).to_owned());
        Some(Function { address: name(&folder).to_owned(), id, driver })
    };
    entries(pci).into_iter().filter_map(function).collect()
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

    fn places(root: &Path) -> Places {
        Places {
            pci: root.join("pci"),
            dev: root.join("dev"),
            idxd: root.join("idxd"),
            libraries: vec![root.join("lib")],
        }
    }

    fn function(root: &Path, address: &str, device: &str, driver: Option<&str>) {
        let folder = root.join("pci").join(address);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vendor"), "0x8086\n").unwrap();
        fs::write(folder.join("device"), format!("0x{device}\n")).unwrap();
        if let Some(driver) = driver {
            symlink(format!("../../drivers/{driver}"), folder.join("driver")).unwrap();
        }
    }

    fn file(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, []).unwrap();
    }

    #[test]
    fn a_machine_without_devices_lacks_everything_and_is_told_where_to_begin() {
        let root = tempfile::tempdir().unwrap();
        function(root.path(), "0000:00:00.0", "1237", None);
        for device in look(&places(root.path())) {
            assert!(device.functions.is_empty() && device.nodes.is_empty() && device.libraries.is_empty());
            assert!(device.missing[0].contains("no PCI function"), "{:?}", device.missing);
            assert_eq!(device.missing.len(), if device.name == "qat" { 4 } else { 2 });
            assert!(device.next_step.contains("machine"), "{}", device.next_step);
        }
    }

    #[test]
    fn what_is_missing_first_decides_the_next_step() {
        let root = tempfile::tempdir().unwrap();
        function(root.path(), "0000:6a:02.0", "0cfe", None);
        let iaa = || look(&places(root.path())).remove(1);
        assert!(iaa().next_step.contains("modprobe idxd"), "{:?}", iaa());
        function(root.path(), "0000:e7:02.0", "0cfe", Some("idxd"));
        assert!(iaa().missing[0].contains("modprobe idxd"), "no folder of the driver's: {:?}", iaa());
        assert_eq!(iaa().functions[1].driver.as_deref(), Some("idxd"));
        fs::create_dir(root.path().join("idxd")).unwrap();
        assert!(
            iaa().missing[0].contains("dmesg") && iaa().next_step.contains("OPERATORS.md"),
            "{:?}",
            iaa()
        );
        function(root.path(), "0000:e8:02.0", "0cfe", Some("vfio-pci"));
        assert!(iaa().next_step.contains("--accelerator vfio:0000:e8:02.0"), "{:?}", iaa());
        let dsa = look(&places(root.path())).remove(0);
        assert!(dsa.functions.is_empty() && !dsa.missing.is_empty(), "an IAA is no DSA");
    }

    #[test]
    fn qat_needs_its_library_too() {
        let root = tempfile::tempdir().unwrap();
        function(root.path(), "0000:6b:00.0", "4940", Some("4xxx"));
        file(&root.path().join("dev/vfio/vfio"));
        let qat = || look(&places(root.path())).remove(2);
        assert!(qat().nodes.is_empty() && qat().next_step.contains("vfio-pci"), "{:?}", qat());
        file(&root.path().join("dev/vfio/17"));
        assert!(qat().next_step.contains("libqat4"), "{:?}", qat());
        file(&root.path().join("lib/libqat.so.4"));
        assert_eq!(qat().missing, [""; 0]);
    }
}
