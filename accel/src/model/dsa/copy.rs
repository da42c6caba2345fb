//! Memory move, fill and dualcast.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::operands::DualcastOperands;

use super::{CHUNK, Job, Operand, Outcome, Stop, chunks, progress, read_chunk};
use crate::model::memory::MemoryFault;

/// Copies, from the end if the destination begins within the source.
pub(super) fn memory_move(job: &Job) -> Outcome {
    let (source, destination) = (job.descriptor.source, job.descriptor.destination);
    let (offset, bytes) = (destination.wrapping_sub(source), u64::from(job.descriptor.bytes));
    // What runs over the end of all addresses faults there, from the front.
    let ends = source.checked_add(bytes).and(destination.checked_add(bytes));
    if offset != 0 && offset < bytes && ends.is_some() {
        return move_backwards(job);
    }
    let mut buffer = [0; CHUNK];
    for (start, bytes) in chunks(job.bytes()) {
        let at = |address: u64| address.wrapping_add(start as u64);
        let (read, fault) = read_chunk(job.memory, at(source), &mut buffer[..bytes]);
        job.memory
            .write(at(destination), &buffer[..read])
            .map_err(|fault| stop(fault, Operand::Second, start + fault.done))?;
        if let Some(fault) = fault {
            return Err(stop(fault, Operand::First, start + read));
        }
    }
    Ok(job.success(job.bytes()))
}

fn move_backwards(job: &Job) -> Outcome {
    let mut buffer = [0; CHUNK];
    let mut left = u64::from(job.descriptor.bytes);
    while left > 0 {
        let bytes = left.min(CHUNK as u64);
        let ends = [job.descriptor.source + left, job.descriptor.destination + left];
        let [readable, writable] = ends.map(|end| job.memory.reach_down(end, bytes));
        let reach = readable.min(writable);
        let buffer = &mut buffer[..usize::try_from(reach).unwrap_or(0)];
        let [from, to] = ends.map(|end| end - reach);
        job.memory.read(from, buffer).map_err(|fault| backwards(job, fault, Operand::First, left))?;
        job.memory.write(to, buffer).map_err(|fault| backwards(job, fault, Operand::Second, left))?;
        left -= reach;
        if reach < bytes {
            let (operand, end) = if readable < bytes && readable <= writable {
                (Operand::First, from)
            } else {
                (Operand::Second, to)
            };
            let fault = MemoryFault { address: end - 1, write: operand == Operand::Second, done: 0 };
            return Err(backwards(job, fault, operand, left));
        }
    }
    Ok(job.success(job.bytes()))
}

fn backwards(job: &Job, fault: MemoryFault, operand: Operand, left: u64) -> Stop {
    let done = job.bytes() - usize::try_from(left).unwrap_or(0);
    Stop { fault, operand, record: DsaCompletion { result: 1, ..progress(done) } }
}

/// Repeats 8 bytes from the destination on.
pub(super) fn fill(job: &Job) -> Outcome {
    let mut buffer = [0; CHUNK];
    for word in buffer.chunks_exact_mut(8) {
        word.copy_from_slice(&job.descriptor.source.to_le_bytes());
    }
    for (start, bytes) in chunks(job.bytes()) {
        let address = job.descriptor.destination.wrapping_add(start as u64);
        job.memory.write(address, &buffer[..bytes]).map_err(|fault| {
            let done = start + fault.done;
            let done = if job.profile.quirks.fill_progress_in_words { done & !7 } else { done };
            stop(fault, Operand::Second, done)
        })?;
    }
    Ok(job.success(job.bytes()))
}

/// Copies to two destinations.
pub(super) fn dualcast(job: &Job) -> Outcome {
    let destinations = [
        (Operand::Second, job.descriptor.destination),
        (Operand::Third, job.descriptor.operands::<DualcastOperands>().second_destination),
    ];
    let mut buffer = [0; CHUNK];
    for (start, bytes) in chunks(job.bytes()) {
        let at = |address: u64| address.wrapping_add(start as u64);
        let (read, fault) = read_chunk(job.memory, at(job.descriptor.source), &mut buffer[..bytes]);
        // What both have.
        let mut ended = fault.map(|fault| (fault, Operand::First, read));
        for (operand, destination) in destinations {
            if let Err(fault) = job.memory.write(at(destination), &buffer[..read])
                && ended.as_ref().is_none_or(|&(_, _, done)| fault.done < done)
            {
                ended = Some((fault, operand, fault.done));
            }
        }
        if let Some((fault, operand, done)) = ended {
            return Err(stop(fault, operand, start + done));
        }
    }
    Ok(job.success(job.bytes()))
}

fn stop(fault: MemoryFault, operand: Operand, done: usize) -> Stop {
    Stop { fault, operand, record: progress(done) }
}
