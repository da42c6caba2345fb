//! Delta records, as DML makes them and as the specification's status codes judge them.
//!
//! An entry is the number of a word of 8 bytes that differs, 16 bits little-endian, and that word of source 2.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::operands::{ApplyDeltaOperands, CreateDeltaOperands};
use pageferry_bindings::idxd::status::DsaStatus;

use super::{CHUNK, Job, Operand, Outcome, Stop, progress, read_chunk};
use crate::codec::delta::{ENTRY_BYTES, WORD_BYTES};
use crate::model::memory::MemoryFault;

/// Results of create-delta; also the bits of the mask of those that are expected.
const EQUAL: u8 = 0;
const DIFFERENT: u8 = 1;
const OVERFLOW: u8 = 2;

/// The bytes of source whose words DML's software takes together.
const LINE_BYTES: usize = 64;

/// Entries, the last of which ends at a multiple of 8 bytes.
const ALIGNED_ENTRIES: usize = 4;

/// The entries of one chunk, and where in the region the word of each is.
struct Entries {
    bytes: Vec<u8>,
    words: Vec<usize>,
}

/// Writes down the words in which source 2 differs from source 1.
pub(super) fn create(job: &Job) -> Outcome {
    let operands: CreateDeltaOperands = job.descriptor.operands();
    let most = operands.max_delta_bytes as usize / ENTRY_BYTES;
    let mut entries = Entries { bytes: Vec::new(), words: Vec::new() };
    let source_fault = find(job, &mut entries, most);
    let overflows = entries.words.len() > most;
    let mut kept = entries.words.len().min(most);
    if overflows && job.profile.quirks.delta_stops_at_line {
        let line = entries.words[most] / LINE_BYTES;
        kept = entries.words.partition_point(|&word| word / LINE_BYTES < line);
    }
    let record = &entries.bytes[..kept * ENTRY_BYTES];
    if let Err(fault) = job.memory.write(operands.delta_address, record) {
        return Err(partial(job, &entries, fault.done / ENTRY_BYTES, fault, Operand::Third, None));
    }
    if overflows {
        let covered = if job.profile.quirks.delta_overflow_progress { entries.words[kept] } else { 0 };
        return Ok(finished(job, OVERFLOW, kept, covered));
    }
    if let Some((fault, operand, done)) = source_fault {
        return Err(partial(job, &entries, kept, fault, operand, Some(done)));
    }
    Ok(finished(job, if kept == 0 { EQUAL } else { DIFFERENT }, kept, job.bytes()))
}

/// Finds the words that differ, one more than `most` if there are as many, until a fault.
fn find(job: &Job, entries: &mut Entries, most: usize) -> Option<(MemoryFault, Operand, usize)> {
    let (mut old, mut new) = ([0; CHUNK], [0; CHUNK]);
    for (start, bytes) in super::chunks(job.bytes()) {
        let at = |address: u64| address.wrapping_add(start as u64);
        let (read, fault) = read_chunk(job.memory, at(job.descriptor.source), &mut old[..bytes]);
        let (also, other_fault) = read_chunk(job.memory, at(job.descriptor.destination), &mut new[..bytes]);
        let both = read.min(also) / WORD_BYTES * WORD_BYTES;
        let words = old[..both].as_chunks::<WORD_BYTES>().0.iter().zip(new.as_chunks::<WORD_BYTES>().0);
        for (index, (old, new)) in words.enumerate() {
            if old == new {
                continue;
            }
            let place = start + index * WORD_BYTES;
            let Ok(number) = u16::try_from(place / WORD_BYTES) else { return None };
            entries.words.push(place);
            entries.bytes.extend_from_slice(&number.to_le_bytes());
            entries.bytes.extend_from_slice(new);
            if entries.words.len() > most {
                return None;
            }
        }
        let first = fault.filter(|_| read <= also).map(|fault| (fault, Operand::First));
        if let Some((fault, operand)) = first.or(other_fault.map(|fault| (fault, Operand::Second))) {
            return Some((fault, operand, start + both));
        }
    }
    None
}

