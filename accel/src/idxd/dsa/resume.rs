//! Page faults: from where a device stopped to the descriptor that goes on there.
//!
//! The arithmetic is that of DML's `partial_completion.hpp`, with two exceptions. What comes behind a part of a delta
//! record must again begin at a multiple of 8 bytes, so it is written a little further on and moved up afterwards. And
//! what is not certain of the hardware is not built on: how far apply-delta came, or a count that no operation of ours
//! can have stopped at. Then the whole descriptor runs again, which it may, since every operation that is used here
//! gives the same result when it is done twice.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::{CrcOperands, CreateDeltaOperands};

use super::{EQUAL, OVERFLOW};
use crate::codec::delta::{ENTRY_BYTES, WORD_BYTES};

/// The smallest limit of a delta record that a device takes: the words of a cache line.
pub(super) const MIN_DELTA_BYTES: u32 = 80;

/// How much of a descriptor is done, counted from its beginning over all its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes from the front on.
    pub(super) front: u32,
    /// Bytes from the end back, of a move that ran backwards.
    pub(super) back: u32,
    /// Bytes of the delta record that is there.
    pub(super) delta_bytes: u32,
    /// The CRC of the bytes so far.
    pub(super) crc: u32,
}

impl Progress {
    /// This and what `record` says of `part`, the descriptor that stopped; `None` if nothing can be built on that.
    pub(super) fn and(self, part: &Descriptor, record: &DsaCompletion) -> Option<Self> {
        let bytes = record.bytes_completed;
        if bytes >= part.bytes || !bytes.is_multiple_of(WORD) {
            return None;
        }
        match part.opcode() {
            Opcode::MEMORY_MOVE if record.result == RAN_BACKWARDS => {
                Some(Self { back: self.back + bytes, ..self })
            }
            Opcode::MEMORY_MOVE => Some(Self { front: self.front + bytes, ..self }),
            Opcode::COMPARE | Opcode::COMPARE_PATTERN if record.result == EQUAL => {
                Some(Self { front: self.front + bytes, ..self })
            }
            Opcode::CRC_GENERATION | Opcode::COPY_WITH_CRC if bytes > 0 => {
                Some(Self { front: self.front + bytes, crc: record.value, ..self })
            }
            Opcode::CREATE_DELTA if record.result != OVERFLOW && is_record_of(record.value, bytes, part) => {
                let delta_bytes = self.delta_bytes + record.value;
                Some(Self { front: self.front + bytes, delta_bytes, ..self })
            }
            _ => None,
        }
    }

    /// What is left of `whole`; `None` if that cannot be said to a device.
    pub(super) fn rest(self, whole: &Descriptor) -> Option<Descriptor> {
        let left = whole.bytes.checked_sub(self.front)?.checked_sub(self.back).filter(|&left| left > 0)?;
        let front = u64::from(self.front);
        let mut rest = Descriptor { source: whole.source + front, bytes: left, ..*whole };
        match whole.opcode() {
            // The pattern and nothing are no addresses.
            Opcode::COMPARE_PATTERN | Opcode::CRC_GENERATION => {}
            _ => rest.destination += front,
        }
        match whole.opcode() {
            Opcode::CRC_GENERATION | Opcode::COPY_WITH_CRC => {
                Some(rest.with_operands(&CrcOperands { seed: self.crc, ..whole.operands() }))
            }
            Opcode::CREATE_DELTA => {
                let operands = whole.operands::<CreateDeltaOperands>();
                let skipped = self.delta_bytes.next_multiple_of(WORD);
                let max_delta_bytes = operands.max_delta_bytes.checked_sub(skipped)? / ENTRY * ENTRY;
                let delta_address = operands.delta_address + u64::from(skipped);
                (max_delta_bytes >= MIN_DELTA_BYTES).then(|| {
                    rest.with_operands(&CreateDeltaOperands { delta_address, max_delta_bytes, ..operands })
                })
            }
            _ => Some(rest),
        }
    }
}

const RAN_BACKWARDS: u8 = 1;

#[expect(clippy::cast_possible_truncation, reason = "8 and 10 fit")]
const WORD: u32 = WORD_BYTES as u32;
#[expect(clippy::cast_possible_truncation, reason = "8 and 10 fit")]
const ENTRY: u32 = ENTRY_BYTES as u32;

/// Whether a delta record of so many bytes can be of the first `compared` bytes, and in the room of `part`.
fn is_record_of(delta_bytes: u32, compared: u32, part: &Descriptor) -> bool {
    delta_bytes.is_multiple_of(ENTRY)
        && delta_bytes / ENTRY <= compared / WORD
        && delta_bytes <= part.operands::<CreateDeltaOperands>().max_delta_bytes
}

