//! QAT: what the vendor's library needs to work in this process, in the order in which it is needed.

pub(super) mod libraries;
mod part;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use super::{Detail, Device, Function, INTEL, Lack, Places, entries, link};
use crate::quantity::ByteSize;
use libraries::{Instances, Libraries, Library};
use part::{PARTS, Part};

/// What qatlib locks for each virtual function (its INSTALL).
const LOCKED_BYTES: u64 = 16 << 20;

/// The driver that gives functions to user space.
const VFIO: &str = "vfio-pci";

pub(super) fn look(places: &Places, all: &[Function]) -> Device {
    let Libraries { qat, qatzip } = (places.qat_libraries)();
    let mut machine = Machine::new(places, all);
    let stand_in = qat.as_ref().is_ok_and(|library| library.stand_in.is_some());
    let mut lacks = if stand_in { Vec::new() } else { machine.lacks(&qat) };
    let mut details = if machine.ours.is_empty() { Vec::new() } else { machine.details() };
    let libraries = qat.iter().map(|library| library.file.clone());
    let libraries = libraries.chain(qatzip.iter().map(|library| library.file.clone())).collect();
    // The service says of what is missing that something is, slowly and to everybody.
    if lacks.is_empty()
        && let Ok(library) = &qat
    {
        lacks.extend(bring_up(library, &mut details));
    }
    details.push(detail("QATzip", describe(&qatzip, lacks.is_empty())));
    let ready = match qat.ok().and_then(|library| library.stand_in) {
        Some(name) => {
            format!("nothing: use --accelerator qat, which is a stand-in here ({name}) and no hardware")
        }
        None => "nothing: use --accelerator qat".to_owned(),
    };
    Device {
        name: "qat",
        description: "Intel QuickAssist Technology (deflate)",
        functions: std::mem::take(&mut machine.ours),
        nodes: machine.nodes,
        libraries,
        details,
        next_step: lacks.first().map_or(ready, |lack| lack.next.clone()),
        missing: lacks.into_iter().map(|lack| lack.what).collect(),
    }
}

/// Starts the library's service, and describes it.
fn bring_up(library: &Library<Instances>, details: &mut Vec<Detail>) -> Option<Lack> {
    let next =
        "see what it printed and what dmesg says; accel/src/qat/OPERATORS.md goes through it from the start";
    let Instances { version, fit, passed_over } = match (library.start)() {
        Ok(instances) => instances,
        Err(refusal) => return Some(Lack::new(refusal, next)),
    };
    details.extend(version.map(|version| detail("version", version)));
    let none = fit.is_empty();
    details.extend(fit.into_iter().map(|line| detail("instance", line)));
    let reasons = passed_over.join("; ");
    details.extend(passed_over.into_iter().map(|line| detail("passed over", line)));
    none.then(|| {
        let what = if reasons.is_empty() { "none for this process" } else { &reasons };
        Lack::new(format!("no instance of data compression that can be used: {what}"), SERVE_COMPRESSION)
    })
}

/// What QATzip works with; whether it has a device is asked only where there is one to have.
fn describe(qatzip: &Result<Library<String>, String>, qat: bool) -> String {
    match qatzip {
        Err(reason) => reason.clone(),
        Ok(_) if !qat => "software backup: no QAT device".to_owned(),
        Ok(library) => (library.start)().unwrap_or_else(|refusal| refusal),
    }
}

const SERVE_COMPRESSION: &str = "write ServicesEnabled=dc into /etc/sysconfig/qat (`systemctl cat qat` names the file, \
                                 as EnvironmentFile), and then: systemctl restart qat";

/// This machine's functions of QAT, and the nodes by which they are opened.
struct Machine<'a> {
    places: &'a Places,
    ours: Vec<Function>,
    /// Those of virtual functions that are bound to VFIO.
    nodes: Vec<PathBuf>,
}

impl<'a> Machine<'a> {
    fn new(places: &'a Places, all: &[Function]) -> Self {
        let ours = all.iter().filter_map(|function| {
            let is_virtual = Part::of(function)?.is_virtual(function);
            Some(Function { is_virtual, ..function.clone() })
        });
        let mut machine = Self { places, ours: ours.collect(), nodes: Vec::new() };
        machine.nodes = machine.bound().filter_map(|function| machine.node(function)).collect();
        machine
    }

    fn physical(&self) -> impl Iterator<Item = (&Function, &'static Part)> {
        let ours = self.ours.iter().filter(|function| !function.is_virtual);
        ours.filter_map(|function| Some((function, Part::of(function)?)))
    }

    fn virtual_(&self) -> impl Iterator<Item = &Function> {
        self.ours.iter().filter(|function| function.is_virtual)
    }

