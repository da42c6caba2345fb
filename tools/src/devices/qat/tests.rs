//! Machines on which one thing is missing each, and what is said of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::tests::{file, function, places};
use super::super::{Device, Places, look};
use super::libraries::{Instances, Libraries, Library};

const PF: &str = "0000:6b:00.0";
const VF: &str = "0000:6b:00.1";

/// A library that has one instance, and no QATzip beside it.
fn library(stand_in: Option<&str>, start: fn() -> Result<Instances, String>) -> Libraries {
    let qat = Library {
        file: "/usr/lib/libqat.so.4.2.0".to_owned(),
        stand_in: stand_in.map(str::to_owned),
        start: Box::new(start),
    };
    Libraries { qat: Ok(qat), ..Libraries::none() }
}

fn one_instance() -> Result<Instances, String> {
    let version = Some("24.2.0".to_owned());
    Ok(Instances { version, fit: vec!["dc0: 4xxx at 6b:00.1, node 0".to_owned()], passed_over: Vec::new() })
}

/// A machine that has all there is to have: one device with two virtual functions.
fn complete(root: &Path) -> Places {
    function(root, PF, "4940", Some("4xxx"));
    file(&root.join("pci").join(PF).join("qat/state"), "up\n");
    file(&root.join("pci").join(PF).join("qat/cfg_services"), "dc\n");
    for (address, group) in [(VF, "17"), ("0000:6b:00.2", "18")] {
        function(root, address, "4941", Some("vfio-pci"));
        symlink(format!("/groups/{group}"), root.join("pci").join(address).join("iommu_group")).unwrap();
        file(&root.join("iommu_groups").join(group), "");
        file(&root.join("dev/vfio").join(group), "");
    }
    file(&root.join("dev/vfio/vfio"), "");
    file(&root.join("qatmgr.sock"), "");
    Places { qat_libraries: || library(None, one_instance), ..places(root) }
}

fn unbind(root: &Path, address: &str) {
    fs::remove_file(root.join("pci").join(address).join("driver")).unwrap();
}

fn qat(places: &Places) -> Device {
    look(places).remove(2)
}

/// What is said first of a machine that lacks what `spoil` takes from it, and of what to do.
#[track_caller]
fn assert_lacks(spoil: impl FnOnce(&Path, &mut Places), what: &str, next: &str) {
    let root = tempfile::tempdir().unwrap();
    let mut places = complete(root.path());
    spoil(root.path(), &mut places);
    let device = qat(&places);
    assert!(device.missing.first().is_some_and(|first| first.contains(what)), "`{what}`: {device:#?}");
    assert!(device.next_step.contains(next), "`{next}`: {device:#?}");
}

fn values<'a>(device: &'a Device, name: &str) -> Vec<&'a str> {
    device.details.iter().filter(|detail| detail.name == name).map(|detail| &*detail.value).collect()
}

#[test]
fn nothing_is_missing_where_the_library_has_instances() {
    let root = tempfile::tempdir().unwrap();
    let device = qat(&complete(root.path()));
    assert_eq!((&device.missing[..], &*device.next_step), (&[][..], "nothing: use --accelerator qat"));
    assert_eq!(values(&device, "instance"), ["dc0: 4xxx at 6b:00.1, node 0"]);
    assert_eq!(values(&device, "version"), ["24.2.0"]);
    assert!(values(&device, "service")[0].contains("qatmgr listens"), "{device:#?}");
    assert_eq!(device.libraries, ["/usr/lib/libqat.so.4.2.0"]);
    let virtual_: Vec<bool> = device.functions.iter().map(|function| function.is_virtual).collect();
    assert_eq!(virtual_, [false, true, true]);
    assert_eq!(device.nodes, ["17", "18"].map(|group| root.path().join("dev/vfio").join(group)));
}