/// Moves the part of a delta record that is in `record[at..at + bytes]` to `record[to..]`, and adds to its offsets the
/// words that were compared before it.
pub(super) fn join(record: &mut [u8], to: usize, at: usize, bytes: usize, words_before: u16) {
    record.copy_within(at..at + bytes, to);
    for entry in record[to..to + bytes].as_chunks_mut::<ENTRY_BYTES>().0 {
        let offset = u16::from_le_bytes([entry[0], entry[1]]).wrapping_add(words_before);
        entry[..2].copy_from_slice(&offset.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use pageferry_bindings::idxd::flags::DescriptorFlags;

    use super::*;

    fn whole(opcode: Opcode) -> Descriptor {
        let flags = DescriptorFlags::CACHE_CONTROL;
        Descriptor { source: 0x10000, destination: 0x20000, bytes: 4096, ..Descriptor::new(opcode, flags) }
    }

    fn stopped(bytes_completed: u32) -> DsaCompletion {
        DsaCompletion { status: 3, bytes_completed, ..DsaCompletion::default() }
    }

    fn rest(whole: &Descriptor, record: &DsaCompletion) -> Option<Descriptor> {
        Progress::default().and(whole, record)?.rest(whole)
    }

    #[test]
    fn a_move_goes_on_behind_what_it_moved_and_backwards_before_it() {
        let whole = whole(Opcode::MEMORY_MOVE);
        let forward = rest(&whole, &stopped(1000)).unwrap();
        assert_eq!((forward.source, forward.destination, forward.bytes), (0x103e8, 0x203e8, 3096));
        let record = DsaCompletion { result: 1, ..stopped(1000) };
        let backwards = rest(&whole, &record).unwrap();
        assert_eq!((backwards.source, backwards.destination, backwards.bytes), (0x10000, 0x20000, 3096));
        let both = Progress::default().and(&whole, &record).unwrap().and(&backwards, &stopped(96)).unwrap();
        let both = both.rest(&whole).unwrap();
        assert_eq!((both.source, both.destination, both.bytes), (0x10060, 0x20060, 3000));
    }

    #[test]
    fn a_comparison_goes_on_in_both_sources_and_a_pattern_stays() {
        let compare = rest(&whole(Opcode::COMPARE), &stopped(64)).unwrap();
        assert_eq!((compare.source, compare.destination, compare.bytes), (0x10040, 0x20040, 4032));
        let pattern = rest(&whole(Opcode::COMPARE_PATTERN), &stopped(64)).unwrap();
        assert_eq!((pattern.source, pattern.destination, pattern.bytes), (0x10040, 0x20000, 4032));
    }

    #[test]
    fn a_crc_goes_on_from_the_one_so_far() {
        for (opcode, destination) in
            [(Opcode::CRC_GENERATION, 0x20000), (Opcode::COPY_WITH_CRC, 0x20000 + 2048)]
        {
            let record = DsaCompletion { value: 0x1234_5678, ..stopped(2048) };
            let rest = rest(&whole(opcode), &record).unwrap();
            assert_eq!((rest.source, rest.destination, rest.bytes), (0x10800, destination, 2048));
            assert_eq!(rest.operands::<CrcOperands>().seed, 0x1234_5678);
        }
        // Nothing was summed up yet, so the field says nothing.
        let record = DsaCompletion { value: 0x1234_5678, ..stopped(0) };
        assert_eq!(rest(&whole(Opcode::COPY_WITH_CRC), &record), None);
    }

    #[test]
    fn a_delta_record_goes_on_at_the_next_word_with_less_room() {
        let operands =
            CreateDeltaOperands { delta_address: 0x30000, max_delta_bytes: 4090, ..Default::default() };
        let whole = whole(Opcode::CREATE_DELTA).with_operands(&operands);
        let record = DsaCompletion { value: 30, ..stopped(512) };
        let rest = rest(&whole, &record).unwrap();
        assert_eq!((rest.source, rest.destination, rest.bytes), (0x10200, 0x20200, 3584));
        let operands = rest.operands::<CreateDeltaOperands>();
        assert_eq!((operands.delta_address, operands.max_delta_bytes), (0x30000 + 32, 4050));
    }

    #[test]
    fn what_cannot_be_built_on_runs_again_as_a_whole() {
        let operands =
            CreateDeltaOperands { delta_address: 0x30000, max_delta_bytes: 4090, ..Default::default() };
        let delta = whole(Opcode::CREATE_DELTA).with_operands(&operands);
        for (descriptor, record) in [
            (whole(Opcode::MEMORY_MOVE), stopped(4096)),
            (whole(Opcode::MEMORY_MOVE), stopped(4)),
            (whole(Opcode::APPLY_DELTA), stopped(40)),
            // A difference before the fault is to be found again, or an overflow.
            (whole(Opcode::COMPARE), DsaCompletion { result: 1, ..stopped(512) }),
            (delta, DsaCompletion { result: 2, value: 30, ..stopped(512) }),
            // More entries than words, a part of an entry, more than there was room, too little room left.
            (delta, DsaCompletion { value: 20, ..stopped(8) }),
            (delta, DsaCompletion { value: 15, ..stopped(512) }),
            (delta, DsaCompletion { value: 4100, ..stopped(4000) }),
            (delta, DsaCompletion { value: 4020, ..stopped(4000) }),
        ] {
            assert_eq!(rest(&descriptor, &record), None, "{:?} of {:?}", record, descriptor.opcode());
        }
    }

    #[test]
    fn the_parts_of_a_record_join_to_the_record_of_the_whole() {
        let old = [0_u8; 4096];
        for split in (0..=4096).step_by(8) {
            let new: Vec<u8> = (0..4096_u32).map(|byte| u8::from(byte / 8 % 3 == 0)).collect();
            let mut whole = [0; 4096];
            let bytes = crate::codec::delta::encode(&old, &new, &mut whole).unwrap();
            let mut parts = [0xee; 4096];
            let first = crate::codec::delta::encode(&old[..split], &new[..split], &mut parts).unwrap();
            let at = first.next_multiple_of(8);
            let second = crate::codec::delta::encode(&old[split..], &new[split..], &mut parts[at..]).unwrap();
            join(&mut parts, first, at, second, u16::try_from(split / 8).unwrap());
            assert_eq!(parts[..first + second], whole[..bytes], "split at {split}");
        }
    }
}