    /// Virtual functions that user space may drive.
    fn bound(&self) -> impl Iterator<Item = &Function> {
        self.virtual_().filter(|function| function.driver.as_deref() == Some(VFIO))
    }

    /// The node by which VFIO opens a function, where there is one.
    fn node(&self, function: &Function) -> Option<PathBuf> {
        let group = link(&self.places.pci.join(&function.address).join("iommu_group"))?;
        Some(self.places.dev.join("vfio").join(group)).filter(|node| node.exists())
    }

    fn is_served(&self) -> bool {
        self.places.qat_service.exists()
    }

    /// What is missing until the library can be asked.
    fn lacks(&self, library: &Result<Library<Instances>, String>) -> Vec<Lack> {
        let has_qatlib = |function: &Function| Part::of(function).is_some_and(|part| part.has_qatlib);
        let of_package = !self.ours.is_empty() && !self.ours.iter().any(has_qatlib);
        let library = library.as_ref().err().map(|reason| Lack::new(reason, install(of_package)));
        let first = [self.function(), self.firmware(), self.driver(), library];
        // What the out-of-tree package sets up is its own.
        let rest = if self.ours.is_empty() || of_package {
            [const { None }; 7]
        } else {
            [
                self.iommu(),
                self.up(),
                self.services(),
                self.virtual_functions(),
                self.binding(),
                self.permission(),
                self.memlock(),
            ]
        };
        first.into_iter().chain(rest).flatten().collect()
    }

    fn function(&self) -> Option<Lack> {
        let what = format!(
            "no PCI function ({INTEL}:{} or one of {} like it)",
            PARTS[0].physical,
            PARTS.len() * 2 - 1
        );
        let next = "use a machine or a card that has one (Xeon from the 4th generation on), and enable it in the firmware";
        self.ours.is_empty().then(|| Lack::new(what, next))
    }

    /// The kernel's driver loads it when it takes a function; one that has the function needs it no more.
    fn firmware(&self) -> Option<Lack> {
        let mut physical = self.physical().filter(|(function, part)| !is_driven(function, part));
        let (function, part) =
            physical.find(|(_, part)| !self.firmware_of(part).iter().all(Option::is_some))?;
        let [first, second] = part.firmware;
        Some(Lack::new(
            format!("no firmware for {}: {first} and {second} in /lib/firmware", function.address),
            format!(
                "install it (Debian: firmware-intel-misc, Fedora and Ubuntu: linux-firmware; what these lack is in the \
                 folder intel/qat of linux-firmware), and then: modprobe -r {0}; modprobe {0}",
                part.module
            ),
        ))
    }

    /// The two files of a part, packed or not.
    fn firmware_of(&self, part: &Part) -> [Option<PathBuf>; 2] {
        part.firmware.map(|file| {
            let folders = self.places.firmware.iter();
            let files =
                folders.flat_map(|folder| ["", ".xz", ".zst"].map(|end| folder.join(format!("{file}{end}"))));
            files.into_iter().find(|file| file.exists())
        })
    }

    fn driver(&self) -> Option<Lack> {
        let (first, part) = self.physical().next()?;
        if self.physical().any(|(function, part)| is_driven(function, part)) {
            return None;
        }
        let address = &first.address;
        Some(match &first.driver {
            Some(other) => Lack::new(
                format!("{address} is bound to {other}, and not to the kernel's {}", part.driver),
                format!(
                    "give it back, as root: echo {address} > /sys/bus/pci/drivers/{other}/unbind; echo > \
                     /sys/bus/pci/devices/{address}/driver_override; modprobe {}; echo {address} > \
                     /sys/bus/pci/drivers_probe",
                    part.module
                ),
            ),
            None => Lack::new(
                format!("no kernel driver bound to {address}"),
                format!("load the kernel's driver: modprobe {}", part.module),
            ),
        })
    }

    fn iommu(&self) -> Option<Lack> {
        let groups = &self.places.iommu_groups;
        let what = format!("no IOMMU group in {}", groups.display());
        let next = "enable VT-d and SR-IOV in the firmware, and boot the kernel with intel_iommu=on";
        entries(groups).is_empty().then(|| Lack::new(what, next))
    }

    /// What the kernel's driver says in a file of a function's, if it does.
    fn says(&self, function: &Function, file: &str) -> Option<String> {
        let path = self.places.pci.join(&function.address).join("qat").join(file);
        fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    }

    fn up(&self) -> Option<Lack> {
        let states: Vec<_> =
            self.physical().map(|(function, _)| (function, self.says(function, "state"))).collect();
        if states.is_empty() || !states.iter().all(|(_, state)| state.as_deref() == Some("down")) {
            return None;
        }
        let address = &states[0].0.address;
        let next = format!("start it, as root: echo up > /sys/bus/pci/devices/{address}/qat/state");
        Some(Lack::new(format!("{address} is down"), next))
    }

