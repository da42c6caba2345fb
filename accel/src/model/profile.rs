//! Which device is modelled: what its registers say, and how it behaves where nobody has confirmed it.

use pageferry_bindings::idxd::opcode::{Opcode, OpcodeSet};

use crate::idxd::device::Kind;
use pageferry_bindings::idxd::registers::{GeneralCapabilities, VERSION_1};

/// What a modelled device is.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name in reports, which says `model`.
    pub name: &'static str,
    /// DSA or IAA.
    pub kind: Kind,
    /// PCI vendor and device.
    pub id: (u16, u16),
    /// The NUMA node that it is said to be on.
    pub numa_node: Option<u32>,
    /// VERSION.
    pub version: u32,
    /// GENCAP.
    pub general: GeneralCapabilities,
    /// OPCAP. Of the operations in it the model does those of [`modelled`](Self::modelled) and answers the others with
    /// status 0x10.
    pub opcodes: OpcodeSet,
    /// How many work queues there are.
    pub queues: u8,
    /// How many descriptors all queues hold together.
    pub total_size: u16,
    /// How many groups there are.
    pub groups: u8,
    /// How many engines there are.
    pub engines: u8,
    /// How many read buffers there are.
    pub read_buffers: u8,
    /// Where the group table is, in units of 256 bytes. Not confirmed for any part.
    pub group_table: u8,
    /// Where the queue table is, in units of 256 bytes.
    pub queue_table: u8,
    /// How many MSI-X vectors there are; the first is of errors and commands.
    pub vectors: u16,
    /// Whether PASIDs are enabled on the function, without which no queue is shared. VFIO leaves them off.
    pub pasid: bool,
    /// What is not confirmed.
    pub quirks: Quirks,
}

/// What no public source confirms about real devices. The defaults are what asks most of a driver.
#[derive(Clone, Debug)]
pub struct Quirks {
    /// Create-delta that overflows leaves whole lines of 64 source bytes (`true`) or as many words as fit (`false`, as
    /// DML's software does).
    pub delta_stops_at_line: bool,
    /// Create-delta that overflows reports how many source bytes its record covers; else 0.
    pub delta_overflow_progress: bool,
    /// The most bytes of a delta record must be a multiple of 10 (DML enforces it).
    pub delta_size_by_ten: bool,
    /// Create-delta refuses a record that could overlap a source.
    pub delta_overlap_refused: bool,
    /// A delta operation that meets a page fault stops where its record can be continued at an aligned address: at a
    /// multiple of 4 entries.
    pub delta_progress_aligned: bool,
    /// Apply-delta that meets a bad entry has applied those before it.
    pub delta_applied_before_error: bool,
    /// Apply-delta that meets a page fault counts bytes of the record (as DML takes it); else bytes of the destination.
    pub apply_progress_in_record: bool,
    /// A comparison of equal bytes reports all of them as completed; else 0 (DML).
    pub equal_is_progress: bool,
    /// Compare-pattern says in which byte the difference is; else in which word of 8, but for the rest behind the last.
    pub pattern_by_byte: bool,
    /// A batch stops behind a member that failed, fence or not (DML's software does).
    pub batch_stops_at_failure: bool,
    /// A CRC takes sizes that are no multiple of 4 as if zeros followed (DML's documents; its software does not).
    pub crc_pads: bool,
    /// A fill that meets a page fault stops at a multiple of 8 bytes.
    pub fill_progress_in_words: bool,
    /// A descriptor that wants to block on faults, in a queue that does not, is refused with status 0x11; else the flag
    /// is ignored.
    pub blocking_refused: bool,
    /// An address outside the DMA map is a page fault; else a translation error, status 0x22, without progress.
    pub unmapped_is_page_fault: bool,
    /// A queue of priority 0 cannot be enabled.
    pub priority_zero_refused: bool,
    /// The command that resets the device waits for the work that it has; else it drops it.
    pub reset_drains: bool,
    /// ENQCMD may submit to a dedicated queue; else it is told to retry.
    pub enqcmd_to_dedicated: bool,
    /// MOVDIR64B may submit to a shared queue; else the descriptor is dropped.
    pub movdir64b_to_shared: bool,
    /// Which of the four pages of a portal are limited by the threshold.
    pub limited_pages: [bool; 4],
    /// The error of SWERR for a descriptor that found a dedicated queue full.
    pub full_error: u8,
    /// The error of SWERR for a descriptor that found its queue disabled, or not of the mode for the instruction.
    pub disabled_error: u8,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            delta_stops_at_line: false,
            delta_overflow_progress: false,
            delta_size_by_ten: true,
            delta_overlap_refused: true,
            delta_progress_aligned: true,
            delta_applied_before_error: true,
            apply_progress_in_record: true,
            equal_is_progress: false,
            pattern_by_byte: false,
            batch_stops_at_failure: false,
            crc_pads: false,
            fill_progress_in_words: true,
            blocking_refused: true,
            unmapped_is_page_fault: true,
            priority_zero_refused: true,
            reset_drains: false,
            enqcmd_to_dedicated: false,
            movdir64b_to_shared: false,
            limited_pages: [false, true, false, true],
            full_error: 0x53,
            disabled_error: 0x51,
        }
    }
}

