//! Compare and compare-pattern.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::operands::CompareOperands;

use super::{CHUNK, Job, Operand, Outcome, Stop, chunks, progress, read_chunk};

/// Finds the first byte in which two sources differ.
pub(super) fn compare(job: &Job) -> Outcome {
    let (mut one, mut other) = ([0; CHUNK], [0; CHUNK]);
    for (start, bytes) in chunks(job.bytes()) {
        let at = |address: u64| address.wrapping_add(start as u64);
        let (read, fault) = read_chunk(job.memory, at(job.descriptor.source), &mut one[..bytes]);
        let (also, other_fault) = read_chunk(job.memory, at(job.descriptor.destination), &mut other[..bytes]);
        let both = read.min(also);
        if let Some(index) = difference(&one[..both], &other[..both]) {
            return Ok(different(job, start + index));
        }
        let first = fault.filter(|_| read <= also).map(|fault| (fault, Operand::First));
        if let Some((fault, operand)) = first.or(other_fault.map(|fault| (fault, Operand::Second))) {
            return Err(Stop { fault, operand, record: progress(start + both) });
        }
    }
    Ok(equal(job))
}

/// Finds the first word in which a source is not a pattern of 8 bytes.
pub(super) fn compare_pattern(job: &Job) -> Outcome {
    let (mut bytes_read, mut pattern) = ([0; CHUNK], [0; CHUNK]);
    for word in pattern.chunks_exact_mut(8) {
        word.copy_from_slice(&job.descriptor.destination.to_le_bytes());
    }
    for (start, bytes) in chunks(job.bytes()) {
        let address = job.descriptor.source.wrapping_add(start as u64);
        let (read, fault) = read_chunk(job.memory, address, &mut bytes_read[..bytes]);
        if let Some(index) = difference(&bytes_read[..read], &pattern[..read]) {
            let (index, words_end) = (start + index, job.bytes() & !7);
            let exact = job.profile.quirks.pattern_by_byte || index >= words_end;
            return Ok(different(job, if exact { index } else { index & !7 }));
        }
        if let Some(fault) = fault {
            // Resumed from here, the pattern must begin anew.
            let done = (start + read) & !7;
            return Err(Stop { fault, operand: Operand::First, record: progress(done) });
        }
    }
    Ok(equal(job))
}

fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other { None } else { one.iter().zip(other).position(|(one, other)| one != other) }
}

fn different(job: &Job, index: usize) -> DsaCompletion {
    job.judged(expected(job) == 1, DsaCompletion { result: 1, ..progress(index) })
}

fn equal(job: &Job) -> DsaCompletion {
    let done = if job.profile.quirks.equal_is_progress { job.bytes() } else { 0 };
    job.judged(expected(job) == 0, progress(done))
}

fn expected(job: &Job) -> u8 {
    job.descriptor.operands::<CompareOperands>().expected_result
}
