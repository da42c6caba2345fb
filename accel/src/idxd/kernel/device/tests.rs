//! Devices of a host of files: which queues are used, which are not and why, and what an open one does.

use pageferry_bindings::idxd::descriptor::Descriptor;
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::idxd::device::Quiet;
use crate::idxd::kernel::NodeError;
use crate::idxd::kernel::fixture::Tree;

const COMPARE: &[Opcode] = &[Opcode::COMPARE];
const DEFLATE: &[Opcode] = &[Opcode::COMPRESS, Opcode::DECOMPRESS];

fn refused(host: &Host, node: &str) -> KernelError {
    at(host, &host.nodes.join(node), Kind::Dsa, COMPARE).unwrap_err()
}

#[test]
fn what_a_queue_can_do_is_the_least_of_what_is_said() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.0").user_queue("wq0.1");
    tree.iaa(1).user_queue("wq1.0");
    tree.set("wq0.1", "mode", "shared");
    tree.set("wq0.1", "threshold", "6");
    tree.set("wq0.1", "clients", "3");
    tree.set("wq0.1", "block_on_fault", "0");
    tree.set("wq0.1", "op_config", "00000020");
    tree.set("wq1.0", "max_batch_size", "32");
    let host = tree.host();
    let found = find(&host, Kind::Dsa, COMPARE).unwrap();
    assert!(found.passed_over.is_empty(), "{:?}", found.passed_over);
    let [dedicated, shared] = &found.devices[0].queues()[..] else { panic!("{found:?}") };
    let expected = QueueFacts {
        name: "dsa0/wq0.0".into(),
        size: 16,
        max_transfer_bytes: 2 << 20,
        max_batch: 32,
        opcodes: OpcodeSet([0x1_003f_027f, 0, 0, 0]),
        flags: DescriptorFlags::BLOCK_ON_FAULT | DescriptorFlags::CACHE_CONTROL,
        engines: 4,
        numa_node: None,
    };
    assert_eq!(*dedicated, expected);
    assert_eq!((shared.size, shared.flags), (6, DescriptorFlags::CACHE_CONTROL));
    assert_eq!(shared.opcodes, OpcodeSet::of(&[Opcode::COMPARE, Opcode::BATCH]));
    let iaa = find(&host, Kind::Iaa, DEFLATE).unwrap().devices.remove(0);
    assert_eq!(iaa.queues()[0].max_batch, 1, "an IAA has no batches, whatever is said");
    assert!(!iaa.queues()[0].opcodes.has(Opcode::BATCH));
    assert_eq!(
        (iaa.name(), iaa.memory(), iaa.provenance()),
        ("iax1", MemoryAccess::Shared, Provenance::Model)
    );
}

#[test]
fn queues_that_cannot_be_used_are_left_alone_with_the_reason() {
    let tree = Tree::new();
    let device = tree.dsa(0);
    for number in 0..8 {
        device.user_queue(&format!("wq0.{number}"));
    }
    tree.set("wq0.1", "type", "kernel");
    tree.set("wq0.2", "state", "disabled");
    tree.set("wq0.3", "clients", "1");
    tree.set("wq0.4", "group_id", "-1");
    tree.set("wq0.5", "op_config", "0000007b");
    tree.set("wq0.6", "size", "0");
    std::fs::remove_file(tree.host().nodes.join("dsa/wq0.7")).unwrap();
    let found = find(&tree.host(), Kind::Dsa, &[Opcode::COMPARE, Opcode::CRC_GENERATION]).unwrap();
    let device = &found.devices[0];
    assert_eq!(device.nodes().collect::<Vec<_>>(), [&tree.host().nodes.join("dsa/wq0.0")]);
    let reasons: Vec<_> = device.unusable().iter().map(ToString::to_string).collect();
    for (number, part) in [
        (1, "is of type kernel"),
        (2, "is not enabled"),
        (3, "is dedicated and open already (1 clients)"),
        (4, "is in no group"),
        (5, "may not do operation 0x10"),
        (6, "has size 0"),
        (7, "cannot be opened: there is no "),
    ] {
        let reason = &reasons[number - 1];
        assert!(reason.starts_with(&format!("dsa0/wq0.{number} {part}")), "{reason}");
        assert!(reason.contains("; "), "no next step: {reason}");
    }
    assert_eq!(reasons.len(), 7);
}

