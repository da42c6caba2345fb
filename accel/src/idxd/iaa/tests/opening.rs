//! Which devices are taken, and what they are said to do.

use std::sync::Arc;

use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};

use super::bench::{Silicon, attachment, config, facts};
use crate::idxd::device::QueueFacts;
use crate::idxd::iaa::Iaa;
use crate::method::Method;
use crate::queue::{Accelerator, OpenError, Provenance};
use crate::request::Direction;
use crate::units::PageSize;

fn refusal(facts: &[QueueFacts], page_size: PageSize) -> String {
    let opened: Result<_, OpenError> =
        Iaa::new(Arc::new(Silicon::new(facts)), config()).and_then(|iaa| iaa.open(&attachment(page_size)));
    opened.err().expect("it is refused").to_string()
}

#[test]
fn a_device_without_deflate_is_refused_with_what_it_lacks() {
    let dsa = QueueFacts { opcodes: OpcodeSet::of(&[Opcode::MEMORY_MOVE]), ..facts() };
    let message = refusal(&[dsa], PageSize::Kib4);
    assert!(message.contains("iax1/wq1.0") && message.contains("compress (0x43)"), "{message}");
    let half = QueueFacts { opcodes: OpcodeSet::of(&[Opcode::COMPRESS]), ..facts() };
    let message = refusal(&[facts(), half], PageSize::Kib4);
    assert!(message.contains("decompress (0x42)"), "{message}");
}

#[test]
fn a_device_without_queues_is_refused() {
    let message = refusal(&[], PageSize::Kib4);
    assert!(message.contains("no work queue"), "{message}");
}

#[test]
fn a_queue_that_cannot_transfer_a_page_is_refused() {
    let small = QueueFacts { max_transfer_bytes: 1 << 14, ..facts() };
    let message = refusal(std::slice::from_ref(&small), PageSize::Kib64);
    assert!(message.contains("16384") && message.contains("max_transfer_size"), "{message}");
    let iaa = Iaa::new(Arc::new(Silicon::new(&[small])), config()).unwrap();
    assert!(iaa.open(&attachment(PageSize::Kib16)).is_ok());
}

#[test]
fn it_states_what_its_device_can_do() {
    let iaa = Iaa::new(Arc::new(Silicon::new(&[facts(), facts()])), config()).unwrap();
    let capabilities = iaa.capabilities();
    assert_eq!((iaa.name(), iaa.provenance()), ("iax1", Provenance::Model));
    assert_eq!((capabilities.queues, capabilities.depth), (2, 4));
    assert_eq!(capabilities.deflate_window_bits, 12);
    for (method, encodes, decodes) in [
        (Method::Zero, true, true),
        (Method::Raw, false, true),
        (Method::Deflate, true, true),
        (Method::Delta, false, false),
    ] {
        assert_eq!(capabilities.can(method, Direction::Encode), encodes, "{method}");
        assert_eq!(capabilities.can(method, Direction::Decode), decodes, "{method}");
    }
    let queues = iaa.open(&attachment(PageSize::Kib4)).unwrap();
    assert_eq!(queues.len(), 2);
    assert_eq!(queues[0].numa_node(), Some(0));
}
