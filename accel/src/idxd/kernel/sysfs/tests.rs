//! Sysfs as a tree of files.

use pageferry_bindings::idxd::opcode::Opcode;

use super::*;
use crate::idxd::kernel::fixture::Tree;

#[test]
fn devices_and_their_queues_are_found_in_the_order_of_their_numbers() {
    let tree = Tree::new();
    tree.iaa(1).user_queue("wq1.0");
    tree.dsa(10);
    tree.dsa(0).user_queue("wq0.1").user_queue("wq0.0");
    // What else the bus has: groups, open files, a node.
    for other in ["group0.0", "file3", "dsa!wq0.0", "dsa", "wq7", "wq7.0"] {
        tree.set(other, "group_id", "0");
    }
    let Findings { devices, errors } = read(&tree.host().sysfs).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["dsa0", "iax1", "dsa10"]);
    let queues: Vec<_> = devices[0].queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(queues, ["wq0.0", "wq0.1"]);
    assert_eq!((devices[1].kind, devices[1].queues.len()), (Kind::Iaa, 1));
    assert!(devices[2].queues.is_empty());
}

#[test]
fn attributes_are_understood() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.1");
    for (file, attribute, text) in [
        ("dsa0", "numa_node", "1"),
        ("dsa0", "cmd_status", "0x80110000"),
        ("wq0.1", "mode", "shared"),
        ("wq0.1", "threshold", "6"),
        ("wq0.1", "clients", "2"),
        ("engine0.0", "group_id", "1"),
    ] {
        tree.set(file, attribute, text);
    }
    let device = read(&tree.host().sysfs).unwrap().devices.remove(0);
    let expected = SysfsQueue {
        name: "wq0.1".into(),
        number: 1,
        queue_type: QueueType::User,
        mode: QueueMode::Shared,
        state: State::Enabled,
        size: 16,
        threshold: Some(6),
        max_transfer_bytes: 2 << 20,
        max_batch: Some(32),
        block_on_fault: true,
        driver_name: Some("user".into()),
        label: "pageferry".into(),
        clients: 2,
        group: Some(0),
        engines: 3,
        opcodes: None,
    };
    assert_eq!(device.queues, [expected]);
    assert_eq!(device.opcodes, OpcodeSet([0x1_003f_027d, 0, 0, 0]));
    assert_eq!(device.capabilities, GeneralCapabilities(0x40_915f_0107));
    assert_eq!((device.version, device.state, device.numa_node), (0x100, State::Enabled, Some(1)));
    assert_eq!((device.max_transfer_bytes, device.max_batch), (1 << 31, Some(1024)));
    assert_eq!((device.pasid_enabled, device.command_status), (true, 0x8011_0000));
}

#[test]
fn what_an_older_kernel_does_not_say_is_not_missed() {
    let tree = Tree::new();
    tree.iaa(3).user_queue("wq3.0");
    for attribute in ["driver_name", "clients", "block_on_fault"] {
        tree.remove("wq3.0", attribute);
    }
    tree.set("iax3", "op_cap", "0xd 0x7f331c 0 0");
    let Findings { devices, errors } = read(&tree.host().sysfs).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(devices[0].opcodes.has(Opcode::COMPRESS) && devices[0].opcodes.has(Opcode::DRAIN));
    assert_eq!((devices[0].max_batch, devices[0].numa_node), (None, None));
    let queue = &devices[0].queues[0];
    assert_eq!((queue.clients, queue.block_on_fault, &queue.driver_name), (0, false, &None));
}

#[test]
fn what_makes_no_sense_is_told_by_file_and_spoils_nothing_else() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.0").user_queue("wq0.1").user_queue("wq0.2");
    tree.dsa(2);
    tree.set("wq0.1", "size", "sixteen");
    tree.set("wq0.2", "mode", "borrowed");
    tree.remove("dsa2", "op_cap");
    let Findings { devices, errors } = read(&tree.host().sysfs).unwrap();
    let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["dsa0"]);
    let queues: Vec<_> = devices[0].queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(queues, ["wq0.0"]);
    let [size, mode, op_cap] = &errors[..] else { panic!("{errors:?}") };
    assert!(size.to_string().contains("wq0.1/size says \"sixteen\", which is not a number"), "{size}");
    assert!(mode.to_string().contains("wq0.2/mode says \"borrowed\""), "{mode}");
    assert!(op_cap.to_string().contains("dsa2/op_cap cannot be read"), "{op_cap}");
}

#[test]
fn a_kernel_without_the_driver_is_told_to_load_it() {
    let error = read(Path::new("/nowhere/at/all")).unwrap_err();
    assert!(matches!(&error, SysfsError::NoDriver(_)), "{error:?}");
    assert!(error.to_string().contains("modprobe idxd"), "{error}");
}