#[test]
fn firmware_is_asked_for_by_its_names_before_the_driver_is() {
    let lacks = |module: &str, number: &'static str, file: &str| {
        let spoil = |root: &Path, _: &mut Places| {
            unbind(root, PF);
            fs::write(root.join("pci").join(PF).join("device"), format!("0x{number}\n")).unwrap();
        };
        assert_lacks(spoil, file, &format!("modprobe -r {module}; modprobe {module}"));
    };
    lacks("qat_4xxx", "4940", "qat_4xxx.bin and qat_4xxx_mmp.bin");
    lacks("qat_4xxx", "4942", "qat_4xxx.bin and qat_4xxx_mmp.bin");
    lacks("qat_4xxx", "4944", "qat_402xx.bin and qat_402xx_mmp.bin");
    lacks("qat_420xx", "4946", "qat_420xx.bin and qat_420xx_mmp.bin");
    lacks("qat_6xxx", "4948", "qat_6xxx.bin and qat_6xxx_mmp.bin");
}

#[test]
fn a_function_without_its_driver_is_given_back_to_it() {
    let firmware = |root: &Path| {
        file(&root.join("firmware/qat_4xxx.bin.xz"), "");
        file(&root.join("firmware/qat_4xxx_mmp.bin.zst"), "");
        unbind(root, PF);
    };
    let next = "load the kernel's driver: modprobe qat_4xxx";
    assert_lacks(|root, _| firmware(root), "no kernel driver bound to 0000:6b:00.0", next);
    let taken = |root: &Path, _: &mut Places| {
        firmware(root);
        symlink("../../drivers/vfio-pci", root.join("pci").join(PF).join("driver")).unwrap();
    };
    assert_lacks(taken, "is bound to vfio-pci, and not to the kernel's 4xxx", "/drivers/vfio-pci/unbind");
}

#[test]
fn the_library_is_asked_for_by_its_packages() {
    let none = |_: &Path, places: &mut Places| places.qat_libraries = Libraries::none;
    assert_lacks(none, "no libqat", "libqat4 libusdm0 qatlib-service; Fedora: qatlib");
    let older = |root: &Path, places: &mut Places| {
        fs::remove_dir_all(root.join("pci")).unwrap();
        function(root, "0000:3d:00.0", "37c8", Some("c6xx"));
        places.qat_libraries = Libraries::none;
    };
    assert_lacks(older, "no libqat", "out-of-tree package");
}

#[test]
fn virtual_functions_need_an_iommu() {
    let none = |root: &Path, _: &mut Places| fs::remove_dir_all(root.join("iommu_groups")).unwrap();
    assert_lacks(none, "no IOMMU group", "intel_iommu=on");
}

#[test]
fn a_device_that_is_down_or_does_not_compress_is_set_up() {
    let write = |root: &Path, name: &str, text: &str| {
        file(&root.join("pci").join(PF).join("qat").join(name), text);
    };
    assert_lacks(|root, _| write(root, "state", "down\n"), "is down", "echo up >");
    for services in ["sym;asym\n", "dcc\n"] {
        assert_lacks(
            |root, _| write(root, "cfg_services", services),
            &format!("no function serves data compression (0000:6b:00.0: {})", services.trim()),
            "ServicesEnabled=dc",
        );
    }
    let root = tempfile::tempdir().unwrap();
    let places = complete(root.path());
    write(root.path(), "cfg_services", "sym;dc\n");
    assert!(qat(&places).missing.is_empty(), "{:#?}", qat(&places));
}

#[test]
fn virtual_functions_are_made_bound_and_opened() {
    let each = |root: &Path, what: &dyn Fn(&str)| {
        for address in [VF, "0000:6b:00.2"] {
            what(root.join("pci").join(address).to_str().unwrap());
        }
    };
    let none = |root: &Path, _: &mut Places| each(root, &|folder| fs::remove_dir_all(folder).unwrap());
    assert_lacks(none, "no virtual function", "systemctl enable --now qat");
    let unbound = |root: &Path, _: &mut Places| {
        each(root, &|folder| fs::remove_file(format!("{folder}/driver")).unwrap());
    };
    assert_lacks(unbound, "none of 2 virtual functions is bound to vfio-pci", "systemctl restart qat");
    let unseen = |root: &Path, _: &mut Places| fs::remove_dir_all(root.join("dev/vfio")).unwrap();
    assert_lacks(unseen, "for 0000:6b:00.1", "dmesg");
}