#[test]
fn devices_that_cannot_be_used_are_passed_over_with_the_reason() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.0");
    tree.set("dsa0", "state", "disabled");
    tree.dsa(2).user_queue("wq2.0");
    tree.set("dsa2", "pasid_enabled", "0");
    tree.dsa(4).user_queue("wq4.0");
    tree.set("dsa4", "op_cap", "00000001");
    tree.dsa(6);
    tree.dsa(8).user_queue("wq8.0");
    tree.set("wq8.0", "type", "none");
    tree.iaa(9).user_queue("wq9.0");
    let found = find(&tree.host(), Kind::Dsa, COMPARE).unwrap();
    assert!(found.devices.is_empty(), "{:?}", found.devices);
    let reasons: Vec<_> = found.passed_over.iter().map(ToString::to_string).collect();
    let parts = [
        "dsa0 is not enabled but Disabled (cmd_status 0x0); configure a work queue, then: accel-config enable-device dsa0",
        "dsa2 has no shared virtual memory",
        "dsa4 has no operation 0x05",
        "dsa6 has no work queue for programs; configure one: accel-config config-wq dsa6/wq6.0 ",
        "dsa8 has no work queue for programs (dsa8/wq8.0 is of type none; disable it and set --type=user); configure",
    ];
    assert_eq!(reasons.len(), parts.len(), "{reasons:#?}");
    for (reason, part) in reasons.iter().zip(parts) {
        assert!(reason.starts_with(part), "{reason}");
    }
}

#[test]
fn one_queue_is_found_by_its_node_or_said_why_not() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.0").user_queue("wq0.1").user_queue("wq0.2");
    tree.iaa(1).user_queue("wq1.0");
    tree.set("wq0.2", "type", "kernel");
    let host = tree.host();
    let device = at(&host, &host.nodes.join("dsa/wq0.1"), Kind::Dsa, COMPARE).unwrap();
    assert_eq!(device.queues().len(), 1);
    assert_eq!(device.queues()[0].name, "dsa0/wq0.1");
    for path in ["dsa/wq0", "dsa/card0", "dsa", "null", "other/wq0.1", "dsa/wq0.1x"] {
        assert!(matches!(refused(&host, path), KernelError::NotAQueue(_)), "{path}");
    }
    assert!(matches!(refused(&host, "iax/wq1.0"), KernelError::OtherKind { is: Kind::Iaa, .. }));
    assert!(matches!(refused(&host, "dsa/wq0.7"), KernelError::NoSuchQueue { .. }));
    assert!(matches!(refused(&host, "dsa/wq1.0"), KernelError::NoSuchQueue { .. }));
    let kernel = refused(&host, "dsa/wq0.2");
    assert_eq!(kernel.to_string(), "dsa0/wq0.2 is of type kernel; disable it and set --type=user");
    let real = Host { behind: Behind::Device, ..host };
    let KernelError::Queue(UnusableQueue { cause, .. }) = refused(&real, "dsa/wq0.0") else { panic!() };
    assert!(matches!(cause, Unusable::Node(NodeError::NotADevice(_))), "{cause}");
}

fn descriptor(index: u32) -> Descriptor {
    Descriptor { bytes: index, ..Descriptor::new(Opcode::NOOP, DescriptorFlags::empty()) }
}

/// Submits one descriptor, makes the queue quiet, submits another.
fn used_and_reopened(host: &Host) -> WorkQueue {
    let device = find(host, Kind::Dsa, COMPARE).unwrap().devices.remove(0);
    let queue = device.open(&[]).unwrap().remove(0);
    // SAFETY: descriptors without addresses, which nobody acts on.
    unsafe { queue.portal.submit(&descriptor(1)) }.unwrap();
    let quiet = loop {
        match queue.control.quiesce() {
            Quiet::Pending => std::thread::yield_now(),
            quiet => break quiet,
        }
    };
    assert_eq!(quiet, Quiet::Ready);
    // SAFETY: as above.
    unsafe { queue.portal.submit(&descriptor(2)) }.unwrap();
    queue
}

#[test]
fn an_open_queue_takes_descriptors_through_its_mapped_node_and_again_after_it_was_quiet() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.0");
    let queue = used_and_reopened(&tree.host());
    assert_eq!((queue.facts.max_batch, queue.portal.takes_batches()), (32, true));
    // The new mapping begins at its first address again.
    let bytes = std::fs::read(tree.host().nodes.join("dsa/wq0.0")).unwrap();
    assert_eq!(&bytes[..64], descriptor(2).as_bytes());
    assert!(bytes[64..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_queue_that_must_be_written_to_has_no_batches() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.0");
    let host = Host { behind: Behind::WrittenModel, ..tree.host() };
    tree.empty_node("dsa/wq0.0");
    let queue = used_and_reopened(&host);
    assert_eq!((queue.facts.max_batch, queue.portal.takes_batches()), (1, false));
    let bytes = std::fs::read(host.nodes.join("dsa/wq0.0")).unwrap();
    assert_eq!(Descriptor::read_from_bytes(&bytes), Ok(descriptor(2)), "the file was opened anew");
}

#[test]
fn a_node_that_went_away_since_is_told_with_the_next_step() {
    let tree = Tree::new();
    tree.dsa(0).user_queue("wq0.0");
    let device = find(&tree.host(), Kind::Dsa, COMPARE).unwrap().devices.remove(0);
    std::fs::remove_file(tree.host().nodes.join("dsa/wq0.0")).unwrap();
    let error = device.open(&[]).err().unwrap();
    let OpenError::Device { device, reason, remedy, .. } = &error else { panic!("{error}") };
    assert_eq!(device, "dsa0/wq0.0");
    assert!(reason.starts_with("there is no ") && remedy.contains("devtmpfs"), "{error}");
}