fn finished(job: &Job, result: u8, entries: usize, bytes_completed: usize) -> DsaCompletion {
    let mask = job.descriptor.operands::<CreateDeltaOperands>().expected_mask;
    job.judged(mask >> result & 1 == 1, DsaCompletion { result, ..record_of(entries, bytes_completed) })
}

/// A fault after so many entries were written. `done` is how far the sources were read, if that is where the fault is.
fn partial(
    job: &Job,
    entries: &Entries,
    written: usize,
    fault: MemoryFault,
    operand: Operand,
    done: Option<usize>,
) -> Stop {
    let kept = if job.profile.quirks.delta_progress_aligned {
        written / ALIGNED_ENTRIES * ALIGNED_ENTRIES
    } else {
        written
    };
    // All words before the first that has no entry are covered.
    let covered = entries.words.get(kept).copied().or(done).unwrap_or(0);
    let result = if kept == 0 { EQUAL } else { DIFFERENT };
    Stop { fault, operand, record: DsaCompletion { result, ..record_of(kept, covered) } }
}

fn record_of(entries: usize, bytes_completed: usize) -> DsaCompletion {
    let value = u32::try_from(entries * ENTRY_BYTES).unwrap_or(u32::MAX);
    DsaCompletion { value, ..progress(bytes_completed) }
}

/// Writes the words of a record over the destination.
pub(super) fn apply(job: &Job) -> Outcome {
    let bytes = job.descriptor.operands::<ApplyDeltaOperands>().delta_bytes as usize;
    // With more entries than words, one is bad.
    let entries = (bytes / ENTRY_BYTES).min(job.bytes() / WORD_BYTES + 1);
    let mut record = vec![0; entries * ENTRY_BYTES];
    let (read, record_fault) = read_chunk(job.memory, job.descriptor.source, &mut record);
    let entries = record[..read].as_chunks::<ENTRY_BYTES>().0;
    if !job.profile.quirks.delta_applied_before_error
        && let Some(status) = (0..entries.len()).find_map(|index| objection(job, entries, index))
    {
        return Ok(failed(status));
    }
    for (index, entry) in entries.iter().enumerate() {
        if let Some(status) = objection(job, entries, index) {
            return Ok(failed(status));
        }
        let place = job.descriptor.destination.wrapping_add(offset(entry) as u64);
        job.memory
            .write(place, &entry[2..])
            .map_err(|fault| apply_stopped(job, entries, index, fault, Operand::Second))?;
    }
    match record_fault {
        Some(fault) => Err(apply_stopped(job, entries, entries.len(), fault, Operand::First)),
        None => {
            Ok(job.success(if job.profile.quirks.apply_progress_in_record { bytes } else { job.bytes() }))
        }
    }
}

/// Where the word of an entry is, in bytes.
fn offset(&[low, high, ..]: &[u8; ENTRY_BYTES]) -> usize {
    usize::from(u16::from_le_bytes([low, high])) * WORD_BYTES
}

/// What is wrong with an entry.
fn objection(job: &Job, entries: &[[u8; ENTRY_BYTES]], index: usize) -> Option<DsaStatus> {
    let place = offset(&entries[index]);
    if index > 0 && place <= offset(&entries[index - 1]) {
        return Some(DsaStatus::DELTA_OFFSET_ORDER);
    }
    (place >= job.bytes()).then_some(DsaStatus::DELTA_OFFSET_RANGE)
}

fn failed(status: DsaStatus) -> DsaCompletion {
    DsaCompletion { status: status.0, ..DsaCompletion::default() }
}

/// A fault after so many entries were applied. Applying some of them again does no harm.
fn apply_stopped(
    job: &Job,
    entries: &[[u8; ENTRY_BYTES]],
    applied: usize,
    fault: MemoryFault,
    operand: Operand,
) -> Stop {
    let quirks = &job.profile.quirks;
    let kept =
        if quirks.delta_progress_aligned { applied / ALIGNED_ENTRIES * ALIGNED_ENTRIES } else { applied };
    let in_region = || kept.checked_sub(1).map_or(0, |last| offset(&entries[last]) + WORD_BYTES);
    let done = if quirks.apply_progress_in_record { kept * ENTRY_BYTES } else { in_region() };
    Stop { fault, operand, record: progress(done) }
}
