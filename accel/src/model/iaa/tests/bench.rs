//! Operands in memory that a modelled device reaches, and descriptors over them.

use pageferry_bindings::idxd::aecs::{CompressAecs, Histogram};
use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::{CompressFlags, DecompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::IaaStatus;
use zerocopy::{FromZeros, IntoBytes};

use crate::dma::Arena;
use crate::model::iaa::execute;
use crate::model::memory::DeviceMemory;

/// Where the operands are; each is followed by what is not mapped.
pub(super) const SOURCE: u64 = 0x1000_0000;
pub(super) const DESTINATION: u64 = 0x2000_0000;
pub(super) const AECS: u64 = 0x3000_0000;
/// How many bytes source and destination have room for.
pub(super) const ROOM: u32 = 1 << 20;

/// The flags that every descriptor has.
pub(super) const FLAGS: DescriptorFlags =
    DescriptorFlags::COMPLETION_ADDRESS_VALID.union(DescriptorFlags::REQUEST_COMPLETION);
/// What a whole compression asks for: an end-of-block symbol, and all bits.
pub(super) const WHOLE: CompressFlags = CompressFlags::FLUSH_OUTPUT.union(CompressFlags::END_OF_BLOCK);
/// What a whole decompression asks for.
pub(super) const ALL: DecompressFlags = DecompressFlags::ENABLE
    .union(DecompressFlags::FLUSH_OUTPUT)
    .union(DecompressFlags::STOP_ON_END)
    .union(DecompressFlags::CHECK_FOR_END)
    .union(DecompressFlags::SELECT_FINAL);

/// A device's memory.
pub(super) struct Bench {
    pub(super) memory: DeviceMemory,
    _arena: Arena,
}

impl Bench {
    pub(super) fn new() -> Self {
        let room = u64::from(ROOM);
        let arena = Arena::new(3, ROOM as usize).unwrap();
        let file = arena.range().file.unwrap().file;
        let memory = DeviceMemory::new();
        for (at, offset) in [(SOURCE, 0), (DESTINATION, room), (AECS, 2 * room)] {
            memory.map_file(at, room, &file, offset).unwrap();
        }
        Self { memory, _arena: arena }
    }

    /// The memory with a source.
    pub(super) fn with(source: &[u8]) -> Self {
        let bench = Self::new();
        bench.memory.write(SOURCE, source).unwrap();
        bench
    }

    pub(super) fn execute(&self, descriptor: &Descriptor) -> IaaCompletion {
        execute(descriptor, &self.memory)
    }

    /// The first bytes of the destination.
    pub(super) fn destination(&self, bytes: u32) -> Vec<u8> {
        let mut destination = vec![0; bytes as usize];
        self.memory.read(DESTINATION, &mut destination).unwrap();
        destination
    }

    /// Compresses the source with an AECS, and returns the record and the output.
    pub(super) fn compress(
        &self,
        bytes: usize,
        aecs: &CompressAecs,
        flags: CompressFlags,
    ) -> (IaaCompletion, Vec<u8>) {
        self.memory.write(AECS, aecs.as_bytes()).unwrap();
        let completion = self.execute(&compress(bytes, ROOM, flags));
        assert_eq!(IaaStatus(completion.status), IaaStatus::SUCCESS, "{completion:?}");
        (completion, self.destination(completion.output_bytes))
    }

    /// What statistics mode counts of the source.
    pub(super) fn statistics(&self, bytes: usize, flags: CompressFlags) -> Histogram {
        let descriptor = statistics(bytes, flags);
        let completion = self.execute(&descriptor);
        assert_eq!(IaaStatus(completion.status), IaaStatus::SUCCESS, "{completion:?}");
        let mut histogram = Histogram::new_zeroed();
        self.memory.read(DESTINATION, histogram.as_mut_bytes()).unwrap();
        histogram
    }
}

fn descriptor(opcode: Opcode, flags: DescriptorFlags, bytes: usize, operation_flags: u16) -> Descriptor {
    Descriptor {
        source: SOURCE,
        destination: DESTINATION,
        bytes: u32::try_from(bytes).unwrap(),
        operation_flags,
        ..Descriptor::new(opcode, FLAGS | flags)
    }
}

pub(super) fn compress(bytes: usize, most: u32, flags: CompressFlags) -> Descriptor {
    descriptor(Opcode::COMPRESS, DescriptorFlags::READ_AECS, bytes, flags.bits()).with_operands(
        &IaaOperands {
            source2: AECS,
            source2_bytes: 1568,
            max_destination_bytes: most,
            ..IaaOperands::default()
        },
    )
}

pub(super) fn statistics(bytes: usize, flags: CompressFlags) -> Descriptor {
    let flags = flags | CompressFlags::STATISTICS;
    descriptor(Opcode::COMPRESS, DescriptorFlags::empty(), bytes, flags.bits())
        .with_operands(&IaaOperands { max_destination_bytes: 1280, ..IaaOperands::default() })
}

pub(super) fn decompress(bytes: usize, most: u32, flags: DecompressFlags) -> Descriptor {
    descriptor(Opcode::DECOMPRESS, DescriptorFlags::empty(), bytes, flags.bits())
        .with_operands(&IaaOperands { max_destination_bytes: most, ..IaaOperands::default() })
}

/// The XOR checksum by its definition.
pub(super) fn xor(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |xor, word| xor ^ u16::from(word[0]) ^ u16::from(*word.get(1).unwrap_or(&0)) << 8)
}