#[test]
fn nodes_that_are_closed_to_the_user_need_the_group_and_the_service_that_gives_them_to_it() {
    let closed = |_: &Path, places: &mut Places| places.may_open = |path| path.ends_with("qatmgr.sock");
    assert_lacks(closed, "ann may not read and write", "usermod -a -G qat ann, and log in again");
    let no_service = |root: &Path, places: &mut Places| {
        places.may_open = |_| false;
        fs::remove_file(root.join("qatmgr.sock")).unwrap();
    };
    assert_lacks(no_service, "dev/vfio/17", "systemctl enable --now qat; usermod");
    let socket = |_: &Path, places: &mut Places| places.may_open = |path| !path.ends_with("qatmgr.sock");
    assert_lacks(socket, "qatmgr.sock", "usermod -a -G qat ann");
}

#[test]
fn a_virtual_machine_has_no_physical_function_and_needs_no_service() {
    let root = tempfile::tempdir().unwrap();
    let places = complete(root.path());
    fs::remove_dir_all(root.path().join("pci").join(PF)).unwrap();
    fs::remove_file(root.path().join("qatmgr.sock")).unwrap();
    let device = qat(&places);
    assert!(device.missing.is_empty(), "{device:#?}");
    assert!(values(&device, "service")[0].contains("QAT_POLICY"), "{device:#?}");
}

#[test]
fn too_little_memory_to_lock_is_told_with_what_is_needed() {
    let little = |_: &Path, places: &mut Places| places.memlock = Some(8 << 20);
    assert_lacks(little, "ann may lock 8 MiB of memory, and the library alone needs 16 MiB", "limits.conf");
}

#[test]
fn what_the_library_refuses_is_told_in_its_words() {
    let refuses = |_: &Path, places: &mut Places| {
        places.qat_libraries = || library(None, || Err("the vendor's library says FAIL".to_owned()));
    };
    assert_lacks(refuses, "says FAIL", "OPERATORS.md");
    let unfit = |_: &Path, places: &mut Places| {
        places.qat_libraries = || {
            library(None, || {
                let passed_over = vec!["dc0: no CRC-32".to_owned()];
                Ok(Instances { passed_over, ..Instances::default() })
            })
        };
    };
    assert_lacks(unfit, "dc0: no CRC-32", "ServicesEnabled=dc");
}

#[test]
fn the_library_is_not_brought_up_where_something_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let quiet = || library(None, || panic!("brought up"));
    let device = qat(&Places { qat_libraries: quiet, ..places(root.path()) });
    assert!(device.missing[0].contains("no PCI function"), "{device:#?}");
    let stand_in = || library(Some("a test"), one_instance);
    let device = qat(&Places { qat_libraries: stand_in, ..places(root.path()) });
    assert!(device.missing.is_empty() && device.next_step.contains("stand-in here (a test)"), "{device:#?}");
    assert_eq!(values(&device, "instance").len(), 1);
}

#[test]
fn qatzip_without_a_device_is_called_its_software() {
    let root = tempfile::tempdir().unwrap();
    let libraries = || {
        let start = Box::new(|| panic!("asked for a device"));
        let qatzip = Library { file: "libqatzip.so.3".to_owned(), stand_in: None, start };
        Libraries { qatzip: Ok(qatzip), ..Libraries::none() }
    };
    let device = qat(&Places { qat_libraries: libraries, ..places(root.path()) });
    assert_eq!(values(&device, "QATzip"), ["software backup: no QAT device"]);
    assert_eq!(device.libraries, ["libqatzip.so.3"]);
}