impl Profile {
    /// The DSA of Sapphire Rapids, as dumps of real machines show it: without create-delta and apply-delta.
    #[must_use]
    pub fn spr_dsa() -> Self {
        Self {
            name: "spr-dsa-model",
            kind: Kind::Dsa,
            id: (0x8086, 0x0b25),
            numa_node: None,
            version: VERSION_1,
            general: GeneralCapabilities(0x0040_915f_0107),
            // Linux hides bit 1, batch, which is there.
            opcodes: OpcodeSet([0x0001_003f_027f, 0, 0, 0]),
            queues: 8,
            total_size: 128,
            groups: 4,
            engines: 4,
            read_buffers: 96,
            group_table: 3,
            queue_table: 4,
            vectors: 9,
            pasid: false,
            quirks: Quirks::default(),
        }
    }

    /// The same with create-delta and apply-delta, which its specification has.
    #[must_use]
    pub fn dsa_full() -> Self {
        let spr = Self::spr_dsa();
        let opcodes = spr.opcodes.with(Opcode::CREATE_DELTA).with(Opcode::APPLY_DELTA);
        Self { name: "dsa-full-model", opcodes, ..spr }
    }

    /// The IAA of Sapphire Rapids.
    #[must_use]
    pub fn spr_iaa() -> Self {
        Self {
            name: "spr-iaa-model",
            kind: Kind::Iaa,
            id: (0x8086, 0x0cfe),
            general: GeneralCapabilities(0x0007_1f10_901f_0105),
            opcodes: OpcodeSet([0xd, 0x007f_331c, 0, 0]),
            engines: 8,
            ..Self::spr_dsa()
        }
    }

    /// The operations that the model does, if OPCAP has them.
    #[must_use]
    pub fn modelled(&self) -> OpcodeSet {
        match self.kind {
            Kind::Dsa => OpcodeSet::of(&[
                Opcode::NOOP,
                Opcode::BATCH,
                Opcode::DRAIN,
                Opcode::MEMORY_MOVE,
                Opcode::FILL,
                Opcode::COMPARE,
                Opcode::COMPARE_PATTERN,
                Opcode::CREATE_DELTA,
                Opcode::APPLY_DELTA,
                Opcode::DUALCAST,
                Opcode::CRC_GENERATION,
                Opcode::COPY_WITH_CRC,
            ]),
            Kind::Iaa => OpcodeSet::of(&[
                Opcode::NOOP,
                Opcode::DRAIN,
                Opcode::MEMORY_MOVE,
                Opcode::DECOMPRESS,
                Opcode::COMPRESS,
                Opcode::CRC64,
            ]),
        }
    }

    /// Whether the model does this operation.
    pub(super) fn does(&self, opcode: Opcode) -> bool {
        self.opcodes.has(opcode) && self.modelled().has(opcode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registers_of_real_parts_decode_to_what_is_known_of_them() {
        let (dsa, iaa) = (Profile::spr_dsa(), Profile::spr_iaa());
        let limits =
            |profile: &Profile| (profile.general.max_transfer_shift(), profile.general.max_batch_shift());
        assert_eq!((limits(&dsa), limits(&iaa)), ((31, 10), (31, 0)));
        use GeneralCapabilities as Can;
        assert!(dsa.general.contains(Can::OVERLAP_COPY) && !iaa.general.contains(Can::OVERLAP_COPY));
        let both =
            Can::BLOCK_ON_FAULT | Can::CACHE_CONTROL_MEMORY | Can::DESTINATION_READBACK | Can::CONFIGURABLE;
        assert!(dsa.general.contains(both) && iaa.general.contains(both));
        let neither = Can::CACHE_CONTROL_CACHE | Can::DRAIN_READBACK | Can::COMMAND_CAPABILITY;
        assert!(!dsa.general.intersects(neither) && !iaa.general.intersects(neither));
        assert!(!dsa.does(Opcode::CREATE_DELTA) && Profile::dsa_full().does(Opcode::CREATE_DELTA));
        assert!(iaa.does(Opcode::COMPRESS) && !iaa.does(Opcode::BATCH));
    }
}