    fn services(&self) -> Option<Lack> {
        let says = |function| Some((function, self.says(function, "cfg_services")?));
        let services: Vec<_> = self.physical().filter_map(|(function, _)| says(function)).collect();
        let compresses = |services: &str| services.split(';').any(|service| service == "dc");
        if services.is_empty() || services.iter().any(|(_, services)| compresses(services)) {
            return None;
        }
        let lines: Vec<_> =
            services.iter().map(|(function, services)| format!("{}: {services}", function.address)).collect();
        let what = format!("no function serves data compression ({})", lines.join(", "));
        Some(Lack::new(what, SERVE_COMPRESSION))
    }

    fn virtual_functions(&self) -> Option<Lack> {
        let (first, _) = self.physical().next().filter(|_| self.virtual_().next().is_none())?;
        let sriov = format!("/sys/bus/pci/devices/{}/sriov_numvfs", first.address);
        Some(Lack::new(
            "no virtual function",
            format!("have the service make them: systemctl enable --now qat; or, as root: echo 16 > {sriov}"),
        ))
    }

    fn binding(&self) -> Option<Lack> {
        let count = self.virtual_().count();
        let what = format!("none of {count} virtual functions is bound to {VFIO}");
        let next = format!("modprobe {VFIO}, and have the service bind them: systemctl restart qat");
        if count > 0 && self.bound().next().is_none() {
            return Some(Lack::new(what, next));
        }
        let unseen = self.bound().next().filter(|_| self.nodes.is_empty())?;
        let what = format!("no node in {} for {}", self.places.dev.join("vfio").display(), unseen.address);
        Some(Lack::new(what, "see why in dmesg; in a container, pass the node to it"))
    }

    fn permission(&self) -> Option<Lack> {
        let Places { user, may_open, qat_service, .. } = self.places;
        let closed = |path: &&Path| !may_open(path);
        let first = self.nodes.first().filter(|_| !self.nodes.iter().any(|node| may_open(node)));
        let service = Some(qat_service.as_path()).filter(|_| self.is_served()).filter(closed);
        let path = first.map(PathBuf::as_path).or(service)?;
        // The service gives nodes to the group.
        let begin = if self.is_served() { "" } else { "systemctl enable --now qat; " };
        Some(Lack::new(
            format!("{user} may not read and write {}", path.display()),
            format!("{begin}usermod -a -G qat {user}, and log in again"),
        ))
    }

    fn memlock(&self) -> Option<Lack> {
        let limit = self.places.memlock?;
        // One virtual function of each physical one, as the service's default policy is.
        let functions = self.physical().count().max(1) as u64;
        let needed = functions * LOCKED_BYTES;
        (limit < needed).then(|| {
            let what = format!(
                "{} may lock {} of memory, and the library alone needs {} ({} for each of {functions} virtual functions)",
                self.places.user,
                ByteSize(limit),
                ByteSize(needed),
                ByteSize(LOCKED_BYTES)
            );
            let next = format!(
                "write `{} - memlock unlimited` (or what OPERATORS.md sums up) into /etc/security/limits.conf, and log in \
                 again",
                self.places.user
            );
            Lack::new(what, next)
        })
    }

    /// What is worth knowing of a machine that has functions.
    fn details(&self) -> Vec<Detail> {
        let mut files: Vec<PathBuf> =
            self.physical().flat_map(|(_, part)| self.firmware_of(part)).flatten().collect();
        files.dedup();
        let mut details: Vec<_> =
            files.iter().map(|file| detail("firmware", file.display().to_string())).collect();
        for (function, _) in self.physical() {
            let services = self.says(function, "cfg_services");
            details.extend(services.map(|it| detail("services", format!("{}: {it}", function.address))));
        }
        let service = if self.is_served() {
            format!("qatmgr listens at {}", self.places.qat_service.display())
        } else {
            "qatmgr does not run: a process takes free virtual functions by itself (QAT_POLICY)".to_owned()
        };
        let memlock = self.places.memlock.map_or("no limit".to_owned(), |limit| ByteSize(limit).to_string());
        details.extend([detail("service", service), detail("locked memory", memlock)]);
        details
    }
}

fn is_driven(function: &Function, part: &Part) -> bool {
    function.driver.as_deref() == Some(part.driver)
}

/// What to install for the library: the packages of qatlib, or the vendor's own for parts that it does not drive.
fn install(of_package: bool) -> &'static str {
    if of_package {
        "install the vendor's out-of-tree package for this part, which has libqat_s.so: qatlib does not drive it"
    } else {
        "install it (Debian from trixie on, Ubuntu from 24.04 on: libqat4 libusdm0 qatlib-service; Fedora: qatlib \
         qatlib-service)"
    }
}

fn detail(name: &'static str, value: String) -> Detail {
    Detail { name, value }
}
