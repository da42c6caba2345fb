//! DSA and IAA: what the kernel's idxd driver needs for them.

use pageferry_accel::idxd::device::Kind;
use pageferry_accel::idxd::kernel::{self, Host};

use super::{Device, Function, INTEL, Lack, Places, entries, name, number};

/// Device numbers: Linux `drivers/dma/idxd/init.c`.
const fn numbers(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Dsa => &["0b25", "11fb", "1212"],
        Kind::Iaa => &["0cfe", "1216"],
    }
}

/// The name, what it is, and the folder of its nodes below `/dev`.
const fn words(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Dsa => ("dsa", "Intel Data Streaming Accelerator (delta, compare, copy)", "dsa"),
        Kind::Iaa => ("iaa", "Intel In-Memory Analytics Accelerator (deflate)", "iax"),
    }
}

const DRIVER: &str = "idxd";
const SAID: &str = "as said there; accel/src/idxd/OPERATORS.md goes through it from the start";

pub(super) fn look(places: &Places, kind: Kind, all: &[Function]) -> Device {
    let ours = |function: &&Function| number(function).is_some_and(|it| numbers(kind).contains(&it));
    let functions: Vec<Function> = all.iter().filter(ours).cloned().collect();
    let (device, description, folder) = words(kind);
    let mut nodes = entries(&places.dev.join(folder));
    nodes.retain(|node| name(node).starts_with("wq"));
    let with = |driver: &str| functions.iter().find(|one| one.driver.as_deref() == Some(driver));
    let mut lacks = Vec::new();
    if functions.is_empty() {
        let ids: Vec<_> = numbers(kind).iter().map(|number| format!("{INTEL}:{number}")).collect();
        lacks.push(Lack::new(
            format!("no PCI function ({})", ids.join(", ")),
            "use a machine that has one (Xeon from the 4th generation on), and enable it in the firmware",
        ));
    }
    if with(DRIVER).is_none() {
        lacks.push(Lack::new("no kernel driver bound to it", "load the kernel's driver: modprobe idxd"));
    }
    let mut missing: Vec<String> = lacks.iter().map(|lack| lack.what.clone()).collect();
    let next_step = match (lacks.into_iter().next(), with("vfio-pci")) {
        (_, Some(function)) => format!("use --accelerator vfio:{}", function.address),
        (Some(lack), None) => lack.next,
        (None, None) => {
            missing = unusable(places, kind);
            let ready = format!("nothing: use --accelerator {device}");
            missing.first().map_or(ready, |_| SAID.to_owned())
        }
    };
    Device {
        name: device,
        description,
        functions,
        nodes,
        libraries: Vec::new(),
        details: Vec::new(),
        missing,
        next_step,
    }
}

/// Why the work queues that the kernel's driver has cannot be used, if that is so.
fn unusable(places: &Places, kind: Kind) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::look;
    use super::super::tests::{function, places};

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
}
