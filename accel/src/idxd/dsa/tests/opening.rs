use super::*;
use crate::dma::DmaRange;
use crate::idxd::device::{Device, WorkQueue};
use crate::idxd::dsa::Dsa;
use crate::queue::{MemoryAccess, OpenError, Provenance};

/// A device that has these queues, and opens none.
struct Closed(Vec<QueueFacts>);

impl Device for Closed {
    fn name(&self) -> &str {
        "dsa0"
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn memory(&self) -> MemoryAccess {
        MemoryAccess::Pinned
    }

    fn queues(&self) -> Vec<QueueFacts> {
        self.0.clone()
    }

    fn open(&self, _: &[DmaRange]) -> Result<Vec<WorkQueue>, OpenError> {
        Ok(Vec::new())
    }
}

fn open(queues: Vec<QueueFacts>, config: DsaConfig) -> Result<Dsa, String> {
    Dsa::new(Arc::new(Closed(queues)), config).map_err(|error| error.to_string())
}

#[test]
fn what_a_dsa_can_do_is_what_all_its_queues_can() {
    let can = |queues| open(queues, DsaConfig::default()).unwrap().capabilities();
    let full = can(vec![facts(true, 1024), facts(true, 1024)]);
    assert!(full.decode.contains(Method::Delta) && full.encode.contains(Method::Delta));
    assert_eq!((full.queues, full.depth, full.memory), (2, 8, MemoryAccess::Pinned));
    let shipping = can(vec![facts(true, 1024), facts(false, 1024)]);
    assert!(!shipping.decode.contains(Method::Delta) && shipping.encode.contains(Method::Delta));
}

#[test]
fn a_queue_without_what_is_needed_is_refused_by_name() {
    let lacking = |opcodes: &[Opcode]| {
        let opcodes = OpcodeSet::of(opcodes);
        vec![facts(true, 1024), QueueFacts { name: "dsa0/wq0.1".into(), opcodes, ..facts(true, 1024) }]
    };
    let all = [Opcode::MEMORY_MOVE, Opcode::COMPARE, Opcode::CRC_GENERATION, Opcode::COPY_WITH_CRC];
    let error = open(lacking(&all), DsaConfig::default()).err().unwrap();
    assert!(error.contains("dsa0/wq0.1") && error.contains("it lacks compare-pattern (0x06);"), "{error}");
    let config = DsaConfig { detect_zero: false, ..DsaConfig::default() };
    assert!(open(lacking(&all), config).is_ok());
    let error = open(lacking(&all[..1]), config).err().unwrap();
    assert!(error.contains("compare (0x05), CRC generation (0x10), copy with CRC (0x11)"), "{error}");
    let error = open(Vec::new(), config).err().unwrap();
    assert!(error.contains("no work queue"), "{error}");
}

#[test]
fn a_queue_that_cannot_move_a_page_is_refused() {
    let facts = QueueFacts { max_transfer_bytes: 4096, ..facts(true, 1024) };
    let dsa = open(vec![facts], DsaConfig::default()).unwrap();
    assert!(dsa.open(&attachment(PageSize::Kib4)).is_ok());
    let error = dsa.open(&attachment(PageSize::Kib64)).err().unwrap().to_string();
    assert!(error.contains("64 KiB") && error.contains("4096 bytes a descriptor"), "{error}");
}
